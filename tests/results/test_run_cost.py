from dataclasses import replace

import pytest
from made_up_runs import record

from plora.errors import RunError
from plora.results import cost_against_accuracy, run_cost


def test_costs_of_tasks_add_up_and_the_most_parameters_count() -> None:
    run = record(tasks=["a", "b"])
    first, second = run.cost
    run = replace(
        run,
        cost=(
            replace(
                first,
                seconds=2.0,
                flops=10,
                energy_joules=1.5,
                trainable_parameters=7,
                rehearsed=0,
                strategy_seconds=0.5,
            ),
            replace(
                second,
                seconds=6.0,
                flops=30,
                energy_joules=2.5,
                trainable_parameters=5,
                rehearsed=64,
                strategy_seconds=2.0,
            ),
        ),
    )
    cost = run_cost(run)
    assert (cost.seconds, cost.samples, cost.tokens, cost.trainable_parameters) == (8.0, 7680, 420_001, 7)
    assert (cost.flops, cost.energy_joules) == (40, 4.0)
    assert (cost.rehearsed, cost.strategy_seconds) == (64, 2.5)
    assert (cost.samples_per_second, cost.tokens_per_second) == (960.0, 420_001 / 8)


def test_a_task_that_lacks_a_number_leaves_no_sum() -> None:
    run = record(tasks=["a", "b"])
    first = replace(run.cost[0], flops=10, energy_joules=1.0, tokens=None, rehearsed=3, strategy_seconds=1.0)
    run = replace(run, cost=(first, run.cost[1]))
    cost = run_cost(run)
    assert (cost.rehearsed, cost.strategy_seconds) == (None, None)
    assert (cost.flops, cost.energy_joules, cost.tokens, cost.tokens_per_second) == (None, None, None, None)
    nothing = run_cost(replace(run, cost=()))
    assert (nothing.seconds, nothing.flops, nothing.samples_per_second) == (0, None, None)


def test_accuracy_is_drawn_against_operations_of_the_runs_that_have_them() -> None:
    runs = [record("ewc"), record("lwf")]
    with pytest.raises(RunError, match="nothing to compare"):
        cost_against_accuracy(runs, "flops")
    runs[0] = replace(runs[0], cost=tuple(replace(cost, flops=10**12) for cost in runs[0].cost))
    ax = cost_against_accuracy(runs, "flops").axes[0]
    assert [text.get_text() for text in ax.texts] == ["ewc"]
    assert [float(line.get_xdata()[0]) for line in ax.lines if line.get_marker() not in ("None", "")] == [5e12]
