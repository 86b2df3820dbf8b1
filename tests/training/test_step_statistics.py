"""Statistics of BatchNorm move once per optimizer step: by a plain formula, and in a run of many passes a step."""

from pathlib import Path

import pytest
import torch
from killing import quiet
from tiny_images import VALUES, new_backbone
from torch import nn

from plora.config import load_config
from plora.results import read_record
from plora.runs import run, verify
from plora.tensor_file import load_tensors
from plora.training.statistics import StepStatistics


def test_a_step_of_several_passes_moves_them_by_the_mean_of_what_each_saw() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(3).double()
    norm.running_mean.normal_()
    before = norm.running_mean.clone(), norm.running_var.clone()
    statistics = StepStatistics({f"norm.{name}": buffer for name, buffer in norm.named_buffers()})
    passes = [torch.randn(n, 3, dtype=torch.float64) + n for n in (5, 3, 2)]
    with statistics.step():
        for x in passes:
            loss = norm(x).square().sum()
            statistics.passed(len(x))
            norm(torch.full((4, 3), 99.0, dtype=torch.float64))  # as a block that is computed again would
            loss.backward()
            statistics.restart()
    for start, found, seen in (
        (before[0], norm.running_mean, [x.mean(0) for x in passes]),
        (before[1], norm.running_var, [x.var(0) for x in passes]),
    ):
        mean = sum(len(x) / 10 * one for x, one in zip(passes, seen, strict=True))
        torch.testing.assert_close(found, 0.9 * start + 0.1 * mean)
    assert norm.num_batches_tracked == 1


def test_one_pass_gives_its_own_bits_and_a_step_that_fails_moves_nothing() -> None:
    torch.manual_seed(0)
    norm, plain = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    statistics = StepStatistics({f"norm.{name}": buffer for name, buffer in norm.named_buffers()})
    x = torch.randn(7, 3)
    with statistics.step():
        norm(x)
        statistics.passed(7)
        statistics.restart()
    plain(x)
    for name, buffer in plain.named_buffers():
        assert torch.equal(norm.get_buffer(name), buffer)

    def fail() -> None:
        with statistics.step():
            norm(x)
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="memory"):
        fail()
    for name, buffer in plain.named_buffers():
        assert torch.equal(norm.get_buffer(name), buffer)


def test_in_a_run_a_step_is_what_the_optimizer_takes(tmp_path: Path) -> None:
    """Three micro-batches, recomputed for backward, and as many passes in what replay remembers."""
    values = {
        **VALUES,
        "scenario": "class",
        "method": "replay",
        "lora": None,
        "pointwise": {"form": "series"},
        "backbone": new_backbone("resnet"),
        "training": {"epochs": 1, "batch_size": 12, "micro_batch_size": 4, "activation_checkpointing": True},
        "output": str(tmp_path / "runs"),
    }
    folder = run(load_config(values, ()), quiet())
    assert verify(folder).problems == ()
    steps = sum(cost.steps for cost in read_record(folder).cost)
    stored = [load_tensors(file) for file in folder.rglob("*.safetensors")]
    counts = {int(t) for tensors in stored for name, t in tensors.items() if name.endswith("num_batches_tracked")}
    assert steps in counts
    assert max(counts) == steps
