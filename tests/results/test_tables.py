import csv
import io
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up_runs import record
from rich.cells import cell_len

from plora.errors import RunError
from plora.results import (
    METRICS,
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
from plora.results.tables import BEST, Format, percent

GOLDEN = Path(__file__).parent / "golden"
SUFFIX: dict[Format, str] = {"markdown": "md", "csv": "csv", "latex": "tex"}
HOSTILE = r"[a]*_&%#${}~^\--'' <|> 中文é"

R = np.array([[np.nan] * 3, [0.9, np.nan, np.nan], [0.7, 0.8, np.nan], [0.6, 0.75, 0.85]])


def test_matrix_table() -> None:
    assert matrix_table(record(tasks=["a", "bee", "中文|x"], R=R)) == (
        "| accuracy %    |    a |  bee | 中文\\|x | mean seen |\n"
        "| ------------- | ---: | ---: | ------: | --------: |\n"
        "| after a       | 90.0 |    – |       – |      90.0 |\n"
        "| after bee     | 70.0 | 80.0 |       – |      75.0 |\n"
        "| after 中文\\|x | 60.0 | 75.0 |    85.0 |      73.3 |\n"
    )


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
    assert {definition.name for definition in METRICS} == set(BEST)


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
    assert lines[4:] == ["order 1 (skills): a, b", "order 2 (reversed): b, a"]


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


def test_write_table_refuses_what_makes_no_table(tmp_path: Path) -> None:
    write_record(tmp_path / "a", record())
    write_record(tmp_path / "b", record(scenario="domain"))
    write_record(tmp_path / "c" / "half", record(complete=False))
    for arguments, complaint in (
        ({"kind": "method"}, "unknown kind of table 'method'; expected one of methods, differences, runs, matrix"),
        ({"format": "html"}, "unknown format of table 'html'"),
        ({"standalone": True}, "standalone is a whole LaTeX document"),
        ({"against": "x"}, "set the kind to differences"),
        ({"kind": "runs", "metrics": ["ACC"]}, "no choice of metrics"),
        ({"kind": "matrix"}, "a matrix is that of one run, got 3"),
        ({}, "differ: scenario task against domain"),
        ({"kind": "runs"}, "cannot stand in one table"),
    ):
        with pytest.raises(RunError, match=complaint):
            write_table([tmp_path], **arguments)
    with pytest.raises(RunError, match=r"no run can stand in a table: .*unfinished"):
        write_table([tmp_path / "c"])
