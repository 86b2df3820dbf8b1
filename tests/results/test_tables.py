import numpy as np
import pytest
from made_up_runs import record
from rich.cells import cell_len

from plora.errors import RunError
from plora.results import matrix_table, summary_table
from plora.results.tables import percent

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
