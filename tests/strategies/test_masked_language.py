from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lessons import a_model
from reference.masked_language import head_scores
from transformers import BertForMaskedLM

from plora.backbones import BackboneConfig, load_backbone
from plora.errors import RunError
from plora.gates import AllOnes
from plora.generators.masked_language import FittedHead, MaskedLanguage, OwnHead, _Places, evidence
from plora.generators.word_statistics import frame
from plora.model import ContinualModel
from plora.problems import LabelledExamples, TextClassification
from plora.problems.text_classification import TokenizedTexts
from plora.testing.tiny import open_filled, tiny_lesson, tiny_model


def texts_of(model: ContinualModel) -> TokenizedTexts:
    texts = tiny_lesson(model).train.inputs
    assert isinstance(texts, TokenizedTexts)
    return texts


@pytest.mark.parametrize(("shrinkage", "sharpness"), [(0.1, 1.0), (1.0, 0.3), (0.1, 0.0)])
def test_the_fitted_head_is_the_slow_one(shrinkage: float, sharpness: float) -> None:
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(9, 3))
    states, around, words = rng.normal(size=(60, 4)), rng.integers(0, 9, (60, 2)), rng.integers(2, 8, 60)
    table = torch.from_numpy(embeddings).float()
    places = _Places(torch.from_numpy(states).float(), torch.from_numpy(around), torch.from_numpy(words))
    first, second = (
        _Places(places.states[part], places.neighbours[part], places.words[part])
        for part in (slice(0, 25), slice(25, 60))
    )
    sums = second.added_to(first.added_to({}, table), table)  # what one task leaves, the next adds to
    head = FittedHead(sums, table, shrinkage, sharpness)
    found = head.scores(places.states[:5], places.neighbours[:5]).double().numpy()
    x = evidence(places.states, places.neighbours, table).double().numpy()
    expected_words, expected = head_scores(
        [(row, int(word)) for row, word in zip(x, words, strict=True)], embeddings, list(x[:5]), shrinkage, sharpness
    )
    assert head.vocabulary.tolist() == expected_words
    # Equal up to a constant per place.
    np.testing.assert_allclose(found - found[:, :1], expected - expected[:, :1], rtol=1e-3, atol=1e-4)


def test_a_head_finds_the_word_that_its_neighbour_gives_away() -> None:
    torch.manual_seed(0)
    table = torch.randn(12, 8)
    words = torch.randint(0, 6, (400,))
    places = _Places(torch.randn(400, 4), torch.stack([words + 6, torch.randint(0, 12, (400,))], 1), words)
    head = FittedHead(places.added_to({}, table), table, 0.1, 1.0)
    assert places.accuracy(head) > 0.95
    assert places.surprise(head) < 0.5 * places.surprise(FittedHead(places.added_to({}, table), table, 0.1, 0.0))


def test_a_rewritten_text_keeps_its_length_its_special_tokens_and_its_padding() -> None:
    model = a_model("first", "second")
    lesson, texts = tiny_lesson(model), texts_of(model)
    language = MaskedLanguage({})
    language.learn(model, lesson)
    assert language.head is not None
    leanings = torch.zeros(1, len(language.head.vocabulary))
    sources = np.zeros(len(texts), np.int64)
    again = [language.rewrite(model, lesson, texts, leanings, sources, 3) for _ in range(2)]
    assert again[0].ids.tolist() == again[1].ids.tolist() != texts.ids.tolist()
    other = language.rewrite(model, replace(lesson, seed=5), texts, leanings, sources, 3)
    assert other.ids.tolist() != again[0].ids.tolist()
    assert again[0].lengths.tolist() == texts.lengths.tolist()
    assert isinstance(model.problem, TextClassification)
    special = np.isin(texts.ids, frame(model.problem))
    assert special.sum() == 2 * len(texts)
    assert (np.isin(again[0].ids, frame(model.problem)) == special).all()
    assert (again[0].ids == texts.ids)[special].all()
    assert model.problem.tokenizer.mask_token_id not in again[0].ids
    before, after = (one.collate(np.arange(len(one)))["attention_mask"] for one in (texts, again[0]))
    assert torch.equal(before, after)


def test_what_a_class_leans_to_decides_what_is_written() -> None:
    model = a_model("first", "second")
    lesson, texts = tiny_lesson(model), texts_of(model)
    language = MaskedLanguage({})
    language.learn(model, lesson)
    assert language.head is not None
    leanings = torch.zeros(2, len(language.head.vocabulary))
    leanings[0, 1], leanings[1, 2] = 1e4, 1e4
    sources = np.arange(len(texts)) % 2
    written = language.rewrite(model, lesson, texts, leanings, sources, 5)
    changed = written.ids != texts.ids
    owner = np.repeat(sources, texts.lengths)
    for source in (0, 1):
        assert {*written.ids[changed & (owner == source)].tolist()} == {int(language.head.vocabulary[source + 1])}


def test_the_adapters_are_off_and_the_route_comes_back() -> None:
    learned, fresh = a_model("first", "second"), tiny_model(AllOnes())
    open_filled(fresh, "first")
    sums = []
    for model in (learned, fresh):
        assert model.adapters is not None
        route, language = model.adapters.switch.route, MaskedLanguage({})
        language.learn(model, tiny_lesson(model))
        sums.append(language.sums)
        assert model.adapters.switch.route is route
    assert all(torch.equal(sums[0][name], sums[1][name]) for name in sums[0])


def test_a_checkpoint_with_a_head_of_its_own_is_used_and_one_without_is_not(
    tiny_backbone: Path, tmp_path: Path
) -> None:
    def own(folder: Path) -> tuple[ContinualModel, OwnHead | None]:
        backbone = load_backbone(BackboneConfig(id=str(folder), max_length=16))
        model = tiny_model(AllOnes())
        model.backbone = backbone.network
        return model, OwnHead.of(model, torch.arange(5, len(backbone.tokenizer)))

    assert own(tiny_backbone)[1] is None
    torch.manual_seed(0)
    whole = BertForMaskedLM.from_pretrained(tiny_backbone).eval()
    torch.nn.init.normal_(whole.cls.predictions.bias)
    whole.save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((tiny_backbone / name).read_bytes())
    model, head = own(tmp_path)
    assert head is not None
    ids = torch.tensor([[2, 7, 4, 9, 3]])
    with torch.no_grad():
        states = model.backbone(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        expected = whole(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, :, 5:]
        torch.testing.assert_close(head.scores(states[0], ids[0][:, None]), expected)
    language = MaskedLanguage({})
    language.learn(model, tiny_lesson(model))
    assert isinstance(language.head, OwnHead)
    assert language.state() == {}  # nothing is fitted, so nothing is remembered


def test_sums_come_back_and_damage_is_named() -> None:
    model = a_model("first")
    language = MaskedLanguage({})
    language.learn(model, tiny_lesson(model))
    again = MaskedLanguage.restored(language.state(), model)
    assert all(torch.equal(again.sums[name], language.sums[name]) for name in language.sums)
    state = language.state()
    with pytest.raises(RunError, match=r"no 'xx' of shape \[48, 48\]"):
        MaskedLanguage.restored({**state, "xx": state["xx"][1:]}, model)
    with pytest.raises(RunError, match="no 'counts'"):
        MaskedLanguage.restored({name: state[name] for name in ("x", "xx", "xe")}, model)
    assert MaskedLanguage.restored({}, model).sums == {}


def test_a_tokenizer_without_a_mask_is_one_line() -> None:
    model = a_model("first")
    assert isinstance(model.problem, TextClassification)
    model.problem.tokenizer.mask_token = None
    with pytest.raises(RunError, match="needs an encoder of texts whose tokenizer has a mask token"):
        MaskedLanguage({}).learn(model, tiny_lesson(model))


def test_validation_texts_without_a_masked_word_choose_nothing_and_count_nothing() -> None:
    model, blank = a_model("first"), np.array([2, 3], np.int32)
    texts = TokenizedTexts(blank, np.zeros(0, np.int8), np.array([2]), np.zeros(1, np.bool_), 0)
    empty = LabelledExamples(texts, np.array([0]))
    language = MaskedLanguage({})
    language.learn(model, replace(tiny_lesson(model), validation=empty))
    assert (language.accuracy, language.baseline) == (0.0, 0.0)
