"""Which network, as settings: the section `backbone:` of a config. Imports no torch."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

Pooling = Literal["mean", "first"]
"""How one feature vector is made of those of all tokens."""
MINILM = "minilm"
"""The embedded network."""
GLYPH_VIT = "glyph_vit"
"""The network for images that plora ships: a small vision transformer, pretrained on printed characters."""
MADE = "pretrained:"
"""Before the name of a config: the backbone that `plora pretrain` made of it."""


class ImagePreparation(BaseModel):
    """How images become what a network takes: (pixels, resized, / 255 − mean) / std."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    size: int = Field(ge=1)
    """Height and width in pixels."""
    mean: tuple[float, ...] = Field(default=(0.5,), min_length=1)
    """Of each channel, of pixels in 0 to 1."""
    std: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(0.5,), min_length=1)
    """Of each channel."""


class BackboneConfig(BaseModel):
    """Which network, and how its inputs and features are made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["pretrained", "new"] = "pretrained"
    """`pretrained`: as its files say; `new`: made from `network` with random weights, for method `full` to train."""
    id: str = MINILM
    """`minilm` (embedded, extra `quickstart`), of images `glyph_vit` (shipped), a folder, a model id on the hub, or
    `pretrained:CONFIG`, what `plora pretrain CONFIG` has made."""
    network: dict[str, JsonValue] | None = None
    """Of a new network: `model_type` and the settings of its `transformers` configuration. It computes in fp32; `dtype`
    says in what it is stored."""
    seed: int = Field(default=0, ge=0)
    """Of a new network: decides its weights."""
    image: ImagePreparation | None = None
    """Of a network that reads images: their preparation; None takes what its own preprocessor_config.json says."""
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
        return self
