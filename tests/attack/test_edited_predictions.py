"""Predictions that somebody edited: said by `verify`, and no record is made from them."""

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from attempts import VERBS, Outcome
from cases import Attacked

from plora.results import ClassRankings
from plora.results.record import columns
from plora.results.record.columns import CLASS_NAMES_KEY, OF_KEY, SEAL_KEY

NUMBER = 2
"""Of the predictions that are edited: after the last task."""


def _column(table: pa.Table, name: str, change: Callable[[np.ndarray], np.ndarray]) -> pa.Table:
    found = table.column(name)
    new = change(found.to_numpy().copy())
    return table.set_column(table.column_names.index(name), name, pa.array(new, found.type))


def _names(table: pa.Table) -> pa.Table:
    metadata = dict(table.schema.metadata)
    names = json.loads(metadata[CLASS_NAMES_KEY])
    return table.replace_schema_metadata({**metadata, CLASS_NAMES_KEY: json.dumps([*names[1::-1], *names[2:]])})


def _without(table: pa.Table, *keys: bytes) -> pa.Table:
    metadata = table.schema.metadata
    return table.replace_schema_metadata({key: metadata[key] for key in metadata if key not in keys})


EDITS: Mapping[str, Callable[[pa.Table], pa.Table]] = {
    "labels": lambda table: _column(table, "label", lambda rows: rows[::-1]),
    "predictions are labels": lambda table: table.set_column(
        table.column_names.index("prediction"), "prediction", table.column("label")
    ),
    "class names": _names,
    "example numbers": lambda table: _column(table, "example", lambda rows: rows[::-1]),
    "probabilities": lambda table: _column(table, "probability", lambda rows: np.ones_like(rows)),
    "a row fewer": lambda table: table.slice(1),
    "no rows": lambda table: table.slice(0, 0),
    "rows twice": lambda table: pa.concat_tables([table, table]),
    "no column": lambda table: table.drop_columns(["probability"]),
    "no owner": lambda table: _without(table, OF_KEY),
    "no metadata": lambda table: table.replace_schema_metadata(None),
}
SEALS: Mapping[str, Callable[[pa.Table], pa.Table]] = {
    "old seal": lambda table: table,
    "no seal": lambda table: _without(table, SEAL_KEY) if table.schema.metadata else table,
    "new seal": lambda table: (
        table.replace_schema_metadata(
            {**_without(table, SEAL_KEY).schema.metadata, SEAL_KEY: columns._digest(_without(table, SEAL_KEY))}
        )
        if table.schema.metadata
        else table
    ),
}


def _edit(edit: str, seal: str, run: Path) -> None:
    path = run / "predictions" / f"task-{NUMBER:02}.parquet"
    table = pq.read_table(path)
    changed = SEALS[seal](EDITS[edit](table))
    assert changed != table or changed.schema.metadata != table.schema.metadata
    pq.write_table(changed, path, compression="zstd", write_page_checksum=True)


@pytest.mark.parametrize("seal", SEALS)
@pytest.mark.parametrize("run", ["per_task", pytest.param("ewc_lora", marks=pytest.mark.slow)])
def test_an_edit_is_refused_or_measured_again(
    attacked: Attacked, expected: Mapping[tuple[str, str], Outcome], run: str, seal: str
) -> None:
    cases = [(edit, verb) for edit in EDITS for verb in ("verify", "resume", "extend", "metrics", "table")]
    outcomes = attacked.attempt(*((verb, attacked.copy(run, partial(_edit, edit, seal))) for edit, verb in cases))
    wrong = [
        f"{edit}, {verb}: {outcome.how}: {outcome.said}"
        for (edit, verb), outcome in zip(cases, outcomes, strict=True)
        if not outcome.clear and (verb == "verify" or outcome != expected[run, verb])
    ]
    assert not wrong, "\n".join(wrong)


def test_a_refusal_leaves_the_record_as_it_was(attacked: Attacked) -> None:
    for edit in EDITS:
        case = attacked.copy("per_task", partial(_edit, edit, "no seal"))()
        record = (case.run / "results.json").read_bytes()
        (outcome,) = attacked.attempt(("resume", lambda case=case: case))
        assert outcome.clear, (edit, outcome)
        assert (case.run / "results.json").read_bytes() == record


@pytest.mark.parametrize("verb", VERBS)
def test_edits_that_are_sealed_anew_do_not_pass_for_what_was_recorded(
    attacked: Attacked, expected: Mapping[tuple[str, str], Outcome], verb: str
) -> None:
    """Whoever knows how plora seals can seal predictions too; the record says which ones it was made from."""

    def flatter(run: Path) -> None:
        path = run / "predictions" / f"task-{NUMBER:02}.parquet"
        kept = ClassRankings.read(path)
        of, _ = columns.read_seal(path)
        kept.ranking[:] = np.where(kept.ranking == kept.ranking[:, :1], kept.label[:, None], kept.ranking)
        before = hashlib.sha256(path.read_bytes()).digest()
        kept.write(path, of)
        assert hashlib.sha256(path.read_bytes()).digest() != before

    (outcome,) = attacked.attempt((verb, attacked.copy("per_task", flatter)))
    assert outcome.clear or outcome == expected["per_task", verb], outcome
