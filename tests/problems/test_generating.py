"""`plora generate`: what a run writes is what its network writes alone, token by token, under the task's own slots."""

import io
import json
from pathlib import Path

import pytest
from reference.greedy_text import likeliest_tokens
from safetensors.torch import load_file, save_file
from sayings import LAND, SEA, learned
from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast
from typer.testing import CliRunner

from plora.backbones.continuing import Drawing
from plora.cli import app
from plora.errors import ConfigError, DataError, RunError, UnknownTaskError
from plora.runs import generate, load_learner, predict, read_prompts
from plora.runs.generating import _Continuing, _Shown

PROMPTS = ("the waves", "", "a cow stood in", "the")
TASKS = ("sea", "land", "land", "sea")


@pytest.fixture(autouse=True)
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLORA_TRUST_OWN_PARTS", "1")


@pytest.fixture(scope="module")
def per_task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PLORA_TRUST_OWN_PARTS", "1")
        return learned(tmp_path_factory.mktemp("per_task"), "method=per_task")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PLORA_TRUST_OWN_PARTS", "1")
        return learned(tmp_path_factory.mktemp("o_lora"), "method=o_lora", "training.epochs=3", kind="llama")


def alone(run: Path, prompt: str, task: str | None, tokens: int, cut: int = 0) -> str:
    """What follows one prompt, the slow way."""
    learner, _, _ = load_learner(run)
    model = learner.model.eval()
    tokenizer, layout = model.problem.tokenizer, model.problem.layout
    ids = [layout.start, *tokenizer(prompt, add_special_tokens=False)["input_ids"]][-cut:]
    with model.under(model.route(task)):
        return str(tokenizer.decode(likeliest_tokens(model.backbone, ids, layout.end, tokens)))


def test_an_overfitted_network_says_what_it_learned_and_stops_by_itself(per_task: Path) -> None:
    for task, prompt, text in (("sea", "the waves", SEA), ("land", "", LAND)):
        (found,) = generate(per_task, [prompt], task, tokens=40)
        assert prompt + found.text == text
        assert found.ended
        assert 0 < found.tokens < 40
    (cut,) = generate(per_task, ["the waves"], "sea", tokens=3)
    assert SEA.startswith("the waves" + cut.text)
    assert (cut.tokens, cut.ended) == (3, False)


def test_prompts_of_several_tasks_in_one_call_are_each_alone(per_task: Path) -> None:
    prompts, tasks = [*PROMPTS, "the waves", "zebra!"], [*TASKS, "land", "sea"]
    found = generate(per_task, prompts, tasks, tokens=20)
    assert [one.task for one in found] == tasks
    for one in found:
        assert one.text == alone(per_task, one.prompt, one.task, 20), one
    assert found[0].text != found[4].text


def test_tasks_whose_slots_cannot_stand_side_by_side_write_one_after_the_other(tmp_path: Path) -> None:
    run = learned(tmp_path, "method=per_task", "modules=[transformer.ln_f]", "training.epochs=2")
    for one in generate(run, PROMPTS, TASKS, tokens=8):
        assert one.text == alone(run, one.prompt, one.task, 8), one


def test_auto_takes_the_task_that_finds_a_prompt_likeliest(per_task: Path) -> None:
    prompts = ["a cow", "the waves roll", "a cow stood in the field", "the"]
    found = generate(per_task, prompts, "auto", tokens=12)
    assert [one.task for one in found] == ["land", "sea", "land", "sea"]
    assert [one.text for one in found] == [
        one.text for one in generate(per_task, prompts, [str(one.task) for one in found], tokens=12)
    ]
    with pytest.raises(DataError, match="an empty prompt says nothing of its task"):
        generate(per_task, ["the", ""], ["auto", "auto"], tokens=1)
    assert [one.task for one in generate(per_task, ["a cow", ""], ["auto", "sea"], tokens=1)] == ["land", "sea"]


def test_tasks_that_are_missing_or_change_nothing_are_refused(per_task: Path, shared: Path) -> None:
    with pytest.raises(UnknownTaskError, match=r"slots per task: name one .* has learned: sea, land"):
        generate(per_task, ["the"], tokens=9)
    with pytest.raises(UnknownTaskError, match="no task 'see'; did you mean 'sea'"):
        generate(per_task, ["the"], "see", tokens=9)
    with pytest.raises(DataError, match="2 tasks are named for 1 prompts"):
        generate(per_task, ["the"], ["sea", "land"], tokens=9)
    for task in ("sea", "auto"):
        with pytest.raises(UnknownTaskError, match="the same weights for every task; leave --task out"):
            generate(shared, ["the"], task, tokens=9)


def test_one_set_of_slots_needs_no_task(shared: Path) -> None:
    for one in generate(shared, PROMPTS, tokens=12):
        assert one.task is None
        assert one.text == alone(shared, one.prompt, None, 12)


def test_prompts_that_are_too_long_are_refused_or_lose_their_beginning(per_task: Path) -> None:
    prompt = "x" * 60
    says = (
        r"prompt 2 has 61 tokens, its start among them, and there is room for 54: the network reads 64 at once, and 10"
    )
    with pytest.raises(DataError, match=says):
        generate(per_task, ["x", prompt], "sea", tokens=10)
    (found,) = generate(per_task, [prompt], "sea", tokens=10, drop_oldest=True)
    assert found.text == alone(per_task, prompt, "sea", 10, cut=54)
    (whole,) = generate(per_task, ["x" * 53], "sea", tokens=10)
    assert whole.text == alone(per_task, "x" * 53, "sea", 10)
    with pytest.raises(DataError, match="64 tokens are to be written, and the network reads 64 at once"):
        generate(per_task, ["x"], "sea", tokens=64)


def test_what_is_told_as_it_is_written_is_the_text(shared: Path) -> None:
    told: dict[int, list[str]] = {0: [], 1: []}
    drawing = Drawing(temperature=5.0)  # bytes that are no whole characters too
    found = generate(shared, ["the ", "naïve"], None, 30, drawing, told=lambda row, piece: told[row].append(piece))
    assert [one.text for one in found] == ["".join(told[row]) for row in (0, 1)]
    assert "�" in "".join(one.text for one in found)
    assert len(told[0]) > 5
    again = generate(shared, ["the ", "naïve"], None, 30, drawing)
    other = generate(shared, ["the ", "naïve"], None, 30, drawing, seed=1)
    assert [one.text for one in again] == [one.text for one in found] != [one.text for one in other]


def test_bytes_are_shown_when_nothing_can_change_what_they_say(shared: Path) -> None:
    words = ["<s>", "</s>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁sat"]
    model = Tokenizer(
        BPE({word: number for number, word in enumerate(words)}, [], byte_fallback=True, unk_token="<unk>")
    )
    model.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    learner, _, _ = load_learner(shared)
    learner.model.problem.tokenizer = PreTrainedTokenizerFast(tokenizer_object=model, bos_token="<s>", eos_token="</s>")
    writer = _Continuing(learner.model, learner.model.problem, learner.extractor)
    sat, percent, broken, first, second = 259, 3 + 0x25, 3 + 0xE2, 3 + 0xC3, 3 + 0xA9
    for written, shown in (
        ([sat, percent, sat], [" sat", "", "% sat"]),
        ([percent, broken, sat], ["", "", "�� sat"]),  # a run of bytes that is no text is none from its beginning on
        ([first, second, sat], ["", "", "é sat"]),
    ):
        text = _Shown(writer, [0])
        assert [text.next(token) for token in written] == shown
        assert writer.text([0], written) == "".join(shown)


def test_a_base_whose_weights_moved_is_refused(tmp_path: Path) -> None:
    run = learned(tmp_path, "method=sequential", "training.epochs=1")
    path = tmp_path / "base" / "model.safetensors"
    tensors = load_file(path)
    tensors["transformer.ln_f.bias"] = tensors["transformer.ln_f.bias"] + 1e-3
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(RunError, match="learned on another backbone"):
        generate(run, ["the"])


def test_nothing_to_do_is_refused(per_task: Path) -> None:
    with pytest.raises(DataError, match="no prompt was given"):
        generate(per_task, [])
    with pytest.raises(ConfigError, match="tokens is 0, expected 1 or more"):
        generate(per_task, ["the"], "sea", tokens=0)


def test_a_run_that_writes_labels_nothing_and_names_the_verb(shared: Path) -> None:
    with pytest.raises(RunError, match=r"does not label its inputs, it is scored by .*; use `plora generate`"):
        predict(shared, ["the waves"])


@pytest.mark.slow
def test_a_run_that_labels_writes_nothing(toy_config, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    from plora.runs import run

    with pytest.raises(RunError, match=r"writes no texts, it is scored by accuracy; use `plora predict`"):
        generate(run(toy_config("method=frozen", "training.epochs=1")), ["the"])


def test_prompts_are_read_from_arguments_a_file_or_stdin(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes(b"one\r\n\nthree")
    stdin = io.BytesIO("ünö\n".encode())
    assert read_prompts([], None, stdin) == ["ünö"]
    assert read_prompts(["notes.txt", ""], file, stdin) == ["notes.txt", "", "one", "", "three"]
    with pytest.raises(DataError, match="there is no file"):
        read_prompts([], tmp_path / "none.txt", stdin)


def test_on_the_command_line(per_task: Path, tmp_path: Path) -> None:
    def said(*arguments: str, stdin: str | None = None) -> str:
        done = CliRunner().invoke(
            app, ["generate", str(per_task), "--tokens", "40", *arguments], input=stdin, catch_exceptions=False
        )
        assert done.exit_code == 0, done.output
        return done.output

    assert said("--task", "sea", "--prompt", "the waves") == f"{SEA}\n"
    assert said("--task", "land", "--task", "sea", stdin="a cow\nthe waves\n") == f"{LAND}\n{SEA}\n"
    assert said("--task", "auto", "--prompt", "a cow").splitlines() == [LAND, "plora: prompt 1: task land"]
    found = json.loads(said("--task", "sea", "--prompt", "the waves", "--json"))
    assert found == {"prompt": "the waves", "task": "sea", "text": SEA[9:], "tokens": found["tokens"], "ended": True}
