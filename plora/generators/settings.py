"""What writes the texts of generative replay, as settings."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from plora.adapters.settings import LoRA
from plora.settings import PartSettings


class GeneratorSettings(PartSettings):
    """What every generator has: its kind, and what it writes."""

    writes_documents: ClassVar[bool] = False
    """It writes documents, which a language model learns; else texts of classes."""


class MaskedGeneratorSettings(GeneratorSettings):
    """The frozen backbone itself writes; see `MaskedGenerator`."""

    part = "plora.generators.masked_generator:MaskedGenerator"

    kind: Literal["mlm"] = "mlm"
    seeds: Literal["statistics", "current"] = "statistics"
    """What texts begin as: words drawn by the remembered counts of a class, or texts of the new task."""
    sweeps: int = Field(default=3, ge=0)
    """How often words are masked and filled again; 0 leaves them as drawn."""


class CausalGeneratorSettings(GeneratorSettings):
    """A causal language model of its own writes; see `CausalGenerator`."""

    part = "plora.generators.causal_generator:CausalGenerator"

    kind: Literal["causal"] = "causal"
    id: str
    """A folder, or a model id on the Hugging Face hub: the network that writes, such as `distilbert/distilgpt2`."""
    revision: str | None = None
    """Commit, branch or tag on the hub; None is the newest."""
    lora: LoRA = LoRA()
    """Geometry of its slots."""
    epochs: int = Field(default=5, ge=1)
    """Passes over the training texts of a task."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """The first step's; it falls in a line to 0."""
    batch_size: int = Field(default=16, ge=1)
    """Texts of one step."""
    top_k: int = Field(default=20, ge=1)
    """Each token is drawn from so many."""
    temperature: float = Field(default=1.0, ge=0.01)
    """Scores are divided by it before a token is drawn."""

    @model_validator(mode="after")
    def _has_one_rank(self) -> Self:
        if self.lora.ranks:
            raise ValueError("lora.ranks is of the run's own slots; those of a generator have one rank, leave it out")
        return self


class SelfGeneratorSettings(GeneratorSettings):
    """The learner writes documents itself; see `SelfGenerator`."""

    part = "plora.generators.self_generator:SelfGenerator"
    writes_documents = True

    kind: Literal["self"] = "self"
    first: int = Field(default=1, ge=0)
    """Tokens that a document begins with, drawn by their counts in the task that it stands for; these counts are all
    that is remembered of a task. 0: nothing is, and what is written stands for no task in particular."""
    top_k: int = Field(default=20, ge=1)
    """Each token is drawn from so many."""
    temperature: float = Field(default=1.0, ge=0.01)
    """Scores are divided by it before a token is drawn."""


GENERATORS: dict[str, type[GeneratorSettings]] = {
    "mlm": MaskedGeneratorSettings,
    "causal": CausalGeneratorSettings,
    "self": SelfGeneratorSettings,
}
"""`kind:` of a generator in a config → its settings, which name the class that does the work."""
