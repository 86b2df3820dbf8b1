from pathlib import Path

import pytest
from pydantic import ValidationError

from plora.errors import DataError
from plora.streams.local import LocalStream, LocalTask

SHARED_TEXT = Path(__file__).parents[3] / "shared" / "data" / "text"


def write_csv(path: Path, count: int = 40, label: str = "label") -> Path:
    lines = [f"this is text number {i},{'good' if i % 2 else 'bad'}" for i in range(count)]
    path.write_text(f"text,{label}\n" + "\n".join(lines) + "\n")
    return path


def test_one_file_is_enough(tmp_path: Path) -> None:
    stream = LocalStream(tasks=(LocalTask(name="mail", train=write_csv(tmp_path / "mail.csv")),)).load()
    (task,) = stream.tasks
    assert (task.name, task.label_names) == ("mail", ("bad", "good"))
    assert [len(split) for _, split in task.splits()] == [28, 4, 8]
    assert task.test_duplicates() == 0
    assert stream.provenance["mail.train"].startswith("mail.csv sha256:")


def test_the_file_kind_does_not_matter(tmp_path: Path) -> None:
    csv = LocalStream(tasks=(LocalTask(name="t", train=write_csv(tmp_path / "t.csv")),)).load().tasks[0]
    for i in range(40):
        folder = tmp_path / "t" / ("good" if i % 2 else "bad")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i:02}.txt").write_text(f"this is text number {i}")
    folders = LocalStream(tasks=(LocalTask(name="t", train=tmp_path / "t"),)).load().tasks[0]
    for (_, one), (_, other) in zip(csv.splits(), folders.splits(), strict=True):
        assert set(one.inputs) == set(other.inputs)


def test_fingerprint_follows_the_data(tmp_path: Path) -> None:
    stream = LocalStream(tasks=(LocalTask(name="t", train=write_csv(tmp_path / "t.csv")),))
    before = stream.load().fingerprint()
    assert stream.load().fingerprint() == before
    write_csv(tmp_path / "t.csv", 42)
    assert stream.load().fingerprint() != before


def test_a_config_as_it_stands_in_yaml(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", label="stars")
    config = {
        "kind": "local",
        "validation_fraction": 0.25,
        "train_per_class": 8,
        "tasks": [{"name": "t", "train": str(tmp_path / "t.csv"), "label": "stars", "map": {"good": 1, "bad": 0}}],
    }
    (task,) = LocalStream.model_validate(config).load().tasks
    assert task.label_names == ("1", "0")
    assert [len(split) for _, split in task.splits()] == [16, 4, 8]


def test_a_column_that_does_not_exist(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", label="labels")
    with pytest.raises(DataError, match=r"t.csv' has no column 'label'.*text, labels; did you mean 'labels'\?"):
        LocalStream(tasks=(LocalTask(name="t", train=path),)).load()


@pytest.mark.parametrize(
    "change",
    [
        {"taks": []},
        {"tasks": []},
        {"validation_fraction": 0},
        {"test_fraction": 1.0},
        {"train_per_class": 0},
        {"name": ""},
    ],
)
def test_settings_that_make_no_sense(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LocalStream.model_validate({"tasks": [{"name": "t", "train": "t.csv"}], **change})


@pytest.mark.skipif(not SHARED_TEXT.is_dir(), reason="the shared data sets are not here")
def test_real_reviews_as_a_domain_incremental_stream() -> None:
    polarity = {
        "very negative": "bad",
        "negative": "bad",
        "neutral": None,
        "positive": "good",
        "very positive": "good",
    }
    tasks = [
        {
            "name": name,
            "train": SHARED_TEXT / name / "train.parquet",
            "test": SHARED_TEXT / name / "test.parquet",
            "label_names": str(SHARED_TEXT / name / "labels.txt"),
            "map": {"Good": "good", "Bad": "bad"} if name == "imdb" else polarity,
        }
        for name in ("yelp", "amazon", "imdb")
    ]
    stream = LocalStream.model_validate({"tasks": tasks, "train_per_class": 50}).load()
    assert [set(task.label_names) for task in stream.tasks] == [{"bad", "good"}] * 3
    assert [len(task.train) for task in stream.tasks] == [100, 100, 100]
