"""What a run would cost, before it starts."""

from collections.abc import Callable

import pytest

from plora.config import RunConfig
from plora.dry_run import dry_run
from plora.results import read_record
from plora.runs import run

Config = Callable[..., RunConfig]


@pytest.mark.parametrize("method", ["sequential", "per_task", "joint", "frozen", "full", "first_session", "routed"])
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


def test_a_closed_form_has_no_steps(toy_config: Config) -> None:
    estimate = dry_run(toy_config("method=frozen", "head=ridge"))
    assert (estimate.steps, estimate.trainable) == (0, 0)
