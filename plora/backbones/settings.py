"""Which network, as settings: the section `backbone:` of a config. Imports no torch."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

Pooling = Literal["mean", "first"]
"""How one feature vector is made of those of all tokens."""
MINILM = "minilm"
"""The embedded network."""
GLYPH_VIT = "glyph_vit"
"""The network for images that plora ships: a small vision transformer, pretrained on printed characters."""
DOCSTRING_LM = "docstring_lm"
"""The language model that plora ships: a small Llama, pretrained on docstrings."""
SCENE_EOMT = "scene_eomt"
"""The network for segmentation that plora ships: a small EoMT, pretrained on scenes by day."""
SHIPPED = (GLYPH_VIT, DOCSTRING_LM, SCENE_EOMT)
"""Networks that are in the package, each in a folder of its name beside this file."""
Side = Annotated[int, Field(ge=1)]
MADE = "pretrained:"
"""Before the name of a config: the backbone that `plora pretrain` made of it."""


class ImagePreparation(BaseModel):
    """How images become what a network takes: (pixels, resized, / 255 − mean) / std."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    size: Side | tuple[Side, Side]
    """Height and width in pixels, where they are the same, or both. A network that cuts images into patches takes
    multiples of its patch; its position embeddings are interpolated once, as `transformers` does it."""
    mean: tuple[float, ...] | None = Field(default=None, min_length=1)
    """Of each channel, of pixels in 0 to 1. None: as preprocessor_config.json says; 0.5 where there is none."""
    std: tuple[Annotated[float, Field(gt=0)], ...] | None = Field(default=None, min_length=1)
    """Of each channel. None: as of `mean`."""

    @model_validator(mode="after")
    def _of_the_same_channels(self) -> Self:
        if self.mean is not None and self.std is not None and len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} channels and std {len(self.std)}")
        return self

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size


def shipped_folder(name: str) -> Path:
    """Return the folder of a network that is in the package."""
    return Path(__file__).parent / name


class BackboneConfig(BaseModel):
    """Which network, and how its inputs and features are made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["pretrained", "new"] = "pretrained"
    """`pretrained`: as its files say; `new`: made from `network` with random weights, for method `full` to train."""
    id: str = MINILM
    """`minilm` (embedded, extra `quickstart`), of images `glyph_vit`, of documents `docstring_lm` and of maps
    `scene_eomt` (shipped), a folder, a model id on the hub, or `pretrained:CONFIG`, what `plora pretrain CONFIG` has
    made."""
    network: dict[str, JsonValue] | None = None
    """Of a new network: `model_type` and the settings of its `transformers` configuration. It computes in fp32; `dtype`
    says in what it is stored."""
    vocabulary: int | None = Field(default=None, ge=257)
    """Of a new network that reads texts: words of its byte-level BPE, which is learned from the training texts of the
    run's stream; every byte and the end of a text are among them."""
    seed: int = Field(default=0, ge=0)
    """Of a new network: decides its weights."""
    image: ImagePreparation | None = None
    """Of a network that reads images: their preparation. What its own preprocessor_config.json says is taken, and
    `size` alone may be another; None takes all of it."""
    revision: str | None = None
    """Commit, branch or tag on the hub; None is the newest."""
    max_length: int = Field(default=128, ge=8)
    """Longest input in tokens; longer texts are cut, and their share is reported."""
    pooling: Pooling | None = None
    """`mean` over tokens or the `first` token; None takes what the model's own pooling file says, else `mean`."""
    trust_remote_code: bool = False
    """Run the Python files that the model brings along, with all the rights of yours: read them first."""

    @property
    def label(self) -> str:
        """What to call it: its id, or `new`."""
        return "new" if self.kind == "new" else self.id

    @model_validator(mode="after")
    def _says_what_a_new_network_is(self) -> Self:
        if self.kind == "new" and (self.network is None or not isinstance(self.network.get("model_type"), str)):
            raise ValueError("a new network needs `network: {model_type: …}` and the settings of its configuration")
        if self.kind == "pretrained" and self.network is not None:
            raise ValueError("`network` describes a new network; set kind=new, or leave it out")
        if self.kind == "pretrained" and self.vocabulary is not None:
            raise ValueError("`vocabulary` is of a new network; a pretrained one has its words. Leave it out")
        if self.vocabulary is not None and self.network is not None:
            said = self.network.get("vocab_size", self.vocabulary)
            if not isinstance(said, int) or said < self.vocabulary:
                raise ValueError(
                    f"network.vocab_size is {said}, and vocabulary {self.vocabulary}; leave vocab_size out"
                )
        return self
