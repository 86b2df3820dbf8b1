"""Two processes learn what one learns: the same losses, predictions and record, whatever a strategy remembers."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from killing import KILLED, REFUSED, in_child, quiet, snapshot
from together import together
from torch import nn
from transformers import AutoModel

from plora import cli
from plora.build import Parts
from plora.config import RunConfig, load_config, load_task
from plora.errors import RunError
from plora.failpoints import ENVIRONMENT as FAILPOINT
from plora.fingerprint import hash_tensors
from plora.model import ContinualModel
from plora.problems import base
from plora.processes import Processes
from plora.results import ClassRankings, read_curves, read_record
from plora.run_folder.folder import RunFolder
from plora.runs import evaluate, extend, resume, run, verify
from plora.sealed import read_sealed
from plora.training import phase, stage
from plora.training.course import StagePlan
from plora.training.step import Backward

Make = Callable[..., RunConfig]

METHODS = (
    "sequential",
    "ewc",
    "online_ewc",
    "ewc_lora",
    "inf_lora",
    "replay",
    "der",
    "generative_replay",
    "lwf",
    "o_lora",
    "n_lora",
    "gumbel_cl_lora",
    "sd_lora",
    "sd_lora_kd",
    "merged_average",
    "merged_ties",
    "merged_magmax",
)
_BOTH = {"sequential", "ewc", "replay"}
"""Those that are learned in both scenarios; of the others one each, in turn: processes know nothing of scenarios."""
CASES = {
    f"{method}-{scenario}": (f"method={method}", f"scenario={scenario}")
    for position, method in enumerate(METHODS)
    for turn, scenario in enumerate(("task", "class"))
    if method in _BOTH or position % 2 == turn
} | {
    "per_task": ("method=per_task",),
    "lateral": ("method=lateral",),
    "routed-class": ("method=routed", "scenario=class"),
    "gain_lora-class": ("method=gain_lora", "scenario=class"),
    "sd_lora_rr": ("method=sd_lora_rr", "lora.rank=3", "lora.ranks={1: 2}"),
    "routed-domain": ("method=routed", "scenario=domain"),
    "routed-class-prefix": ("method=routed", "scenario=class", "lora.layers=last 1"),
    "ewc_lora-domain": ("method=ewc_lora", "scenario=domain"),
    "generative_replay-current-prefix": (
        "method=generative_replay",
        "scenario=class",
        "strategies=[{kind: generative_replay, generator: {kind: mlm, seeds: current}}]",
        "lora.layers=last 1",
    ),
    "generative_replay-causal": (
        "method=generative_replay",
        "strategies=[{kind: generative_replay, per_class: 8, generator: {kind: causal, id: WRITER, epochs: 2, "
        "lora: {dropout: 0.0}}}]",
    ),
    "first_session-ranpac": ("method=first_session",),
    "first_session-ridge-class": ("method=first_session", "head=ridge", "scenario=class"),
    "first_session-ncm-prefix": ("method=first_session", "head=ncm", "lora.layers=last 1"),
    "full": ("method=full", "training.learning_rate=0.0003"),
    "joint-class": ("method=joint", "scenario=class"),
    "frozen": ("method=frozen",),
    "frozen-ncm": ("method=frozen", "head=ncm"),
    "frozen-ridge-class": ("method=frozen", "head=ridge", "scenario=class"),
    "frozen-ranpac-class": ("method=frozen", "head=ranpac", "scenario=class"),
    "o_lora-ridge-class": ("method=o_lora", "head=ridge", "scenario=class", "drift=linear"),
}
_QUICK = {"ewc-task"}


@pytest.fixture
def make(
    toy_values: dict[str, object],
    toy_files: dict[str, Path],
    tiny_backbone: Path,
    tiny_writer: Path,
    tmp_path: Path,
) -> Make:
    """Configs of two tasks, of 57 training texts each: with batches of 8 the last of an epoch is one text.

    Nothing has dropout, for which each process would draw masks of its own: neither the slots nor the network.
    """
    tasks: dict[bool, list[dict[str, str]]] = {False: [], True: []}  # with the same labels in both?
    backbone = AutoModel.from_pretrained(tiny_backbone, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    backbone.save_pretrained(shutil.copytree(tiny_backbone, tmp_path / "backbone"))
    for name in ("food", "travel"):
        lines, test = (
            toy_files[f"{name}-{split}"].read_text(encoding="utf-8").splitlines() for split in ("train", "test")
        )
        for same, listed in tasks.items():
            task = {"name": name}
            for split, chosen in (("train", lines[2:59]), ("validation", lines[:2] + lines[59:]), ("test", test)):
                path = tmp_path / f"{name}-{split}{'-same' if same else ''}.jsonl"
                text = "\n".join(chosen)
                if same:
                    text = text.replace('"rail"', '"fruit"').replace('"air"', '"bread"')
                path.write_text(text, encoding="utf-8")
                task[split] = str(path)
            listed.append(task)
    values = toy_values | {
        "backbone": {"id": str(tmp_path / "backbone"), "max_length": 16},
        "lora": {"rank": 4, "alpha": 8, "targets": "attention", "dropout": 0.0},
        "training": {"epochs": 2, "batch_size": 8, "learning_rate": 0.002, "log_every": 1, "micro_batch_size": 3},
        "evaluation": {"tokens_per_batch": 64, "tasks": "all"},
    }

    def made(name: str, *overrides: str) -> RunConfig:
        listed = tasks["scenario=domain" in overrides]
        streamed = values | {"stream": {"kind": "local", "name": "two", "tasks": listed}}
        settings = [setting.replace("WRITER", str(tiny_writer)) for setting in overrides]
        return load_config(streamed, [*settings, f"output={tmp_path / name}"])

    return made


def alone(config: RunConfig) -> Path:
    assert in_child(lambda: run(config, quiet())) == 0
    return config.folder


def assert_same_run(one: Path, several: Path) -> None:
    """Losses of every step and all probabilities agree to 1e-5, predictions and record exactly."""
    first, second = (
        read_curves(file) if (file := folder / "curves.jsonl").exists() else [] for folder in (one, several)
    )
    assert [(p.task, p.step) for p in first] == [(p.task, p.step) for p in second]
    for p, q in zip(first, second, strict=True):
        assert q.terms == pytest.approx(p.terms, abs=1e-5, rel=1e-5)
        assert q.validation == p.validation
    for file in sorted(one.glob("predictions/*")):
        before, now = ClassRankings.read(file), ClassRankings.read(several / "predictions" / file.name)
        np.testing.assert_array_equal(now.prediction, before.prediction)
        np.testing.assert_array_equal(now.task, before.task)
        np.testing.assert_allclose(np.sort(now.probabilities), np.sort(before.probabilities), atol=1e-5)
    before, now = read_record(one), read_record(several)
    np.testing.assert_array_equal(now.matrix, before.matrix)
    for task, again in zip(before.cost, now.cost, strict=True):
        assert (again.steps, again.samples, again.tokens) == (task.steps, task.samples, task.tokens)
        assert again.rehearsed == task.rehearsed


def record_weights(place: Path, rank: int) -> None:
    """Write down, in this process, the hash of all that is trained, after every task."""
    original = stage._require_one_model

    def watched(parts: Parts, plan: StagePlan) -> None:
        tensors = {**parts.model.trainable(), **parts.model.head.tensors()}
        with (place / f"weights-{rank}").open("a", encoding="utf-8") as file:
            file.write(f"{plan.name} {hash_tensors(sorted(tensors.items()))}\n")
        original(parts, plan)

    stage._require_one_model = watched


@pytest.mark.parametrize(
    "settings",
    [pytest.param(s, id=name, marks=() if name in _QUICK else (pytest.mark.slow,)) for name, s in CASES.items()],
)
def test_two_processes_learn_what_one_learns(make: Make, tmp_path: Path, settings: tuple[str, ...]) -> None:
    settings = (*settings, "training.epochs=1")
    place, config = tmp_path / "place", make("two", *settings)

    def work(rank: int) -> None:
        record_weights(place, rank)
        run(config, quiet())

    assert together(2, work, place) == [0, 0]
    assert_same_run(alone(make("one", *settings)), config.folder)
    weights = [(place / f"weights-{rank}").read_text() for rank in (0, 1)]
    assert weights[0] == weights[1]
    assert len(weights[0].splitlines()) == (1 if "method=joint" in settings else 2)
    assert verify(config.folder).problems == ()


@pytest.mark.slow
def test_three_processes_and_batches_smaller_than_that(make: Make, tmp_path: Path) -> None:
    settings = ("method=der", "training.batch_size=2", "training.epochs=1", "training.early_stop=1")
    config = make("three", *settings)
    assert together(3, lambda _: run(config, quiet()), tmp_path / "place") == [0, 0, 0]
    assert_same_run(alone(make("one", *settings)), config.folder)


def test_dropout_draws_other_masks_in_each_process(make: Make, tmp_path: Path) -> None:
    place = tmp_path / "place"

    def work(rank: int) -> None:
        original, drawn = Backward.run, []

        def watched(*arguments: object) -> object:
            drawn.append(torch.initial_seed())
            return original(*arguments)

        Backward.run = watched
        run(make("two", "lora.dropout=0.5", "training.epochs=1"), quiet())
        (place / f"seeds-{rank}").write_text(" ".join(map(str, drawn)))

    assert together(2, work, place) == [0, 0]
    first, second = (set((place / f"seeds-{rank}").read_text().split()) for rank in (0, 1))
    assert len(first) == len(second) == 16
    assert not first & second


@pytest.mark.slow
@pytest.mark.parametrize("point", ["step:9", "tensors_saved:2"])
def test_a_killed_run_goes_on_with_as_many_processes_bit_for_bit_and_with_one_nearly(
    make: Make, tmp_path: Path, point: str
) -> None:
    settings = ("method=ewc", "training.checkpoint_seconds=0", "lora.dropout=0")
    whole = make("whole", *settings)
    assert together(2, lambda _: run(whole, quiet()), tmp_path / "a") == [0, 0]
    for count in (2, 1):
        config = make(f"cut-{count}", *settings)
        statuses = together(2, lambda _, c=config: run(c, quiet()), tmp_path / f"b{count}", failpoint=point)
        assert statuses[0] == KILLED
        assert statuses[1] != 0
        again = together(count, lambda _, c=config: resume(c.folder, quiet()), tmp_path / f"c{count}")
        assert again == [0] * count
        assert_same_run(whole.folder, config.folder)
        if count == 2:
            assert snapshot(config.folder) == snapshot(whole.folder)
        environment = read_sealed(RunFolder(config.folder).environment)
        assert environment["processes"] == 2
        assert environment.get("later", []) == ([] if count == 2 else [{"processes": "2 → 1"}])


@pytest.mark.slow
def test_memory_that_runs_out_in_one_process_halves_the_micro_batch_of_all(make: Make, tmp_path: Path) -> None:
    place, config = tmp_path / "place", make("two", "training.micro_batch_size=8", "training.epochs=1")

    def work(rank: int) -> None:
        original = base.masked_cross_entropy

        def small_memory(scores: torch.Tensor, rows: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
            if rank == 1 and len(rows) > 2:
                raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried")
            return original(scores, rows, visible)

        base.masked_cross_entropy = small_memory
        run(config)

    assert together(2, work, place) == [0, 0]
    assert "event=memory_full task=food step=0 micro_batch_size=2" in (config.folder / "log.txt").read_text()
    assert_same_run(alone(make("one", "training.epochs=1")), config.folder)


def test_memory_that_runs_out_while_one_process_scores_ends_all(make: Make, tmp_path: Path) -> None:
    place, config = tmp_path / "place", make("two")

    def work(rank: int) -> None:
        def small_memory(*_: object) -> torch.Tensor:
            raise RuntimeError("CUDA out of memory")

        if rank == 1:
            ContinualModel.features = small_memory
        run(config, quiet())

    assert together(2, work, place) == [REFUSED, REFUSED]
    for rank in (0, 1):
        assert "set a smaller evaluation.tokens_per_batch (now 64)" in (place / f"refusal-{rank}").read_text()


def test_processes_whose_weights_differ_are_stopped(make: Make, tmp_path: Path) -> None:
    place, config = tmp_path / "place", make("two", "training.epochs=1")

    def work(rank: int) -> None:
        original = phase.make_optimizer
        phase.make_optimizer = lambda *given: original(*given[:-1], given[-1] + rank)
        run(config, quiet())

    assert together(2, work, place) == [REFUSED, REFUSED]
    for rank in (0, 1):
        assert "task 'food': the processes no longer have the same weights" in (place / f"refusal-{rank}").read_text()
    assert not RunFolder(config.folder).complete()


def test_what_the_main_process_cannot_write_ends_all(make: Make, tmp_path: Path) -> None:
    place, config = tmp_path / "place", make("two")
    config.folder.mkdir(parents=True)
    (config.folder / "notes.txt").write_text("mine")
    assert together(2, lambda _: run(config, quiet()), place) == [REFUSED, REFUSED]
    assert "exists already; nothing was changed" in (place / "refusal-0").read_text()
    assert "the main process stopped" in (place / "refusal-1").read_text()


@pytest.mark.slow
def test_two_processes_learn_a_task_more(make: Make, toy_files: dict[str, Path], tmp_path: Path) -> None:
    task = load_task(toy_files["nature-train"], ["name=nature", f"test={toy_files['nature-test']}"])
    one, config = alone(make("one", "method=ewc")), make("two", "method=ewc")
    assert in_child(lambda: extend(one, task, quiet())) == 0

    def work(_: int) -> None:
        run(config, quiet())
        extend(config.folder, task, quiet())

    assert together(2, work, tmp_path / "place") == [0, 0]
    assert_same_run(one, config.folder)


TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node=2")
ACCELERATE = ("accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--main_process_port=0")


def launched(launcher: Sequence[str], *arguments: str, failpoint: str = "") -> subprocess.CompletedProcess[str]:
    """Run `plora …` in two processes."""
    command = [sys.executable, "-m", *launcher, "-m", "plora", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", FAILPOINT: failpoint}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.slow
def test_the_command_under_torchrun_is_killed_and_resumed_by_one_process(make: Make, tmp_path: Path) -> None:
    settings = ("method=replay", "training.checkpoint_seconds=0")
    config, file = make("two", *settings), tmp_path / "two.yaml"
    file.write_text(config.to_yaml())
    cut = launched(TORCHRUN, "run", str(file), failpoint="step:12")
    assert cut.returncode != 0
    assert cut.stdout.count("event=run_start") == 1
    assert " processes=2 " in cut.stdout
    assert (config.folder / "checkpoints/step/manifest.json").is_file()
    assert in_child(lambda: resume(config.folder, quiet())) == 0
    assert_same_run(alone(make("one", *settings)), config.folder)

    again = launched(TORCHRUN, "run", str(file))
    assert again.returncode != 0
    (said,) = re.findall(r"^plora: .*", again.stderr, flags=re.MULTILINE)
    assert "exists already; nothing was changed" in said

    swept = launched(TORCHRUN, "sweep", str(file))
    (said,) = re.findall(r"^plora: .*", swept.stderr, flags=re.MULTILINE)
    assert said == "plora: plora sweep is the work of one process, and 2 were started; leave torchrun out"


@pytest.mark.slow
def test_the_command_under_accelerate_launch(make: Make, tmp_path: Path) -> None:
    config, file = make("two", "method=lwf"), tmp_path / "two.yaml"
    file.write_text(config.to_yaml())
    done = launched(ACCELERATE, "run", str(file))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("event=run_start") == done.stdout.count(" processes=2 ") == 1
    assert_same_run(alone(make("one", "method=lwf")), config.folder)


def test_a_mistake_is_said_by_the_first_process_and_by_others_only_when_nobody_ends_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(cli.time, "sleep", lambda seconds: waits.append(seconds) or capsys.readouterr())
    for rank, expected in (("0", []), ("1", [cli._PATIENCE])):
        monkeypatch.setenv("LOCAL_RANK", rank)
        with pytest.raises(SystemExit, match="2"):
            cli._refuse(RunError("no such run"))
        assert waits == expected
        assert capsys.readouterr().err == "plora: no such run\n"


def test_scores_of_a_finished_run_are_shared_too(make: Make, tmp_path: Path) -> None:
    folder = alone(make("one", "training.epochs=1"))
    assert together(2, lambda _: _require(evaluate(folder).changed == 0), tmp_path / "place") == [0, 0]


def _require(true: bool) -> None:
    assert true


def test_gradients_are_summed_and_unused_parameters_stay_unused(tmp_path: Path) -> None:
    def work(rank: int) -> None:
        both, one, none = (nn.Parameter(torch.ones(2)) for _ in range(3))
        both.grad = torch.tensor([1.0, 2.0]) * (rank + 1)
        if rank == 1:
            one.grad = torch.tensor([5.0, 6.0])
        terms = torch.tensor([0.25, rank])
        Processes.joined().sum_gradients([both, one, none], terms)
        assert both.grad.tolist() == [3.0, 6.0]
        assert one.grad is not None
        assert one.grad.tolist() == [5.0, 6.0]
        assert none.grad is None
        assert terms.tolist() == [0.5, 1.0]

    assert together(2, work, tmp_path / "place") == [0, 0]


def test_shares_are_a_partition() -> None:
    for count in (1, 2, 3, 5):
        shares = [np.arange(8)[Processes(rank, count).share] for rank in range(count)]
        assert sorted(np.concatenate(shares).tolist()) == list(range(8))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
