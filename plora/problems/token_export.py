"""What token classification writes of an export: the tokenizer, its special tokens, and a script that tags words."""

from collections.abc import Mapping
from pathlib import Path

from plora import atomic
from plora.backbones import TextBackbone
from plora.problems.export_part import BACKBONE_CHOSEN, BACKBONE_OPTION, ExportPart
from plora.problems.token_classification import TokenClassification
from plora.results.report.model_card import InputWords

_SCRIPT = '''"""Tag the words of texts: python inference.py [--task TASK] "some words" "other words"."""

import argparse
import json
from functools import lru_cache
from pathlib import Path

import torch
{imports}from safetensors.torch import load_file
from torch.nn.functional import linear, normalize
from transformers import AutoModel, AutoTokenizer

HERE = Path(__file__).resolve().parent
SETTINGS = json.loads((HERE / "heads.json").read_text(encoding="utf-8"))
HEADS, TENSORS = SETTINGS["heads"], load_file(HERE / "heads.safetensors")
TOKENIZER = AutoTokenizer.from_pretrained(HERE)


@lru_cache(maxsize=1)
def network(adapter):
    found = AutoModel.from_pretrained({source}, use_safetensors=True, dtype=torch.float32)
    return {network}.eval()


def windows(tokens):
    """Yield the tokens of each window, and those of them that count in it."""
    width, context, first, low = SETTINGS["width"], SETTINGS["context"], 0, 0
    while True:
        last = min(first + width, tokens)
        high = tokens if last == tokens else (last - context + last + 1) // 2
        yield first, last, low, high
        if last == tokens:
            return
        first, low = last - context, high


@torch.inference_mode()
def features(model, words):
    own = TOKENIZER(
        " ".join(words), add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True
    )
    ids, ends = own["input_ids"] or [SETTINGS["pad"]], [last for _, last in own["offset_mapping"]]
    begin, places = 0, []
    for word in words:
        after = next((at for at, end in enumerate(ends) if end > begin), len(ids) - 1)
        places.append(after)
        begin += len(word) + 1
    found = []
    for first, last, low, high in windows(len(ids)):
        row = torch.tensor([[*SETTINGS["before"], *ids[first:last], *SETTINGS["after"]]])
        states = model(input_ids=row, attention_mask=torch.ones_like(row)).last_hidden_state[0]
        shift = len(SETTINGS["before"]) - first
        found.append(states[[shift + place for place in places if low <= place < high]])
    return torch.cat(found)


@torch.inference_mode()
def tag(text, task=next(iter(HEADS))):
    """Return words and their tags; a text is cut at its blanks, and a list is one of words."""
    words = text.split() if isinstance(text, str) else list(text)
    found = features(network(HEADS[task]["adapter"]), words)
    weight, bias = TENSORS[task + ".weight"], TENSORS[task + ".bias"]
    found = normalize(found.to(weight.dtype)) if SETTINGS["normalize"] else found.to(weight.dtype)
    scores = linear(found, weight, bias)
    return list(zip(words, [HEADS[task]["labels"][row] for row in scores.argmax(1).tolist()]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--task", choices=list(HEADS), default=next(iter(HEADS)), required=len(HEADS) > 1)
{option}    parser.add_argument("texts", nargs="+")
    given = parser.parse_args()
{chosen}    for text in given.texts:
        words, tags = zip(*tag(text, given.task))
        print(json.dumps(dict(words=words, tags=tags), ensure_ascii=False))
'''


class TokenExport(ExportPart):
    """Sentences whose words are tagged."""

    @property
    def words(self) -> InputWords:
        """Texts, and how long ones are read."""
        return InputWords(
            pipeline_tag="token-classification",
            article="a",
            noun="text",
            limit=f"Texts longer than {self.config.max_length} tokens are read in windows.",
            example='"some words" "other words"',
            note="Words are what stands between blanks; the tags begin (B-) and go on with (I-) entities.",
            described_in="heads.json",
            model="A tagger of words",
            prints="the words of each text and their tags",
            use="It marks entities of the types that it has learned, in text of the kind that it learned from.",
        )

    def settings(self) -> Mapping[str, atomic.JsonValue]:
        """Return how sentences become rows."""
        assert isinstance(self.problem, TokenClassification)
        layout = self.problem.layout
        return {
            "before": [*layout.before],
            "after": [*layout.after],
            "width": layout.width,
            "context": layout.context,
            "pad": layout.pad,
        }

    def save(self, folder: Path) -> None:
        """Write the tokenizer."""
        assert isinstance(self.backbone, TextBackbone)
        self.backbone.tokenizer.save_pretrained(folder)

    def inference(self, merged: bool) -> str:
        """Return a script that tags words."""
        return _SCRIPT.format(
            imports="" if merged else "from peft import PeftModel\n",
            source="HERE" if merged else 'SETTINGS["backbone"], revision=SETTINGS["revision"]',
            network="found" if merged else "PeftModel.from_pretrained(found, HERE / adapter)",
            option="" if merged else BACKBONE_OPTION,
            chosen="" if merged else BACKBONE_CHOSEN,
        )
