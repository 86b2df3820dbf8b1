"""Prompts and answers: these alone are learned and counted, each token once, and are exact where greedy decoding is."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reference.answers import answered
from reference.greedy_text import likeliest_tokens
from tiny_writers import around, network, write

from plora.backbones import BackboneConfig
from plora.errors import BackboneError, DataError
from plora.problems import CausalLM
from plora.problems.settings import CausalLMSettings
from plora.results import SCORES
from plora.streams.base import Stream, Task
from plora.streams.dialogues import Dialogue
from plora.streams.documents import Documents
from plora.testing import check_problem

ASKED = tuple(
    Dialogue.asked(prompt, answer)
    for prompt, answer in (
        ("the cat sat on", " the mat"),
        ("naïve café: ", "ünïcode"),  # a blank that would be one token with what follows
        ("", "no prompt"),
        ("which of <|end|> and x? ", "<|end|>"),  # as text
        ("the dog sat", " beside it, and on and on and on"),
    )
)
SPLIT = Documents((*ASKED, "a text without a prompt"))
CHATS = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TURNS = Dialogue(
    (
        ("system", "be short"),
        ("user", "the cat?"),
        ("assistant", " on the mat "),
        ("user", "and the dog?"),
        ("assistant", "beside it"),
        ("user", "bye"),
    )
)


@torch.no_grad()
def scored(problem: CausalLM, made: torch.nn.Module, split: Documents, size: int) -> dict[str, np.ndarray]:
    """What is measured in batches of a size."""
    examples, found = problem.encode(split), []
    for first in range(0, len(examples), size):
        batch = examples.collate(np.arange(first, min(first + size, len(examples))))
        found.append(
            problem.measure(problem.outputs(problem.run(made, batch.inputs, {}), None), batch, np.ones(0, bool))
        )
    return {name: np.concatenate([one[name] for one in found]) for name in found[0]}


def tokens(problem: CausalLM, text: str) -> list[int]:
    """Of a text by itself."""
    found: list[int] = problem.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return found


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("more", [{}, {"template": CHATS, "score": "exact_match"}], ids=["plain", "template"])
def test_it_conforms(packing: bool, more: dict[str, str]) -> None:
    made = network("gpt2")
    split = Documents((TURNS, Dialogue.asked("the cat", "sat"), TURNS)) if more else SPLIT
    check_problem(around(made, width=16, packing=packing, **more), split, made)  # some are longer than a row


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_each_token_of_an_answer_is_scored_once_and_greedy_decoding_need_not_be_done(kind: str) -> None:
    made = network(kind)
    problem = around(made, width=64)
    expected = [
        answered(made, [0, *tokens(problem, d.messages[0][1])], tokens(problem, d.messages[1][1]), 0) for d in ASKED
    ]
    for packing in (True, False):
        problem = around(made, width=64, packing=packing)
        for size in (1, 4, 64):
            found = scored(problem, made, Documents(ASKED), size)
            np.testing.assert_allclose(found["nll"], [nats for nats, _ in expected], rtol=1e-5)
            assert found["tokens"].tolist() == [len(tokens(problem, d.messages[1][1])) for d in ASKED]
            assert found["bytes"].tolist() == [len(d.messages[1][1].encode()) for d in ASKED]
            assert found["exact"].tolist() == [right for _, right in expected] == [False] * len(ASKED)


@torch.no_grad()
def test_an_answer_is_exact_only_with_its_end() -> None:
    made = network("llama", tie_word_embeddings=False)
    problem, split = around(made, width=64), Documents((Dialogue.asked("the", "x"),))
    (word,) = tokens(problem, "x")
    head = made.lm_head.weight.zero_()
    states = problem.run(made, problem.encode(split).collate(np.arange(1)).inputs, {}).states[0]
    after_prompt, after_word = torch.nn.functional.normalize(states[-2:], dim=1)
    for rows, exact in (
        ({word: after_prompt, 0: after_word}, True),
        ({word: after_prompt, 0: -after_word}, False),  # it goes on
        ({0: after_prompt}, False),  # it stops at once
    ):
        head.zero_()
        for row, value in rows.items():
            head[row] = value
        assert scored(problem, made, split, 1)["exact"].tolist() == [exact]
        greedy = likeliest_tokens(made, [0, *tokens(problem, "the")], 0, 2)
        assert (greedy == [word]) is exact


def test_answers_and_their_ends_alone_are_learned() -> None:
    problem = around(network("gpt2"), width=64)
    examples = problem.encode(SPLIT)
    batch = examples.collate(np.arange(len(SPLIT)), draw=0)
    labels, owner = batch.targets["labels"], batch.targets["owner"]
    said = [*(d.messages[1][1] for d in ASKED), SPLIT.texts[-1]]
    for document, text in enumerate(said):
        own = labels[(owner == document) & (labels >= 0)].tolist()
        assert own == [*tokens(problem, str(text)), 0]  # where the padding token is the end token, too
    assert batch.weights == {"nats": sum(len(tokens(problem, str(text))) + 1 for text in said)}
    assert problem.shown(examples) == "<|end|>the cat sat on⟦ the mat<|end|>⟧"
    assert problem.shown(problem.encode(Documents(("a text",)))) is None


def test_a_template_marks_every_answer_with_the_end_of_its_turn() -> None:
    problem = around(network("gpt2"), width=200, template=CHATS)
    examples = problem.encode(Documents((TURNS,)))
    first = "<|system|>be short<|end|>\n<|user|>the cat?<|end|>\n<|assistant|>"
    second = "\n<|user|>and the dog?<|end|>\n<|assistant|>"
    assert problem.shown(examples) == f"<|end|>{first}⟦on the mat<|end|>⟧{second}⟦beside it<|end|>⟧"
    assert examples.bytes.tolist() == [len("on the mat") + len("beside it")]
    columns = scored(problem, network("gpt2", n_positions=200), Documents((TURNS,)), 1)
    assert columns["tokens"].tolist() == [len(tokens(problem, "on the mat")) + len(tokens(problem, "beside it"))]
    # A prompt alone is written as the template has it, up to where the answer begins.
    prompt = problem.encode(problem.given(["the cat?"]))
    text = problem.tokenizer.backend_tokenizer.decode(prompt.ids.tolist(), skip_special_tokens=False)
    assert text == "<|user|>the cat?<|end|>\n<|assistant|>"


def test_a_turn_that_ends_in_no_end_token_is_learned_with_what_ends_it() -> None:
    template = CHATS.replace("<|end|>", "##").replace("trim", "upper")
    problem = around(network("gpt2"), width=64, template=template)
    examples = problem.encode(Documents((Dialogue.asked("a", "B"),)))
    assert problem.shown(examples) == "<|end|><|user|>A##\n<|assistant|>⟦B##\n<|end|>⟧"
    assert examples.bytes.tolist() == [1]


def test_a_prompt_that_is_too_long_loses_its_beginning_and_is_counted() -> None:
    problem = around(network("gpt2"), width=16, context=4)
    prompt, answer = "the cat sat on the mat, and the dog sat beside it, and", " the cat"
    examples = problem.encode(Documents((Dialogue.asked(prompt, answer), ASKED[0], Dialogue.asked("x", "seven " * 20))))
    assert examples.truncated == 2
    assert examples.lengths[0] == 15
    kept = [*tokens(problem, prompt), *tokens(problem, answer)][-15:]
    assert examples.ids[:15].tolist() == kept
    batch = examples.collate(np.arange(3), draw=0)
    labels, owner = batch.targets["labels"], batch.targets["owner"]
    assert labels[(owner == 0) & (labels >= 0)].tolist() == [*tokens(problem, answer), 0]
    own = labels[(owner == 2) & (labels >= 0)].tolist()  # in several windows, each token once
    assert sorted(own) == sorted([*tokens(problem, "seven " * 20), 0])


def test_windows_of_which_nothing_is_learned_are_left_out() -> None:
    problem = around(network("gpt2"), width=16)
    long = "the cat sat on the mat, and the dog sat beside it, and on and on and on"
    marks = problem.encode(Documents((Dialogue.asked(long, "x"),)))
    examples = problem.encode(Documents((Dialogue.asked("a", "b" * 40), Dialogue.asked(long, "y"))))
    assert marks.collate(np.arange(1), draw=0).inputs["input_ids"].shape[0] == 1
    assert examples.collate(np.arange(2), draw=0).targets["labels"].ne(-100).any(1).all()


def stream_of(split: Documents) -> Stream:
    return Stream("asked", (Task("a", (), split, split, split),), ("task", "domain"))


@pytest.mark.parametrize(
    ("settings", "documents", "says"),
    [
        ({}, (TURNS,), "document 1: a conversation that is not one prompt .* set problem.template=chat"),
        ({"template": CHATS}, ("x", Dialogue.asked("a <|end|>", "b")), r"document 2: a message holds '<\|end\|>'"),
        ({"template": "{{ nothing.at.all }}"}, ASKED[:1], r"does not take it \('nothing' is undefined\)"),
        ({"template": "{{ raise_exception('no system') }}"}, ASKED[:1], r"does not take it \(no system\)"),
        ({"template": "{% for"}, ASKED[:1], r"document 1: the template does not take it"),
        ({"template": "{{ messages[-1].content[:3] }}"}, ASKED[:1], "writes what stands before message 2 otherwise"),
        ({"template": "{% for m in messages %}{{ m.content[:3] }}{% endfor %}"}, ASKED[:1], "changes the answer"),
        ({"template": CHATS}, (Dialogue((("assistant", "x"),)),), "begins with an answer"),
        ({}, (Dialogue.asked("\ud800", "b"), Dialogue.asked("a", "\ud800")), "cannot be written in UTF-8"),
    ],
)
def test_dialogues_that_do_not_fit_are_refused(settings: dict[str, Any], documents: tuple[Any, ...], says: str) -> None:
    with pytest.raises(DataError, match=says):
        around(network("gpt2"), width=64, **settings).encode(Documents(documents))


def test_what_nothing_could_be_learned_of_is_refused() -> None:
    for messages, says in (
        ((), "has no messages"),
        ((("user", "a"), ("assistant", " ")), "an answer is empty"),
        ((("human", "a"),), "role 'human' is none of system, user, assistant"),
    ):
        with pytest.raises(DataError, match=says):
            Dialogue(messages)  # type: ignore[arg-type]
    problem = around(network("gpt2"), width=64, score="exact_match")
    assert problem.score == SCORES["exact_match"]
    problem.check(stream_of(Documents(ASKED)), "task")
    with pytest.raises(DataError, match="document 2 of the train split has no answer"):
        problem.check(stream_of(Documents((ASKED[0], Dialogue((("user", "a"),))))), "task")
    with pytest.raises(DataError, match=r"exact_match needs answers, and document 6 of the train split of task 'a'"):
        problem.check(stream_of(SPLIT), "task")


def test_the_tokenizers_own_template_is_used_or_missed(tmp_path: Path) -> None:
    folder = write(tmp_path)
    config = BackboneConfig(id=str(folder), max_length=32)
    settings = CausalLMSettings(template="chat")
    with pytest.raises(BackboneError, match=r"has no chat template; write one in problem\.template"):
        CausalLM.load(settings, config)
    (folder / "chat_template.jinja").write_text(CHATS)
    problem = CausalLM.around(settings, CausalLM.load(settings, config), config, None)
    own = CausalLM.around(CausalLMSettings(template=CHATS), CausalLM.load(settings, config), config, None)
    plain = CausalLM.around(CausalLMSettings(), CausalLM.load(settings, config), config, None)
    assert problem.rendering.template == CHATS
    assert problem.fingerprint() == own.fingerprint() != plain.fingerprint()
    with pytest.raises(ValueError, match="'chatml' is no template: expected 'chat', or a text in Jinja"):
        CausalLMSettings(template="chatml")
