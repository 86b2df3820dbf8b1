import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up_runs import record

from plora.errors import RunError
from plora.results import GeneratedText, read_generated, run_pictures, to_lines, write_record, write_report
from plora.results.pictures.generated_plots import generated_confidence
from plora.results.record.generated import ClassOfTexts, by_class

EVIL = "<script>alert('x')</script>"
TEXTS = [
    GeneratedText(1, "fruit", "fruit", 0.97, None, "a pear\u2028and a plum"),
    GeneratedText(1, "fruit", "bread", 0.61, None, "rye"),
    GeneratedText(1, "fruit", "fruit", 0.31, "teacher unsure", "the the of"),
    GeneratedText(1, "bread", "bread", 0.83, None, f"a loaf {EVIL}"),
    GeneratedText(2, "sea", "wood", 0.9, "written twice", "moss"),
]


def a_run(folder: Path) -> Path:
    write_record(folder, record())
    (folder / "generated").mkdir()
    (folder / "generated/task-02.jsonl").write_bytes(to_lines(TEXTS[:1]))
    (folder / "generated/task-03.jsonl").write_bytes(to_lines(TEXTS))
    return folder


def test_what_is_written_is_read_and_is_one_line_each(tmp_path: Path) -> None:
    path = tmp_path / "task-02.jsonl"
    path.write_bytes(to_lines(TEXTS))
    assert read_generated(path) == TEXTS
    assert len(path.read_bytes().split(b"\n")) == len(TEXTS) + 1


@pytest.mark.parametrize(
    "damage",
    [{"confidence": 2}, {"confidence": "high"}, {"task": "one"}, {"rejected": 3}, {"text": None}, {"more": 1}],
)
def test_damage_is_named_by_its_line(tmp_path: Path, damage: dict[str, object]) -> None:
    path = tmp_path / "task-02.jsonl"
    good = json.loads(to_lines(TEXTS[:1]))
    path.write_text(json.dumps(good) + "\n" + json.dumps(good | damage), encoding="utf-8")
    with pytest.raises(RunError, match=r"task-02\.jsonl is damaged: line 2 is no generated text"):
        read_generated(path)
    path.write_bytes(to_lines(TEXTS)[:-30])
    with pytest.raises(RunError, match="line 5"):
        read_generated(path)
    with pytest.raises(RunError, match="cannot be read"):
        read_generated(tmp_path / "task-09.jsonl")


def test_texts_are_counted_for_the_class_that_they_stand_for() -> None:
    assert by_class(TEXTS, 1) == [
        ClassOfTexts(1, "fruit", 3, 2, pytest.approx(0.79), (TEXTS[0].text,)),  # type: ignore[arg-type]
        ClassOfTexts(1, "bread", 1, 1, 0.83, (TEXTS[3].text,)),
        ClassOfTexts(2, "sea", 1, 0, None, ()),
    ]
    for_none = [replace(text, task=None, intended=None) for text in TEXTS]
    assert [(row.task, row.name, row.written, row.kept) for row in by_class(for_none, 1)] == [
        (None, "fruit", 2, 1),
        (None, "bread", 2, 2),
        (None, "wood", 1, 0),
    ]


def test_the_picture_counts_every_text_once() -> None:
    ax = generated_confidence(TEXTS).axes[0]
    assert sum(patch.get_height() for patch in ax.patches) == len(TEXTS)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["rehearsed (3)", "dropped (2)"]  # type: ignore[union-attr]
    tallest = max(ax.patches, key=lambda patch: patch.get_x() if patch.get_height() else -1)
    assert np.isclose(tallest.get_x(), 95)
    with pytest.raises(RunError, match="no text"):
        generated_confidence([])


def test_the_report_shows_samples_of_the_last_task_escaped_and_a_histogram(tmp_path: Path) -> None:
    folder = a_run(tmp_path / "run")
    write_report([folder], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Texts that stood in for old ones" in page
    assert "a loaf &lt;script&gt;" in page
    assert EVIL not in page
    assert "generated" in run_pictures(folder, record())[0]
    assert "moss" not in page  # it was dropped


def test_a_damaged_file_is_a_line_of_the_report_and_not_its_end(tmp_path: Path) -> None:
    folder = a_run(tmp_path / "run")
    (folder / "generated/task-03.jsonl").write_text("{", encoding="utf-8")
    write_report([folder], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Generated texts left out" in page
    assert "Texts that stood in for old ones" not in page
