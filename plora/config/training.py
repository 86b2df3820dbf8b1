"""How a task is trained and when it is scored: the keys under `training:` and `evaluation:`."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny

from plora.kinds import by_kind
from plora.optimizers.schedule import Schedule
from plora.optimizers.settings import OPTIMIZERS, AdamW, Group, OptimizerSettings


class FirstTask(BaseModel):
    """Settings of the first task where they differ; None keeps the common ones."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    epochs: int | None = Field(default=None, ge=1)
    """Passes over the first task's training split."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Peak rate in the first task."""


class TrainingConfig(BaseModel):
    """The optimizer, its schedule, and the batches."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    epochs: int = Field(default=2, ge=1)
    """Passes over each task's training split."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak rate of the optimizer."""
    weight_decay: float = Field(default=0.01, ge=0)
    """The optimizer's decay; biases are left out."""
    optimizer: Annotated[SerializeAsAny[OptimizerSettings], by_kind(OPTIMIZERS, "optimizer", OptimizerSettings)] = (
        AdamW()
    )
    """What steps the parameters: `{kind: adamw}` or `{kind: sgd, momentum: 0.9}`."""
    groups: tuple[Group, ...] = ()
    """Parameters with a rate or decay of their own; the first group that takes a parameter has it."""
    schedule: Schedule = "linear"
    """After warm-up: down in a line, in half a cosine or as a power (`polynomial`), or `constant`."""
    schedule_floor: float = Field(default=0.0, ge=0, le=1)
    """The rate at the end, as a share of the peak; not of a constant one."""
    schedule_power: float = Field(default=0.9, gt=0)
    """Of a `polynomial` schedule: below 1 the rate stays up for longer."""
    warmup: float = Field(default=0.06, ge=0, lt=1)
    """Share of a phase's steps in which the rate rises from 0."""
    clip_norm: float | None = Field(default=1.0, gt=0)
    """Largest norm of the gradient; None does not clip."""
    batch_size: int = Field(default=32, ge=1)
    """Examples per optimizer step."""
    micro_batch_size: int | None = Field(default=None, ge=1)
    """Examples per forward pass; gradients of a step's micro-batches are accumulated, which changes memory, and
    with dropout which masks are drawn. None: the whole batch. Halved by itself when memory runs out."""
    tokens_per_batch: int = Field(default=8192, ge=8)
    """Most tokens in one forward pass, padding included; longer micro-batches are split."""
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    """`bf16` runs the network under autocast, with the frozen weights held in bf16; losses and adapters stay fp32.
    `auto` is `bf16` where every device has instructions for it and `fp32` elsewhere: it is decided when the run begins,
    and the run folder says which."""
    early_stop: int | None = Field(default=None, ge=1)
    """Stop a phase after this many epochs without a better validation score, and go back to the best; None never."""
    first_task: FirstTask = FirstTask()
    """What differs in the first task."""
    head_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Probability with which features are dropped on their way into a head that trains step by step."""
    activation_checkpointing: bool = False
    """Recompute the activations of each block during backward: less memory, about one more forward pass of time."""
    checkpoint_seconds: float | None = Field(default=60.0, ge=0)
    """Seconds of training between two checkpoints inside a task, from which `plora resume` goes on without changing a
    bit; 0: after every step; None: never. More than 3 % of the time is never spent on them."""
    log_every: int = Field(default=10, ge=1)
    """Optimizer steps between two lines of curves.jsonl."""


class EvaluationConfig(BaseModel):
    """What is scored, and when. Test splits are never used for anything else."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tasks: Literal["seen", "all"] = "seen"
    """After each task score the tasks `seen` so far, or `all` of them (needed for forward transfer)."""
    split: Literal["test", "validation"] = "test"
    """Which split is scored: `validation` while settings are being chosen, so that nobody has seen the test split when
    it is scored at last."""
    validations: int | None = Field(default=None, ge=1)
    """Times that the validation split is scored while a task is learned, evenly over the steps of each phase: for the
    learning curve, and for the steps that learning takes. Changes no result. None: only where `early_stop` needs it."""
    tokens_per_batch: int | None = Field(default=None, ge=8)
    """Most tokens in one forward pass of scoring; None: 2,048 on a CPU, whose caches more would overflow, and 16,384
    on an accelerator."""
