"""Trackers are told everything, and can stop nothing."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS

from plora.config import RunConfig
from plora.errors import ConfigError
from plora.events import tracking
from plora.results import read_curves, read_record
from plora.runs import run

Config = Callable[..., RunConfig]


class Told:
    """Stands in for a tracker of a library that is not installed."""

    name = "mlflow"
    requires_logging_directory = False
    fails_at = ""
    calls: list[tuple[str, object]]

    def __init__(self, run_name: str) -> None:
        self._tell("new", run_name)

    def _tell(self, name: str, value: object) -> None:
        if name == self.fails_at:
            raise ConnectionError("no route to host")
        type(self).calls.append((name, value))

    def start(self) -> None:
        self._tell("start", None)

    def store_init_configuration(self, values: dict[str, object]) -> None:
        self._tell("configuration", values)

    def log(self, values: dict[str, float], step: int) -> None:
        self._tell("log", (values, step))

    def log_artifact(self, path: str) -> None:
        self._tell("artifact", Path(path).name)

    def finish(self) -> None:
        self._tell("finish", None)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Told]]:
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "mlflow", Told)
    monkeypatch.setattr(tracking, "find_spec", lambda name: name)
    Told.calls, Told.fails_at = [], ""
    yield Told
    Told.fails_at = ""


def test_a_tracker_is_told_everything(told: type[Told], toy_config: Config) -> None:
    folder = run(toy_config("trackers=[mlflow]", "method=o_lora", "training.epochs=1"))
    kinds = [name for name, _ in told.calls]
    assert kinds[:3] == ["new", "start", "configuration"]
    assert kinds[-3:] == ["artifact", "artifact", "finish"]
    assert told.calls[0][1] == "toy-o_lora-seed-0"
    assert told.calls[2][1]["training.epochs"] == 1  # type: ignore[index]
    logged = [value for name, value in told.calls if name == "log"]
    points = read_curves(folder / "curves.jsonl")
    losses = [(values["loss"], step) for values, step in logged if "loss" in values]  # type: ignore[misc]
    assert [loss for loss, _ in losses] == [point.loss for point in points]
    assert [step for _, step in losses] == sorted(step for _, step in losses)
    assert any("loss/orthogonality" in values for values, _ in logged)  # type: ignore[misc]
    record = read_record(folder)
    rows = [values for values, _ in logged if "accuracy/food" in values]  # type: ignore[misc]
    assert [row["accuracy/food"] for row in rows] == record.matrix[1:, 0].tolist()
    assert logged[-1][0]["final/accuracy"] == record.metrics["accuracy"].value  # type: ignore[index]
    assert [value for name, value in told.calls if name == "artifact"] == ["config.yaml", "results.json"]


@pytest.mark.parametrize("fails_at", ["new", "start", "configuration", "log", "artifact", "finish"])
def test_a_tracker_that_fails_stops_nothing(
    told: type[Told], toy_config: Config, fails_at: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told.fails_at = fails_at
    folder = run(toy_config("trackers=[mlflow]", "training.epochs=1"))
    assert read_record(folder).complete
    assert capsys.readouterr().out.count("event=tracker_failed tracker=mlflow reason=ConnectionError:_no_route") == 1


def test_a_tracker_that_is_not_installed_is_said_before_anything_is_written(toy_config: Config) -> None:
    config = toy_config("trackers=[trackio]")
    if tracking.find_spec("trackio") is not None:
        pytest.skip("trackio is installed here")
    with pytest.raises(ConfigError, match="trackers: 'trackio' is not installed; pip install trackio"):
        run(config)
    assert not config.folder.exists()


def test_an_unknown_tracker_is_named(toy_config: Config) -> None:
    with pytest.raises(ConfigError, match="trackers"):
        toy_config("trackers=[tensorbord]")
