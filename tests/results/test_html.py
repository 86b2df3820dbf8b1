import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_up_runs import curves, record

from plora.errors import RunError
from plora.results import RunRecord, write_record, write_report

EVIL = "<script>alert('x')</script>\"&"
VOID = {"meta", "br", "link", "img", "hr", "input"}


class Page(HTMLParser):
    """Checks that tags are balanced and collects tags, ids and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for key, value in attrs:
            assert not key.startswith("on")
            if key == "id":
                self.ids.append(value or "")
            if key in ("href", "src", "xlink:href"):
                self.links.append(value or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words += data


def put(folder: Path, run: RunRecord) -> Path:
    folder = folder / run.name / run.method / f"seed-{run.seed}"
    write_record(folder, run)
    (folder / "config.yaml").write_text(f"method: {run.method}\n# {EVIL}\n")
    (folder / "environment.json").write_text('{"python": "3.11"}')
    (folder / "curves.jsonl").write_text("".join(point.to_line() for point in curves(run.tasks, 20)))
    return folder


def report(paths: list[Path], out: Path) -> tuple[Page, str]:
    write_report(paths, out)
    text = out.read_text(encoding="utf-8")
    return Page(text), text


def test_one_run(tmp_path: Path) -> None:
    run = record(warnings=("validation was cut from train",))
    page, text = report([put(tmp_path, run)], tmp_path / "report.html")
    for metric in run.metrics.values():
        assert metric.title in page.words
        assert metric.definition in page.words
        if metric.value is not None:
            assert f"{100 * metric.value:.1f}" in page.words
    for expected in (
        "validation was cut from train",
        "One seed",
        "7% of the training texts",
        "3 of 480 test inputs",
        "the head of a future task is untrained",
        "150,532",
        '{"python": "3.11"}',
        "method: sequential",
        run.stream.fingerprint,
    ):
        assert expected in page.words
    assert page.tags.count("svg") == 4
    assert len(text) < 150_000


def test_nothing_is_fetched_and_nothing_runs(tmp_path: Path) -> None:
    page, text = report([put(tmp_path, record())], tmp_path / "report.html")
    assert not {"script", "link", "iframe", "img"} & set(page.tags)
    assert all(link.startswith("#") for link in page.links)
    assert not re.findall(r"url\((?!#)|@import", text)
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_ids_are_unique_and_links_lead_somewhere(tmp_path: Path) -> None:
    runs = [put(tmp_path, record(seed=seed)) for seed in range(3)]
    page, text = report(runs, tmp_path / "report.html")
    assert len(set(page.ids)) == len(page.ids)
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert set(re.findall(r"url\(#([^)]*)\)", text)) <= set(page.ids)


def test_every_text_of_a_user_is_escaped(tmp_path: Path) -> None:
    run = record(method=EVIL[:8], tasks=[EVIL, "b"], warnings=(EVIL,), stream=EVIL, name="n")
    run = replace(run, method_summary=EVIL)
    folder = tmp_path / "run"
    write_record(folder, run)
    (folder / "config.yaml").write_text(EVIL)
    (folder / "environment.json").write_text(EVIL)
    (folder / "curves.jsonl").write_text("".join(point.to_line() for point in curves(run.tasks, 6, (EVIL, "x"))))
    for paths in ([folder], [folder, put(tmp_path, replace(run, method="m", seed=5))]):
        page, text = report(paths, tmp_path / "report.html")
        assert "script" not in page.tags
        assert "<script" not in text
        assert EVIL in page.words


def test_streams_and_scenarios_are_never_in_one_table(tmp_path: Path) -> None:
    put(tmp_path, record("ewc"))
    put(tmp_path, record("joint", "joint"))
    put(tmp_path, record("ewc", scenario="class", name="class run"))
    put(tmp_path, record("ewc", stream="topics", name="topic run"))
    page, text = report([tmp_path], tmp_path / "report.html")
    assert "4 runs in 3 groups" in page.words
    tables = re.findall(r"<h2>(.*?)</h2>.*?<tbody>(.*?)</tbody>", text, flags=re.DOTALL)
    rows = {head: body.count("<tr>") for head, body in tables}
    assert rows == {
        "docstring skills, class-incremental": 1,
        "docstring skills, task-incremental": 2,
        "topics, task-incremental": 1,
        "Definitions": 6,
    }


def test_unfinished_and_damaged_runs_are_named_and_stand_in_no_table(tmp_path: Path) -> None:
    put(tmp_path, record())
    half = put(tmp_path, record("ewc", complete=False))
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "results.json").write_text("{")
    found = write_report([tmp_path], tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text())
    assert f"{half}: unfinished: 4 of 5 tasks learned" in page.words
    assert str(tmp_path / "torn" / "results.json") in page.words
    assert "This run is unfinished" in page.words
    assert len(found.left_out) == len(found.unfinished) == 1
    links = [link for link in page.links if link.startswith("#run-")]
    assert len(links) == 1


def test_a_stream_that_does_not_discriminate_is_said(tmp_path: Path) -> None:
    put(tmp_path, record("joint", "joint"))
    put(tmp_path, record("frozen", "steady"))
    page, _ = report([tmp_path], tmp_path / "report.html")
    assert "does not discriminate" in page.words


def test_a_bare_record_and_damaged_curves_are_still_reported(tmp_path: Path) -> None:
    write_record(tmp_path, record(tasks=["only"]))
    (tmp_path / "curves.jsonl").write_text("nonsense\n" * 3)
    page, _ = report([tmp_path], tmp_path / "report.html")
    assert "config.yaml is not in the run folder" in page.words
    assert "Learning curves left out" in page.words
    assert page.tags.count("svg") == 1


def test_a_folder_that_is_no_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run") as caught:
        write_report([tmp_path], tmp_path / "report.html")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "report.html").exists()


def test_the_page_is_the_same_each_time(tmp_path: Path) -> None:
    folder = put(tmp_path, record())
    _, first = report([folder], tmp_path / "a.html")
    _, again = report([folder], tmp_path / "b.html")
    assert first == again
