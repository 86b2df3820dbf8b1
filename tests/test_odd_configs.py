"""What `plora validate` finds without a run: each a line, and the right config none."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from plora.cli import app
from plora.config import load_config
from plora.errors import ConfigError
from plora.runs import validate


def problems(values: Mapping[str, object], *overrides: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        validate(load_config(values, overrides))
    return caught.value.problems


def test_a_config_that_can_be_learned_is_valid(toy_values: dict[str, object], tmp_path: Path) -> None:
    validate(load_config(toy_values))
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(toy_values))
    done = CliRunner().invoke(app, ["validate", str(tmp_path / "c.yaml"), "lora.targets=[query]"])
    assert done.stdout.endswith("c.yaml: valid (sequential, task-incremental, local)\n")
    assert not (tmp_path / "runs").exists()


@pytest.mark.odd("files of data that do not exist", "`plora validate` names each with its key")
def test_missing_files(toy_values: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = problems(toy_values, "stream.tasks.0.train=no.csv", "stream.tasks.2.test=nor.csv")
    assert found == tuple(
        f"stream.tasks.{key}: {path} does not exist; correct the path, which leads from {tmp_path}"
        for key, path in (("0.train", "no.csv"), ("2.test", "nor.csv"))
    )


@pytest.mark.odd("two tasks with one name", "refused by `plora validate`")
def test_a_name_that_is_used_twice(toy_values: dict[str, object]) -> None:
    (line,) = problems(toy_values, "stream.tasks.1.name=food")
    assert line == "stream.tasks: 'food' is the name of 2 tasks; names must be unique"


@pytest.mark.odd(
    "a setting of an item of a list, `stream.tasks.0.train=x.csv`", "sets it; an item that is not there is refused"
)
def test_items_of_lists(toy_values: dict[str, object]) -> None:
    config = load_config(toy_values, ["stream.tasks.1.name=away"])
    assert [task.name for task in config.stream.tasks] == ["food", "away", "nature"]  # type: ignore[attr-defined]
    for index in ("3", "-1", "first", "²"):
        with pytest.raises(ConfigError, match=r"items are 0 to 2|expected key=value"):
            load_config(toy_values, [f"stream.tasks.{index}.name=away"])
    with pytest.raises(ConfigError, match=re.escape("'stream.tasks.0.name' is 'food', it has no keys of its own")):
        load_config(toy_values, ["stream.tasks.0.name.x=1"])
    assert toy_values["stream"]["tasks"][1]["name"] == "travel"  # type: ignore[index]


@pytest.mark.odd("texts longer than the backbone reads", "refused by `plora validate` with what it reads")
def test_a_length_that_the_backbone_does_not_have(toy_values: dict[str, object]) -> None:
    (line,) = problems(toy_values, "backbone.max_length=5000")
    assert re.search(r"backbone.max_length=5000, but .* positions; set backbone.max_length=\d+ or less", line)


@pytest.mark.odd("`lora.targets` that match nothing", "refused by `plora validate` with the layers that there are")
@pytest.mark.parametrize("targets", ["[qury]", "qury"])
def test_targets_that_match_nothing(toy_values: dict[str, object], targets: str) -> None:
    (line,) = problems(toy_values, f"lora.targets={targets}")
    assert "ayers that can be adapted: " in line


@pytest.mark.odd(
    "class-incremental tasks with the same labels", "refused by `plora validate`; `distinct_labels: true` helps"
)
def test_classes_that_clash(toy_values: dict[str, object], toy_files: Mapping[str, Path]) -> None:
    twice = (
        "scenario=class",
        f"stream.tasks.1.train={toy_files['food-train']}",
        f"stream.tasks.1.test={toy_files['food-test']}",
    )
    (line,) = problems(toy_values, *twice)
    assert line.startswith("stream: scenario=class needs labels that differ between tasks")
    assert "`distinct_labels: true`" in line
    validate(load_config(toy_values, [*twice, "stream.distinct_labels=true"]))


def test_a_backbone_folder_that_is_not_there(toy_values: dict[str, object]) -> None:
    (line,) = problems(toy_values, "backbone.id=./nowhere")
    assert line.startswith("backbone folder ./nowhere does not exist")


def test_an_unknown_key_of_a_task_is_one_mistake(toy_values: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(toy_values, ["stream.tasks=[{name: t, train: a.csv, lable: label}]"])
    (line,) = caught.value.problems
    assert line.startswith("stream.tasks.0.lable: unknown key; did you mean 'label'?")
