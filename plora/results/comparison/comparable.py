"""Keeping runs apart that must not stand in one table."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pydantic import JsonValue

from plora.errors import RunError
from plora.results.record.run_record import RunRecord
from plora.results.record.score import SCORES, Score


def group_runs(records: Iterable[RunRecord]) -> list[list[RunRecord]]:
    """Return the records in groups that may stand in one table, in the order in which each group first
    appears.

    Two runs are comparable when stream, scenario, fingerprint (data and order of tasks), problem and score
    are equal.
    """
    groups: dict[tuple[str, ...], list[RunRecord]] = {}
    for record in records:
        groups.setdefault(tuple(_identity(record).values()), []).append(record)
    return list(groups.values())


def require_comparable(records: Sequence[RunRecord]) -> None:
    """Refuse runs that must not be compared.

    Raises:
        RunError: there are none, or two of them differ in stream, scenario, data or score; names the difference.
    """
    if not records:
        raise RunError("no runs to compare; name at least one")
    first = _identity(records[0])
    for record in records[1:]:
        for key, value in _identity(record).items():
            if value != first[key]:
                raise RunError(
                    "these runs cannot stand in one table: "
                    f"'{records[0].name}/{records[0].method}' has {key} {first[key]}, "
                    f"'{record.name}/{record.method}' has {key} {value}; compare them apart"
                )


def require_poolable(records: Sequence[RunRecord]) -> None:
    """Refuse runs that must not be pooled over seeds and orders of the tasks.

    Runs in one order need the same fingerprint, as in one table. Runs in several orders have different fingerprints
    by nature: they need the same set of tasks, and for each task the same classes and the same hash of each split.

    Raises:
        RunError: there are none, or two of them differ in stream, scenario, set of tasks, data or score; names the
            difference.
    """
    if not records:
        raise RunError("no runs to compare; name at least one")
    first = records[0]
    first_of_order: dict[tuple[str, ...], RunRecord] = {}
    for record in records:
        mine, others = _identity(record), _identity(first)
        for key in ("stream", "scenario", "problem", "score", "split"):
            if mine[key] != others[key]:
                raise _not_pooled(first, record, f"{key} {others[key]} against {mine[key]}")
        if lacking := sorted(set(first.tasks) ^ set(record.tasks)):
            only = first if lacking[0] in first.tasks else record
            raise _not_pooled(first, record, f"the task '{lacking[0]}' is in '{only.name}/{only.method}' alone")
        same_order = first_of_order.setdefault(record.tasks, record)
        if same_order.stream.fingerprint != record.stream.fingerprint:
            difference = _data_difference(same_order, record) or "label names or versions of the data's sources"
            raise _not_pooled(same_order, record, difference)
        if record.tasks != first.tasks and same_order is record:  # once per order
            data_difference = _data_difference(first, record)
            if data_difference is not None:
                raise _not_pooled(first, record, data_difference)


def series(records: Iterable[RunRecord]) -> dict[str, list[RunRecord]]:
    """Return the records by label: runs of one method that differ in their seed, and in the order of their tasks.

    The label is the method. Runs of one method in different orders usually have different experiment names, since
    a run folder is named by experiment, method and seed; they are one method here as long as each order has one name.
    Where one order has several names, the labels are `method (name)`; where runs of one label were made with several
    settings, these follow, as in `o_lora, training.learning_rate 0.001`.
    """
    records = list(records)
    names: dict[str, dict[tuple[str, ...], set[str]]] = {}
    for record in records:
        names.setdefault(record.method, {}).setdefault(record.tasks, set()).add(record.name)
    labelled: dict[str, list[RunRecord]] = {}
    for record in records:
        one_name = all(len(of_order) == 1 for of_order in names[record.method].values())
        labelled.setdefault(record.method if one_name else f"{record.method} ({record.name})", []).append(record)
    return _apart(labelled)


def labels_of(records: Sequence[RunRecord]) -> list[str]:
    """Return the label of each record, see `series`."""
    label_of = {id(record): label for label, members in series(records).items() for record in members}
    return [label_of[id(record)] for record in records]


_NO_EFFECT = (
    *("training.micro_batch_size", "training.tokens_per_batch", "training.checkpoint_seconds", "training.log_every"),
    *("training.activation_checkpointing", "evaluation.", "trackers"),
)
"""Settings, by their beginnings, that change no result."""


def _apart(labelled: Mapping[str, list[RunRecord]]) -> dict[str, list[RunRecord]]:
    """Return the records with those of one label kept apart where their settings differ, for they are no repetitions.

    Such a label gets its settings: `o_lora, training.learning_rate 0.001`. A key that a record does not hold (schema 1,
    or a version that did not know it) says nothing, and keeps nothing apart.
    """
    found: dict[str, list[RunRecord]] = {}
    for label, records in labelled.items():
        flat = {id(record): dict(_flat(record.settings)) for record in records}
        keys = dict.fromkeys(key for values in flat.values() for key in values)
        differ = [
            key
            for key in keys
            if not key.startswith(_NO_EFFECT) and len({values[key] for values in flat.values() if key in values}) > 1
        ]
        for record in records:
            own = [f"{key} {flat[id(record)][key]}" for key in differ if key in flat[id(record)]]
            found.setdefault(", ".join([label, *own]), []).append(record)
    return found


def _flat(values: Mapping[str, JsonValue], path: str = "") -> Iterator[tuple[str, str]]:
    """Yield `a.b` and its value as JSON for every key of nested mappings."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", json.dumps(value)


def _not_pooled(first: RunRecord, second: RunRecord, difference: str) -> RunError:
    return RunError(
        f"these runs cannot be pooled: '{first.name}/{first.method}' seed {first.seed} and "
        f"'{second.name}/{second.method}' seed {second.seed} differ: {difference}; compare them apart"
    )


def _data_difference(first: RunRecord, second: RunRecord) -> str | None:
    """Return the first difference between the data of tasks of one name, or None; what is not recorded differs."""
    of_second = {data.task: data for data in second.data}
    of_first = {data.task: data for data in first.data}
    for task in first.tasks:
        one, other = of_first.get(task), of_second.get(task)
        if one is None or other is None:
            return f"nothing is recorded about the data of task '{task}', so nobody can say that they are the same"
        if one.classes != other.classes:
            return f"task '{task}' has {one.classes} classes against {other.classes}"
        for split in sorted({*one.fingerprints, *other.fingerprints}):
            if one.fingerprints.get(split) != other.fingerprints.get(split):
                return f"the {split} split of task '{task}' has other data"
    return None


def _said(score: Score) -> str:
    """The name of a score that everybody knows; of another one all that must be equal."""
    if score == SCORES.get(score.name):
        return score.name
    return f"{score.name} ({score.unit or 'no unit'}, {score.better} is better, {score.low:g} to {score.high:g})"


def _identity(record: RunRecord) -> dict[str, str]:
    return {
        "stream": record.stream.name,
        "scenario": record.scenario,
        "fingerprint": record.stream.fingerprint,
        "tasks": ", ".join(record.tasks),
        "problem": record.problem,
        "score": _said(record.score),
        "split": record.split,
    }
