"""What a problem writes of an export: all that is about its kind of input. Heads and network are the same for all."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import Tensor
from transformers import PreTrainedModel

from plora import atomic
from plora.backbones import Backbone, BackboneConfig
from plora.problems.base import Problem
from plora.results.report.model_card import InputWords


@dataclass(frozen=True)
class ScriptPart:
    """The part of `inference.py` that turns inputs into features.

    Args:
        summary: the docstring of the file, with how it is called.
        one, many: variable names of an input and of several.
        inputs: what `predict` takes, for its docstring.
        imports: lines before those of `safetensors`, `AutoModel` left out.
        auto: the class of `transformers` that it uses beside `AutoModel`; empty for none.
        code: what defines `features(network, <many>)`, which returns `[B, d]`; it has `HERE`, `SETTINGS` and `torch`.
        asked: an expression for the inputs on the command line, from the strings `given.<many>`.
    """

    summary: str
    one: str
    many: str
    inputs: str
    imports: tuple[str, ...]
    auto: str
    code: str
    asked: str


class ExportPart(ABC):
    """A problem's own part of an export; a problem's settings name it.

    Args:
        backbone: that the run learned on.
        config: of the backbone.
        problem: of the run.

    Attributes:
        script: what turns inputs into features where there is no plora.
    """

    script: ClassVar[ScriptPart]

    def __init__(self, backbone: Backbone, config: BackboneConfig, problem: Problem) -> None:
        self.backbone, self.config, self.problem = backbone, config, problem

    @property
    @abstractmethod
    def words(self) -> InputWords:
        """What the model card calls the inputs, and says of them."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the files that turn an input into tensors."""

    def settings(self) -> Mapping[str, atomic.JsonValue]:
        """Return what `heads.json` says of inputs and features, for the script to read."""
        return {}

    def classifier(
        self, network: PreTrainedModel, labels: Sequence[str], weight: Tensor, bias: Tensor
    ) -> PreTrainedModel | None:
        """Return network and head as a classifier of `transformers`, where one of them is z = W f + b; else None.

        Args:
            network: with all slots in its weights.
            labels: of the rows.
            weight: `[rows, d]`.
            bias: `[rows]`.
        """
        return None
