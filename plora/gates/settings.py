"""How much each slot contributes, as settings: what can be said of a gate before anything is loaded."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from plora.settings import PartSettings


class GateSettings(PartSettings):
    """The settings of a gate, and what it declares."""

    needs_task: ClassVar[bool]
    """The route depends on the task id, so the gate has no meaning where none is given."""
    constant: ClassVar[bool]
    """While a task trains, every committed slot on the route counts 1, so those slots can be folded into an effective
    weight and cost nothing."""
    settles: ClassVar[bool] = False
    """Its coefficients move while a task trains and stay where nothing does, the same for every task and input: so
    committed slots are folded for evaluation, which then costs the same for every number of tasks."""
    merges: ClassVar[bool] = False
    """Older slots take part through the newest one, which is made of them when a task is committed."""
    reads: ClassVar[bool] = False
    """It weighs slots by the bare backbone's features of each input: it is a `ReadingGate`."""
    chooses: ClassVar[bool] = False
    """Where no task is named it chooses one slot for each input: it is a `ChoosingGate`."""
    low_rank: ClassVar[bool] = False
    """It divides by the size of ΔW, which low-rank slots alone have."""
    by_likelihood: ClassVar[bool] = False
    """Where no task is named each slot of its route reads an input alone, and the mean of what they find it to be
    likely counts; see `Likelihood`."""
    by_class: ClassVar[bool] = False
    """Where no task is named each slot of its route reads an input alone, and answers for the classes of its own task;
    see `OwnClasses`."""

    @property
    def asks_each(self) -> bool:
        """Whether each slot of its route reads an input alone, where no task is named."""
        return self.by_likelihood or self.by_class

    @property
    def isolates(self) -> bool:
        """Whether a task trains with its own slot alone."""
        return self.needs_task or self.chooses or self.asks_each


class AllOnesSettings(GateSettings):
    """Of `AllOnes`."""

    part = "plora.gates.all_ones:AllOnes"
    needs_task = False
    constant = True

    kind: Literal["all_ones"] = "all_ones"


class OneHotSettings(GateSettings):
    """Of `OneHot`."""

    part = "plora.gates.one_hot:OneHot"
    needs_task = True
    constant = True

    kind: Literal["one_hot"] = "one_hot"


class NewestSettings(GateSettings):
    """Of `Newest`."""

    part = "plora.gates.newest:Newest"
    needs_task = False
    constant = True
    merges = True

    kind: Literal["newest"] = "newest"


class RouterSettings(GateSettings):
    """Of `Router`."""

    part = "plora.gates.router:Router"
    needs_task = False
    constant = False
    reads = True
    chooses = True

    kind: Literal["router"] = "router"


class LikelihoodSettings(GateSettings):
    """Of `Likelihood`."""

    part = "plora.gates.likelihood:Likelihood"
    needs_task = False
    constant = False
    by_likelihood = True

    kind: Literal["likelihood"] = "likelihood"


class OwnClassesSettings(GateSettings):
    """Of `OwnClasses`."""

    part = "plora.gates.own_classes:OwnClasses"
    needs_task = False
    constant = False
    by_class = True

    kind: Literal["own_classes"] = "own_classes"


class GainSettings(GateSettings):
    """Of `Gain`."""

    part = "plora.gates.gain:Gain"
    needs_task = False
    constant = False
    reads = True

    kind: Literal["gain"] = "gain"
    remember: float = Field(default=0.999, gt=0, le=1)
    """ε: share of the energy of each task's features that gates of later tasks do not read. Nearer to 1 a new slot is
    more silent on older inputs, and has less to tell its own by. Most of the energy is what all inputs have in common:
    so 0.99 may leave much of what tells them apart."""


class GumbelSparsemaxSettings(GateSettings):
    """Of `GumbelSparsemax`."""

    part = "plora.gates.gumbel_sparsemax:GumbelSparsemax"
    needs_task = False
    constant = False
    settles = True

    kind: Literal["gumbel_sparsemax"] = "gumbel_sparsemax"
    per: Literal["slot", "layer"] = "slot"
    """What has a share of its own for each slot: the whole network, or each layer."""
    temperature: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (5.0, 0.5)
    """τ₀ and τ₁: at the start of a phase, and what it goes to."""
    rho: Literal["auto"] | Annotated[float, Field(gt=0, le=1)] = "auto"
    """ρ: what is left of the way to τ₁ after each step or epoch; `auto` leaves a hundredth at the end of the phase."""
    anneal: Literal["step", "epoch"] = "step"
    """What ρ counts."""
    evaluation_temperature: Literal["reached", "final"] | Annotated[float, Field(gt=0)] = "reached"
    """τ without noise: that of the last step, τ₁ whether it was reached or not, or a number."""
    noise: float = Field(default=1.0, ge=0)
    """What the noise is multiplied with; 0 for none."""
    sparsity: float = Field(default=0.01, ge=0)
    """λ of the entropy of the shares."""
    magnitudes: bool = True
    """Each slot has a magnitude beside its share."""
    start: float = 0.0
    """Logit of a new slot; above 0 where too many steps leave it without a share."""
    rescale_by_support: bool = False
    """Shares are multiplied with how many are not 0, so that a new slot does not shrink what older ones add."""
    growth: Literal["all", "absolute", "relative", "top_k"] = "relative"
    """Which new slots stay, the first always: `all`; those whose share is above the threshold, or above the threshold
    divided by the number of slots; those that are among the `most` largest. The new slot alone is decided about, even
    where an older one has the smallest share: what old tasks would lose by its going cannot be measured without their
    data."""
    threshold: float = Field(default=0.5, ge=0)
    """δ, of `absolute` and `relative`."""
    most: int | None = Field(default=None, ge=1)
    """k, of `top_k`."""
    guard: float | None = Field(default=0.01, ge=0)
    """A slot stays where the score of validation would lose more than this by its going, in the score's own unit; null
    does not ask."""

    @model_validator(mode="after")
    def _growth_has_its_number(self) -> Self:
        if (self.growth == "top_k") != (self.most is not None):
            raise ValueError(f"most is {self.most} and growth is {self.growth}; growth=top_k needs it, and no other")
        if self.growth == "absolute" and self.threshold >= 1:
            raise ValueError(
                f"threshold is {self.threshold:g}, and no share is above 1; growth=absolute takes 0.1 or so"
            )
        return self


_REPO: Mapping[str, object] = {"start": 0.8, "carried": False, "divided_by": "factors", "keeps_function": False}
"""What the published code of SD-LoRA does otherwise than its paper."""


class MagnitudesSettings(GateSettings):
    """Of `Magnitudes`."""

    part = "plora.gates.magnitudes:Magnitudes"
    low_rank = True
    needs_task = False
    constant = False
    settles = True

    kind: Literal["magnitudes"] = "magnitudes"
    per: Literal["slot", "layer", "site"] = "slot"
    """What has a magnitude of its own for each slot: the whole network, each layer, or each site."""
    compat: Literal["repo"] | None = None
    """`repo` is as the published code: start 0.8, carried false, divided_by factors, keeps_function false."""
    start: float = 1.0
    """a of a new slot."""
    carried: bool = True
    """Older magnitudes go on from where they are; else all of them start again with every task."""
    divided_by: Literal["product", "factors"] = "product"
    """Of a committed slot: ‖B A‖_F, or ‖B‖_F ‖A‖_F, which is larger."""
    keeps_function: bool = True
    """What a slot is divided by goes into its magnitude; else the function jumps when the next slot is opened."""
    absorb: float | None = Field(default=None, ge=0, le=1)
    """ρ up to which a new slot is a sum of older ones and goes, and their magnitudes take it over; null does not
    ask."""

    @model_validator(mode="before")
    @classmethod
    def _as_published(cls, given: object) -> object:
        if not isinstance(given, Mapping) or given.get("compat") != "repo":
            return given
        if other := [f"{key}={given[key]}" for key, value in _REPO.items() if given.get(key, value) != value]:
            said = ", ".join(f"{key}={value}" for key, value in _REPO.items())
            raise ValueError(f"compat=repo is {said}, and {', '.join(other)} is given; leave one of the two out")
        return {**_REPO, **given}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.per == "layer" and not self.keeps_function:
            raise ValueError("per=layer needs keeps_function=true: else every site has a norm of its own; use per=site")
        if self.absorb is not None and not self.carried:
            raise ValueError("absorb moves a slot into older magnitudes, and carried=false forgets those; choose one")
        return self


GATES: dict[str, type[GateSettings]] = {
    "all_ones": AllOnesSettings,
    "one_hot": OneHotSettings,
    "newest": NewestSettings,
    "router": RouterSettings,
    "likelihood": LikelihoodSettings,
    "own_classes": OwnClassesSettings,
    "gain": GainSettings,
    "gumbel_sparsemax": GumbelSparsemaxSettings,
    "magnitudes": MagnitudesSettings,
}
"""Name of a gate in the table of methods → its settings, which name the class that does the work."""
