"""Texts in, padded batches and features out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer
from transformers.modeling_outputs import BaseModelOutput

from plora.problems import TextClassification, TokenizedTexts, masked_cross_entropy
from plora.streams.base import Split, Texts

TEXTS = ("the apple", "", "rye " * 50, "🙂 emoji", "مرحبا", "of the old small good new plum", "x" * 100_000)


@pytest.fixture(scope="module")
def problem(tiny_backbone: Path) -> TextClassification:
    return TextClassification(AutoTokenizer.from_pretrained(tiny_backbone), 16, "mean")


def split(texts: tuple[str | tuple[str, str], ...]) -> Split:
    return Texts(texts, np.zeros(len(texts), dtype=np.int64))


def test_batches_equal_the_tokenizers_own(problem: TextClassification) -> None:
    encoded = problem.encode(split(TEXTS))
    own = problem.tokenizer(list(TEXTS), padding=True, truncation=True, max_length=16, return_tensors="pt")
    batch = encoded.collate(np.arange(len(TEXTS))).inputs
    assert set(batch) == set(own)
    for name, tensor in batch.items():
        assert torch.equal(tensor, own[name]), name


def test_pairs_keep_their_segments(problem: TextClassification) -> None:
    pairs = (("the apple", "rye loaf bun"), ("", "pear"), ("plum " * 40, "tree"))
    own = problem.tokenizer(
        [a for a, _ in pairs], [b for _, b in pairs], padding=True, truncation=True, max_length=16, return_tensors="pt"
    )
    batch = problem.encode(split(pairs)).collate(np.arange(3)).inputs
    assert torch.equal(batch["token_type_ids"], own["token_type_ids"])
    assert torch.equal(batch["input_ids"], own["input_ids"])


def test_truncation_is_counted_exactly(problem: TextClassification) -> None:
    exact = " ".join(["rye"] * 14)  # 14 words, [CLS] and [SEP]: 16 tokens
    assert problem.encode(split((exact,))).truncated == 0
    assert problem.encode(split((exact + " rye",))).truncated == 1


def test_a_batch_is_as_wide_as_its_longest_text(problem: TextClassification) -> None:
    encoded = problem.encode(split(("apple", "the apple", "rye " * 9)))
    assert encoded.collate(np.array([0, 1])).inputs["input_ids"].shape == (2, 4)
    assert encoded.collate(np.array([2, 0])).inputs["input_ids"].shape == (2, 11)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(order=st.permutations(range(len(TEXTS))))
def test_order_and_joining_do_not_change_a_text(problem: TextClassification, order: list[int]) -> None:
    encoded = problem.encode(split(TEXTS))
    joined = encoded.followed_by([problem.encode(split(("one more",)))])
    first = encoded.collate(np.array(order)).inputs
    second = joined.collate(np.array(order)).inputs
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_padding_never_enters_a_feature(problem: TextClassification) -> None:
    states = torch.randn(2, 5, 4)
    mask = torch.tensor([[1, 1, 0, 0, 0], [1, 1, 1, 1, 1]])
    features = problem.features(BaseModelOutput(last_hidden_state=states), {"attention_mask": mask})
    torch.testing.assert_close(features[0], states[0, :2].mean(0))
    torch.testing.assert_close(features[1], states[1].mean(0))


def test_tokens_are_cached_on_disk_and_a_damaged_cache_is_made_anew(
    tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_backbone)
    first = TextClassification(tokenizer, 16, "mean", tmp_path).encode(split(TEXTS))
    (file,) = tmp_path.iterdir()

    def fail(*_: object) -> TokenizedTexts:
        raise AssertionError("tokenised again")

    with monkeypatch.context() as patch:
        patch.setattr(TextClassification, "tokenize", fail)
        again = TextClassification(tokenizer, 16, "mean", tmp_path).encode(split(TEXTS))
    assert np.array_equal(first.inputs.ids, again.inputs.ids)
    file.write_bytes(b"damaged")
    third = TextClassification(tokenizer, 16, "mean", tmp_path).encode(split(TEXTS))
    assert np.array_equal(first.inputs.ids, third.inputs.ids)
    TextClassification(tokenizer, 12, "mean", tmp_path).encode(split(TEXTS))
    assert len(list(tmp_path.iterdir())) == 2  # another limit is another entry


def test_masked_cross_entropy_equals_a_softmax_over_the_visible_rows() -> None:
    logits, rows = torch.randn(4, 6), torch.tensor([0, 1, 2, 3])
    visible = torch.tensor([[True, True, True, True, False, False]] * 4)
    expected = torch.nn.functional.cross_entropy(logits[:, :4], rows, reduction="none")
    torch.testing.assert_close(masked_cross_entropy(logits, rows, visible), expected)
    grad = logits.requires_grad_()
    masked_cross_entropy(grad, rows, visible).sum().backward()
    assert (grad.grad[:, 4:] == 0).all()
