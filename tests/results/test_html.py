import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from made_up_runs import curves, matrix, record

from plora.errors import RunError
from plora.results import (
    FURTHER,
    ClassRankings,
    Point,
    RunRecord,
    compare,
    estimates,
    macro_f1,
    write_record,
    write_report,
)
from plora.results.report import html
from plora.shown import visible
from plora.streams.overlap import Overlap, Overlaps

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
        self.scripts: list[str] = []
        self.styles: list[str] = []
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
        if "script" in self.open:
            self.scripts.append(data)
        elif "style" in self.open:
            self.styles.append(data)
        else:
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
        "7% of the training inputs",
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


def test_nothing_is_fetched_and_nothing_runs_but_the_script_of_the_page(tmp_path: Path) -> None:
    page, text = report([put(tmp_path, record())], tmp_path / "report.html")
    assert not {"link", "iframe", "img", "form", "object", "base"} & set(page.tags)
    numbers, script = page.scripts
    json.loads(numbers)
    (style,) = page.styles
    for content in (script, style):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'" in text
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert "unsafe" not in policy.replace("style-src 'unsafe-inline'", "").replace("style-src-attr 'unsafe-inline'", "")
    assert not re.search(
        r"fetch|XMLHttp|import\(|innerHTML|outerHTML|insertAdjacent|document\.write|eval|Function\(", script
    )
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
        assert page.tags.count("script") == text.count("<script") == 2
        assert EVIL in page.words
        assert EVIL in json.loads(page.scripts[0])["groups"][0]["tasks"]


@pytest.mark.parametrize("name", ["</script><img src=x onerror=alert(1)>", "<!--<script>", "]]>&lt;\u2028'\"\\"])
def test_no_name_gets_out_of_the_numbers(tmp_path: Path, name: str) -> None:
    run = replace(record(tasks=[name, "b"], name="n"), method=name)
    write_record(tmp_path, run)
    page, _ = report([tmp_path], tmp_path / "report.html")
    numbers, _ = page.scripts
    assert not set("<>&") & set(numbers)
    (group,) = json.loads(numbers)["groups"]
    assert group["tasks"][0] == group["series"][0] == visible(name)
    assert "img" not in page.tags


def test_the_numbers_are_those_of_the_record(tmp_path: Path) -> None:
    runs = [record(seed=seed) for seed in range(2)] + [record("joint", "joint"), record("ewc", complete=False)]
    page, _ = report([put(tmp_path, run) for run in runs], tmp_path / "report.html")
    content = json.loads(page.scripts[0])
    (group,) = content["groups"]
    assert group["series"] == ["ewc", "joint", "sequential"]
    assert [run["complete"] for run in group["runs"]] == [False, True, True, True]
    for run, shown in zip([runs[3], runs[2], *runs[:2]], group["runs"], strict=True):  # in the order of their folders
        assert group["series"][shown["series"]] == run.method
        cells = [row + [None] * (5 - len(row)) for row in shown["matrix"]]
        assert np.allclose(np.array(cells, dtype=float), 100 * run.matrix, atol=6e-4, equal_nan=True)
        for value, metric in zip(shown["metrics"], run.metrics.values(), strict=True):
            assert (value is None) == (metric.value is None)
            assert value is None or abs(value - 100 * (metric.value or 0)) < 6e-4


def test_methods_stand_with_the_estimates_of_the_statistics(tmp_path: Path) -> None:
    runs = [record(seed=seed) for seed in range(3)] + [record("ewc", "steady", seed=seed) for seed in range(2)]
    page, _ = report([put(tmp_path, run) for run in runs], tmp_path / "report.html")
    values = np.array([run.metrics["accuracy"].value for run in runs[:3]], dtype=float) * 100
    low, high = estimates(runs, ["ACC"])["sequential"]["accuracy"].interval or (0, 0)
    assert f"{values.mean():.1f} ± {values.std(ddof=1):.1f}{100 * low:.1f} to {100 * high:.1f}" in page.words
    assert "no interval (ACC, AIA, BWT, F, LA of ewc): 2 seeds, and at least 3 are needed" in page.words
    group = json.loads(page.scripts[0])["groups"][0]
    assert group["series"] == ["ewc", "sequential"]
    assert group["intervals"][1][0] == pytest.approx([100 * low, 100 * high], abs=6e-4)
    assert group["intervals"][0][0] == "2 seeds, and at least 3 are needed"
    assert group["bands"][0] is None
    assert group["bands"][1][-1] == group["intervals"][1][0]


def test_methods_are_compared_in_pairs(tmp_path: Path) -> None:
    runs = [
        record(method, seed=seed, R=matrix(5, seed=seed + 10 * k))
        for k, method in enumerate("abc")
        for seed in range(3)
    ]
    page, text = report([put(tmp_path, run) for run in runs], tmp_path / "report.html")
    assert "Paired differences of ACC 3 pairs" in page.words
    assert "<details open><summary>Paired" in text
    for found in compare(runs):
        assert f"{found.first} − {found.second}" in page.words
        assert f"{found.effect_size:.2f}" in page.words
        assert f"{found.p_t_holm:.3f}" in page.words
    assert "Holm's correction for 3 comparisons" in page.words
    assert "no interval" not in page.words


def test_pairs_below_three_seeds_are_no_claim(tmp_path: Path) -> None:
    page, _ = report([put(tmp_path, record(method)) for method in "ab"], tmp_path / "report.html")
    assert "no claim can be made: 1 common seed, and at least 3 are needed" in page.words
    alone, _ = report([put(tmp_path / "alone", record(seed=seed)) for seed in range(3)], tmp_path / "report.html")
    assert "Paired differences" not in alone.words


@pytest.mark.slow
def test_many_methods_are_compared_with_the_best_alone(tmp_path: Path) -> None:
    for k in range(12):
        put(tmp_path, record(f"m{k:02}", R=np.clip(matrix(3) - 0.01 * abs(k - 7), 0, 1), tasks=["a", "b", "c"]))
    page, text = report([tmp_path], tmp_path / "report.html")
    assert "11 pairs, each method against m07 alone" in page.words
    assert text.count("− m07</td>") == 11
    assert "It was chosen after looking" in page.words


def test_a_copied_run_counts_once(tmp_path: Path) -> None:
    for place in ("one", "two"):
        put(tmp_path / place, record())
    put(tmp_path, record(seed=1))
    put(tmp_path / "faster", replace(record(), settings={"rate": 2}))
    put(tmp_path / "slower", replace(record(), settings={"rate": 1}))
    page, _ = report([tmp_path], tmp_path / "report.html")
    copy, first = (tmp_path / place / "skills/sequential/seed-0" for place in ("two", "one"))
    assert f"{copy} is a second run of 'sequential' with seed 0, like {first}" in page.words
    assert page.words.count("is a second run") == 1  # other settings are no copy
    assert [run["complete"] for run in json.loads(page.scripts[0])["groups"][0]["runs"]].count(False) == 1


@pytest.mark.slow
def test_runs_that_differ_in_a_setting_are_told_apart_everywhere(tmp_path: Path) -> None:
    """An unfinished run with another setting changes labels, and loses no interval."""
    runs = [replace(record(seed=seed), settings={"rate": 1}) for seed in range(3)]
    cut = replace(record(complete=False, seed=3), settings={"rate": 2})
    page, _ = report([put(tmp_path, run) for run in [*runs, cut]], tmp_path / "report.html")
    group = json.loads(page.scripts[0])["groups"][0]
    assert group["series"] == ["sequential, rate 1", "sequential, rate 2"]
    assert len(group["intervals"][0][0]) == 2
    assert group["intervals"][1] == []
    put(tmp_path / "faster", replace(record(), settings={"rate": 2}))
    page, _ = report([tmp_path], tmp_path / "report.html")
    assert "skills / sequential, rate 1 / seed 0" in page.words
    assert "skills / sequential, rate 2 / seed 0" in page.words


def test_scores_of_the_validation_split_never_look_like_results(tmp_path: Path) -> None:
    for seed in range(2):
        put(tmp_path / "test", record(seed=seed))
        put(tmp_path / "validation", replace(record(seed=seed), split="validation"))
    line = "The validation split was scored, not test"
    page, text = report([tmp_path], tmp_path / "report.html")
    assert "docstring skills, task-incremental, validation split" in page.words
    assert page.words.count(line) == 3  # of the group, and of each run
    assert "Mean validation accuracy after the last task (%)" in text
    assert [group["split"] for group in json.loads(page.scripts[0])["groups"]] == ["test", "validation"]
    page, _ = report([tmp_path / "validation/skills/sequential/seed-0"], tmp_path / "report.html")
    assert page.words.count(line) == 1


def test_every_metric_of_a_run_stands_with_its_definition_or_reason(tmp_path: Path) -> None:
    folder = put(tmp_path, record())
    label = np.arange(20, dtype=np.int32) % 2
    given = ClassRankings(
        np.full(20, "library"),
        np.arange(20, dtype=np.int32),
        label,
        np.where(np.arange(20) < 4, 0, label).astype(np.int32)[:, None],
        np.full((20, 1), 0.625, dtype=np.float32),
        ("x", "y"),
    )
    given.write(folder / "predictions" / "task-05.parquet")
    page, text = report([folder], tmp_path / "report.html")
    for further in FURTHER:
        assert further.text in page.words
    assert text.count(f"{100 * macro_f1(given):.1f}<small> %</small>") == 1  # in the summary
    assert "27.5 %" in page.words  # ECE: 0.9 are right, 0.625 was said
    assert "needs a reference, the accuracies of joint training" in page.words


def test_what_each_task_cost_stands_in_its_row(tmp_path: Path) -> None:
    run = record(tasks=["a", "b"])
    first = replace(run.cost[0], seconds=20.0, flops=43_200_000_000_000, energy_joules=1234.0)
    folder = put(tmp_path, replace(run, cost=(first, run.cost[1])))
    _, text = report([folder], tmp_path / "report.html")
    assert "3,840<small>192/s</small>" in text
    assert "210,000<small>10,500/s</small>" in text
    assert "<td>43.2 TFLOP</td><td>1.23 kJ</td>" in text
    assert "<td>–</td><td>–</td>" in text  # of the other task, which has neither
    assert "steps to 90 %" not in text
    measured = [Point("a", step, 0.0, 1.0, validation=accuracy) for step, accuracy in ((10, 0.4), (20, 0.5))]
    (folder / "curves.jsonl").write_text("".join(point.to_line() for point in measured))
    _, text = report([folder], tmp_path / "report.html")
    assert "<th>steps to 90 %</th>" in text
    assert "<td>1.23 kJ</td><td>20</td>" in text
    assert "20<small> steps</small>" not in text  # among all metrics, not in the summary
    assert "<td>20.0 steps</td>" in text


def test_what_strategies_took_stands_beside_time_and_samples(tmp_path: Path) -> None:
    bare, replay = record("sequential", tasks=["a", "b"]), record("replay", tasks=["a", "b"])
    costs = [
        replace(cost, strategy_seconds=seconds, rehearsed=count)
        for cost, seconds, count in zip(replay.cost, (0.5, 7.0), (0, 3840), strict=True)
    ]
    none = tuple(replace(cost, strategy_seconds=0.0, rehearsed=0) for cost in bare.cost)
    for run in (replace(bare, cost=none), replace(replay, cost=tuple(costs))):
        put(tmp_path / run.method, run)
    _, text = report([tmp_path], tmp_path / "report.html")
    assert "<td>14.2 s<small>0.5 s strategies</small></td>" in text
    assert "<td>15.2 s<small>7.0 s strategies</small></td>" in text
    assert text.count("<small>+ 3,840 rehearsed</small>") == 2  # of the task, and of the run among all runs
    assert "<td>29.4 s<small>7.5 s strategies</small></td>" in text
    assert "<td>14.2 s</td>" in text  # of the run that has none
    assert "+ 0 rehearsed" not in text


def test_commands_are_quoted(tmp_path: Path) -> None:
    folder = put(tmp_path / "my runs; ls", record(complete=False))
    page, _ = report([folder], tmp_path / "report.html")
    for command in (
        f"plora run '{folder}/config.yaml' output=runs-again",
        f"plora verify '{folder}'",
        f"plora resume '{folder}'",
    ):
        assert command in page.words


def test_no_validation_is_doubted(tmp_path: Path) -> None:
    run = record()
    run = replace(run, data=tuple(replace(data, validation=0) for data in run.data))
    page, _ = report([put(tmp_path, run)], tmp_path / "report.html")
    assert "No task has a validation split" in page.words


def test_near_duplicates_stand_beside_those_to_the_letter_where_somebody_looked(tmp_path: Path) -> None:
    run = record(tasks=["a", "b"])
    assert "in other tasks" not in report([put(tmp_path, run)], tmp_path / "report.html")[1]
    looked = replace(run.data[0], overlaps=Overlaps(Overlap(0, 0, 0, 0), Overlap(1, 20, 33, 400)))
    folder = put(tmp_path, replace(run, data=(looked, run.data[1])))
    _, text = report([folder], tmp_path / "report.html")
    assert "<td>480</td><td>0.0 %</td><td>0</td><td>33</td><td>420</td></tr>" in text
    assert re.search("<td>480</td><td>7.0 %</td><td>0</td><td>–</td><td>–</td></tr>", text)


@pytest.mark.slow
def test_a_report_of_very_many_runs_stays_small(tmp_path: Path) -> None:
    tasks = [f"task {number}" for number in range(20)]
    for seed in range(60):
        folder = put(tmp_path / "runs", record(tasks=tasks, seed=seed))
        (folder / "environment.json").write_text("x" * 100_000)
    page, text = report([tmp_path / "runs"], tmp_path / "report.html")
    assert len(text.encode()) < 6_000_000
    assert page.tags.count("svg") == 4  # the comparison: methods, forgetting, and what they cost
    assert "plora report" in page.words


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


def test_a_summary_stands_first_and_the_rest_is_folded_behind_it(tmp_path: Path) -> None:
    """What is outside every fold: the table of methods and the charts; of a run, its numbers and its two charts."""
    for seed in range(2):
        for method in ("ewc", "per_task"):
            put(tmp_path / "runs", record(method, seed=seed))
    _, text = report([tmp_path / "runs"], tmp_path / "report.html")
    for drawn in re.findall(r"<figure tabindex.*?</figure>", text, re.DOTALL):
        before = text[: text.index(drawn)]
        assert before.rfind("<details><summary>More pictures") > before.rfind("<h3>What was learned"), "not folded"
    run = text[text.index('<details id="run-1">') : text.index('<details id="run-2">')]
    assert "<summary>Data</summary>" in run
    assert "<summary>Cost</summary>" in run
    assert re.findall(r"<h3>(.*?)</h3>", run) == ["What was learned, and what stayed"]


def test_what_is_not_folded_does_not_grow_with_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many runs the table of methods stands open, and one line behind which the runs are."""

    def unfolded(seeds: int) -> list[str]:
        for seed in range(seeds):
            put(tmp_path / str(seeds), record(seed=seed))
        _, text = report([tmp_path / str(seeds)], tmp_path / "report.html")
        while (
            folded := re.sub(r"<details(?: id=\S+)?>(?:(?!<details).)*?</details>", "", text, flags=re.DOTALL)
        ) != text:
            text = folded  # the innermost first
        return re.findall("<tr>|<summary>", text)

    monkeypatch.setattr(html, "OPEN_RUNS", 2)
    monkeypatch.setattr(html, "PICTURED_RUNS", 0)
    assert len(unfolded(2)) > len(unfolded(3)) == len(unfolded(5))


def test_chance_and_what_the_test_examples_cannot_tell_stand_in_the_report(tmp_path: Path) -> None:
    label = np.repeat(np.arange(2, dtype=np.int32), [30, 10])
    for method, missed in (("ewc", 4), ("per_task", 2)):
        folder = put(tmp_path / "runs", record(method, tasks=["a"], R=np.array([[np.nan], [1 - missed / 40]])))
        prediction = label.copy()
        prediction[:missed] = 1
        ranking, probability = prediction[:, None], np.full((40, 1), 0.9, dtype=np.float32)
        of = np.arange(40, dtype=np.int32)
        ClassRankings(np.full(40, "a"), of, label, ranking, probability, ("x", "y")).write(
            folder / "predictions" / "task-01.parquet"
        )
    page, text = report([tmp_path / "runs"], tmp_path / "report.html")
    assert '<tr class="muted"><td>chance</td><td></td><td>75.0</td>' in text
    assert "chance: ACC 75.0, by the most frequent class of each task's test labels" in page.words
    assert (
        "Less than 40 test examples can tell (McNemar's test, seed by seed): per_task against ewc (+5.0" in page.words
    )
    group = json.loads(page.scripts[0])["groups"][0]
    assert group["chance"] == [75.0]
    assert [run["chance"] for run in group["runs"]] == [75.0, 75.0]
