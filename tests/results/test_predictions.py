from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_up_runs import unsealed

from plora.errors import RunError
from plora.results import ACCURACY, ClassRankings


def predictions(**changes: object) -> ClassRankings:
    columns: dict[str, object] = {
        "task": np.array(["kind", "kind", "kind", "library", "library"]),
        "example": np.array([0, 1, 2, 0, 1], dtype=np.int32),
        "label": np.array([0, 1, 1, 2, 3], dtype=np.int32),
        "ranking": np.array([[0, 1], [1, 0], [0, 1], [2, -1], [2, 3]], dtype=np.int32),
        "probabilities": np.array([[0.9, 0.1], [0.8, 0.2], [0.5, 0.5], [1.0, 0], [0.25, 0.2]], dtype=np.float32),
        "class_names": ("no", "yes", "torch 🐍", "no"),
    }
    return ClassRankings(**(columns | changes))  # type: ignore[arg-type]


def test_round_trip_and_columns_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "predictions" / "task-03.parquet"
    before = predictions()
    before.write(path)
    after = ClassRankings.read(path)
    for name in ("task", "example", "label", "prediction", "probability", "ranking", "probabilities"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    assert after.class_names == before.class_names
    fields = {field.name: str(field.type) for field in pq.read_schema(path)}
    assert fields == {
        "task": "string",
        "example": "int32",
        "label": "int32",
        "prediction": "int32",
        "probability": "float",
        **{f"prediction_{rank}": "int32" for rank in (2, 3, 4, 5)},
        **{f"probability_{rank}": "float" for rank in (2, 3, 4, 5)},
    }
    np.testing.assert_array_equal(after.ranking[0], [0, 1, -1, -1, -1])
    assert after.example.dtype == np.int32
    assert after.probability.dtype == np.float32
    assert [file.name for file in path.parent.iterdir()] == ["task-03.parquet"]


def test_accuracy_row_follows_the_order_of_tasks_not_of_names() -> None:
    row = predictions().cells(["library", "order", "kind"], ACCURACY)
    np.testing.assert_array_equal(row, [0.5, np.nan, 2 / 3])


def test_accuracy_row_of_tasks_of_unequal_size_counts_each_task_by_itself() -> None:
    rng = np.random.default_rng(0)
    sizes = {f"t{i}": n for i, n in enumerate([1, 10, 237, 3, 52, 8, 99, 4, 5, 6, 7, 1000])}
    task = np.repeat(list(sizes), list(sizes.values()))
    label = rng.integers(0, 4, len(task)).astype(np.int32)
    guess = rng.integers(0, 4, len(task)).astype(np.int32)
    shuffled = rng.permutation(len(task))
    row = ClassRankings(
        task[shuffled],
        np.arange(len(task), dtype=np.int32),
        label[shuffled],
        guess[shuffled][:, None],
        np.ones((len(task), 1), dtype=np.float32),
        ("a", "b", "c", "d"),
    ).cells(list(sizes), ACCURACY)
    for column, name in enumerate(sizes):
        mine = [int(a == b) for a, b, t in zip(label, guess, task, strict=True) if t == name]
        assert row[column] == pytest.approx(sum(mine) / len(mine))


def test_a_task_that_the_run_does_not_have() -> None:
    with pytest.raises(RunError, match="name the task 'library', the run has: kind"):
        predictions().cells(["kind"], ACCURACY)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": np.array([0, 1], dtype=np.int32)}, "differ in length"),
        (
            {"label": np.array([0, 1, 1, 2, 4], dtype=np.int32)},
            "label ids run from 0 to 4, but there are 4 classes",
        ),
        ({"ranking": np.array([[0], [1], [-1], [2], [2]], dtype=np.int32)}, r"both \[N, 1 to 5\]"),
        ({"ranking": np.array([[0, 1]] * 4 + [[-1, 0]], dtype=np.int32)}, "prediction ids run from -1"),
        ({"ranking": np.array([[0, 1]] * 4 + [[0, 4]], dtype=np.int32)}, "next prediction ids run from 0 to 4"),
        ({"ranking": np.array([[0, 1]] * 4 + [[0, -2]], dtype=np.int32)}, "a class id is below -1"),
        ({"probabilities": np.array([[0.5, np.nan]] * 5, dtype=np.float32)}, "probability is NaN"),
        ({"probabilities": np.array([[0.4, 0.6]] * 5, dtype=np.float32)}, "the likeliest classes do not stand first"),
    ],
)
def test_columns_that_cannot_be_right(changes: dict[str, object], message: str) -> None:
    with pytest.raises(RunError, match=message):
        predictions(**changes)


def test_files_that_are_not_predictions_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    with pytest.raises(RunError, match="does not exist"):
        ClassRankings.read(path)
    path.write_bytes(b"PAR1 torn")
    with pytest.raises(RunError, match="is damaged") as caught:
        ClassRankings.read(path)
    assert "\n" not in str(caught.value)
    pq.write_table(pa.table({"task": ["a"]}), path)
    with pytest.raises(RunError, match=r"no b'plora.class_names'"):
        ClassRankings.read(path)
    predictions().write(path)
    table = unsealed(path)
    pq.write_table(table.drop_columns(["label"]), path)
    with pytest.raises(RunError, match="label"):
        ClassRankings.read(path)
    wrong = table.set_column(1, "example", table.column("example").cast(pa.float64()))
    pq.write_table(wrong, path)
    with pytest.raises(RunError, match="column 'example' is float64, expected int32"):
        ClassRankings.read(path)


def test_no_examples(tmp_path: Path) -> None:
    nothing = predictions(
        task=np.array([], dtype=np.str_),
        **{name: np.array([], dtype=np.int32) for name in ("example", "label")},
        ranking=np.empty((0, 1), dtype=np.int32),
        probabilities=np.empty((0, 1), dtype=np.float32),
    )
    nothing.write(tmp_path / "p.parquet")
    assert np.isnan(ClassRankings.read(tmp_path / "p.parquet").cells(["a", "b"], ACCURACY)).all()


def test_a_file_of_schema_1_holds_the_prediction_alone() -> None:
    old = ClassRankings.read(Path(__file__).parent / "schema_1" / "predictions" / "task-05.parquet")
    assert old.prediction.tolist() == [0, 1, 0, 2, 2]
    assert old.probability.tolist() == pytest.approx([0.9, 0.8, 0.5, 1.0, 0.25])
    assert (old.ranking[:, 1:] == -1).all()


def test_a_newer_schema_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    predictions().write(path)
    table = unsealed(path)
    pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), b"plora.schema": b"3"}), path)
    with pytest.raises(RunError, match="has schema 3, this version of plora reads schemas 1 and 2"):
        ClassRankings.read(path)
