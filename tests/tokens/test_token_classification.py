"""Words as tokens: which piece stands for a word, windows of long sentences, and which tags compete."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_sentences import TYPES, stream_values, tagged, values, write_reader

from plora.backbones import BackboneConfig
from plora.config import load_config
from plora.errors import BackboneError, ConfigError, DataError, RunError
from plora.problems.encoded_sentences import SentenceLayout, spans
from plora.problems.settings import PROBLEMS
from plora.problems.token_classification import TokenClassification
from plora.streams import Tagged, TaggedSentences
from plora.testing import check_problem

SETTINGS = PROBLEMS["token_classification"]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reader(tmp_path_factory.mktemp("reader"))


def problem(reader: Path, max_length: int = 64, **settings: object) -> TokenClassification:
    config = BackboneConfig(id=str(reader), max_length=max_length)
    backbone = TokenClassification.load(SETTINGS(), config)
    return TokenClassification.around(SETTINGS.model_validate(settings), backbone, config, None)


def split(number: int = 6, background: bool = False) -> TaggedSentences:
    names = ("O", *(f"{mark}-{kind}" for kind in TYPES for mark in "BI"))
    found = tagged(TYPES, number, 1)
    tags = tuple(tuple(names.index(tag) for tag in own) for _, own in found)
    return TaggedSentences(tuple(tuple(words) for words, _ in found), tags, names, background)


@pytest.mark.parametrize(("max_length", "context"), [(64, None), (8, None), (8, 0), (9, 5)])
def test_it_conforms(reader: Path, max_length: int, context: int | None) -> None:
    found = problem(reader, max_length, context=context)
    config = BackboneConfig(id=str(reader), max_length=max_length)
    check_problem(found, split(), TokenClassification.load(SETTINGS(), config).network)


def test_the_first_piece_stands_for_a_word(reader: Path) -> None:
    found = problem(reader)
    words = ("the", "ants", "[SEP]", "\u200b", "golds")
    examples = found.encode(TaggedSentences((words,), ((0, 1, 0, 0, 3),), ("O", "B-a", "I-a", "B-b", "I-b")), 10)
    batch = examples.collate(np.arange(1))
    tokens = found.tokenizer.convert_ids_to_tokens(batch.inputs["input_ids"][0])
    said = [tokens[at] for at in batch.inputs["words"].tolist()]
    assert tokens[0] == "[CLS]"
    assert tokens[-1] == "[SEP]"
    assert tokens.count("[SEP]") == 1  # what looks like one is text
    assert said[0] == "the"
    assert said[1] == "ant"
    assert said[3] == said[4] == "gold"  # a word of which nothing is kept
    assert batch.targets["rows"].tolist() == [10, 11, 10, 10, 13]
    assert batch.targets["truth"].tolist() == [[10, 11, 10, 10, 13]]


@pytest.mark.parametrize("tokens", [1, 4, 5, 6, 7, 11, 12, 40])
@pytest.mark.parametrize("context", [0, 1, 2, 4])
def test_each_token_counts_in_one_window_and_far_from_its_borders(tokens: int, context: int) -> None:
    layout = SentenceLayout((1,), (2,), 5, context, 0)
    found = [*spans(tokens, layout)]
    counted = [at for _, _, low, high in found for at in range(low, high)]
    assert counted == list(range(tokens))
    for first, last, low, high in found:
        assert last - first <= 5
        assert first <= low <= high <= last
        for at in range(low, high):
            own = min(at - first if first else 99, last - 1 - at if last < tokens else 99)
            others = [min(at - a if a else 99, b - 1 - at if b < tokens else 99) for a, b, _, _ in found if a <= at < b]
            assert own >= max(others) - 1  # an even overlap has two middles


def test_windows_tag_what_a_whole_row_does_where_they_see_as_much(reader: Path) -> None:
    """Of a network that reads each token by itself, windows and whole sentences have the same features."""
    whole, cut = problem(reader), problem(reader, 8)
    config = BackboneConfig(id=str(reader), max_length=64)
    network = TokenClassification.load(SETTINGS(), config).network
    network.embeddings.position_embeddings.weight.data.zero_()
    for layer in network.encoder.layer:
        layer.attention.output.dense.weight.data.zero_()
    states = []
    for found in (whole, cut):
        batch = found.encode(split()).collate(np.arange(6))
        with torch.no_grad():
            states.append(found.features(found.run(network, batch.inputs, {}), batch.inputs))
    assert len(batch.inputs["input_ids"]) > 6
    torch.testing.assert_close(states[0], states[1])


def test_tags_of_the_task_and_outside_compete(reader: Path) -> None:
    """Task 2 of steps: rows 5 to 8 are its own, and O is row 0 of task 1."""
    found = problem(reader)
    names = ("O", "B-a", "I-a", "B-b", "I-b", "B-c", "I-c", "B-d", "I-d")
    sentences = TaggedSentences((("the", "ant"),), ((0, 5),), names, True)
    batch = found.encode(sentences, 5).collate(np.arange(1))
    scores = torch.randn(2, 9, generator=torch.Generator().manual_seed(0))
    local = torch.zeros(9, 9, dtype=torch.bool)
    local[:5, :5], local[5:, 5:] = True, True
    rows = [0, 5, 6, 7, 8]
    expected = sum(float(-scores[at, rows].log_softmax(0)[right]) for at, right in ((0, 0), (1, 1)))
    loss = found.losses({"scores": scores}, batch, local)["cross_entropy"]
    assert loss.item() == pytest.approx(expected)
    seen = found.losses({"scores": scores}, batch, torch.ones(9, 9, dtype=torch.bool))["cross_entropy"]
    assert seen.item() == pytest.approx(float(-scores.log_softmax(1)[[0, 1], [0, 5]].sum()))


def test_tags_that_are_not_learned_yet_are_outside(reader: Path) -> None:
    found = problem(reader)
    sentences = TaggedSentences((("the", "ant"), ("a",)), ((0, 5), (1,)), ("O", *"abcdefgh"), True)
    batch = found.encode(sentences, 0).collate(np.arange(2))
    scores = torch.zeros(3, 9)
    scores[0, 7], scores[1, 2], scores[2, 1] = 3, 2, 1
    visible = np.arange(9) < 5
    columns = found.measure({"scores": scores}, batch, visible)
    assert columns["true"].tolist() == [[0, 0], [1, -1]]
    assert columns["predicted"].tolist() == [[0, 2], [1, -1]]
    all_of_them = found.measure({"scores": scores}, batch, np.ones(9, np.bool_))
    assert all_of_them["true"].tolist() == [[0, 5], [1, -1]]
    assert all_of_them["predicted"].tolist() == [[7, 2], [1, -1]]


def test_kept_sentences_that_do_not_fit_are_refused(reader: Path) -> None:
    found = problem(reader)
    tensors = found.encode(split()).tensors()
    with pytest.raises(RunError, match="the parts of the stored sentences differ in length"):
        found.restored(tensors | {"tags": tensors["tags"][1:]})
    with pytest.raises(RunError, match="the stored sentences have no 'places'"):
        found.restored({name: tensor for name, tensor in tensors.items() if name != "places"})


def test_mistakes_are_one_line(reader: Path, tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"problem\.context=6 leaves no new token .* set it to 5 or less"):
        problem(reader, 8, context=6)
    found = problem(reader)
    with pytest.raises(DataError, match="input 2 has no word; leave it out"):
        found.given(["an ant", "  "])
    with pytest.raises(DataError, match="input 1 is int; expected a text, or a list of words"):
        found.given([3])
    with pytest.raises(DataError, match=r"sentence 1 cannot be written in UTF-8"):
        found.encode(found.given(["half \ud800"]))
    stream = Tagged.model_validate(stream_values(tmp_path, 12)).load()
    with pytest.raises(DataError, match="has no class-incremental form; it can be learned as: task, domain"):
        stream.require("class")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("method=frozen", "head=ridge"), "head: 'ridge' of method 'frozen' is solved from one feature and one class"),
        (("method=first_session",), r"is solved from one feature .* use another method"),
        (("method=ewc",), "strategies: 'ewc' reads the scores of one class for each example"),
        (("method=der",), "strategies: 'replay' reads the scores of one class"),
        (("method=gain_lora",), "gate: 'gain' of method 'gain_lora' weighs slots by one feature of each example"),
        (("method=routed", "scenario=domain"), "gate: 'router' of method 'routed' weighs slots by one feature"),
        (("method=generative_replay",), "strategies: 'generative_replay' reads the scores of one class"),
        (("method=joint", "scenario=class"), "a class of one step is background in the examples of another"),
    ],
)
def test_methods_that_make_no_sense_say_why(tmp_path: Path, reader: Path, settings: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config(values(tmp_path, reader), [*settings])


def test_a_stream_of_something_else_is_refused(toy_files: dict[str, Path]) -> None:
    texts = {"kind": "local", "tasks": [{"name": "food", "train": str(toy_files["food-train"])}]}
    config = load_config({"name": "n", "stream": texts, "problem": {"kind": "token_classification"}})
    with pytest.raises(DataError, match=r"needs sentences with a tag for each word, and task 'food' .* has texts"):
        config.problem.require(config.stream.load())
