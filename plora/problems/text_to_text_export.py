"""What text to text writes of an export: the tokenizer, and a script that answers prompts."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from plora import atomic
from plora.backbones import TextBackbone
from plora.problems.export_part import BACKBONE_CHOSEN, BACKBONE_OPTION, ExportPart
from plora.problems.text_to_text import TextToText
from plora.results.report.model_card import InputWords

_SCRIPT = '''"""Answer prompts: python inference.py [--task TASK] [--tokens N] "a prompt" "another prompt"."""

import argparse
import json
from functools import lru_cache
from pathlib import Path

import torch
{imports}from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig

HERE = Path(__file__).resolve().parent
SETTINGS = json.loads((HERE / "adapters.json").read_text(encoding="utf-8"))
ADAPTERS = SETTINGS["adapters"]
TOKENIZER = AutoTokenizer.from_pretrained(HERE)


@lru_cache(maxsize=1)
def network(adapter):
    found = AutoModelForSeq2SeqLM.from_pretrained(
        {source}, use_safetensors=True, dtype=torch.float32
    )
    found.generation_config = GenerationConfig()  # the likeliest token each time, and nothing else
    return {network}.eval()


@torch.inference_mode()
def generate(prompts, task=next(iter(ADAPTERS)), tokens=64):
    """Return the answer to each prompt, until it ends by itself or has as many tokens."""
    found, end = [], SETTINGS["end"]
    for prompt in prompts:
        ids = torch.tensor([TOKENIZER(prompt, split_special_tokens=True)["input_ids"]])
        asked = dict(max_new_tokens=tokens, do_sample=False, eos_token_id=end, pad_token_id=end)
        asked["decoder_start_token_id"] = SETTINGS["start"]
        written = network(ADAPTERS[task]).generate(input_ids=ids, attention_mask=torch.ones_like(ids), **asked)
        found.append(TOKENIZER.decode(written[0], skip_special_tokens=True, clean_up_tokenization_spaces=False))
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


class TextToTextExport(ExportPart):
    """Prompts that are answered."""

    task_type: ClassVar[str | None] = "SEQ_2_SEQ_LM"

    @property
    def words(self) -> InputWords:
        """Prompts, and how long one may be."""
        return InputWords(
            pipeline_tag="text-generation",
            article="a",
            noun="prompt",
            limit=f"It learned from prompts of at most {self.config.max_length} tokens; of others it read the end.",
            example='"a prompt" "another prompt"',
            note="The likeliest token is written each time, until the answer ends by itself.",
            described_in="adapters.json",
            model="A language model",
            prints="the answer to each prompt",
            use="It answers prompts of the kind that it learned from. What it writes may be wrong.",
        )

    def settings(self) -> Mapping[str, atomic.JsonValue]:
        """Return the tokens that begin and end an answer."""
        assert isinstance(self.problem, TextToText)
        return {"start": self.problem.layout.start, "end": self.problem.layout.end}

    def save(self, folder: Path) -> None:
        """Write the tokenizer."""
        assert isinstance(self.backbone, TextBackbone)
        self.backbone.tokenizer.save_pretrained(folder)

    def inference(self, merged: bool) -> str:
        """Return a script that answers prompts."""
        return _SCRIPT.format(
            imports="" if merged else "from peft import PeftModel\n",
            source="HERE" if merged else 'SETTINGS["backbone"], revision=SETTINGS["revision"]',
            network="found" if merged else "PeftModel.from_pretrained(found, HERE / adapter)",
            option="" if merged else BACKBONE_OPTION,
            chosen="" if merged else BACKBONE_CHOSEN,
        )
