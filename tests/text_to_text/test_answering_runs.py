"""Runs of an encoder-decoder: what methods forget, kills that change no bit, and what leaves plora answers alike."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import AutoPeftModelForSeq2SeqLM
from tiny_answers import values, write_t5
from transformers import AutoModelForSeq2SeqLM

sys.path.append(str(Path(__file__).parents[1] / "training"))
sys.path.append(str(Path(__file__).parents[1] / "reference"))
import rouge as reference
from killing import KILLED, in_child, quiet

from plora.config import RunConfig, load_config
from plora.errors import RunError, UnknownTaskError
from plora.export import export
from plora.results import TokenLikelihoods, read_record
from plora.results.record.manifest import read_checkpoint
from plora.run_folder.folder import RunFolder
from plora.runs import evaluate, generate, load_learner, predict, resume, run, verify

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
Make = Callable[..., RunConfig]
PROMPTS = ["te 1 light grey :", "te 2 green :", "it is deep"]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    world = tmp_path_factory.mktemp("answers")
    plain = values(world, write_t5(world / "t5"))
    return lambda name, *overrides: load_config(plain, [f"name={name}", *overrides])


@pytest.fixture(scope="module")
def learned(make: Make) -> Callable[..., Path]:
    known: dict[tuple[str, ...], Path] = {}

    def folder(*overrides: str) -> Path:
        if overrides not in known:
            known[overrides] = run(make(f"run-{len(known)}", *overrides), quiet())
        return known[overrides]

    return folder


def test_sequential_forgets_and_per_task_does_not(learned: Callable[..., Path]) -> None:
    sequential, per_task = (read_record(learned(f"method={name}")) for name in ("sequential", "per_task"))
    assert (per_task.score.name, per_task.score.better, per_task.score.unit) == ("exact_match", "higher", "%")
    for record in (sequential, per_task):
        assert record.matrix[1, 0] > record.matrix[0, 0] + 0.3
        assert record.matrix[2, 1] > record.matrix[0, 1] + 0.3
    assert per_task.matrix[2, 0] == per_task.matrix[1, 0]
    assert sequential.matrix[2, 0] < sequential.matrix[1, 0] - 0.3


def test_what_is_measured_is_what_generate_writes(make: Make, learned: Callable[..., Path]) -> None:
    folder = learned("method=per_task", "problem.score=rouge_l", "training.epochs=12")
    rows = TokenLikelihoods.read(folder / "predictions" / "task-02.parquet")
    assert verify(folder).problems == ()
    assert evaluate(folder).changed == 0
    stream = make("asked").stream.load()
    for task in stream.tasks:
        own = rows.of(task.name)
        asked = [task.test.read(np.array([row]))[0].messages for row in own.example.tolist()]
        prompts, answers = [one[0][1] for one in asked], [one[1][1].strip() for one in asked]
        written = generate(folder, prompts, task.name, tokens=128)
        assert own.exact is not None
        assert own.rouge is not None
        assert own.exact.tolist() == [w.ended and w.text == a for w, a in zip(written, answers, strict=True)]
        expected = [reference.rouge(a, w.text) for w, a in zip(written, answers, strict=True)]
        np.testing.assert_allclose(own.rouge, expected)
    assert len({*rows.rouge[:, 2].tolist()}) > 1  # type: ignore[index]
    cells = [rows.cell(name, read_record(folder).score) for name in ("sky", "sea")]
    np.testing.assert_allclose(read_record(folder).matrix[-1], cells)


def test_prompts_of_two_tasks_are_answered_in_one_call(learned: Callable[..., Path]) -> None:
    folder = learned("method=per_task")
    together = generate(folder, PROMPTS[:2], ["sky", "sea"], tokens=6)
    alone = [
        generate(folder, [prompt], task, tokens=6)[0] for prompt, task in zip(PROMPTS, ("sky", "sea"), strict=False)
    ]
    assert together == alone
    pieces: dict[int, str] = {}
    generate(
        folder, PROMPTS[:1], "sky", tokens=6, told=lambda row, text: pieces.update({row: pieces.get(row, "") + text})
    )
    assert pieces[0] == alone[0].text
    with pytest.raises(UnknownTaskError, match="--task auto: this run says how likely answers are, and not prompts"):
        generate(folder, PROMPTS, "auto")
    with pytest.raises(RunError, match="does not label its inputs, it is scored by exact match; use `plora generate`"):
        predict(folder, PROMPTS, "sky")


@torch.no_grad()
def test_peft_and_a_merged_network_have_our_scores_and_answers(learned: Callable[..., Path], tmp_path: Path) -> None:
    folder = learned("method=per_task")
    model = load_learner(folder)[0].model.eval()
    ids = torch.arange(3, 12)[None]
    given = {"input_ids": ids, "decoder_input_ids": ids[:, :5]}
    with model.under(model.route("sky")):
        expected = model.backbone(**given).logits
    adapted = export(folder, tmp_path / "adapted")
    merged = export(folder, tmp_path / "merged", "sky", merged=True)
    for found in (
        AutoPeftModelForSeq2SeqLM.from_pretrained(adapted / "sky"),
        AutoModelForSeq2SeqLM.from_pretrained(merged),
    ):
        torch.testing.assert_close(found(**given).logits, expected, rtol=1e-5, atol=1e-5)
    ours = [one.text for one in generate(folder, PROMPTS, "sky", tokens=8)]
    for place in (adapted, merged):
        assert runpy.run_path(str(place / "inference.py"))["generate"](PROMPTS, "sky", tokens=8) == ours


SETTINGS = ("method=replay", "training.checkpoint_seconds=0", "training.epochs=4", "training.batch_size=4")


@pytest.mark.parametrize(
    "point",
    ["step:17", *(pytest.param(p, marks=pytest.mark.slow) for p in ("tensors_saved:2", "micro_batch:30", "trained:2"))],
)
def test_a_run_killed_at_any_point_ends_with_the_same_bits(
    make: Make, point: str, learned: Callable[..., Path]
) -> None:
    whole, config = learned(*SETTINGS), make(f"cut-{point.partition(':')[0]}", *SETTINGS)
    assert in_child(lambda: run(config, quiet()), point) == KILLED
    assert in_child(lambda: resume(config.folder, quiet())) == 0
    for number in RunFolder(whole).complete():
        ours, cut = (read_checkpoint(folder, number) for folder in (whole, config.folder))
        assert (ours.slots, ours.parts, ours.strategies) == (cut.slots, cut.parts, cut.strategies)
    assert read_record(config.folder).matrix.tobytes() == read_record(whole).matrix.tobytes()
