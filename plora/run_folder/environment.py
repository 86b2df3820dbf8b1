"""What a run was made with: `environment.json`."""

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, model_validator

_STRICT = ConfigDict(extra="forbid", frozen=True, strict=True)


class Pretrained(BaseModel):
    """The network that the run started from."""

    model_config = _STRICT

    id: str
    fingerprint: str
    folder: str | None = None
    """Where its folder was; None where it is no folder, or an older version of plora wrote this."""


class Preprocessing(BaseModel):
    """What turned its inputs into tensors."""

    model_config = _STRICT

    fingerprint: str
    first_batch: dict[str, list[float]]
    """Mean and standard deviation of each tensor of the first inputs."""


class Rows(BaseModel):
    """The rows of a file, or of a split of the hub."""

    model_config = _STRICT

    found: int
    used: int
    left_out: dict[str, int]
    """Rows that are in no split, by reason."""


class Learned(BaseModel):
    """What it learned from."""

    model_config = _STRICT

    fingerprint: str
    provenance: dict[str, JsonValue] = {}
    splits: dict[str, dict[str, str]]
    """Fingerprint of each split of each task, in the order of the tasks."""
    labels: dict[str, list[str]]
    """Label names of each task."""
    pairs: list[str] | None = None
    """Tasks whose inputs are pairs of texts; runs of older versions do not say it."""
    rows: dict[str, Rows] = {}
    """Of each source, how many rows were found and used; runs of older versions have none."""

    @model_validator(mode="after")
    def _of_the_same_tasks(self) -> "Learned":
        if [*self.splits] != [*self.labels]:
            raise ValueError("splits and labels are of other tasks")
        return self


class Environment(BaseModel):
    """`environment.json`; versions and hardware are kept as they stand there, and only ever compared."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)

    packages: dict[str, str] = {}
    backbone: Pretrained
    preprocessing: Preprocessing
    stream: Learned
    made_in: str | None = None
    """The folder from which relative paths of the config lead; runs of older versions do not say it."""
    later: list[dict[str, str]] = []
    """For each later process in which something differed, what: `was → is`."""


ENVIRONMENT = TypeAdapter(Environment)
