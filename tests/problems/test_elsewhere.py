from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_writers import write

from plora.cli.evaluate import command
from plora.config import RunConfig, load_config
from plora.errors import RunError
from plora.results import read_record
from plora.runs import evaluate_on, run
from plora.runs.elsewhere import BEFORE
from plora.streams import Corpora


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], RunConfig]:
    write(tmp_path / "network", "llama")
    for name, letters in {"one": "abcd", "two": "wxyz"}.items():
        (tmp_path / name).mkdir()
        rng = np.random.default_rng(ord(letters[0]))
        for number in range(24):
            (tmp_path / name / f"{number}.txt").write_text(" ".join(rng.choice([*letters], 16)))

    def make(method: str) -> RunConfig:
        return load_config(
            {
                "problem": {"kind": "causal_lm"},
                "stream": {
                    "kind": "corpora",
                    "domains": [{"name": name, "path": str(tmp_path / name)} for name in ("one", "two")],
                    "validation_fraction": 0.2,
                    "test_fraction": 0.2,
                },
                "method": method,
                "backbone": {"id": str(tmp_path / "network"), "max_length": 32},
                "lora": {"rank": 2, "targets": "all_linear"},
                "training": {"epochs": 1, "learning_rate": 0.01, "batch_size": 8},
                "evaluation": {"tasks": "all"},
                "output": str(tmp_path / "runs"),
            }
        )

    return make


def test_what_is_scored_elsewhere_is_what_the_loop_scores(
    config: Callable[[str], RunConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    for method in ("full", "sequential"):
        own = config(method)
        run(own)
        record = read_record(own.folder)
        found = evaluate_on(own.folder, own.stream)
        assert [*found.rows] == [BEFORE, "after one", "after two"]
        assert found.score.name == "nats_per_byte"
        values = [[*row.values()] for row in found.values().values()]
        np.testing.assert_array_equal(values, record.matrix)
        assert values[0] != values[1] != values[2]
    (own.output / "texts.yaml").write_text(own.to_yaml())
    command(own.folder, str(own.output / "texts.yaml"))
    told = capsys.readouterr().out
    assert [line.split("  ")[0] for line in told.splitlines()[-3:]] == ["before any task", "after one", "after two"]
    assert f"two {record.matrix[2, 1]:.3f}" in told.splitlines()[-1]


def test_a_slot_of_each_task_changes_nothing_elsewhere(config: Callable[[str], RunConfig]) -> None:
    own = config("per_task")
    run(own)
    assert isinstance(own.stream, Corpora)
    texts = own.stream.model_copy(update={"base": ("one", "two"), "part": "base"})
    before, *after = evaluate_on(own.folder, texts).values().values()
    assert before.keys() == {"base"}
    assert after == [before, before]


def test_classes_of_others_are_refused(toy_config: Callable[..., RunConfig]) -> None:
    own = toy_config("training.epochs=1")
    run(own)
    with pytest.raises(RunError, match="classifies, and data that it has not learned have classes"):
        evaluate_on(own.folder, own.stream)
