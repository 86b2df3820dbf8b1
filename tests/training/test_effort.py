"""What learning takes beside time: operations, joules where the hardware tells, and what strategies take of it all."""

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F

from plora.config import RunConfig
from plora.errors import RunError
from plora.results import read_record
from plora.runs import resume, run
from plora.training import stopwatch
from plora.training.energy import EnergyMeter
from plora.training.flops import FlopCounter
from plora.training.meter import Meter
from plora.training.step import Backward
from plora.training.stopwatch import Stopwatch

Config = Callable[..., RunConfig]
CPU = torch.device("cpu")


def _meter(steps: int, powercap: Path = Path("/nowhere")) -> Meter:
    return Meter(steps, EnergyMeter(CPU, powercap), Stopwatch(CPU))


def test_products_are_counted_by_hand() -> None:
    x, W, A = torch.randn(5, 32), torch.randn(64, 32), torch.randn(8, 32, requires_grad=True)
    with FlopCounter() as counter:
        y = F.linear(x, W).sum() + F.linear(x, A).sum()
        y.backward()
    frozen, trained = 2 * 5 * 32 * 64, 2 * 5 * 32 * 8
    assert counter.get_total_flops() == frozen + 2 * trained  # the gradient of A; x and W need none


def test_attention_on_a_cpu_is_counted() -> None:
    q, k, v = (torch.randn(2, 3, 7, 16, requires_grad=True) for _ in range(3))
    with FlopCounter() as counter:
        attended = F.scaled_dot_product_attention(q, k, v)
    assert counter.get_total_flops() == 2 * (2 * 2 * 3 * 7 * 7 * 16)
    with FlopCounter() as counter:
        attended.sum().backward()
    assert counter.get_total_flops() == 5 * (2 * 2 * 3 * 7 * 7 * 16)


def test_the_first_step_is_counted_and_the_others_follow_their_tokens() -> None:
    meter = _meter(3)
    meter.new_stage()
    x, W = torch.randn(5, 32), torch.randn(64, 32)
    with meter.operations(10, first=True):
        F.linear(x, W)
    with meter.operations(5, first=False):
        F.linear(x, W)
    assert meter.flops == 2 * 5 * 32 * 64 * 3 // 2
    again = _meter(3)
    again.restore(meter.state())
    with again.operations(10, first=False):
        pass
    assert again.flops == 2 * 5 * 32 * 64 * 5 // 2


def test_a_run_records_its_operations(toy_config: Config) -> None:
    """LoRA trains the adapters through the frozen network: more than its forward pass, less than three times it."""
    record = read_record(run(toy_config("method=sequential", "training.batch_size=8", "training.epochs=1")))
    frozen = read_record(run(toy_config("method=frozen", "head=ridge")))
    for learned, solved in zip(record.cost, frozen.cost, strict=True):
        assert learned.flops is not None
        assert solved.flops is not None
        forward = solved.flops / solved.samples
        assert 1.5 * forward < learned.flops / learned.samples < 4 * forward


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """Counters of two processor packages and of what is not a package."""
    for zone, name in (
        ("intel-rapl:0", "package-0"),
        ("intel-rapl:1", "package-1"),
        ("intel-rapl:2", "psys"),
        ("intel-rapl:0:0", "core"),
    ):
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "name").write_text(f"{name}\n")
        (tmp_path / zone / "energy_uj").write_text("1000000\n")
        (tmp_path / zone / "max_energy_range_uj").write_text("9000000\n")
    return tmp_path


def test_the_packages_are_summed_and_counters_begin_again(packages: Path) -> None:
    meter = EnergyMeter(CPU, packages)
    assert meter.joules() == 0
    (packages / "intel-rapl:0" / "energy_uj").write_text("3500000\n")
    (packages / "intel-rapl:2" / "energy_uj").write_text("8000000\n")
    assert meter.joules() == pytest.approx(2.5)
    (packages / "intel-rapl:0" / "energy_uj").write_text("500000\n")  # over its range of 9 J
    (packages / "intel-rapl:1" / "energy_uj").write_text("2000000\n")
    assert meter.joules() == pytest.approx(2.5 + 6 + 1)
    (packages / "intel-rapl:1" / "energy_uj").unlink()
    assert meter.joules() is None


def test_a_stage_is_charged_for_its_own_joules(packages: Path) -> None:
    meter = _meter(1, packages)
    (packages / "intel-rapl:0" / "energy_uj").write_text("2000000\n")
    meter.new_stage()
    (packages / "intel-rapl:0" / "energy_uj").write_text("2500000\n")
    state = meter.state()
    assert meter.cost("a", 1.0, CPU, 0).energy_joules == pytest.approx(0.5)
    later = _meter(1, packages)  # another process goes on
    later.restore(state)
    (packages / "intel-rapl:0" / "energy_uj").write_text("2750000\n")
    assert later.cost("a", 1.0, CPU, 0).energy_joules == pytest.approx(0.75)


def test_where_nothing_tells_there_is_no_number(tmp_path: Path) -> None:
    assert EnergyMeter(CPU, tmp_path).joules() is None
    (tmp_path / "intel-rapl:0").mkdir()
    (tmp_path / "intel-rapl:0" / "name").write_text("package-0")  # its counter may not be read
    assert EnergyMeter(CPU, tmp_path).joules() is None
    meter = _meter(1, tmp_path)
    assert meter.cost("a", 1.0, CPU, 0).energy_joules is None


def test_joules_of_a_part_are_no_joules_of_the_task(packages: Path) -> None:
    blind = _meter(1)
    blind.new_stage()
    later = _meter(1, packages)  # the task goes on where the hardware tells
    later.restore(blind.state())
    (packages / "intel-rapl:0" / "energy_uj").write_text("2000000\n")
    assert later.cost("a", 1.0, CPU, 0).energy_joules is None
    later.new_stage()
    assert later.cost("b", 1.0, CPU, 0).energy_joules == 0


def test_counts_of_an_older_version_are_refused_by_name() -> None:
    meter = _meter(1)
    state = {name: value for name, value in meter.state().items() if not name.startswith("flops")}
    with pytest.raises(RunError, match="has no flops, flops_per_token"):
        meter.restore(state)


# ---------------------------------------------------------------------- strategies


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by a second whenever a stopwatch reads it: each block that is timed takes one."""
    clock = itertools.count()
    monkeypatch.setattr(stopwatch, "time", SimpleNamespace(perf_counter=lambda: next(clock)))


BATCH, STEPS = 9, 6  # of a task: one epoch of 54 texts
SETTINGS = (f"training.batch_size={BATCH}", "training.epochs=1", "scenario=class", "training.checkpoint_seconds=0")


@pytest.mark.usefixtures("ticks")
@pytest.mark.parametrize(
    ("method", "draws", "micro"), [("sequential", 0, 9), ("ewc", 0, 9), ("replay", 1, 9), ("der", 2, 5)]
)
def test_a_run_records_what_its_strategies_took(toy_config: Config, method: str, draws: int, micro: int) -> None:
    """Seconds: one to fix a part, before and after the task and the phase; in a step each micro-batch, and what is
    beside them."""
    cost = read_record(run(toy_config(f"method={method}", f"training.micro_batch_size={micro}", *SETTINGS))).cost
    assert [(task.steps, task.samples) for task in cost] == [(STEPS, BATCH * STEPS)] * 3
    assert [task.rehearsed for task in cost] == [0, draws * BATCH * STEPS, draws * BATCH * STEPS]
    seconds = 0 if method == "sequential" else 4 + STEPS * (-(-BATCH // micro) + 1)
    assert [task.strategy_seconds for task in cost] == [seconds] * 3


@pytest.mark.usefixtures("ticks")
def test_a_task_that_is_gone_on_with_keeps_what_strategies_took(
    toy_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_record(run(toy_config("method=replay", "name=whole", *SETTINGS))).cost
    config, steps, backward = toy_config("method=replay", "name=cut", *SETTINGS), itertools.count(), Backward.run

    def killed(*given: object) -> dict[str, torch.Tensor]:
        if next(steps) == STEPS + 3:
            raise KeyboardInterrupt
        return backward(*given)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Backward, "run", killed)
        with pytest.raises(KeyboardInterrupt):
            run(config)
    cost = read_record(resume(config.folder)).cost
    assert [task.rehearsed for task in cost] == [task.rehearsed for task in whole] == [0, BATCH * STEPS, BATCH * STEPS]
    seconds = [task.strategy_seconds for task in whole]
    assert [task.strategy_seconds for task in cost] == [seconds[0], seconds[1] + 1, seconds[2]]  # a phase begun again


def test_a_step_that_is_done_again_rehearses_once(toy_config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory runs out after the step has rehearsed: in another process, for example."""
    backward = Backward.run

    def small_memory(self: Backward, *given: object) -> dict[str, torch.Tensor]:
        terms = backward(self, *given)  # type: ignore[arg-type]
        if self.micro > 4:
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate too much")
        return terms

    monkeypatch.setattr(Backward, "run", small_memory)
    cost = read_record(run(toy_config("method=replay", *SETTINGS))).cost
    assert [task.rehearsed for task in cost] == [0, BATCH * STEPS, BATCH * STEPS]


class FakeEvent:
    """A mark that the GPU passes when it is told to."""

    stream: ClassVar[list["FakeEvent"]] = []

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing
        self.passed: float | None = None

    def record(self, stream: list["FakeEvent"]) -> None:
        stream.append(self)

    def query(self) -> bool:
        return self.passed is not None

    def synchronize(self) -> None:
        work(len(self.stream))

    def elapsed_time(self, end: "FakeEvent") -> float:
        assert self.passed is not None
        assert end.passed is not None
        return 1000 * (end.passed - self.passed)


def work(marks: int) -> None:
    """The GPU passes some marks, a second apart."""
    for event in FakeEvent.stream[:marks]:
        event.passed = next(passed)
    del FakeEvent.stream[:marks]


passed = itertools.count()


def test_a_gpu_is_timed_among_its_own_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: FakeEvent.stream)
    watch = Stopwatch(torch.device("cuda", 0))
    for _ in range(3):
        with watch.running():
            pass
    assert len(watch._marks) == 3  # nobody waited for it
    work(3)
    with watch.running():
        pass
    assert len(watch._marks) == 3  # what has passed was read
    assert watch.seconds() == 4
    assert not watch._marks
    watch.restart(1.5)
    assert watch.seconds() == 1.5
