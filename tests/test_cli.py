"""The command line as a user meets it: in a process of its own, with its exit codes."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import yaml

from plora.cli import main
from plora.errors import PloraWarning


def plora(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run `plora …` and return what it printed."""
    command = [sys.executable, "-c", "from plora.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, input=stdin, env=os.environ, check=False)


LIGHT = """
import sys
from plora.cli import app
app(sys.argv[1:], standalone_mode=False)
print(sorted({"torch", "transformers", "accelerate", "datasets", "matplotlib", "pyarrow", "scipy", "sklearn"}
             & sys.modules.keys()))
"""


@pytest.mark.parametrize(
    "arguments",
    [["ls"], ["validate", "quickstart/topics-o_lora"], ["cp", "quickstart/topics-o_lora"]],
    ids=lambda arguments: arguments[0],
)
def test_what_needs_no_network_loads_no_library_for_one(arguments: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-c", LIGHT, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.fixture
def config(toy_values: dict[str, object], tmp_path: Path) -> Path:
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump(toy_values))
    return path


@pytest.mark.slow  # ten processes, seconds each
def test_a_run_from_config_to_report(config: Path, tmp_path: Path) -> None:
    done = plora("run", str(config), "method=per_task")
    assert done.returncode == 0, done.stderr
    assert "event=run_done" in done.stdout
    assert "| after nature" in done.stdout
    run = tmp_path / "runs/toy/per_task/seed-0"

    again = plora("run", str(config), "method=per_task")
    assert again.returncode == 2
    assert again.stderr.startswith(f"plora: run folder {run} exists already; nothing was changed")
    assert len(again.stderr.splitlines()) == 1

    evaluated = plora("evaluate", str(run))
    assert evaluated.returncode == 0
    assert "every prediction is as recorded" in evaluated.stdout

    predicted = plora("predict", str(run), "--task", "food", "--json", "apple pear plum")
    assert next(iter(json.loads(predicted.stdout)["labels"])) == "fruit"
    piped = plora("predict", str(run), "--task", "food", stdin="apple pear plum\nrye loaf crust\n")
    assert [line.split()[0] for line in piped.stdout.splitlines()] == ["fruit", "bread"]
    (tmp_path / "texts.txt").write_text("rye loaf crust\n")
    from_file = plora("predict", str(run), str(tmp_path / "texts.txt"), "--task", "food")
    assert from_file.stdout.startswith("bread ")
    refused = plora("predict", str(run), "apple")
    assert refused.returncode == 2
    assert "name one with --task" in refused.stderr

    measured = plora("metrics", str(run), "--json")
    assert measured.returncode == 0, measured.stderr
    values = {name: metric["value"] for name, metric in json.loads(measured.stdout)["metrics"].items()}
    assert 0 < values["macro_f1"] <= 1
    assert 0 <= values["expected_calibration_error"] <= 1
    assert 0 < values["pooled_accuracy"] <= 1
    table = plora("table", str(tmp_path / "runs"), "--metric", "ACC", "--metric", "BWT")
    assert table.returncode == 0, table.stderr
    assert "| per_task |     1 |" in table.stdout
    assert "fewer than 3 seeds: no claim can be made" in table.stdout
    written = plora("table", str(tmp_path / "runs"), "--format", "latex", "--out", str(tmp_path / "table.tex"))
    assert written.returncode == 0, written.stderr
    assert "\\toprule" in (tmp_path / "table.tex").read_text()

    reported = plora("report", str(tmp_path / "runs"), "--figures", str(tmp_path / "figures"))
    assert reported.returncode == 0, reported.stderr
    assert (tmp_path / "figures/per_task-seed-0-interference.pdf").read_bytes().startswith(b"%PDF")
    page = (tmp_path / "runs/report.html").read_text()
    assert page.count("<svg") >= 2
    assert "per_task" in page


@pytest.mark.slow
def test_a_dry_run_writes_nothing(config: Path, tmp_path: Path) -> None:
    dry = plora("run", str(config), "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "optimizer steps" in dry.stdout
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_several_configs_run_in_one_process_and_share_what_they_load(config: Path, tmp_path: Path) -> None:
    second = tmp_path / "second.yaml"
    second.write_text(config.read_text().replace("method: sequential", "method: frozen\nhead: ncm"))
    done = plora("run", str(config), str(second))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/toy/frozen-ncm/seed-0/results.json").is_file()
    assert (tmp_path / "runs/toy/sequential/seed-0/results.json").is_file()


@pytest.mark.slow
def test_params_counts_without_weights(config: Path) -> None:
    counted = plora("params", str(config), "lora.rank=2")
    assert counted.returncode == 0, counted.stderr
    assert f"{2 * 4 * 2 * (32 + 32):,}" in counted.stdout  # 2 blocks, q k v o, r = 2, A and B


@pytest.mark.slow
def test_every_mistake_of_a_config_gets_a_line(config: Path) -> None:
    checked = plora("validate", str(config), "training.epoch=3", "lora.rnk=2", "scenario=clas")
    assert checked.returncode == 2
    assert len(checked.stderr.splitlines()) == 3
    assert all(line.startswith("plora: ") for line in checked.stderr.splitlines())
    assert plora("validate", str(config)).returncode == 0


@pytest.mark.slow
def test_ls_and_cp(tmp_path: Path) -> None:
    listed = plora("ls")
    assert "quickstart/topics-o_lora" in listed.stdout
    assert "per_task" in listed.stdout
    copied = plora("cp", "quickstart/topics-o_lora", str(tmp_path / "mine.yaml"))
    assert copied.returncode == 0
    assert plora("validate", str(tmp_path / "mine.yaml")).returncode == 0
    assert plora("cp", "quickstart/topics-o_lora", str(tmp_path / "mine.yaml")).returncode == 2


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["lora.targets=[qurey]"], "did you mean 'query'?"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                (["lora.rank=99"], "rank 99 is larger than layer 'encoder.layer.0.attention.self.query' allows"),
                (["backbone.id=/nowhere/at/all"], "backbone folder /nowhere/at/all does not exist"),
                (["backbone.id=someone/some-model"], "hf download someone/some-model --local-dir FOLDER"),
                (["scenario=domain"], "scenario=domain needs the same labels in every task"),
                (["scenario=class", "method=per_task"], "'per_task' has no meaning in the class-incremental scenario"),
                (["stream.tasks=[{name: a, train: /nowhere.csv}]"], "/nowhere.csv"),
            )
        ),
    ],
)
def test_mistakes_end_in_one_clear_line(config: Path, tmp_path: Path, overrides: list[str], message: str) -> None:
    failed = plora("run", str(config), *overrides)
    assert failed.returncode == 2
    assert message in failed.stderr
    assert len([line for line in failed.stderr.splitlines() if line.startswith("plora: ")]) == 1
    assert "Traceback" not in failed.stderr
    assert not (tmp_path / "runs").exists()


def test_the_command_starts_without_the_heavy_libraries() -> None:
    code = "import sys, plora.cli; print([m for m in ('torch', 'transformers', 'matplotlib') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_what_is_worth_knowing_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A warning of ours is printed without a place in the code; those of libraries are shown as ever."""

    def learn(standalone_mode: bool) -> None:
        warnings.warn("two classes are new", PloraWarning, stacklevel=2)
        warnings.warn("of a library", UserWarning, stacklevel=2)

    monkeypatch.setattr("plora.cli.app", learn)
    with pytest.warns(UserWarning, match="of a library") as others:
        main()
    assert capsys.readouterr().err == "plora: warning: two classes are new\n"
    assert len(others) == 1
