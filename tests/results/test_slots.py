"""What a record says of slots: kept, read back, in tables, in pictures and on the page."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up_runs import gated, record

from plora.errors import RunError
from plora.results import (
    Interference,
    active_slots,
    costs_table,
    gate_vector,
    group_pictures,
    read_record,
    run_pictures,
    similarity_against_vector,
    slots_table,
    summary_table,
    to_png,
    vector_over_tasks,
    write_record,
    write_report,
    write_table,
)
from plora.results.pictures.plots import LINES
from plora.sealed import open_sealed, write_sealed

MANY = [f"classes-{number:03}" for number in range(120)]


def test_a_record_keeps_slots_and_one_without_them_reads_as_before(tmp_path: Path) -> None:
    run = gated()
    write_record(tmp_path, run)
    assert read_record(tmp_path) == run
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["slot_states"][1]["dropped"] is True
    assert content["slot_states"][-1]["vectors"]["share"].keys() == {"library", "parameters", "match", "order"}
    sealed = open_sealed(tmp_path / "results.json")
    older = {key: value for key, value in sealed.content.items() if key not in ("slot_states", "passes")}
    write_sealed(tmp_path / "results.json", older, sealed.of)
    read = read_record(tmp_path)
    assert (read.slot_states, read.passes) == ((), None)
    assert read.gates == run.gates
    older["slot_states"] = [{"opened": 1, "active": 1, "pruned": 0, "sahre": {}}]
    write_sealed(tmp_path / "results.json", older, sealed.of)
    with pytest.raises(RunError, match=r"slot_states\.0"):
        read_record(tmp_path)


def test_the_table_of_slots_counts_them_and_csv_has_the_decisions() -> None:
    lines = slots_table(gated()).splitlines()
    assert lines[0].replace(" ", "") == "|task|slots|active|pruned|shareactive%|"
    counts = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:7]]
    expected = [
        [task, str(state.opened), str(state.active), str(state.pruned), f"{100 * state.active / state.opened:.1f}"]
        for task, state in zip(gated().tasks, gated().slot_states, strict=True)
    ]
    assert counts == expected
    rows = list(csv.DictReader(io.StringIO(slots_table(gated(), "csv"))))
    assert [row["dropped"] for row in rows] == ["false", "true", "false", "false", "false"]
    assert rows[2]["reason"].startswith("its share is ")
    assert float(rows[-1]["active_share"]) == pytest.approx(gated().slot_states[-1].active / 5)


def test_a_table_of_many_slots_is_folded_and_one_of_an_older_version_refused(tmp_path: Path) -> None:
    many = gated(MANY)
    assert len(slots_table(many).splitlines()) < 20
    assert "110 more tasks" in slots_table(many)
    assert len(slots_table(many, "csv").splitlines()) == 121
    with pytest.raises(RunError, match="says nothing about slots"):
        slots_table(record())
    half = replace(gated(), slot_states=(None, *gated().slot_states[1:]))
    assert slots_table(half).splitlines()[2].count("–") == 4
    write_record(tmp_path / "a", gated())
    assert write_table([tmp_path / "a"], "slots")[0] == slots_table(gated())
    write_record(tmp_path / "b", replace(gated(), seed=1))
    with pytest.raises(RunError, match="a table of kind 'slots' is that of one run, got 2"):
        write_table([tmp_path], "slots")


def test_costs_of_predictions_stand_beside_the_score() -> None:
    routed = replace(record("routed", "steady"), passes=2)
    text = costs_table([gated(), replace(gated(), seed=1), routed])
    assert text.splitlines()[0].split("|")[1:-1] == [
        *(" method         ", " seeds ", " accuracy % ", " active slots ", " bytes kept ", " forward passes ")
    ]
    cells = {line.split("|")[1].strip(): [c.strip() for c in line.split("|")[4:-1]] for line in text.splitlines()[2:4]}
    assert cells == {
        "gumbel_cl_lora": [str(gated().slot_states[-1].active), "2.9 MiB", "1"],
        "routed": ["–", "–", "2"],
    }
    (row, _) = csv.DictReader(io.StringIO(costs_table([gated(), routed], "csv")))
    assert (row["kept_bytes"], row["passes"]) == (str(5 * 602_128), "1")


def test_tables_that_list_methods_say_what_is_kept_and_how_many_passes_and_older_records_nothing() -> None:
    heads = summary_table([gated()]).splitlines()[0]
    assert [cell.strip() for cell in heads.split("|")[-3:-1]] == ["kept", "passes"]
    assert "passes" not in summary_table([record()])


@pytest.mark.parametrize("T", [2, 13, 120])
def test_any_number_of_slots_can_be_drawn(T: int) -> None:
    run = gated(MANY[:T], pruned=[T // 2] if T > 2 else ())
    for figure in (gate_vector(run, "share"), vector_over_tasks(run, "magnitude"), active_slots(run)):
        assert to_png(figure, 40).startswith(b"\x89PNG")
    lines = vector_over_tasks(run, "share").axes[0].lines
    assert len(lines) == min(LINES if T > 40 else T, len(run.slot_states[-1].vectors["share"]))


def test_a_point_is_a_pair_and_a_vector_that_is_not_there_is_named() -> None:
    run, T = gated(pruned=()), 5
    cosine = np.arange(25.0).reshape(T, T) / 25
    zeros = np.zeros((T, T))
    found = Interference(run.tasks, tuple(range(1, 6)), T, ("layer",), False, zeros[:, :1], zeros, cosine, 0.0)
    (points,) = similarity_against_vector(run, found).axes[0].lines
    shares = [state.vectors["share"] for state in run.slot_states]
    pairs = [(cosine[t, k], shares[t][run.tasks[k]]) for t in range(T) for k in range(t)]
    np.testing.assert_allclose(np.transpose(points.get_data()), pairs)
    with pytest.raises(RunError, match=r"shows no 'beta' of its slots \(it shows: share, magnitude\)"):
        gate_vector(run, "beta")
    with pytest.raises(RunError, match="it shows: none"):
        vector_over_tasks(record(), "share")


def test_pictures_and_page_have_them(tmp_path: Path) -> None:
    run = gated()
    hostile = replace(run.slot_states[0], vectors={"../../a <b>": {"library": 1.0}})
    run = replace(run, slot_states=(hostile, *run.slot_states[1:]))
    pictures, _ = run_pictures(tmp_path, run)
    assert {"gate-share", "gate-magnitude", "gate-share-over-tasks", "slots", "gate-_a_b_"} <= pictures.keys()
    assert "cost-memory" in group_pictures([run, record("routed", "steady")])
    write_record(tmp_path / "one", run)
    write_record(tmp_path / "two", replace(record("routed", "steady"), passes=2))
    write_report([tmp_path], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Slots after each task" in page
    assert "<td>2.9 MiB</td><td>1</td>" in page
    assert "<b>" not in page
