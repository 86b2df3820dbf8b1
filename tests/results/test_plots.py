from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from made_up_runs import TASKS, curves, matrix, record
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from plora.errors import RunError
from plora.results import (
    Chance,
    accuracy_matrix,
    compare_methods,
    cost_against_accuracy,
    estimates,
    learning_curves,
    seen_accuracy,
    tasks_over_time,
    to_png,
)
from plora.results.pictures.plots import POINTS_PER_CURVE


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_matrix_shows_every_measured_cell_and_hatches_the_rest() -> None:
    run = record()
    figure = accuracy_matrix(run)
    measured = run.matrix[~np.isnan(run.matrix)]
    assert texts(figure) == [*(f"{100 * value:.1f}" for value in measured), "mean ± 1.8 by test size"]
    hatched = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle) and patch.get_hatch()]
    assert [round(patch.get_height()) for patch in hatched] == [1, 5]
    ticks = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert ticks == ["before training", *(f"after {task}" for task in TASKS)]


def test_a_large_matrix_has_no_numbers_in_its_cells() -> None:
    assert texts(accuracy_matrix(record(tasks=[f"t{i}" for i in range(40)]))) == ["mean ± 0.7 by test size"]


def test_tasks_over_time_draws_each_task_from_when_it_was_learned() -> None:
    run = record(evaluate_all=True)
    lines = tasks_over_time(run).axes[0].lines
    assert len(lines) == 5
    for j, line in enumerate(lines):
        assert list(line.get_xdata()) == list(range(j + 1, 6))
        np.testing.assert_allclose(line.get_ydata(), 100 * run.matrix[j + 1 :, j])
    assert [text for text in texts(tasks_over_time(run)) if text] == [*TASKS, "mean ± 1.8 by test size"]


def test_compare_draws_means_over_seeds_and_reference_lines() -> None:
    runs = [record(seed=seed) for seed in range(3)] + [record("joint", "joint")]
    ax = compare_methods(runs).axes[0]
    means = np.mean([seen_accuracy(run.matrix) for run in runs[:3]], axis=0)
    drawn = [line for line in ax.lines if line.get_marker() != "None"]
    assert len(drawn) == 1
    np.testing.assert_allclose(drawn[0].get_ydata(), 100 * means)
    level = 100 * float(runs[3].matrix[-1].mean())
    assert [list(line.get_ydata()) for line in ax.lines if line.is_dashed()] == [pytest.approx([level, level])]
    written = [text.get_text() for text in ax.texts if text.get_text()]
    assert written == [
        "sequential, 3 seeds",
        "joint",
        "line: mean · band: 95 % t interval over 3 seeds · no band below 3 seeds",
    ]
    (band,) = ax.collections  # a single run has none
    bounds = estimates(runs[:3], ["ACC"])["sequential"]["accuracy"].interval
    assert bounds is not None
    ends = [y for x, y in band.get_paths()[0].vertices if x == 5]
    assert (min(ends), max(ends)) == pytest.approx((100 * bounds[0], 100 * bounds[1]))


@pytest.mark.parametrize(
    ("seeds", "text"),
    [
        ({"ewc": 1, "lwf": 1}, "one seed each: no interval"),
        ({"ewc": 2, "lwf": 1}, "line: mean · thin lines: runs, no band below 3 seeds"),
        ({"ewc": 3, "lwf": 5}, "line: mean · band: 95 % t interval over 3 to 5 seeds"),
    ],
)
def test_compare_says_what_its_bands_are(seeds: dict[str, int], text: str) -> None:
    ax = compare_methods([record(method, seed=seed) for method, n in seeds.items() for seed in range(n)]).axes[0]
    assert ax.texts[-1].get_text() == text
    assert len(ax.collections) == sum(n >= 3 for n in seeds.values())


def test_chance_is_a_dotted_line() -> None:
    chance = Chance(np.full(5, 0.25), np.linspace(0.3, 0.25, 5))
    flat = tasks_over_time(record(), chance).axes[0]
    assert [list(line.get_ydata()) for line in flat.lines if line.is_dashed()] == [[25.0, 25.0]]
    assert flat.get_ylim()[0] <= 25
    assert flat.texts[-1].get_text() == "dotted: chance, 25.0 · mean ± 1.8 by test size"
    compared = compare_methods([record()], chance).axes[0]
    assert compared.get_xlabel() == "after learning\ndotted: chance, 25.0 · mean ± 1.8 by test size"
    (line,) = [line for line in compared.lines if line.is_dashed()]
    np.testing.assert_allclose(line.get_ydata(), 100 * chance.seen)
    assert "chance: 25.0" in texts(accuracy_matrix(record(), chance))[-1]
    assert "chance: 25.0" in [
        text.get_text() for text in cost_against_accuracy([record()], chance=chance).axes[0].texts
    ]


def test_runs_that_are_all_alike_have_a_band_without_height_and_joint_has_its_level() -> None:
    alike = [record("ridge", seed=seed, R=matrix(5)) for seed in range(3)]
    (band,) = compare_methods(alike).axes[0].collections
    middle = 100 * seen_accuracy(matrix(5))
    for x, y in band.get_paths()[0].vertices:
        assert y == pytest.approx(middle[int(x) - 1])
    joint = compare_methods([record("joint", "joint", seed=seed) for seed in range(3)]).axes[0]
    assert len(joint.patches) == 1


def test_compare_refuses_what_must_not_be_mixed_and_what_is_empty() -> None:
    with pytest.raises(RunError, match="cannot stand in one table"):
        compare_methods([record(), record(scenario="domain")])
    with pytest.raises(RunError, match="nothing to compare"):
        compare_methods([record(complete=False)])


def test_learning_curves_have_a_panel_per_term() -> None:
    figure = learning_curves(curves(steps=20))
    assert [ax.get_ylabel() for ax in figure.axes] == ["loss", "task", "orthogonality"]
    assert len(learning_curves(curves(terms=("task",))).axes) == 1  # a single term is the loss
    with pytest.raises(RunError, match="no learning curves"):
        learning_curves([])


def test_validation_accuracies_have_a_panel_with_a_point_each() -> None:
    points = [
        replace(point, validation=0.5 + point.step / 100 if point.step in (11, 19) else None)
        for point in curves(steps=20)
    ]
    figure = learning_curves(points)
    assert [ax.get_ylabel() for ax in figure.axes] == ["loss", "task", "orthogonality", "validation %"]
    lines = figure.axes[-1].lines[:1]
    assert lines[0].get_xydata().tolist() == [[11, pytest.approx(61)], [19, pytest.approx(69)]]


def test_long_curves_are_thinned_without_moving_their_mean() -> None:
    points = curves(tasks=["a"], steps=4000)
    (line,) = learning_curves(points).axes[0].lines
    drawn = np.asarray(line.get_ydata(), dtype=np.float64)
    assert len(drawn) == POINTS_PER_CURVE
    assert drawn.mean() == pytest.approx(np.mean([point.loss for point in points]), rel=0.01)


@pytest.mark.parametrize("T", [1, 2, 10, 11, 45, 110])
def test_any_number_of_tasks_can_be_drawn(T: int) -> None:
    run = record(tasks=[f"a task with a very long name, number {i}" for i in range(T)])
    for figure in (accuracy_matrix(run), tasks_over_time(run), compare_methods([run])):
        assert to_png(figure, 40).startswith(b"\x89PNG")


def test_drawing_leaves_no_global_state() -> None:
    before = dict(matplotlib.rcParams)
    R = matrix(3)
    to_png(tasks_over_time(record(tasks=["a", "b", "c"], R=R)), 40)
    assert dict(matplotlib.rcParams) == before
