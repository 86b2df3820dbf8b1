"""`plora metrics` as a user meets it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from plora.cli import app, main

EXAMPLE = "a,b,c\n.9,,\n.7,.8,\n.6,.75,.85\n"


def test_tables_and_json(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text(EXAMPLE)
    done = CliRunner().invoke(app, ["metrics", str(path), "--sizes", "10,20,30"])
    assert done.exit_code == 0, done.output
    assert "| Backward transfer " in done.output
    assert "F of CODA-Prompt" in done.output
    as_json = CliRunner().invoke(app, ["metrics", str(path), "--json", "--scenario", "class"])
    assert json.loads(as_json.output)["metrics"]["forgetting"]["value"] == pytest.approx(0.175)


def test_a_score_of_which_lower_is_better(tmp_path: Path) -> None:
    """The mirror image of an accuracy: what rises is forgotten, and means stay in nats."""
    path, joint = tmp_path / "nats.csv", tmp_path / "joint.csv"
    path.write_text("a,b\n1.5,\n2.5,2.0\n")
    joint.write_text("1.0,2.0\n")
    arguments = ["metrics", str(path), "--score", "nats_per_byte", "--joint", str(joint)]
    metrics = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).output)["metrics"]
    assert metrics["forgetting"]["value"] == pytest.approx(1.0)
    assert metrics["backward_transfer"]["value"] == pytest.approx(-1.0)
    assert metrics["intransigence"]["value"] > -1e-12
    means = [entry["value"] for name, entry in metrics.items() if entry["value"] == pytest.approx(2.25)]
    assert means
    assert "nats per byte" in CliRunner().invoke(app, arguments).output


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["none.csv"], "none.csv cannot be read: No such file or directory; give a CSV file or a run folder"),
        (["percent.csv"], "percent.csv: a cell is 90, more than 1; say --percent if these are percentages"),
        (["m.csv", "--sizes", "1,x"], "--sizes: expected whole numbers with commas between them, got '1,x'"),
        (
            ["m.csv", "--score", "acuracy"],
            "--score: unknown score 'acuracy'; did you mean 'accuracy'? (scores: acc",
        ),
        (["m.csv", "--score", "perplexity"], "m.csv: perplexity goes from 1 up, got a cell of 0.9"),
        (
            ["percent.csv", "--score", "nats_per_byte", "--percent"],
            "percent.csv: nats per byte is no percentage",
        ),
        (["percent.csv", "--score", "macro_f1"], "percent.csv: a cell is 90, more than 1; say --percent if these are"),
        (["."], ". is not a run: it has no results.json"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    line: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.csv").write_text(EXAMPLE)
    Path("percent.csv").write_text("90,\n70,80\n")
    monkeypatch.setattr("sys.argv", ["plora", "metrics", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"plora: {line}")
    assert len(error.splitlines()) == 1
