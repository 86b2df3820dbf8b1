"""The same on a GPU: methods learn, killed runs go on with the same bits, and numbers are those of the CPU.

Each run is a process of its own, as a user starts it; one without a visible GPU is the CPU's.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from killing import KILLED, snapshot

from plora.adapters import LoRA
from plora.failpoints import ENVIRONMENT as FAILPOINT
from plora.gates import AllOnes
from plora.results import read_curves, read_record
from plora.strategies import fisher as fast
from plora.testing.tiny import own_random_numbers, tiny_lesson, tiny_model
from plora.training.stopwatch import Stopwatch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that PyTorch can use"),
]

CASES = {
    "frozen-ridge": ("method=frozen", "head=ridge"),
    "full": ("method=full", "training.learning_rate=0.003"),
    "joint": ("method=joint",),
    "sequential": ("method=sequential",),
    "per_task": ("method=per_task",),
    "lateral": ("method=lateral",),
    "routed-class": ("method=routed", "scenario=class"),
    "gain_lora-class": ("method=gain_lora", "scenario=class"),
    "routed-class-prefix": ("method=routed", "scenario=class", "lora.layers=last 1"),
    "first_session": ("method=first_session", "scenario=class"),
    "o_lora": ("method=o_lora",),
    "n_lora": ("method=n_lora",),
    "ewc": ("method=ewc",),
    "online_ewc": ("method=online_ewc",),
    "ewc_lora": ("method=ewc_lora",),
    "inf_lora": ("method=inf_lora",),
    "replay-class": ("method=replay", "scenario=class"),
    "der-class": ("method=der", "scenario=class"),
    "lwf": ("method=lwf",),
    "generative_replay": ("method=generative_replay",),
    "generative_replay-causal": (
        "method=generative_replay",
        "strategies=[{kind: generative_replay, per_class: 8, generator: {kind: causal, id: WRITER, epochs: 2}}]",
    ),
    "merged_ties": ("method=merged_ties",),
    "merged_magmax": ("method=merged_magmax",),
    "bf16-checkpointed": ("method=o_lora", "training.precision=bf16", "training.activation_checkpointing=true"),
}


def plora(*arguments: object, gpu: bool = True, failpoint: str = "") -> int:
    """Call the command line and return its exit status; what went wrong is shown by pytest."""
    environment = os.environ | {FAILPOINT: failpoint} | ({} if gpu else {"CUDA_VISIBLE_DEVICES": ""})
    done = subprocess.run([sys.executable, "-m", "plora", *map(str, arguments)], env=environment, check=False)
    return done.returncode


@pytest.fixture
def start(toy_values: dict[str, object], tiny_writer: Path, tmp_path: Path) -> Callable[..., Path]:
    """Learn the toy stream with some settings, in a process of its own, and return the run folder."""

    def start(name: str, settings: tuple[str, ...], status: int = 0, **how: object) -> Path:
        given = [setting.replace("WRITER", str(tiny_writer)) for setting in settings]
        (tmp_path / "toy.json").write_text(json.dumps(toy_values), encoding="utf-8")
        given += [f"output={tmp_path / name}", "training.log_every=1", "lora.dropout=0"]
        assert plora("run", tmp_path / "toy.json", *given, **how) == status
        (folder,) = (tmp_path / name).glob("*/*/seed-0")
        return folder

    return start


@pytest.mark.parametrize("case", CASES)
def test_a_method_learns_as_on_the_cpu(start: Callable[..., Path], case: str) -> None:
    folder, on_cpu = start("gpu", CASES[case]), start("cpu", CASES[case], gpu=False)
    found, expected = read_record(folder), read_record(on_cpu)
    assert plora("verify", folder) == 0
    own, theirs = (np.nanmean(np.diag(r.matrix[1:]) if len(r.cost) > 1 else r.matrix[-1]) for r in (found, expected))
    assert own > max(theirs - 0.2, 0.4), (found.matrix, expected.matrix)
    if case in ("frozen-ridge", "full"):  # nothing is trained; dropout of the backbone is drawn by the device
        return
    point, there = (read_curves(path / "curves.jsonl")[0] for path in (folder, on_cpu))
    assert point.step == there.step == 1  # later ones drift apart, from the last bit on
    assert point.loss == pytest.approx(there.loss, rel=0.02 if "bf16" in case else 1e-4)


@pytest.mark.parametrize("case", ["full", "o_lora", "ewc", "der-class", "routed-class-prefix", "bf16-checkpointed"])
def test_a_killed_run_ends_with_the_same_bits(start: Callable[..., Path], case: str) -> None:
    settings = (*CASES[case], "training.checkpoint_seconds=0")
    whole = start("whole", settings)
    cut = start("cut", settings, status=KILLED, failpoint="step:20")
    assert plora("resume", cut) == 0
    expected, found = snapshot(whole), snapshot(cut)
    assert [name for name in expected if name != "results" and expected[name] != found[name]] == []


@pytest.mark.parametrize("memory", [2**30, 2**12])
def test_fisher_information_is_that_of_the_cpu(monkeypatch: pytest.MonkeyPatch, memory: int) -> None:
    monkeypatch.setattr(fast, "GPU_MEMORY_BYTES", memory)

    def measured(device: str) -> dict[str, torch.Tensor]:
        with own_random_numbers():
            model = tiny_model(AllOnes())
            assert model.adapters is not None
            slot = model.adapters.open_task("one", LoRA(rank=2, alpha=2))
            for matrix in (*slot.A.values(), *slot.B.values()):
                torch.nn.init.normal_(matrix, std=0.3)
            model.head.open("one", 2, torch.Generator().manual_seed(0))
            lesson = tiny_lesson(model)
            model.to(device)
            model.head.device = torch.device(device)
        return {name: value.cpu() for name, value in fast.fisher(model, lesson).items()}

    expected, found = measured("cpu"), measured("cuda")
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6 * float(value.max()))


def test_a_stopwatch_counts_the_work_of_the_gpu_and_does_not_wait_for_it() -> None:
    watch = Stopwatch(torch.device("cuda"))
    with watch.running():
        torch.cuda._sleep(200_000_000)  # clock cycles: a tenth of a second
        waited = torch.cuda.current_stream().query()
    assert not waited
    assert watch.seconds() > 0.01
