"""What a run would cost, before it starts."""

from collections.abc import Callable

import pytest

from plora.adapters import Adapters
from plora.backbones import load_backbone
from plora.config import RunConfig
from plora.dry_run import dry_run
from plora.params import count_parameters
from plora.results import read_record
from plora.runs import run

Config = Callable[..., RunConfig]


METHODS = ("sequential", "per_task", "joint", "frozen", "full", "first_session", "routed", "inf_lora", "gain_lora")


@pytest.mark.parametrize("method", METHODS)
def test_the_estimate_counts_the_steps_and_parameters_of_the_run(toy_config: Config, method: str) -> None:
    config = toy_config(f"method={method}", f"scenario={'class' if method == 'routed' else 'task'}")
    estimate = dry_run(config)
    assert not config.folder.exists()
    cost = read_record(run(config)).cost
    assert estimate.steps == sum(entry.steps for entry in cost)
    assert estimate.trainable == cost[0].trainable_parameters
    assert estimate.warmup_steps >= 1
    assert estimate.seconds > 0
    assert "nothing was written" in estimate.describe()
    assert ("comes on top" in estimate.describe()) == (method in ("routed", "inf_lora", "gain_lora"))


def test_the_estimate_says_that_strategies_come_on_top(toy_config: Config) -> None:
    said = "what strategies (replay, ewc) rehearse, measure or write is not in the time"
    config = toy_config("method=replay", "strategies=[{kind: replay}, {kind: ewc}]")
    assert said in dry_run(config, steps=1).describe().splitlines()
    assert "strategies" not in dry_run(toy_config("method=sequential"), steps=1).describe()


def test_a_closed_form_has_no_steps(toy_config: Config) -> None:
    estimate = dry_run(toy_config("method=frozen", "head=ridge"))
    assert (estimate.steps, estimate.trainable) == (0, 0)


def test_what_is_designed_does_not_count_as_trained(toy_config: Config) -> None:
    plain, designed = (count_parameters(toy_config(f"method={method}")) for method in ("o_lora", "inf_lora"))
    assert plain.trainable == 2 * designed.trainable  # layers of as many inputs as outputs
    assert plain.trainable + plain.frozen == designed.trainable + designed.frozen


def test_connections_to_older_slots_are_counted(toy_config: Config) -> None:
    config = toy_config("method=lateral")
    adapters = Adapters.inject(load_backbone(config.backbone).network, config.lora.targets)
    sizes = []
    for name in ("one", "two", "three"):
        adapters.open_task(name, config.lora, lateral=True)
        sizes.append(sum(parameter.numel() for parameter in adapters.parameters()))
        adapters.commit()
    counted = count_parameters(config)
    assert sizes == [counted.trainable + number * counted.lateral for number in range(3)]
    assert "connections add" in counted.describe()
    assert count_parameters(toy_config("method=per_task")).lateral == 0
