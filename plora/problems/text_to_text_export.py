"""What text to text writes of an export: a script that answers prompts."""

from collections.abc import Mapping
from typing import ClassVar

from plora import atomic
from plora.problems.text_to_text import TextToText
from plora.problems.writing_export import WritingExport
from plora.results.report.model_card import InputWords


class TextToTextExport(WritingExport):
    """Prompts that are answered."""

    task_type: ClassVar[str | None] = "SEQ_2_SEQ_LM"
    summary = "Answer prompts"
    told = "the answer to each prompt"
    auto = "AutoModelForSeq2SeqLM"
    more = ', decoder_start_token_id=SETTINGS["start"]'
    code = """
def tokens_of(prompt):
    return TOKENIZER(prompt, split_special_tokens=True)["input_ids"]


def text_of(ids, written):
    return TOKENIZER.decode(written[0], skip_special_tokens=True, clean_up_tokenization_spaces=False)

"""

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
