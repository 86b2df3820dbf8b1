from pathlib import Path

import pytest
from made_up_runs import curves

from plora.errors import RunError
from plora.results import Point, read_curves


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "curves.jsonl"
    points = [*curves(steps=6), Point("no tokens", 1, 0.5, 0.7)]
    path.write_text("".join(point.to_line() for point in points))
    assert read_curves(path) == points


@pytest.mark.parametrize("torn", ['{"task": "libr', "{", '{"task": "a", "step": 3', "\ufffd"])
def test_a_torn_last_line_is_ignored(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "curves.jsonl"
    path.write_text(curves(steps=2)[0].to_line() + torn)
    assert read_curves(path) == curves(steps=2)[:1]


def test_a_character_torn_in_half_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "curves.jsonl"
    path.write_bytes(curves(steps=2)[0].to_line().encode() + '{"task": "é'.encode()[:-1])
    assert len(read_curves(path)) == 1


def test_damage_before_the_last_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "curves.jsonl"
    line = curves(steps=2)[0].to_line()
    path.write_text(line + '{"task": 3}\n' + line)
    with pytest.raises(RunError, match=r"curves.jsonl, line 2 is damaged: task"):
        read_curves(path)
    with pytest.raises(RunError, match="cannot be read"):
        read_curves(tmp_path / "absent.jsonl")


def test_a_loss_that_is_not_finite_is_never_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        Point("a", 1, 0.1, float("nan")).to_line()
