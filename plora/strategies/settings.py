"""What protects old knowledge, as settings: what a config says, and what a method can have."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, SerializeAsAny, model_validator

from plora.generators.settings import GENERATORS, GeneratorSettings, MaskedGeneratorSettings
from plora.kinds import by_kind
from plora.settings import PartSettings

Estimator = Literal["exact", "sample", "empirical", "batched"]
"""Of the Fisher information; see `plora.strategies.fisher`."""
SHARES_NOTHING = "each task trains a slot of its own alone, so there is nothing to protect"


class StrategySettings(PartSettings):
    """The settings of a strategy, and what can be said of it before anything is loaded."""

    replays: ClassVar[bool] = False
    """Old examples are trained on beside new ones, so class-incrementally the rows of both compete in the loss."""
    needs_old_rows: ClassVar[bool] = False
    """It acts on scores of older tasks' classes, so their rows must be in the head that trains."""
    helps_merging: ClassVar[bool] = False
    """It has a use for tasks that learn alone where their slots are merged later."""
    designs_slots: ClassVar[bool] = False
    """It designs the A of each new slot, so that of its low-rank matrices B alone trains."""
    low_rank: ClassVar[bool] = False
    """It knows low-rank slots alone: what slots have in other places it would leave unprotected."""

    @property
    def reads_scores(self) -> bool:
        """Whether it has a meaning for scores of classes alone, as it is set."""
        return False

    @property
    def reads_parts(self) -> bool:
        """Whether it has a meaning for scores of classes of parts of an input: pixels, words."""
        return False

    @property
    def counts_tasks(self) -> str | None:
        """Why the number of tasks, which must then be known from the start, changes what it does; None: it does not."""
        return None

    @classmethod
    def refusal(cls, slots: str, isolated: bool) -> str | None:
        """Return why it has nothing to protect in a method, or None where it has.

        Args:
            slots: `none`, `first`, `one` or `per_task`.
            isolated: a task trains with its own slot alone, so that nothing is shared.
        """
        return None


class OrthogonalitySettings(StrategySettings):
    """Of `Orthogonality`."""

    part = "plora.strategies.orthogonal:Orthogonality"
    low_rank = True

    kind: Literal["orthogonality"] = "orthogonality"
    weight: float = Field(default=0.5, ge=0)
    """λ₁."""
    penalty_form: Literal["l1", "sq"] = "l1"
    """φ: sum of absolute values, or of squares."""
    norm_weight: float = Field(default=0.0, ge=0)
    """λ₂, shrinks the new slot."""

    @classmethod
    def refusal(cls, slots: str, isolated: bool) -> str | None:
        """Refuse what has no older slots, or does not train beside them."""
        if slots != "per_task":
            return "it compares a task's slot with older ones, and there is one at most"
        return SHARES_NOTHING if isolated else None


class SparsitySettings(StrategySettings):
    """Of `Sparsity`."""

    part = "plora.strategies.sparsity:Sparsity"
    low_rank = True
    helps_merging = True

    kind: Literal["sparsity"] = "sparsity"
    weight: float = Field(default=1e-4, ge=0)
    """λ; a sum over all entries of all layers, so small."""

    @classmethod
    def refusal(cls, slots: str, isolated: bool) -> str | None:
        """Refuse what has no adapters, and slots that never meet."""
        if slots == "none":
            return "it keeps updates of adapters sparse, and there are none"
        return SHARES_NOTHING if isolated else None


class EWCSettings(StrategySettings):
    """Of `EWC`."""

    part = "plora.strategies.ewc:EWC"
    low_rank = True

    kind: Literal["ewc"] = "ewc"
    weight: float = Field(default=1000.0, ge=0)
    """λ."""
    estimator: Estimator = "exact"
    """Of the Fisher information: `exact`, `sample`, `empirical`, or for comparison `batched`."""
    samples: int = Field(default=500, ge=1)
    """Training examples that it is estimated from, balanced over the classes."""
    anchors: Literal["single", "multi"] = "single"
    """One anchor for all old tasks, or one for each."""
    decay: float = Field(default=1.0, gt=0, le=1)
    """γ, with one anchor: how much of the older tasks' information is kept when a task is added."""

    @model_validator(mode="after")
    def _fades_with_one_anchor_alone(self) -> Self:
        if self.anchors == "multi" and self.decay != 1:
            raise ValueError(
                f"decay is {self.decay:g}, and anchors=multi, which lets nothing fade, takes decay=1 alone"
            )
        return self

    @property
    def reads_scores(self) -> bool:
        """It does."""
        return True

    @classmethod
    def refusal(cls, slots: str, isolated: bool) -> str | None:
        """Refuse what does not train one slot through all tasks."""
        return None if slots == "one" else "it holds the slot that all tasks train, and there is none"


class EWCLoRASettings(StrategySettings):
    """Of `EWCLoRA`."""

    part = "plora.strategies.ewc_lora:EWCLoRA"
    low_rank = True

    kind: Literal["ewc_lora"] = "ewc_lora"
    weight: float = Field(default=1e7, ge=0)
    """λ."""
    estimator: Estimator = "exact"
    """Of the Fisher information: `exact`, `sample`, `empirical`, or for comparison `batched`."""
    samples: int = Field(default=500, ge=1)
    """Training examples that it is estimated from, balanced over the classes."""
    decay: float = Field(default=1.0, gt=0, le=1)
    """γ: how much of the older tasks' information is kept when a task is added."""

    @property
    def reads_scores(self) -> bool:
        """It does."""
        return True

    @classmethod
    def refusal(cls, slots: str, isolated: bool) -> str | None:
        """Refuse what has no new slot beside older ones."""
        if slots != "per_task":
            return "it holds a task's new slot back where older ones mattered, and there is one at most"
        return SHARES_NOTHING if isolated else None


class InfLoRASettings(StrategySettings):
    """Of `InfLoRA`."""

    part = "plora.strategies.inf_lora:InfLoRA"
    low_rank = True
    designs_slots = True

    kind: Literal["inf_lora"] = "inf_lora"
    lamb: float = Field(default=0.98, gt=0, le=1)
    """ε of the first task: the share of the energy of its inputs that is remembered."""
    lame: float = Field(default=1.0, gt=0, le=1)
    """What ε goes to, task by task."""
    compat: Literal["paper", "repo"] = "paper"
    """Whose singular values are squared and whose directions are taken: the inputs' (`paper`), or as the official code
    does (`repo`) their covariance's, where weak directions count far less."""

    @property
    def counts_tasks(self) -> str | None:
        """It does, unless ε stays as it is."""
        if self.lame == self.lamb:
            return None
        return f"goes from lamb={self.lamb:g} to lame={self.lame:g} over the tasks of the stream"

    @classmethod
    def refusal(cls, slots: str, isolated: bool) -> str | None:
        """Refuse what has no new slot beside older ones."""
        if slots != "per_task":
            return "it keeps a task's new slot out of what older tasks' inputs span, and there is one at most"
        return SHARES_NOTHING if isolated else None


class ReplaySettings(StrategySettings):
    """Of `Replay`."""

    part = "plora.strategies.replay:Replay"
    replays = True
    needs_old_rows = True

    kind: Literal["replay"] = "replay"
    weight: float = Field(default=1.0, ge=0)
    """β, of the cross-entropy of old examples."""
    scores_weight: float = Field(default=0.0, ge=0)
    """α, of the distance to the old scores."""
    capacity: int = Field(default=200, ge=1)
    """Examples kept, of all tasks together."""

    @property
    def reads_scores(self) -> bool:
        """Whether old scores are held."""
        return self.scores_weight > 0

    @classmethod
    def refusal(cls, slots: str, isolated: bool) -> str | None:
        """Refuse tasks that share nothing."""
        return SHARES_NOTHING if isolated else None


class GenerativeReplaySettings(StrategySettings):
    """Of `GenerativeReplay`."""

    part = "plora.strategies.generative:GenerativeReplay"
    replays = True
    needs_old_rows = True

    kind: Literal["generative_replay"] = "generative_replay"
    generator: Annotated[SerializeAsAny[GeneratorSettings], by_kind(GENERATORS, "generator", GeneratorSettings)] = (
        MaskedGeneratorSettings()
    )
    """What writes: of classes `{kind: mlm}` or `{kind: causal, id: …}`, of documents `{kind: self}`; or a class of your
    own, `package.module:Class`."""
    weight: float = Field(default=1.0, ge=0)
    """μ."""
    temperature: float = Field(default=2.0, gt=0)
    """τ; above 1 the unlikely answers count more."""
    ratio: float = Field(default=1.0, gt=0)
    """Texts rehearsed in each step, as a share of the batch."""
    per_class: int = Field(default=50, ge=1)
    """Most texts kept for each class of each old task; of documents, how many are written for each old task."""
    confidence: float = Field(default=0.0, ge=0, le=1)
    """A text stays when the old model gives the class that it stands for at least so much probability; of those, the
    surest per class."""

    @model_validator(mode="after")
    def _documents_have_no_answers(self) -> Self:
        usual = type(self).model_fields
        strange = [name for name in ("temperature", "confidence") if getattr(self, name) != usual[name].default]
        if self.generator.writes_documents and strange:
            raise ValueError(
                f"{' and '.join(strange)}: of answers for classes, and generator '{self.generator.kind}' writes "
                "documents, which have none; leave it out (generator.temperature is of the drawing)"
            )
        return self

    @property
    def reads_scores(self) -> bool:
        """Whether texts are written for classes."""
        return not self.generator.writes_documents

    @classmethod
    def refusal(cls, slots: str, isolated: bool) -> str | None:
        """Refuse tasks that share nothing, and a network that does not stay as it was below its slots."""
        if slots == "none":
            return "it protects the slots that tasks share, and there are none"
        return SHARES_NOTHING if isolated else None


class DistillationSettings(StrategySettings):
    """Of `Distillation`."""

    part = "plora.strategies.distillation:Distillation"
    needs_old_rows = True

    kind: Literal["distillation"] = "distillation"
    weight: float = Field(default=1.0, ge=0)
    """μ."""
    temperature: float = Field(default=2.0, gt=0)
    """τ; above 1 the unlikely answers count more."""

    @property
    def reads_scores(self) -> bool:
        """It does."""
        return True

    @property
    def reads_parts(self) -> bool:
        """It does, where each has a class."""
        return True

    @classmethod
    def refusal(cls, slots: str, isolated: bool) -> str | None:
        """Refuse tasks that share nothing."""
        return SHARES_NOTHING if isolated else None


STRATEGIES: dict[str, type[StrategySettings]] = {
    "orthogonality": OrthogonalitySettings,
    "ewc": EWCSettings,
    "ewc_lora": EWCLoRASettings,
    "inf_lora": InfLoRASettings,
    "replay": ReplaySettings,
    "generative_replay": GenerativeReplaySettings,
    "distillation": DistillationSettings,
    "sparsity": SparsitySettings,
}
"""`kind:` of a strategy in a config → its settings, which name the class that does the work."""
