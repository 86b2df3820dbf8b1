"""What learning takes beside time: floating-point operations, and joules where the hardware tells."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from plora.config import RunConfig
from plora.errors import RunError
from plora.results import read_record
from plora.runs import run
from plora.training.energy import EnergyMeter
from plora.training.flops import FlopCounter
from plora.training.meter import Meter

Config = Callable[..., RunConfig]


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
    meter = Meter(3, EnergyMeter(torch.device("cpu"), Path("/nowhere")))
    meter.new_stage()
    x, W = torch.randn(5, 32), torch.randn(64, 32)
    with meter.operations(10, first=True):
        F.linear(x, W)
    with meter.operations(5, first=False):
        F.linear(x, W)
    assert meter.flops == 2 * 5 * 32 * 64 * 3 // 2
    again = Meter(3, EnergyMeter(torch.device("cpu"), Path("/nowhere")))
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
    meter = EnergyMeter(torch.device("cpu"), packages)
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
    meter = Meter(1, EnergyMeter(torch.device("cpu"), packages))
    (packages / "intel-rapl:0" / "energy_uj").write_text("2000000\n")
    meter.new_stage()
    (packages / "intel-rapl:0" / "energy_uj").write_text("2500000\n")
    state = meter.state()
    assert meter.cost("a", 1.0, torch.device("cpu"), 0).energy_joules == pytest.approx(0.5)
    later = Meter(1, EnergyMeter(torch.device("cpu"), packages))  # another process goes on
    later.restore(state)
    (packages / "intel-rapl:0" / "energy_uj").write_text("2750000\n")
    assert later.cost("a", 1.0, torch.device("cpu"), 0).energy_joules == pytest.approx(0.75)


def test_where_nothing_tells_there_is_no_number(tmp_path: Path) -> None:
    assert EnergyMeter(torch.device("cpu"), tmp_path).joules() is None
    (tmp_path / "intel-rapl:0").mkdir()
    (tmp_path / "intel-rapl:0" / "name").write_text("package-0")  # its counter may not be read
    assert EnergyMeter(torch.device("cpu"), tmp_path).joules() is None
    meter = Meter(1, EnergyMeter(torch.device("cpu"), tmp_path))
    assert meter.cost("a", 1.0, torch.device("cpu"), 0).energy_joules is None


def test_joules_of_a_part_are_no_joules_of_the_task(packages: Path) -> None:
    blind = Meter(1, EnergyMeter(torch.device("cpu"), Path("/nowhere")))
    blind.new_stage()
    later = Meter(1, EnergyMeter(torch.device("cpu"), packages))  # the task goes on where the hardware tells
    later.restore(blind.state())
    (packages / "intel-rapl:0" / "energy_uj").write_text("2000000\n")
    assert later.cost("a", 1.0, torch.device("cpu"), 0).energy_joules is None
    later.new_stage()
    assert later.cost("b", 1.0, torch.device("cpu"), 0).energy_joules == 0


def test_counts_of_an_older_version_are_refused_by_name() -> None:
    meter = Meter(1, EnergyMeter(torch.device("cpu"), Path("/nowhere")))
    state = {name: value for name, value in meter.state().items() if not name.startswith("flops")}
    with pytest.raises(RunError, match="has no flops, flops_per_token"):
        meter.restore(state)
