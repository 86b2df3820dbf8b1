"""What text classification writes of an export: the tokenizer, how features are pooled, and a script that labels texts.

No class of `transformers` puts one linear layer on the mean or the first token of a BERT-like network:
BERT's and RoBERTa's have a tanh layer between, ModernBERT's and DistilBERT's a layer of their own, and those of
decoders read the last token. `_CLASSIFIERS` lists the exceptions. For those a merged network with one linear head is
saved as `AutoModelForSequenceClassification`; for all others the head stays in its own file.
"""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from plora import atomic
from plora.backbones import Pooling, TextBackbone
from plora.problems.export_part import ExportPart, ScriptPart
from plora.results.report.model_card import InputWords

_CLASSIFIERS: Mapping[tuple[str, Pooling], Mapping[str, str]] = {
    ("ultrabert", "mean"): {"classifier_pooling": "mean"},
    ("ultrabert", "first"): {"classifier_pooling": "cls"},
}
"""By model type and pooling: the settings under which its sequence classifier is one linear map on our features."""

_CODE = """TOKENIZER = AutoTokenizer.from_pretrained(HERE)


def features(network, texts):
    columns = map(list, zip(*([text] if isinstance(text, str) else text for text in texts), strict=True))
    cut = dict(truncation=True, max_length=SETTINGS["max_length"])
    inputs = TOKENIZER(*columns, **cut, padding=True, padding_side="right", return_tensors="pt")
    states, mask = network(**inputs).last_hidden_state, inputs["attention_mask"].unsqueeze(-1)
    return states[:, 0] if SETTINGS["pooling"] == "first" else (states * mask).sum(1) / mask.sum(1)
"""


class TextExport(ExportPart):
    """Texts, or pairs of texts."""

    script: ClassVar[ScriptPart] = ScriptPart(
        summary='Label texts: python inference.py [--task TASK] "a text" "first text of a pair<TAB>second text".',
        one="text",
        many="texts",
        inputs="a text is a str, or a tuple of two where the task is about pairs",
        imports=(),
        auto="AutoTokenizer",
        code=_CODE,
        asked='(tuple(text.split("\\t", 1)) if "\\t" in text else text for text in given.texts)',
    )

    @property
    def words(self) -> InputWords:
        """Texts, and where they are cut."""
        return InputWords(
            pipeline_tag="text-classification",
            article="a",
            noun="text",
            limit=f"Texts longer than {self.config.max_length} tokens are cut.",
            example='"a text" "another text"',
            note="A pair of texts is written with a tab between them.",
            described_in="heads.json",
        )

    def save(self, folder: Path) -> None:
        """Write the tokenizer."""
        tokenizer = self._texts.tokenizer
        if tokenizer.pad_token is None:  # its place is masked; plora pads with the first token
            tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)
        tokenizer.save_pretrained(folder)

    def settings(self) -> Mapping[str, atomic.JsonValue]:
        """Return pooling and maximum length."""
        return {"pooling": self._texts.pooling, "max_length": self.config.max_length}

    def classifier(
        self, network: PreTrainedModel, labels: Sequence[str], weight: Tensor, bias: Tensor
    ) -> PreTrainedModel | None:
        """Return what `AutoModelForSequenceClassification` loads; None where it is no linear map of our features."""
        settings = _CLASSIFIERS.get((network.config.model_type, self._texts.pooling))
        if settings is None:
            return None
        config = copy.deepcopy(network.config)
        config.update({**settings, "id2label": dict(enumerate(labels))})
        config.label2id = {label: row for row, label in enumerate(labels)}
        classifier = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
        classifier.base_model.load_state_dict(network.state_dict())
        classifier.classifier.load_state_dict({"weight": weight, "bias": bias})
        found: PreTrainedModel = classifier
        return found

    @property
    def _texts(self) -> TextBackbone:
        assert isinstance(self.backbone, TextBackbone)
        return self.backbone
