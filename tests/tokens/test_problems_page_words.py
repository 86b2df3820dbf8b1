"""The page that says which problem is whose: its configs of words and of answers run as they stand."""

import json
import re
import sys
from pathlib import Path

import pytest
from tiny_sentences import TYPES, tagged, write_reader, write_sentences

sys.path.append(str(Path(__file__).parents[1] / "text_to_text"))
sys.path.append(str(Path(__file__).parents[1] / "training"))
from killing import quiet
from tiny_answers import write_t5

from plora.config import load_config
from plora.results import read_record
from plora.runs import generate, run, tag, validate

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "problems.md"


def config(name: str) -> str:
    found = re.search(rf'``` {{ .yaml title="{name}.yaml" }}\n(.*?)```', PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_tags(here: Path) -> None:
    for at, name in enumerate(("news.conll", "news-test.conll", "medicine.jsonl")):
        write_sentences(here / name, tagged(TYPES, 12, at))
    (here / "tags.yaml").write_text(config("tags"), encoding="utf-8")
    more = [f"backbone.id={write_reader(here / 'reader')}", "backbone.max_length=64", "training.epochs=1"]
    made = load_config(here / "tags.yaml", more)
    validate(made)
    folder = run(made, quiet())
    assert read_record(folder).score.name == "entity_f1"
    assert len(tag(folder, ["Ada Lovelace lived in London"], "news")[0].tags) == 5


def test_answers(here: Path) -> None:
    for name in ("mail", "reviews"):
        rows = "".join(f"{number} deep,blue\n{number} sand,green\n" for number in range(10))
        (here / f"{name}.csv").write_text(f"text,label\n{rows}", encoding="utf-8")
    (here / "answers.yaml").write_text(config("answers"), encoding="utf-8")
    made = load_config(here / "answers.yaml", [f"backbone.id={write_t5(here / 't5')}", "training.epochs=1"])
    validate(made)
    folder = run(made, quiet())
    assert read_record(folder).score.name == "exact_match"
    assert json.dumps(generate(folder, ["1 deep"], tokens=4)[0].text)
