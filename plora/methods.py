"""The table of methods: adapter + gate + what trains + strategies. A method is a row, not a class.

A new method is a new row. Everything it needs goes through the one loop, bank, checkpoint and record.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from plora.adapters.settings import Way
from plora.gates.settings import GateSettings
from plora.strategies.settings import (
    DistillationSettings,
    EWCLoRASettings,
    EWCSettings,
    GenerativeReplaySettings,
    InfLoRASettings,
    OrthogonalitySettings,
    ReplaySettings,
    SparsitySettings,
    StrategySettings,
)
from plora.streams.base import SCENARIOS, Scenario

STEPPED = ("linear", "cosine")
"""Heads that are trained step by step, the default first."""
SOLVED = ("ranpac", "ridge", "ncm", "klda", "spread")
"""Heads of a closed form, which are solved when a task is over, the default first."""
REGRESSED = ("linear", "ranpac", "ridge")
"""Heads that learn a number for each row, and not only which one of them is right."""
ANY = (*STEPPED, *SOLVED)
"""Heads of the methods that train slots: a closed form is solved over the features that the slots give."""
OWN = "own"
"""Name of the head of a network that answers by itself."""
PARTS = ("head", "adapter", "gate", "modules", "backbone")
"""What a phase can train by name. Where the head is of a closed form, `head` is the one that stands in for it while a
task trains."""
Slots = Literal["none", "first", "one", "per_task"]
LossRows = Literal["local", "seen", "all"]
Drift = Literal["none", "linear"]


class Phase(BaseModel):
    """One stretch of training inside a task."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    train: tuple[str, ...] = Field(min_length=1)
    """What trains: `head`, `adapter`, `gate`, `modules`, `backbone`, or patterns to be found in parameters' names."""
    epochs: int | None = Field(default=None, ge=1)
    """Passes over the task's training split; None takes `training.epochs`."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Peak rate; None takes `training.learning_rate`."""


@dataclass(frozen=True)
class Method:
    """One row.

    Args:
        name: as in a config.
        summary: one line for `plora ls` and the documentation.
        slots: `none`, one that the `first` task alone trains, `one` that all tasks train, or one `per_task`.
        gate: a name in `plora.gates.settings.GATES`, or None without slots.
        gate_settings: those of the gate that are not as it has them by itself.
        lora: settings of low-rank slots that are not as `LoRA` has them by itself.
        phases: what trains, in order.
        heads: the heads that make sense, the default first.
        strategies: what protects old knowledge, by kind; a config may change their settings.
        loss_rows: in the class-incremental scenario, the rows that compete in the loss: the current task's (`local`,
            old rows stay frozen), those of all classes `seen` so far, or `all` of the stream.
        lateral: a new slot learns to read what older slots read, too.
        merging: how the slots of all tasks become one when a task is committed, or None; `magmax` starts each slot from
            the one before.
        at_once: learns all tasks' data together, not one after the other.
        refusals: scenarios in which the method has no meaning, with the reason.
    """

    name: str
    summary: str
    slots: Slots
    gate: str | None
    phases: tuple[Phase, ...]
    heads: tuple[str, ...] = ANY
    strategies: Mapping[str, StrategySettings] = field(default_factory=dict)
    loss_rows: LossRows = "local"
    merging: Way | None = None
    at_once: bool = False
    lateral: bool = False
    refusals: Mapping[Scenario, str] = field(default_factory=dict)
    gate_settings: Mapping[str, JsonValue] = field(default_factory=dict)
    lora: Mapping[str, JsonValue] = field(default_factory=dict)

    @property
    def trains_backbone(self) -> bool:
        """Whether the pretrained network itself trains."""
        return any("backbone" in phase.train for phase in self.phases)

    def refusal(self, scenario: Scenario) -> str | None:
        """Return why the method has no meaning in a scenario, or None where it has."""
        if scenario not in self.refusals:
            return None
        allowed = [name for name in SCENARIOS if name not in self.refusals]
        return (
            f"method '{self.name}' has no meaning in the {scenario}-incremental scenario: {self.refusals[scenario]}; "
            f"use scenario={' or '.join(allowed)}, or another method"
        )

    def nothing_to_protect(
        self, strategy: StrategySettings, head: str, solved: bool, shares_rows: bool, gate: GateSettings | None
    ) -> str | None:
        """Return why a strategy has nothing to do in this method, or None where it has.

        Args:
            strategy: in question.
            head: the head's name.
            solved: it is of a closed form.
            shares_rows: later tasks train head rows of older ones.
            gate: of the run.
        """
        if self.at_once:
            return "it learns all tasks at once, so nothing is old"
        if solved and self.slots in ("none", "first"):
            return f"the head '{head}' is solved, not trained step by step"
        if solved and strategy.needs_old_rows:
            return (
                f"it needs rows of older tasks in the head that trains, and the head '{head}' is solved: the one that "
                "stands in for it while a task trains knows the rows of that task alone"
            )
        alone = gate is not None and gate.isolates
        merged = self.merging is not None and not strategy.helps_merging
        if reason := strategy.refusal(self.slots, alone or merged):
            return reason
        if self.slots == "none" and not self.trains_backbone and not shares_rows:
            return "the features are frozen and each task trains head rows of its own, so there is nothing to protect"
        return None

    def features_drift(self, gate: GateSettings | None) -> bool:
        """Say whether features of an old task's inputs change when a later one is learned."""
        if self.at_once or self.slots == "first":
            return False
        if self.slots == "none":
            return self.trains_backbone
        return gate is not None and not gate.isolates

    def entangled(self, scenario: Scenario, gate: GateSettings | None) -> str | None:
        """Return why one task cannot be taken out, all of it and nothing else, or None where it can."""
        if self.at_once:
            return f"method '{self.name}' learned all tasks together"
        if self.trains_backbone:
            return f"method '{self.name}' trained the whole network on every task"
        if self.slots == "one":
            return f"method '{self.name}' has one slot, which every task changed"
        if self.slots == "first":
            return f"method '{self.name}' has one slot, which the first task trained and all tasks stand on"
        if gate is not None and gate.asks_each:
            return f"method '{self.name}' answers by all tasks' slots together where none is named"
        if gate is not None and gate.chooses:
            return f"method '{self.name}' chooses among all tasks by what it knows of each"
        if self.merging is not None:
            return f"method '{self.name}' answers for every task with the slot that it made of all of them"
        if gate is not None and not gate.needs_task:
            return f"method '{self.name}' sums its slots, and later ones were learned on top of this one"
        if self.lateral:
            return f"method '{self.name}' lets later slots read what this one reads, and that is a part of them"
        if scenario != "task":
            return f"in the {scenario}-incremental scenario the rows of all classes were learned against each other"
        return None


_ADAPTER_AND_HEAD = (Phase(train=("adapter", "head")),)
_NEEDS_TASK_ID = "it keeps one slot per task and needs the task's name at test time, which this scenario does not give"

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "frozen",
            "nothing but the head learns; the floor that every method must beat",
            slots="none",
            gate=None,
            phases=(Phase(train=("head",)),),
            heads=("linear", *SOLVED),
        ),
        Method(
            "first_session",
            "one slot that the first task alone trains; the head is solved from sums (RanPAC with its first phase)",
            slots="first",
            gate="all_ones",
            phases=_ADAPTER_AND_HEAD,
            heads=SOLVED,
        ),
        Method(
            "full",
            "fine-tunes every weight of the backbone, task after task",
            slots="none",
            gate=None,
            phases=(Phase(train=("backbone", "head")),),
            heads=STEPPED,
        ),
        Method(
            "joint",
            "one slot on the data of all tasks at once, so that nothing has to be remembered",
            slots="one",
            gate="all_ones",
            phases=_ADAPTER_AND_HEAD,
            loss_rows="seen",
            at_once=True,
        ),
        Method(
            "sequential",
            "one slot trained through all tasks, nothing protects it",
            slots="one",
            gate="all_ones",
            phases=_ADAPTER_AND_HEAD,
            loss_rows="seen",
        ),
        Method(
            "per_task",
            "a slot and a head per task (P-LoRA); forgets nothing by construction",
            slots="per_task",
            gate="one_hot",
            phases=_ADAPTER_AND_HEAD,
            refusals={"class": _NEEDS_TASK_ID, "domain": _NEEDS_TASK_ID},
        ),
        Method(
            "lateral",
            "per_task whose new slots learn to read what older ones read (progressive networks)",
            slots="per_task",
            gate="one_hot",
            phases=_ADAPTER_AND_HEAD,
            lateral=True,
            refusals={"class": _NEEDS_TASK_ID, "domain": _NEEDS_TASK_ID},
        ),
        Method(
            "routed",
            "a slot per task, used without the task's name: the nearest class of bare features chooses it",
            slots="per_task",
            gate="router",
            phases=_ADAPTER_AND_HEAD,
            refusals={"task": "the task's name is given, and nothing is left to infer; use method 'per_task' there"},
        ),
        Method(
            "gain_lora",
            "a slot per task, all summed, each weighed by the input; new ones stay silent on old inputs (GainLoRA)",
            slots="per_task",
            gate="gain",
            phases=_ADAPTER_AND_HEAD,
        ),
        Method(
            "o_lora",
            "a slot per task, all summed, each kept orthogonal to the older ones",
            slots="per_task",
            gate="all_ones",
            phases=_ADAPTER_AND_HEAD,
            strategies={"orthogonality": OrthogonalitySettings()},
        ),
        Method(
            "n_lora",
            "a slot per task, all summed, each of few entries, so that they seldom collide",
            slots="per_task",
            gate="all_ones",
            phases=_ADAPTER_AND_HEAD,
            strategies={"sparsity": SparsitySettings()},
        ),
        Method(
            "gumbel_cl_lora",
            "a slot per task, weighed by learned sparse shares; a new one that gets too little goes (Gumbel CL-LoRA)",
            slots="per_task",
            gate="gumbel_sparsemax",
            phases=_ADAPTER_AND_HEAD,
        ),
        Method(
            "sd_lora",
            "a slot per task, whose direction stays and whose magnitude all later tasks go on training (SD-LoRA)",
            slots="per_task",
            gate="magnitudes",
            phases=_ADAPTER_AND_HEAD,
        ),
        Method(
            "sd_lora_rr",
            "SD-LoRA whose later slots have a smaller rank (SD-LoRA-RR)",
            slots="per_task",
            gate="magnitudes",
            phases=_ADAPTER_AND_HEAD,
            lora={"rank": 10, "ranks": {"4": 8, "8": 6}},
        ),
        Method(
            "sd_lora_kd",
            "SD-LoRA in which a slot that is a sum of older ones goes into their magnitudes (SD-LoRA-KD)",
            slots="per_task",
            gate="magnitudes",
            phases=_ADAPTER_AND_HEAD,
            gate_settings={"absorb": 9e-4},
        ),
        Method(
            "ewc",
            "one slot, held where old tasks' Fisher information says that it mattered",
            slots="one",
            gate="all_ones",
            phases=_ADAPTER_AND_HEAD,
            strategies={"ewc": EWCSettings()},
        ),
        Method(
            "online_ewc",
            "EWC whose memory of older tasks fades",
            slots="one",
            gate="all_ones",
            phases=_ADAPTER_AND_HEAD,
            strategies={"ewc": EWCSettings(decay=0.95)},
        ),
        Method(
            "ewc_lora",
            "a slot per task, all summed, each kept out of what mattered to older tasks in ΔW itself",
            slots="per_task",
            gate="all_ones",
            phases=_ADAPTER_AND_HEAD,
            strategies={"ewc_lora": EWCLoRASettings()},
        ),
        Method(
            "inf_lora",
            "a slot per task, all summed, each reading what older tasks' inputs do not span (InfLoRA)",
            slots="per_task",
            gate="all_ones",
            phases=_ADAPTER_AND_HEAD,
            strategies={"inf_lora": InfLoRASettings()},
        ),
        Method(
            "replay",
            "one slot; a few old examples are trained on again (ER)",
            slots="one",
            gate="all_ones",
            phases=_ADAPTER_AND_HEAD,
            heads=STEPPED,
            strategies={"replay": ReplaySettings()},
            loss_rows="seen",
        ),
        Method(
            "der",
            "one slot; old examples keep their labels and their old scores (DER++)",
            slots="one",
            gate="all_ones",
            phases=_ADAPTER_AND_HEAD,
            heads=STEPPED,
            strategies={"replay": ReplaySettings(weight=0.5, scores_weight=0.5)},
            loss_rows="seen",
        ),
        Method(
            "generative_replay",
            "one slot; texts that a frozen network writes stand in for old ones",
            slots="one",
            gate="all_ones",
            phases=_ADAPTER_AND_HEAD,
            heads=STEPPED,
            strategies={"generative_replay": GenerativeReplaySettings()},
            loss_rows="seen",
        ),
        Method(
            "lwf",
            "one slot; the new task's inputs keep the answers that the old model gave (LwF)",
            slots="one",
            gate="all_ones",
            phases=_ADAPTER_AND_HEAD,
            heads=STEPPED,
            strategies={"distillation": DistillationSettings()},
        ),
        Method(
            "merged_average",
            "a slot per task, learned by itself; the mean of all answers, and needs no task id",
            slots="per_task",
            gate="newest",
            phases=_ADAPTER_AND_HEAD,
            merging="average",
        ),
        Method(
            "merged_ties",
            "a slot per task, learned by itself; one of their large entries and elected signs answers (TIES)",
            slots="per_task",
            gate="newest",
            phases=_ADAPTER_AND_HEAD,
            merging="ties",
        ),
        Method(
            "merged_magmax",
            "slots learned one from the other; one of their largest entries answers (MagMax)",
            slots="per_task",
            gate="newest",
            phases=_ADAPTER_AND_HEAD,
            merging="magmax",
        ),
    )
}
