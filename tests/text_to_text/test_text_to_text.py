"""Prompts and answers as tokens, what a decoder is told of them, and networks that do not fit."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_answers import values, write_t5
from torch.nn import functional as F

from plora.backbones import BackboneConfig
from plora.backbones.continuing import Drawing, continued
from plora.config import load_config
from plora.errors import BackboneError, ConfigError, DataError, RunError
from plora.problems.causal_lm import CausalLM
from plora.problems.settings import PROBLEMS
from plora.problems.text_to_text import TextToText
from plora.results import read_record
from plora.runs import run, verify
from plora.streams import Stream
from plora.streams.base import Task
from plora.streams.dialogues import Dialogue
from plora.streams.documents import Documents
from plora.testing import check_problem

SETTINGS = PROBLEMS["text_to_text"]
ASKED = [("te 1 deep blue :", " deep blue"), ("it is :", "light grey light grey"), ("sand </s> :", "green")]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_t5(tmp_path_factory.mktemp("t5"))


def problem(network: Path, max_length: int = 32, **settings: object) -> TextToText:
    config = BackboneConfig(id=str(network), max_length=max_length)
    own = SETTINGS.model_validate(settings)
    return TextToText.around(own, TextToText.load(own, config), config, None)


def split() -> Documents:
    return Documents(tuple(Dialogue.asked(*one) for one in ASKED))


@pytest.mark.parametrize("score", ["exact_match", "rouge_l"])
def test_it_conforms(network: Path, score: str) -> None:
    config = BackboneConfig(id=str(network))
    check_problem(problem(network, score=score), split(), TextToText.load(SETTINGS(), config).network)


def test_what_the_decoder_reads_and_learns(network: Path) -> None:
    found = problem(network)
    batch = found.encode(split()).collate(np.arange(3))
    name = found.tokenizer.convert_ids_to_tokens
    said = [[*filter(None, name(row.tolist()))] for row in batch.inputs["input_ids"]]
    assert said[0] == ["te", "1", "deep", "blue", ":", "</s>", *["<pad>"] * (len(said[0]) - 6)]
    assert said[2].count("</s>") == 1  # what looks like an end in a text is text
    labels = batch.targets["labels"]
    assert name(labels[1].tolist()) == ["light", "grey", "light", "grey", "</s>"]
    assert labels[0].tolist()[3:] == [-100, -100]
    assert name(batch.inputs["decoder_input_ids"][0].tolist()) == ["<pad>", "deep", "blue", "</s>", "<pad>"]
    assert batch.targets["counted"].sum(1).tolist() == [2, 4, 1]
    assert batch.targets["bytes"].tolist() == [9, 21, 5]  # without blanks around
    assert dict(batch.weights) == {"nats": 10}


def test_the_loss_is_that_of_transformers_and_exact_is_what_greedy_decoding_writes(network: Path) -> None:
    found = problem(network)
    model = TextToText.load(SETTINGS(), BackboneConfig(id=str(network))).network
    batch = found.encode(split()).collate(np.arange(3))
    with torch.no_grad():
        outputs = found.outputs(found.run(model, batch.inputs, {}), None)
        theirs = model(
            input_ids=batch.inputs["input_ids"],
            attention_mask=batch.inputs["attention_mask"],
            labels=batch.targets["labels"],
        ).loss
    nats = found.losses(outputs, batch, torch.ones(0, 0))["nats"] / batch.weights["nats"]
    torch.testing.assert_close(nats, theirs)
    columns = found.measure(outputs, batch, np.ones(0, np.bool_))
    of_text = F.cross_entropy(outputs["logits"][0, :2], batch.targets["labels"][0, :2], reduction="sum")
    assert columns["nll"][0] == pytest.approx(of_text.item(), rel=1e-5)
    assert columns["tokens"].tolist() == [2, 4, 1]


def greedy_without_cache(model: torch.nn.Module, prompt: list[int], most: int) -> list[int]:
    """The likeliest token each time, everything computed again for each."""
    said = [0]
    for _ in range(most):
        with torch.no_grad():
            logits = model(
                input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([said]), use_cache=False
            ).logits
        token = int(logits[0, -1].argmax())
        if token == 1:
            break
        said.append(token)
    return said[1:]


def test_decoding_with_a_cache_beside_longer_prompts_is_decoding_alone_without_one(network: Path) -> None:
    model = TextToText.load(SETTINGS(), BackboneConfig(id=str(network))).network
    examples = problem(network).encode(split())
    prompts = [examples.part("prompts", row).tolist() for row in range(3)]
    written = continued(model, prompts, 1, 8, Drawing())
    assert written == [greedy_without_cache(model, prompt, 8) for prompt in prompts]
    assert any(written)


def test_long_prompts_lose_their_beginning_and_long_answers_their_end(network: Path) -> None:
    found = problem(network, 8, answer_length=3)
    long = Documents((Dialogue.asked(" ".join("0123456789"), "deep blue light grey"),))
    examples = found.encode(long)
    name = found.tokenizer.convert_ids_to_tokens
    assert name(examples.part("prompts", 0).tolist()) == [*"3456789", "</s>"]
    assert name(examples.part("replies", 0).tolist()) == ["deep", "blue", "light"]
    assert examples.truncated == 1


def test_kept_answers_that_do_not_fit_are_refused(network: Path) -> None:
    found = problem(network)
    tensors = found.encode(split()).tensors()
    with pytest.raises(RunError, match="the parts of the stored prompts and answers differ in length"):
        found.restored(tensors | {"replies": tensors["replies"][1:]})


def test_networks_of_the_other_form_are_refused_both_ways(network: Path, tiny_writer: Path) -> None:
    with pytest.raises(BackboneError, match=r"is no encoder-decoder \(gpt2\), which problem 'text_to_text' needs"):
        TextToText.load(SETTINGS(), BackboneConfig(id=str(tiny_writer)))
    settings = PROBLEMS["causal_lm"]()
    with pytest.raises(BackboneError, match=r"is an encoder-decoder \(t5\); expected an encoder or a decoder, or set"):
        CausalLM.load(settings, BackboneConfig(id=str(network)))
    for load, kind in ((TextToText.load_for, "llama"), (CausalLM.load_for, "t5")):
        config = BackboneConfig(kind="new", network={"model_type": kind, **SMALL[kind]}, vocabulary=300)
        with pytest.raises(BackboneError, match=f"backbone 'new' is (no|an) encoder-decoder \\({kind}\\)"):
            load(SETTINGS() if kind == "llama" else settings, config, answers)


SMALL: dict[str, dict[str, object]] = {
    "t5": {"d_model": 32, "d_ff": 64, "d_kv": 16, "num_layers": 1, "num_heads": 2},
    "llama": {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
}


def answers() -> Stream:
    return Stream("asked", (Task("asked", (), split(), split(), split()),))


def test_a_new_network_learns_the_words_of_its_stream_and_where_answers_end(tmp_path: Path) -> None:
    config = BackboneConfig(kind="new", network={"model_type": "t5", **SMALL["t5"]}, vocabulary=300, max_length=32)
    made = TextToText.load_for(SETTINGS(), config, answers)
    check_problem(TextToText.around(SETTINGS(), made, config, None), split(), made.network)
    new = {"kind": "new", "network": config.network, "vocabulary": 300, "max_length": 64}
    more = ["method=full", "training.epochs=30", "training.learning_rate=0.01", "training.batch_size=4"]
    told = values(tmp_path, tmp_path) | {"backbone": new, "output": str(tmp_path / "runs")}
    folder = run(load_config({key: value for key, value in told.items() if key != "lora"}, more))
    learned = read_record(folder).matrix[:2, 0]  # a third of the test answers is not what was asked for
    assert learned.tolist() == pytest.approx([0, 2 / 3])
    assert verify(folder).problems == ()


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (
            "a text",
            "document 2 of the train split is a text without an answer; problem 'text_to_text' needs one prompt",
        ),
        (Dialogue((("system", "x"), ("user", "y"), ("assistant", "z"))), "is a conversation of another form"),
    ],
)
def test_documents_without_one_answer_are_refused(network: Path, document: object, said: str) -> None:
    good = Dialogue.asked("a", "b")
    train, other = Documents((good, document)), Documents((good,))  # type: ignore[arg-type]
    with pytest.raises(DataError, match=said):
        problem(network).check(Stream("s", (Task("t", (), train, other, other),)), "task")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("method=ewc",), "strategies: 'ewc' reads scores of classes, and problem 'text_to_text' has none"),
        (("method=frozen",), "trains a head alone, and problem 'text_to_text' answers with the network itself"),
        (("method=routed", "scenario=domain"), r"chooses by classes .* set gate=\{kind: likelihood\}"),
        (
            ("method=routed", "scenario=domain", "gate={kind: likelihood}"),
            "says how likely an answer is, and not which",
        ),
        (("method=generative_replay",), "has texts written from their beginning, .* use method 'replay'"),
        (("scenario=class",), "problem 'text_to_text' has no classes that tasks could add"),
        (("head=cosine",), "has answers of its own and no classes for a head 'cosine'"),
    ],
)
def test_methods_that_make_no_sense_say_why(
    tmp_path: Path, network: Path, settings: tuple[str, ...], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config(values(tmp_path, network), [*settings])
