"""What a causal language model writes of an export: the tokenizer, and a script that continues texts."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from plora import atomic
from plora.backbones import TextBackbone, positions
from plora.problems.causal_lm import CausalLM
from plora.problems.export_part import BACKBONE_CHOSEN, BACKBONE_OPTION, ExportPart
from plora.results.report.model_card import InputWords

_SCRIPT = '''"""Continue texts: python inference.py [--task TASK] [--tokens N] "a prompt" "another prompt"."""

import argparse
import json
from functools import lru_cache
from pathlib import Path

import torch
{imports}from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

HERE = Path(__file__).resolve().parent
SETTINGS = json.loads((HERE / "adapters.json").read_text(encoding="utf-8"))
ADAPTERS = SETTINGS["adapters"]
TOKENIZER = AutoTokenizer.from_pretrained(HERE)


@lru_cache(maxsize=1)
def network(adapter):
    found = AutoModelForCausalLM.from_pretrained(
        {source}, use_safetensors=True, dtype=torch.float32
    )
    found.generation_config = GenerationConfig()  # the likeliest token each time, and nothing else
    return {network}.eval()


def tokens_of(prompt):
    template = SETTINGS["template"]
    if template is None:
        return TOKENIZER(prompt, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    messages = [dict(role="user", content=prompt)]
    text = TOKENIZER.apply_chat_template(
        messages, chat_template=template, tokenize=False, add_generation_prompt=True
    )
    own = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    return own[int(own[:1] == [SETTINGS["start"]]):]  # it stands before every text


@torch.inference_mode()
def generate(prompts, task=next(iter(ADAPTERS)), tokens=64):
    """Return what follows each prompt, until the text ends by itself or has as many tokens."""
    found, end = [], SETTINGS["end"]
    for prompt in prompts:
        ids = torch.tensor([[SETTINGS["start"], *tokens_of(prompt)]])
        asked = dict(max_new_tokens=tokens, do_sample=False, eos_token_id=end, pad_token_id=end)
        written = network(ADAPTERS[task]).generate(input_ids=ids, attention_mask=torch.ones_like(ids), **asked)
        as_text = dict(skip_special_tokens=True, clean_up_tokenization_spaces=False)
        before, whole = (TOKENIZER.decode(part[0], **as_text) for part in (ids, written))
        found.append(whole[len(before) :])
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


class CausalExport(ExportPart):
    """Texts that are continued."""

    task_type: ClassVar[str | None] = "CAUSAL_LM"

    @property
    def words(self) -> InputWords:
        """Prompts, and how long one may be."""
        places = positions(self._texts.network)
        return InputWords(
            pipeline_tag="text-generation",
            article="a",
            noun="prompt",
            limit="It learned from texts of any length"
            + ("." if places is None else f", and reads {places} tokens at once: a prompt and what follows it."),
            example='"a prompt" "another prompt"',
            note="The likeliest token is written each time, until the text ends by itself.",
            described_in="adapters.json",
            model="A language model",
            prints="what follows each prompt",
            use="It continues texts of the kind that it learned from. What it writes is made up, and may repeat these.",
        )

    def settings(self) -> Mapping[str, atomic.JsonValue]:
        """Return the tokens that begin and end a text, and the template of prompts, or null."""
        assert isinstance(self.problem, CausalLM)
        layout = self.problem.layout
        return {"start": layout.start, "end": layout.end, "template": self.problem.rendering.template}

    def save(self, folder: Path) -> None:
        """Write the tokenizer."""
        self._texts.tokenizer.save_pretrained(folder)

    def inference(self, merged: bool) -> str:
        """Return a script that continues prompts."""
        return _SCRIPT.format(
            imports="" if merged else "from peft import PeftModel\n",
            source="HERE" if merged else 'SETTINGS["backbone"], revision=SETTINGS["revision"]',
            network="found" if merged else "PeftModel.from_pretrained(found, HERE / adapter)",
            option="" if merged else BACKBONE_OPTION,
            chosen="" if merged else BACKBONE_CHOSEN,
        )

    @property
    def _texts(self) -> TextBackbone:
        assert isinstance(self.backbone, TextBackbone)
        return self.backbone
