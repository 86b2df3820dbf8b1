"""A run of hundreds of tasks can be read: pages, pictures and tables show what fits, and say what they leave out."""

from pathlib import Path

import numpy as np
from matplotlib.collections import QuadMesh
from matplotlib.patches import Rectangle

from plora.results import ClassRankings, Point, matrix_table, write_record, write_report
from plora.results.pictures.confusion import confusion
from plora.results.pictures.forgetting_plots import forgetting_of_methods, forgetting_of_tasks
from plora.results.pictures.gallery import run_pictures
from plora.results.pictures.gate_plots import gate_coefficients
from plora.results.pictures.plots import LINES, accuracy_matrix, learning_curves, tasks_over_time
from plora.results.record.measurements import Measurements
from plora.results.record.run_record import RunRecord
from plora.results.record.thinning import spread_over
from plora.results.tables.folding import WHOLE_UP_TO, shown
from tests.results.made_up_runs import record

MANY = tuple(f"task number {number}" for number in range(1, 301))


def of_many(tasks: tuple[str, ...] = MANY) -> RunRecord:
    """Every slot takes part after every task, as with O-LoRA."""
    T = len(tasks)
    R = np.full((T + 1, T), np.nan)
    lower = np.tri(T + 1, T, -1, dtype=bool)
    R[lower] = np.random.default_rng(0).uniform(0.5, 1, lower.sum())
    made = record(tasks=tasks, R=R)
    gates = tuple(dict.fromkeys(tasks[: number + 1], 1.0) for number in range(T))
    return RunRecord(**{**{name: getattr(made, name) for name in made.__dataclass_fields__}, "gates": gates})


def predictions(tasks: tuple[str, ...]) -> ClassRankings:
    """Two examples of each task, one of each of its two classes, all of them right."""
    T = len(tasks)
    label = np.arange(2 * T, dtype=np.int32)
    return ClassRankings(
        np.repeat(np.array(tasks), 2),
        np.tile(np.arange(2, dtype=np.int32), T),
        label,
        label[:, None],
        np.ones((2 * T, 1), np.float32),
        tuple(f"class {number}" for number in range(2 * T)),
    )


def test_few_are_whole_and_many_are_folded() -> None:
    assert shown(WHOLE_UP_TO) == list(range(WHOLE_UP_TO))
    assert shown(300, 2) == [0, 1, 298, 299]
    assert spread_over(300, 20)[0] == 0
    assert spread_over(300, 20)[-1] == 299
    assert len({*spread_over(300, 20)}) == 20


def test_the_page_of_300_tasks_is_small_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write_record(folder, of_many())
    (folder / "predictions").mkdir()
    predictions(MANY).write(folder / "predictions" / "task-300.parquet")
    lines = [Point(task, step, step / 2, 1 / step).to_line() for task in MANY for step in (1, 2)]
    (folder / "curves.jsonl").write_text("".join(lines), encoding="utf-8")
    write_report([folder], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert len(page) < 1_000_000
    assert page.count("<path") + page.count("<use") + page.count("<rect") < 3_000
    assert page.count("… 280 more tasks") == 2  # data and cost
    assert "<td>task number 10</td>" in page
    assert "<td>task number 11</td>" not in page
    assert "<td>task number 291</td>" in page
    assert 'id="numbers"' not in page  # no charts that a browser would draw cell by cell
    assert "Of 300 tasks the pictures show every cell as a dot" in page


def test_charts_and_whole_tables_stay_for_40_tasks(tmp_path: Path) -> None:
    write_record(tmp_path / "run", of_many(MANY[:40]))
    write_report([tmp_path / "run"], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert 'id="numbers"' in page
    assert "more tasks" not in page
    assert all(page.count(f"<td>{task}</td>") == 2 for task in MANY[:40])


def test_a_matrix_of_many_tasks_is_an_image_with_a_pixel_for_each_cell() -> None:
    for figure in (accuracy_matrix(of_many()), gate_coefficients(of_many())):
        ax = figure.axes[0]
        assert ax.images[-1].get_array().shape == (300, 300)
        assert sum(isinstance(patch, Rectangle) for patch in ax.patches) <= 2  # hatched as a whole, and below
        assert all(image.get_zorder() >= patch.get_zorder() for image in ax.images for patch in ax.patches)
        assert figure.get_figheight() < 8
    few = accuracy_matrix(of_many(MANY[:40])).axes[0]
    assert not few.images
    assert sum(isinstance(cells, QuadMesh) for cells in few.collections) == 2


def test_lines_and_bars_are_as_many_as_can_be_told_apart() -> None:
    many = of_many()
    (ax,) = tasks_over_time(many).axes
    assert len(ax.lines) == LINES
    assert f"{LINES} of 300 tasks" in ax.get_title(loc="left")
    assert len(forgetting_of_tasks(many).axes[0].patches) == 1  # one outline
    rings = forgetting_of_methods([many, of_many()]).axes[0].lines[0]
    assert len(rings.get_xdata()) == 21
    points = [Point(task, step, step / 2, 1 / step) for task in MANY for step in range(1, 31)]
    curve = learning_curves(points).axes[0]
    assert len(curve.lines) == 1
    assert 2_000 <= len(curve.lines[0].get_xdata()) <= 3_000


def test_classes_of_many_tasks_have_no_lines_between_them() -> None:
    assert len(confusion(predictions(MANY)).axes[0].lines) == 0
    assert len(confusion(predictions(MANY[:10])).axes[0].lines) == 18


def test_pictures_read_each_file_once(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    write_record(tmp_path, of_many())
    (tmp_path / "predictions").mkdir()
    predictions(MANY).write(tmp_path / "predictions" / "task-300.parquet")
    calls: list[Path] = []
    original = ClassRankings.read.__func__  # type: ignore[attr-defined]
    monkeypatch.setattr(ClassRankings, "read", classmethod(lambda cls, path: calls.append(path) or original(cls, path)))
    run_pictures(tmp_path, of_many())
    assert len(calls) == 1


def test_the_matrix_of_a_terminal_is_folded() -> None:
    table = matrix_table(of_many())
    lines = table.splitlines()
    assert max(map(len, lines)) < 140
    assert sum(line.startswith("| after") for line in lines) == 10
    assert "290 more tasks" in table
    assert "300: task number 300" in table
    assert "150: task number 150" not in table
    data = matrix_table(of_many(), "csv").splitlines()
    assert len(data) == 302
    assert data[0].count(",") == 301
    whole = matrix_table(of_many(MANY[:40]))
    assert "…" not in whole
    assert whole.count("| after") == 40


def test_examples_of_all_tasks_are_told_apart_in_one_pass(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    measured = predictions(MANY)
    shuffled = measured.rows(np.random.default_rng(0).permutation(len(measured)))
    parts = shuffled.by_task()
    assert list(parts) == list(dict.fromkeys(shuffled.task.tolist()))
    for task in MANY[:3]:
        np.testing.assert_array_equal(parts[task].label, shuffled.of(task).label)
    monkeypatch.setattr(Measurements, "of", None)  # which looks at every example, for one task
    scored = shuffled.cells(MANY, of_many().score)
    np.testing.assert_array_equal(scored, np.ones(300))
