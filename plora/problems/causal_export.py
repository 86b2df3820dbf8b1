"""What a causal language model writes of an export: a script that continues texts."""

from collections.abc import Mapping
from typing import ClassVar

from plora import atomic
from plora.backbones import positions
from plora.problems.causal_lm import CausalLM
from plora.problems.writing_export import WritingExport
from plora.results.report.model_card import InputWords


class CausalExport(WritingExport):
    """Texts that are continued."""

    task_type: ClassVar[str | None] = "CAUSAL_LM"
    summary = "Continue texts"
    told = "what follows each prompt"
    auto = "AutoModelForCausalLM"
    code = """
def tokens_of(prompt):
    template = SETTINGS["template"]
    if template is None:
        ids = TOKENIZER(prompt, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return [SETTINGS["start"], *ids]
    messages = [dict(role="user", content=prompt)]
    text = TOKENIZER.apply_chat_template(
        messages, chat_template=template, tokenize=False, add_generation_prompt=True
    )
    own = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    return [SETTINGS["start"], *own[int(own[:1] == [SETTINGS["start"]]):]]  # it stands before every text


def text_of(ids, written):
    as_text = dict(skip_special_tokens=True, clean_up_tokenization_spaces=False)
    before, whole = (TOKENIZER.decode(part[0], **as_text) for part in (ids, written))
    return whole[len(before) :]

"""

    @property
    def words(self) -> InputWords:
        """Prompts, and how long one may be."""
        places = positions(self.texts.network)
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
