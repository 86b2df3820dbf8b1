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

_SCRIPT = '''"""{summary}"""

import argparse
import json
from functools import lru_cache
from pathlib import Path

{imports}

HERE = Path(__file__).resolve().parent
SETTINGS = json.loads((HERE / "heads.json").read_text(encoding="utf-8"))
HEADS, TENSORS = SETTINGS["heads"], load_file(HERE / "heads.safetensors")
{code}

@lru_cache(maxsize=1)
def network(adapter):
    return {network}.eval()


@torch.inference_mode()
def predict({many}, task=next(iter(HEADS))):
    """Return {told} of each {one}; {inputs}."""
    found = features(network(HEADS[task]["adapter"]), {many})
    weight, bias = TENSORS[task + ".weight"], TENSORS[task + ".bias"]
    found = normalize(found.to(weight.dtype)) if SETTINGS["normalize"] else found.to(weight.dtype)
    found = linear(found, TENSORS["projection"]).relu() if "projection" in TENSORS else found
    return [dict(zip(HEADS[task]["labels"], row)) for row in linear(found, weight, bias){answered}.tolist()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--task", choices=list(HEADS), default=next(iter(HEADS)), required=len(HEADS) > 1)
{option}    parser.add_argument("{many}", nargs="+")
    given = parser.parse_args()
{chosen}    for {one} in {asked}:
        print(json.dumps(dict({one}={one}, {noun}=predict([{one}], given.task)[0]), ensure_ascii=False))
'''
BACKBONE_OPTION = """\
    parser.add_argument("--backbone", default=SETTINGS["backbone"], help="a folder, where there is no hub")
"""
BACKBONE_CHOSEN = """\
    SETTINGS["backbone"] = given.backbone
"""
"""Lines of a script that takes the pretrained network from elsewhere, where adapters are beside it."""
_MERGED = "AutoModel.from_pretrained(HERE, use_safetensors=True, dtype=torch.float32)"
_ADAPTED = """PeftModel.from_pretrained(
        AutoModel.from_pretrained(
            SETTINGS["backbone"], revision=SETTINGS["revision"], use_safetensors=True, dtype=torch.float32
        ),
        HERE / adapter,
    )"""


@dataclass(frozen=True)
class ScriptPart:
    """The part of an `inference.py` which labels inputs that turns them into features.

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
        script: what turns inputs into features where there is no plora; of a problem whose head makes scores of them.
        answered: what makes answers of the head's scores `[B, rows]`, as the end of an expression.
        told: what the script returns of an input, for its docstring.
        noun: what the script calls the answers.
        task_type: what PEFT calls what the network does; None says nothing of it.
    """

    script: ClassVar[ScriptPart]
    answered: ClassVar[str] = ".softmax(1)"
    told: ClassVar[str] = "label -> probability"
    noun: ClassVar[str] = "labels"
    task_type: ClassVar[str | None] = None

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

    def inference(self, merged: bool) -> str:
        """Return the text of `inference.py`: by itself it labels inputs, with the features that `script` makes.

        Args:
            merged: the folder holds one network; else adapters for PEFT.
        """
        part = self.script
        imports = (
            "import torch",
            *part.imports,
            *(() if merged else ("from peft import PeftModel",)),
            "from safetensors.torch import load_file",
            "from torch.nn.functional import linear, normalize",
            f"from transformers import AutoModel{part.auto and ', ' + part.auto}",
        )
        return _SCRIPT.format(
            **{name: getattr(part, name) for name in ("summary", "one", "many", "inputs", "code", "asked")},
            **{name: getattr(self, name) for name in ("answered", "told", "noun")},
            imports="\n".join(imports),
            network=_MERGED if merged else _ADAPTED,
            option="" if merged else BACKBONE_OPTION,
            chosen="" if merged else BACKBONE_CHOSEN,
        )

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
