"""Local copies in the hub's own layout and column names, loaded by the code that loads them from the hub."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from plora.errors import DataError
from plora.streams.hub import HUB_TASKS, HubStream

datasets = pytest.importorskip("datasets")

TOPICS = (
    "Society & Culture",
    "Science & Mathematics",
    "Health",
    "Education & Reference",
    "Computers & Internet",
)
DBPEDIA = ("Company", "EducationalInstitution", "Artist", "Athlete")
STARS = ("1 star", "2 star", "3 stars", "4 stars", "5 stars")


def copy_of(
    root: Path, dataset_id: str, config: str | None, texts: Sequence[str], label: str, names: Sequence[str]
) -> Path:
    """Write 40 train and 10 test rows as the hub stores them: a README.md with the layout, parquet files."""
    folder = root / dataset_id
    data = config or "data"
    (folder / data).mkdir(parents=True)
    features = {
        label: datasets.ClassLabel(names=list(names)),
        **{text: datasets.Value("string") for text in texts},
    }
    for split, count in (("train", 40), ("test", 10)):
        rows = {text: [f"{text} {split} {i}" for i in range(count)] for text in texts}
        rows[label] = [i % len(names) for i in range(count)]
        built = datasets.Dataset.from_dict(rows, features=datasets.Features(features))
        built.to_parquet(folder / data / f"{split}-00000-of-00001.parquet")
    (folder / "README.md").write_text(
        f"---\nconfigs:\n- config_name: {config or 'default'}\n  data_files:\n"
        f"  - split: train\n    path: {data}/train-*\n  - split: test\n    path: {data}/test-*\n---\n"
    )
    return folder


def amazon_copy(root: Path) -> None:
    folder = root / HUB_TASKS["amazon"].id
    folder.mkdir(parents=True)
    for split, count in (("train", 40), ("test", 10)):
        lines = [f'{i % 5 + 1},{"" if i == 7 else f"title {i}"},"{split} text, {i}"' for i in range(count)]
        (folder / f"{split}.csv").write_text("class_index,review_title,review_text\n" + "\n".join(lines) + "\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "copies"
    copy_of(root, "fancyzhx/ag_news", None, ["text"], "label", ["World", "Sports", "Business", "Sci/Tech"])
    copy_of(root, "Yelp/yelp_review_full", "yelp_review_full", ["text"], "label", STARS)
    copy_of(root, "fancyzhx/yelp_polarity", "plain_text", ["text"], "label", ["1", "2"])
    copy_of(
        root,
        "fancyzhx/amazon_polarity",
        "amazon_polarity",
        ["title", "content"],
        "label",
        ["negative", "positive"],
    )
    copy_of(root, "stanfordnlp/imdb", "plain_text", ["text"], "label", ["neg", "pos"])
    sst2 = copy_of(root, "stanfordnlp/sst2", None, ["sentence"], "label", ["negative", "positive"])
    readme = (sst2 / "README.md").read_text()
    (sst2 / "README.md").write_text(readme.replace("split: test", "split: validation"))
    copy_of(root, "fancyzhx/dbpedia_14", "dbpedia_14", ["title", "content"], "label", DBPEDIA)
    copy_of(
        root,
        "community-datasets/yahoo_answers_topics",
        "yahoo_answers_topics",
        ["question_title", "question_content", "best_answer"],
        "topic",
        TOPICS,
    )
    amazon_copy(root)
    return root


def stream(root: Path, *tasks: object, **settings: object) -> HubStream:
    return HubStream.model_validate({"tasks": tasks, "root": root, "cache": root.parent / "cache", **settings})


def test_the_five_data_sets(root: Path) -> None:
    loaded = stream(root, "ag_news", "yelp", "amazon", "dbpedia", "yahoo").load()
    names = {task.name: task.label_names for task in loaded.tasks}
    assert names["ag_news"] == ("World", "Sports", "Business", "Sci/Tech")
    assert names["yelp"] == names["amazon"] == ("1 star", "2 stars", "3 stars", "4 stars", "5 stars")
    assert names["dbpedia"] == DBPEDIA
    assert names["yahoo"] == TOPICS
    inputs = {task.name: set(task.test.inputs) for task in loaded.tasks}
    assert "title 0. test text, 0" in inputs["amazon"]
    assert "test text, 7" in inputs["amazon"]  # pandas reads an empty title as missing
    assert "title test 3. content test 3" in inputs["dbpedia"]
    assert "question_title test 1 question_content test 1 best_answer test 1" in inputs["yahoo"]
    assert all([len(split) for _, split in task.splits()][2] == 10 for task in loaded.tasks)
    amazon = loaded.tasks[2]
    assert [int(str(text).split()[-1]) % 5 for text in amazon.test.inputs] == amazon.test.labels.tolist()


def test_the_polarity_forms(root: Path) -> None:
    loaded = stream(root, "yelp_polarity", "imdb", "amazon_polarity", "sst2").load()
    loaded.require("domain")
    assert all(task.label_names == ("negative", "positive") for task in loaded.tasks)
    assert len(loaded.tasks[3].test) == 10


def test_stars_that_are_shared_can_be_made_distinct(root: Path) -> None:
    with pytest.raises(DataError, match="scenario=class needs labels that differ"):
        stream(root, "yelp", "amazon").load().require("class")
    stream(root, "yelp", "amazon", distinct_labels=True).load().require("class")


def test_caps_and_a_task_of_ones_own(root: Path) -> None:
    own = {"name": "mine", "id": "fancyzhx/dbpedia_14", "text": ["title", "content"], "config": "dbpedia_14"}
    loaded = stream(root, {**own, "test": None}, train_per_class=3).load()
    (task,) = loaded.tasks
    count = loaded.rows["mine.train"]
    assert count.used == sum(len(split) for _, split in task.splits())
    assert count.reasons() == {"above the caps": count.found - count.used}
    assert task.train.inputs[0][0].startswith("title train")
    assert len(task.train) == 12
    assert len(task.test) == 8


def test_a_copy_is_the_same_data_as_the_download(root: Path) -> None:
    assert stream(root, "ag_news").load().provenance == {"ag_news": "fancyzhx/ag_news"}


def test_a_copy_without_its_readme(root: Path) -> None:
    (root / "fancyzhx" / "ag_news" / "README.md").unlink()
    assert stream(root, "ag_news").load().tasks[0].label_names == ("World", "Sports", "Business", "Sci/Tech")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "fancyzhx/imdb"}, "no local copy of 'fancyzhx/imdb' in .*download the data set's repository"),
        ({"train": "trian"}, "has no split 'trian'; its splits are: train, test; did you mean 'train'"),
        ({"config": "wrong"}, r"'fancyzhx/ag_news' \(config 'wrong'\) cannot be loaded: .*wrong"),
        ({"label": "labels"}, r"'fancyzhx/ag_news' \(train\) has no column 'labels'.*did you mean 'label'"),
    ],
)
def test_mistakes_are_one_clear_line(root: Path, change: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        stream(root, {"name": "news", "id": "fancyzhx/ag_news", **change}).load()
    assert "\n" not in str(caught.value)


def test_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise ConnectionError("Couldn't reach the hub")

    monkeypatch.setattr(datasets, "load_dataset_builder", offline)
    with pytest.raises(DataError, match=r"Couldn't reach.*parquet files\) into <root>/fancyzhx/ag_news and set root"):
        HubStream.model_validate({"tasks": ["ag_news"]}).load()


def test_the_extra_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"needs the package 'datasets'.*plora\[hub\]"):
        HubStream.model_validate({"tasks": ["ag_news"]}).load()


def test_an_unknown_short_name() -> None:
    with pytest.raises(ValidationError, match=r"'agnews' is not a known data set .*did you mean 'ag_news'"):
        HubStream.model_validate({"tasks": ["agnews"]})


@pytest.mark.parametrize(
    "path", ["../other/data/train-*", "{root}/other/data/train-*", "data/../../other/data/train-*"]
)
def test_a_data_set_names_only_files_of_its_own(root: Path, path: str) -> None:
    copy_of(root, "fancyzhx/other", None, ["text"], "label", ["a", "b"])
    copy_of(root, "someone/mine", None, ["text"], "label", ["a", "b"])
    (root / "other").symlink_to(root / "fancyzhx" / "other")
    (root / "someone" / "other").symlink_to(root / "fancyzhx" / "other")
    readme = root / "someone" / "mine" / "README.md"
    readme.write_text(readme.read_text().replace("data/train-*", path.format(root=root)))
    with pytest.raises(
        DataError, match=r"the README.md of 'someone/mine' names the file '.*', which is not part of the"
    ):
        stream(root, {"name": "mine", "id": "someone/mine"}).load()


@pytest.mark.parametrize("name", ["../up", "/etc", "a/b/c", "a/..", "..", ".", "./here", "", "a\\b"])
def test_ids_are_no_paths(name: str) -> None:
    with pytest.raises(ValidationError, match=r"an id on the hub was expected|at least 1 character"):
        HubStream.model_validate({"tasks": [{"name": "n", "id": name}]})
