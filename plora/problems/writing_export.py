"""What problems whose answers are written have in common of an export: the tokenizer, and a script that writes."""

from pathlib import Path
from typing import ClassVar

from plora.backbones import TextBackbone
from plora.problems.export_part import BACKBONE_CHOSEN, BACKBONE_OPTION, ExportPart

_SCRIPT = '''"""{summary}: python inference.py [--task TASK] [--tokens N] "a prompt" "another prompt"."""

import argparse
import json
from functools import lru_cache
from pathlib import Path

import torch
{imports}from transformers import {auto}, AutoTokenizer, GenerationConfig

HERE = Path(__file__).resolve().parent
SETTINGS = json.loads((HERE / "adapters.json").read_text(encoding="utf-8"))
ADAPTERS = SETTINGS["adapters"]
TOKENIZER = AutoTokenizer.from_pretrained(HERE)


@lru_cache(maxsize=1)
def network(adapter):
    found = {auto}.from_pretrained(
        {source}, use_safetensors=True, dtype=torch.float32
    )
    found.generation_config = GenerationConfig()  # the likeliest token each time, and nothing else
    return {network}.eval()

{code}
@torch.inference_mode()
def generate(prompts, task=next(iter(ADAPTERS)), tokens=64):
    """Return {told}, until it ends by itself or has as many tokens."""
    found, end = [], SETTINGS["end"]
    for prompt in prompts:
        ids = torch.tensor([tokens_of(prompt)])
        asked = dict(max_new_tokens=tokens, do_sample=False, eos_token_id=end, pad_token_id=end)
        written = network(ADAPTERS[task]).generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), **asked{more}
        )
        found.append(text_of(ids, written))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--task", choices=list(ADAPTERS), default=next(iter(ADAPTERS)), required=len(ADAPTERS) > 1)
    parser.add_argument("--tokens", type=int, default=64)
{option}    parser.add_argument("prompts", nargs="+")
    given = parser.parse_args()
{chosen}    for prompt in given.prompts:
        text = generate([prompt], given.task, given.tokens)[0]
        print(json.dumps(dict(prompt=prompt, text=text), ensure_ascii=False))
'''


class WritingExport(ExportPart):
    """Prompts, and what is written after them.

    Attributes:
        summary: what the script does, in words.
        told: what it returns of prompts, in words.
        auto: the class of `transformers` that loads the network.
        code: what defines `tokens_of(prompt)`, ids, and `text_of(ids, written)`; it has `SETTINGS` and `TOKENIZER`.
        more: arguments of `generate` beside those of all, each after a comma.
    """

    summary: ClassVar[str]
    told: ClassVar[str]
    auto: ClassVar[str]
    code: ClassVar[str]
    more: ClassVar[str] = ""

    @property
    def texts(self) -> TextBackbone:
        """The network with its tokenizer."""
        assert isinstance(self.backbone, TextBackbone)
        return self.backbone

    def save(self, folder: Path) -> None:
        """Write the tokenizer."""
        self.texts.tokenizer.save_pretrained(folder)

    def inference(self, merged: bool) -> str:
        """Return a script that writes what follows prompts."""
        return _SCRIPT.format(
            **{name: getattr(self, name) for name in ("summary", "told", "auto", "code", "more")},
            imports="" if merged else "from peft import PeftModel\n",
            source="HERE" if merged else 'SETTINGS["backbone"], revision=SETTINGS["revision"]',
            network="found" if merged else "PeftModel.from_pretrained(found, HERE / adapter)",
            option="" if merged else BACKBONE_OPTION,
            chosen="" if merged else BACKBONE_CHOSEN,
        )
