import csv
import io
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from made_up_runs import record
from rich.cells import cell_len

from plora.errors import RunError
from plora.results import (
    ACCURACY,
    FURTHER,
    METRICS,
    ClassRankings,
    Point,
    RunRecord,
    StreamInfo,
    comparison_table,
    differences_table,
    latex_text,
    matrix_table,
    summary_table,
    write_record,
    write_table,
)
from plora.results.metrics.named import METRIC_NAMES, definitions
from plora.results.record.forgotten import Forgotten
from plora.results.tables import tables
from plora.results.tables.numbers import percent
from plora.results.tables.table import markdown_table
from plora.results.tables.tables import Format

GOLDEN = Path(__file__).parent / "golden"
SUFFIX: dict[Format, str] = {"markdown": "md", "csv": "csv", "latex": "tex"}
HOSTILE = r"[a]*_&%#${}~^\--'' <|> 中文é"

SIZE = "whatever the seeds (95 %, Wilson's interval of each task, joined)"
R = np.array([[np.nan] * 3, [0.9, np.nan, np.nan], [0.7, 0.8, np.nan], [0.6, 0.75, 0.85]])


def test_matrix_table() -> None:
    assert matrix_table(record(tasks=["a", "bee", "中文|x"], R=R)) == (
        "| accuracy %      |    a |  bee | 中文\\|x | mean seen |\n"
        "| --------------- | ---: | ---: | ------: | --------: |\n"
        "| after a         | 90.0 |    – |       – |      90.0 |\n"
        "| after bee       | 70.0 | 80.0 |       – |      75.0 |\n"
        "| after 中文\\|x   | 60.0 | 75.0 |    85.0 |      73.3 |\n"
        "| at least (95 %) | 55.6 | 70.9 |    81.5 |      71.0 |\n"
        "| at most (95 %)  | 64.3 | 78.7 |    87.9 |      75.4 |\n"
        "\n"
        f"1,440 test examples: ACC is known to ± 2.2 points, {SIZE}\n"
    )


def test_csv_names_what_was_taken_out_of_the_runs_of_each_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for method in ("ewc", "lwf"):
        for seed in range(2):
            write_record(tmp_path / method / str(seed), record(method, seed=seed))
    before = {kind: write_table([tmp_path], kind, format="csv")[0] for kind in ("methods", "runs", "differences")}
    assert not any("taken_out" in text for text in before.values())
    gone = {tmp_path / "ewc/0": ("order",), tmp_path / "ewc/1": ("kind", "order")}
    monkeypatch.setattr(tables, "read_forgotten", lambda path: Forgotten(tasks=gone.get(path, ())))
    for kind, expected in (
        ("methods", ["order; kind", ""]),
        ("runs", ["order", "kind; order", "", ""]),
        ("differences", ["order; kind"]),
    ):
        text = write_table([tmp_path], kind, format="csv")[0]
        rows = list(csv.reader(io.StringIO(text)))
        assert [row[-1] for row in rows] == ["taken_out", *expected]
        assert [row[:-1] for row in rows] == list(csv.reader(io.StringIO(before[kind])))


def test_many_tasks_are_numbered_in_the_order_learned() -> None:
    run = record(tasks=[f"name {i}" for i in range(11)], evaluate_all=True)
    lines = matrix_table(run).splitlines()
    assert lines[0].split()[4:] == [x for j in range(1, 12) for x in (str(j), "|")] + ["mean", "seen", "|"]
    assert lines[2].startswith("| before training |")
    assert lines[-2:] == ["10: name 9", "11: name 10"]


def test_summary_table_shows_gaps_and_their_reasons() -> None:
    table = summary_table([record(), record("joint", "joint", seed=4)])
    lines = table.splitlines()
    heads = [cell.strip() for cell in lines[0].split("|")]
    rows = [dict(zip(heads, (cell.strip() for cell in line.split("|")), strict=True)) for line in lines[2:4]]
    assert rows[0]["BWT"] == percent(record().metrics["backward_transfer"].value)
    assert rows[1]["method"] == "joint"
    assert rows[1]["seed"] == "4"
    assert rows[1]["BWT"] == "n/a"
    assert rows[1]["ACC"] != "n/a"
    assert rows[0]["trainable"] == "150,532"
    assert len({cell_len(line) for line in lines[:4]}) == 1  # aligned
    assert lines[5:] == [
        "n/a (FWT): in the task-incremental scenario the head of a future task is untrained",
        "n/a (AIA, BWT, F, LA of joint): needs the rows of earlier tasks, and only the last row was measured",
        f"2,400 test examples: ACC is known to ± 1.8 points or better, {SIZE}",
    ]


def test_runs_that_differ_are_refused() -> None:
    with pytest.raises(RunError, match="scenario"):
        summary_table([record(), record(scenario="domain")])


def test_percent() -> None:
    assert [percent(x) for x in (0.73333, -0.175, -0.0001, 1.0, None, np.nan)] == [
        "73.3",
        "-17.5",
        "0.0",
        "100.0",
        "n/a",
        "–",
    ]


def methods() -> list[RunRecord]:
    """Three methods with three, three and two seeds; round numbers, two tasks."""
    made = []
    for method, finals in (
        ("o_lora_50%", (0.75, 0.8, 0.85)),
        ("ewc & replay", (0.7, 0.72, 0.74)),
        ("joint", (0.9, 0.92)),
    ):
        for seed, final in enumerate(finals):
            first = [np.nan] * 2 if method == "joint" else [0.9, np.nan]
            made.append(record(method, tasks=["a", "b"], seed=seed, R=np.array([[np.nan] * 2, first, [final, final]])))
    return made


def other_order(run: RunRecord) -> RunRecord:
    tasks = run.tasks[::-1]
    data = tuple(replace(data, fingerprints={"train": "ab" * 32}) for data in run.data)
    by_name = {data.task: replace(data, truncated_share=0.0, test_duplicates=0) for data in data}
    return replace(
        run,
        name="reversed",
        tasks=tasks,
        data=tuple(by_name[task] for task in tasks),
        stream=StreamInfo(run.stream.name, "1" * 64),
    )


@pytest.mark.parametrize("format", SUFFIX)
@pytest.mark.parametrize("kind", ["methods", "differences", "runs", "matrix"])
def test_golden_files(kind: str, format: Format) -> None:
    runs = methods()
    text = {
        "methods": lambda: comparison_table(runs, format=format),
        "differences": lambda: differences_table(runs, ["ACC", "BWT"], format),
        "runs": lambda: summary_table(runs, format),
        "matrix": lambda: matrix_table(runs[0], format),
    }[kind]()
    assert text == (GOLDEN / f"{kind}.{SUFFIX[format]}").read_text(encoding="utf-8")


def test_comparison_by_hand() -> None:
    lines = comparison_table(methods(), ["ACC", "F"]).splitlines()
    assert lines[:5] == [
        "| method       | seeds |        ACC |          F |",
        "| ------------ | ----: | ---------: | ---------: |",
        "| o_lora_50%   |     3 | 80.0 ± 5.0 | 10.0 ± 5.0 |",
        "| ewc & replay |     3 | 72.0 ± 2.0 | 18.0 ± 2.0 |",
        "| joint        |     2 | 91.0 ± 1.4 |        n/a |",
    ]
    assert lines[6:] == [
        "n/a (F of joint): needs the rows of earlier tasks, and only the last row was measured",
        "fewer than 3 seeds (joint): no claim can be made about differences",
        "the methods do not have the same seeds; paired tests use those in common",
        f"960 test examples: ACC is known to ± 2.8 points or better, {SIZE}",
    ]


def test_latex_marks_the_best_and_the_second_in_the_direction_of_each_metric() -> None:
    rows = [line for line in comparison_table(methods(), ["ACC", "BWT", "F"], "latex").splitlines() if "&" in line]
    assert rows[1:] == [
        r"o\_lora\_50\% & 3 & \underline{80.0 $\pm$ 5.0} & \textbf{$-$10.0 $\pm$ 5.0} & \textbf{10.0 $\pm$ 5.0} \\",
        r"ewc \& replay & 3 & 72.0 $\pm$ 2.0 & \underline{$-$18.0 $\pm$ 2.0} & \underline{18.0 $\pm$ 2.0} \\",
        r"joint & 2 & \textbf{91.0 $\pm$ 1.4} & n/a & n/a \\",
    ]
    alike = [
        record("a", tasks=["x"], R=np.array([[np.nan], [0.5]])),
        record("b", tasks=["x"], R=np.array([[np.nan], [0.5]])),
    ]
    assert "textbf" not in comparison_table(alike, format="latex")


def test_every_metric_has_a_direction() -> None:
    told = definitions(ACCURACY)
    assert {definition.name for definition in (*METRICS, *FURTHER)} <= set(METRIC_NAMES) == set(told)
    lowest = {definition.name for definition in (*METRICS, *FURTHER) if told[definition.name].score.end == "lowest"}
    assert lowest == {"forgetting", "intransigence", "expected_calibration_error", "learning_speed"}


def test_csv_has_twelve_digits_and_visible_gaps() -> None:
    rows = list(csv.DictReader(io.StringIO(comparison_table(methods(), ["ACC", "BWT"], "csv"))))
    assert float(rows[0]["accuracy_std"]) == pytest.approx(np.std([0.75, 0.8, 0.85], ddof=1), rel=1e-11)
    assert (rows[2]["method"], rows[2]["runs"], rows[2]["accuracy_low"]) == ("joint", "2", "n/a")
    assert rows[2]["reasons"].startswith("ACC: 2 seeds, and at least 3 are needed; BWT: needs the rows")
    (header, first, *_) = csv.reader(io.StringIO(matrix_table(record(tasks=[HOSTILE, "b"]), "csv")))
    assert header == ["accuracy", HOSTILE, "b", "mean seen"]
    assert first == ["before training", "NaN", "NaN", "NaN"]


def test_several_orders_are_listed() -> None:
    runs = [*methods()[:3], *map(other_order, methods()[:3])]
    same = [replace(run, data=other_order(other_order(run)).data) for run in runs[:3]]
    lines = comparison_table([*same, *runs[3:]], ["ACC"]).splitlines()
    assert " ".join(lines[2].split()) == "| o_lora_50% | 3 | 2 | 6 | 80.0 ± 4.5 |"
    assert lines[4:6] == ["order 1 (skills): a, b", "order 2 (reversed): b, a"]


def test_differences_name_what_no_claim_can_be_made_about() -> None:
    lines = differences_table(methods()).splitlines()
    assert " ".join(lines[2].split()) == "| o_lora_50% − ewc & replay | ACC | 3 | 8.0 ± 3.0 | 2.67 | 0.044 | 0.250 |"
    assert [line.split(" | ")[-1] for line in lines[3:5]] == ["         n/a |"] * 2
    assert lines[-1] == (
        "no claim can be made: 2 common seeds, and at least 3 are needed "
        "(o_lora_50% − joint, ACC; ewc & replay − joint, ACC)"
    )
    with pytest.raises(RunError, match="one method alone"):
        differences_table(methods()[:3])


def test_latex_text_prints_what_it_is_given() -> None:
    assert latex_text("a_b & 50% #1 ${x} ~^\\") == (
        r"a\_b \& 50\% \#1 \$\{x\} \textasciitilde{}\textasciicircum{}\textbackslash{}"
    )
    assert latex_text(",,a, b") == ",{},a, b"
    assert latex_text("--x--- [y]* é ± 中\n\tz") == r"-{}-x-{}-{}- {[}y{]}{*} é $\pm$ \texttt{U+4E2D} z"
    for code in range(0x3000):
        printed = latex_text(f"a{chr(code)}b")
        assert all(c.isascii() or "À" <= c <= "ÿ" for c in printed)
        bare = re.sub(r"\\[{}]", "", printed)
        assert bare.count("{") == bare.count("}")


def test_a_standalone_document_compiles(tmp_path: Path) -> None:
    hostile = [replace(run, method=HOSTILE + run.method) for run in methods()]
    documents = {
        "methods": comparison_table(hostile, format="latex", standalone=True),
        "differences": differences_table(hostile, format="latex", standalone=True),
        "runs": summary_table(hostile, "latex", standalone=True),
        "matrix": matrix_table(record(tasks=[HOSTILE + str(k) for k in range(20)]), "latex", standalone=True),
    }
    for text in documents.values():
        assert text.startswith("\\documentclass{article}\n")
        assert text.endswith("\\end{document}\n")
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed: that the documents compile was not tested")
    for name, text in documents.items():
        (tmp_path / f"{name}.tex").write_text(text, encoding="utf-8")
        command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", f"{name}.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
        assert done.returncode == 0, done.stdout[-2000:]


def test_a_legend_is_one_paragraph_in_latex() -> None:
    text = matrix_table(record(tasks=[f"name {k}" for k in range(60)]), "latex")
    (line,) = [line for line in text.splitlines() if "name 59" in line]
    assert "1: name 0; 2: name 1; 3: name 2;" in line


def test_every_row_has_every_column() -> None:
    text = matrix_table(record(tasks=[HOSTILE, "b"]), "latex")
    columns = {len(re.findall(r"(?<!\\)&", line)) for line in text.splitlines() if line.endswith(r"\\")}
    assert columns == {3}


def test_write_table_leaves_out_what_is_unfinished_or_damaged(tmp_path: Path) -> None:
    for run in methods():
        write_record(tmp_path / run.method / f"seed-{run.seed}", run)
    write_record(tmp_path / "joint" / "seed-9", record("joint", tasks=["a", "b"], seed=9, complete=False))
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "results.json").write_text("{")
    text, found = write_table([tmp_path], metrics=["ACC"])
    assert "| joint        |     2 | 91.0 ± 1.4 |" in text
    assert [len(found.left_out), len(found.unfinished)] == [1, 1]
    unfinished, _ = write_table([tmp_path / "joint" / "seed-9"], "matrix")
    assert "| after b    |    – |   – |         – |" in unfinished
    assert "ewc & replay − joint" in write_table([tmp_path], "differences", against="joint")[0]


def put_predictions(folder: Path, run: RunRecord, right: float) -> None:
    """Write a run of two tasks of two classes each, and predictions of 0.75 probability of which a share is right."""
    label = np.repeat([0, 1, 2, 3], 100).astype(np.int32)
    prediction = np.where(np.arange(400) % 100 < 100 * right, label, (label + 1) % 4).astype(np.int32)
    write_record(folder, run)
    ClassRankings(
        np.repeat(["a", "b"], 200),
        np.tile(np.arange(200, dtype=np.int32), 2),
        label,
        prediction[:, None],
        np.full((400, 1), 0.75, dtype=np.float32),
        tuple("wxyz"),
    ).write(folder / "predictions" / "task-02.parquet")


def test_a_table_has_every_metric_that_a_folder_can_give(tmp_path: Path) -> None:
    for run, right in zip(methods()[:6], (0.75, 0.85, 0.95, 0.4, 0.5, 0.6), strict=True):
        put_predictions(tmp_path / run.method / f"seed-{run.seed}", run, right)
    text, _ = write_table([tmp_path], metrics=["ECE", "macro-F1", "pooled_accuracy", "I"])
    lines = text.splitlines()
    assert [cell.strip() for cell in lines[0].split("|")[3:-1]] == ["ECE", "macro-F1", "ACC pooled", "I"]
    # ECE is abs(right − 0.75); each class has as many wrong as missed, so its F1 is `right`.
    assert " ".join(lines[2].split()) == "| ewc & replay | 3 | 25.0 ± 10.0 | 50.0 ± 10.0 | 72.0 ± 2.0 | n/a |"
    assert " ".join(lines[3].split()) == "| o_lora_50% | 3 | 10.0 ± 10.0 | 85.0 ± 10.0 | 80.0 ± 5.0 | n/a |"
    assert lines[5] == "n/a (I): needs a reference, the accuracies of joint training (plora metrics --joint)"
    latex, _ = write_table([tmp_path], metrics=["ECE"], format="latex")
    assert r"o\_lora\_50\% & 3 & \textbf{10.0" in latex  # the lowest is best
    rows = list(csv.DictReader(io.StringIO(write_table([tmp_path], "runs", ["macro-F1"], "csv")[0])))
    assert [float(row["macro_f1"]) for row in rows] == pytest.approx([0.4, 0.5, 0.6, 0.75, 0.85, 0.95])
    (row,) = csv.DictReader(io.StringIO(write_table([tmp_path], "differences", ["ECE"], "csv")[0]))
    assert float(row["mean"]) == pytest.approx(0.25 - 0.1)


def test_steps_are_no_percentages(tmp_path: Path) -> None:
    for run, steps in zip(methods()[:6], (30, 50, 70, 100, 100, 160), strict=True):
        folder = tmp_path / run.method / f"seed-{run.seed}"
        write_record(folder, run)
        measured = [Point(task, at, 0.0, 1.0, validation=v) for task in "ab" for at, v in ((steps, 0.8), (200, 0.8))]
        (folder / "curves.jsonl").write_text("".join(point.to_line() for point in measured))
    lines = write_table([tmp_path], metrics=["S90"])[0].splitlines()
    assert [" ".join(line.split()) for line in (lines[0], *lines[2:4])] == [
        "| method | seeds | S90 (steps) |",
        "| ewc & replay | 3 | 120.0 ± 34.6 |",
        "| o_lora_50% | 3 | 50.0 ± 20.0 |",
    ]
    lines = write_table([tmp_path], "differences", ["S90"])[0].splitlines()
    assert "| ewc & replay − o_lora_50% | S90 (steps) | 3 | 70.0 ± 20.0 |" in " ".join(lines[2].split())
    assert " 160 |" in write_table([tmp_path], "runs")[0]


def test_runs_that_differ_in_a_setting_have_rows_of_their_own() -> None:
    slow, fast = (replace(methods()[0], settings={"rate": rate}) for rate in (1, 2))
    rows = summary_table([slow, fast]).splitlines()[2:4]
    assert [row.split(" | ")[0] for row in rows] == ["| o_lora_50%, rate 1", "| o_lora_50%, rate 2"]
    rows = summary_table([slow, replace(fast, name="other")]).splitlines()[2:4]
    assert [row.split(" | ")[0].strip() for row in rows] == [f"| o_lora_50% ({slow.name})", "| o_lora_50% (other)"]


@pytest.mark.parametrize("kind", ["methods", "differences", "runs", "matrix"])
@pytest.mark.parametrize("split", ["test", "validation"])
def test_a_table_says_that_validation_was_scored(
    tmp_path: Path, kind: str, split: Literal["test", "validation"]
) -> None:
    for run in methods()[: 1 if kind == "matrix" else 6]:
        write_record(tmp_path / run.method / f"seed-{run.seed}", replace(run, split=split))
    for format in ("markdown", "latex"):
        table, _ = write_table([tmp_path], kind, format=format)
        assert ("The validation split was scored, not test" in table) == (split == "validation")


def test_what_a_run_cost_stands_in_its_row() -> None:
    run = methods()[0]
    run = replace(run, cost=tuple(replace(cost, flops=2 * 10**12, energy_joules=600.0) for cost in run.cost))
    lines = summary_table([run, methods()[1]]).splitlines()
    # 2 × 3840 samples and 2 × 210,000 tokens in 14.2 + 15.2 seconds
    assert " ".join(lines[2].split()).endswith("| 150,532 | 29 | 261 | 14,286 | 4 | 1.2 |")
    assert " ".join(lines[3].split()).endswith("| 150,532 | 29 | 261 | 14,286 | – | – |")
    assert "steps to 90 %" not in lines[0]  # nobody has it
    (row, _) = csv.DictReader(io.StringIO(summary_table([run, methods()[1]], "csv")))
    assert (row["flops"], row["energy_joules"], row["steps_to_90_percent"]) == ("4000000000000", "1200", "n/a")
    assert float(row["samples_per_second"]) == pytest.approx(7680 / 29.4)


def test_what_strategies_took_stands_in_the_row_of_runs_that_have_some() -> None:
    bare, replay = (replace(run, cost=run.cost[:1]) for run in methods()[:2])
    bare = replace(bare, cost=(replace(bare.cost[0], rehearsed=0, strategy_seconds=0.0),))
    assert "rehearsed" not in summary_table([bare])
    replay = replace(replay, cost=(replace(replay.cost[0], rehearsed=1920, strategy_seconds=6.25),))
    lines = summary_table([bare, replay]).splitlines()
    assert " ".join(lines[0].split()).endswith("| tokens/s | rehearsed | strategy seconds |")
    assert lines[2].split()[-4:] == ["0", "|", "0", "|"]
    assert lines[3].split()[-4:] == ["1,920", "|", "6.25", "|"]
    rows = list(csv.DictReader(io.StringIO(summary_table([bare, replay, methods()[2]], "csv"))))
    found = [(row["rehearsed"], row["strategy_seconds"]) for row in rows]
    assert found == [("0", "0"), ("1920", "6.25"), ("n/a", "n/a")]


def test_damaged_predictions_are_a_reason_and_only_where_they_are_asked_for(tmp_path: Path) -> None:
    put_predictions(tmp_path, methods()[0], 0.75)
    file = tmp_path / "predictions" / "task-02.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    assert "| o_lora_50% |     1 | 75.0 |" in write_table([tmp_path], metrics=["ACC"])[0]
    assert write_table([tmp_path])[0].count(f"n/a (chance): {file} is damaged") == 1
    text, _ = write_table([tmp_path], metrics=["ACC", "ECE"])
    assert "| 75.0 |  n/a |" in text or "| 75.0 | n/a |" in text
    assert f"n/a (ECE): {file} is damaged" in text


def test_write_table_refuses_what_makes_no_table(tmp_path: Path) -> None:
    write_record(tmp_path / "a", record())
    write_record(tmp_path / "b", record(scenario="domain"))
    write_record(tmp_path / "c" / "half", record(complete=False))
    for arguments, complaint in (
        (
            {"kind": "method"},
            "unknown kind of table 'method'; expected one of methods, differences, runs, costs, matrix,",
        ),
        ({"format": "html"}, "unknown format of table 'html'"),
        ({"standalone": True}, "standalone is a whole LaTeX document"),
        ({"against": "x"}, "set the kind to differences"),
        ({"kind": "matrix", "metrics": ["ACC"]}, "no choice of metrics"),
        ({"metrics": ["macro-f1"]}, "unknown metric 'macro-f1'; did you mean 'macro_f1'"),
        ({"kind": "matrix"}, "a table of kind 'matrix' is that of one run, got 3"),
        ({}, "differ: scenario task against domain"),
        ({"kind": "runs"}, "cannot stand in one table"),
    ):
        with pytest.raises(RunError, match=complaint):
            write_table([tmp_path], **arguments)
    with pytest.raises(RunError, match=r"no run can stand in a table: .*unfinished"):
        write_table([tmp_path / "c"])


def test_a_cell_of_csv_is_no_formula_and_numbers_are_numbers() -> None:
    names = ("=1+1", "+x", "-x", "@x", "\tx", "-1", "plain")
    rows = list(csv.reader(io.StringIO(matrix_table(record(tasks=names), "csv"))))
    assert rows[0][1:-1] == ["'=1+1", "'+x", "'-x", "'@x", r"'\tx", "-1", "plain"]
    assert [row[0] for row in rows[2:]] == [r"after \tx" if name == "\tx" else f"after {name}" for name in names]
    assert all(cell == "NaN" or 0 <= float(cell) <= 1 for row in rows[1:] for cell in row[1:])


def test_a_cell_of_markdown_is_one_cell_without_html() -> None:
    table = markdown_table(["name", "p"], [["<b>a|b\\|", "<0.001"]])
    assert table.splitlines()[-1] == r"| \<b>a\|b\\\| | <0.001 |"
