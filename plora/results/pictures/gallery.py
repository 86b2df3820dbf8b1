"""Every picture that a run, or runs that may be compared, can give: for the report and as files."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from plora.atomic import write_bytes
from plora.errors import RunError
from plora.results.comparison.comparable import group_runs
from plora.results.metrics.chance import Chance, chance_of
from plora.results.metrics.interference import NoUpdatesError, read_interference
from plora.results.metrics.run_cost import run_cost
from plora.results.metrics.run_metrics import RunMetrics
from plora.results.pictures.confusion import confusion, confusion_of_pixels
from plora.results.pictures.cost_plots import cost_against_accuracy
from plora.results.pictures.figure import to_pdf, to_png
from plora.results.pictures.forgetting_plots import forgetting_of_methods, forgetting_of_tasks, has_forgetting
from plora.results.pictures.gate_plots import gate_coefficients, gate_vector, vector_names
from plora.results.pictures.generated_plots import generated_confidence
from plora.results.pictures.interference_plots import interference_of_tasks, layer_drift, overlap_of_tasks
from plora.results.pictures.plots import accuracy_matrix, compare_methods, learning_curves, tasks_over_time
from plora.results.pictures.slot_plots import active_slots, similarity_against_vector, vector_over_tasks
from plora.results.pictures.target_plots import f1_of_labels, numbers_against_targets
from plora.results.record.class_rankings import ClassRankings
from plora.results.record.curves import read_curves
from plora.results.record.found_runs import FoundRuns, curves_file, find_runs, predictions_file
from plora.results.record.generated import generated_files, read_generated
from plora.results.record.kinds import read_measurements
from plora.results.record.label_scores import LabelScores
from plora.results.record.pixel_counts import PixelCounts
from plora.results.record.predicted_numbers import PredictedNumbers
from plora.results.record.run_record import RunRecord
from plora.results.record.score import ACCURACY
from plora.results.tables.folding import shown

SLOTS_READ = 200
"""Of more tasks the pictures of slots show that many: a thousand are a gigabyte, and so many rows are no picture."""

VECTORS = 4
"""Of more that a gate shows, the first have pictures."""


def run_pictures(folder: Path, record: RunRecord) -> tuple[dict[str, Figure], list[str]]:
    """Return every picture of one run by name, and a line for each that damage prevents.

    What a run does not have (slots, curves of more than a point, predictions, a second task) has no picture and no
    line.

    Args:
        folder: of the run.
        record: read from it.
    """
    pictures: dict[str, Figure] = {}
    left_out: list[str] = []
    measured, chance = None, None
    if (file := predictions_file(folder, record)) is not None:
        try:
            measured = read_measurements(file)
        except RunError as error:
            left_out.append(f"Confusion matrix left out: {error}")
    if isinstance(measured, ClassRankings) and record.score == ACCURACY:
        chance = chance_of(measured, record.tasks, record.scenario)
    if not np.isnan(record.matrix).all():
        pictures["matrix"] = accuracy_matrix(record, chance)
    if len(record.tasks) > 1 and not np.isnan(record.matrix[1:-1]).all():
        pictures["tasks"] = tasks_over_time(record, chance)
    if has_forgetting(record):
        pictures["forgetting"] = forgetting_of_tasks(record)
    if len({slot for learned in record.gates for slot in learned}) > 1:
        pictures["gate"] = gate_coefficients(record)
    for name in vector_names(record)[:VECTORS] if len(record.slot_states) > 1 else ():
        stem = f"gate-{re.sub(r'[^A-Za-z0-9_]+', '_', name)}"
        pictures[stem], pictures[f"{stem}-over-tasks"] = gate_vector(record, name), vector_over_tasks(record, name)
    if any(state is not None and state.active < state.opened > 1 for state in record.slot_states):
        pictures["slots"] = active_slots(record)
    if isinstance(measured, ClassRankings) and len(measured):
        pictures["confusion"] = confusion(measured)
    elif isinstance(measured, PixelCounts):
        pictures["confusion"] = confusion_of_pixels(measured)
    elif isinstance(measured, LabelScores) and len(measured):
        pictures["labels"] = f1_of_labels(measured)
    elif isinstance(measured, PredictedNumbers) and len(measured):
        pictures["numbers"] = numbers_against_targets(measured, record.tasks, record.score.unit)
    try:
        curves = [] if (drawn := curves_file(folder)) is None else read_curves(drawn)
        if len(curves) > len({point.task for point in curves}):  # one point of each task is no line
            pictures["curves"] = learning_curves(curves, record.score)
    except RunError as error:
        left_out.append(f"Learning curves left out: {error}")
    try:
        if texts := [text for file in generated_files(folder) for text in read_generated(file)]:
            pictures["generated"] = generated_confidence(texts)
    except RunError as error:
        left_out.append(f"Generated texts left out: {error}")
    try:
        found = read_interference(folder, SLOTS_READ)
    except NoUpdatesError:
        pass
    except RunError as error:
        left_out.append(f"Drift, overlap and interference left out: {error}")
    else:
        pictures["drift"] = layer_drift(found)
        if len(found.tasks) > 1:
            pictures["overlap"] = overlap_of_tasks(found)
            pictures["interference"] = interference_of_tasks(found)
            if not found.shared and (names := vector_names(record)):
                pictures["gate-and-similarity"] = similarity_against_vector(record, found, names[0])
    return pictures, left_out


def group_pictures(records: Sequence[RunRecord], chance: Chance | None = None) -> dict[str, Figure]:
    """Return every picture that compares complete runs of one group by name; none of a single run.

    Args:
        records: comparable runs.
        chance: of their test examples, where it is known.
    """
    if len(records) < 2:
        return {}
    pictures = {"methods": compare_methods(records, chance)}
    if any(has_forgetting(record) for record in records):
        pictures["forgetting-of-methods"] = forgetting_of_methods(records)
    if any(record.cost for record in records):
        pictures["cost-seconds"] = cost_against_accuracy(records, "seconds", chance)
        pictures["cost-parameters"] = cost_against_accuracy(records, "trainable_parameters", chance)
    if any(run_cost(record).kept_bytes is not None for record in records):
        pictures["cost-memory"] = cost_against_accuracy(records, "kept_bytes", chance)
    if any(run_cost(record).flops is not None for record in records):
        pictures["cost-operations"] = cost_against_accuracy(records, "flops", chance)
    return pictures


def write_figures(runs: Iterable[Path], out: Path) -> list[Path]:
    """Write every picture of every run, and of every group of comparable runs, as PNG and PDF.

    Args:
        runs: run folders, or parents of some.
        out: folder for `<method>-seed-<n>-<picture>.png` and `.pdf`; comparisons are `comparison-<picture>`. Names that
            would meet are numbered. The confusion matrix of each task is written beside the pooled one, of more than
            WHOLE_UP_TO tasks those of the first and the last.

    Returns:
        The files written, in order.

    Raises:
        RunError: a path is not a run, or is a damaged one; one line.
    """
    found: FoundRuns = find_runs(runs)
    written: list[Path] = []
    names: set[str] = set()
    metric_of = RunMetrics(found.runs)
    for folder, record in found.runs.items():
        pictures, _ = run_pictures(folder, record)
        file = predictions_file(folder, record)
        if "confusion" in pictures and file is not None and len(record.tasks) > 1:
            pictures |= _confusion_of_each_task(file, record)
        written += _write(pictures, out, _unused(f"{record.method}-seed-{record.seed}", names))
    for records in group_runs(record for record in found.runs.values() if record.complete):
        written += _write(group_pictures(records, metric_of.chance(records)), out, _unused("comparison", names))
    return written


def _confusion_of_each_task(file: Path, record: RunRecord) -> dict[str, Figure]:
    measured = read_measurements(file)
    seen = set(measured.task.tolist())
    return {
        f"confusion-{number + 1:02}": (
            confusion_of_pixels(measured, task) if isinstance(measured, PixelCounts) else confusion(measured, task)
        )
        for number in shown(len(record.tasks))
        if (task := record.tasks[number]) in seen and isinstance(measured, ClassRankings | PixelCounts)
    }


def _write(pictures: Mapping[str, Figure], out: Path, stem: str) -> list[Path]:
    files = []
    for name, figure in pictures.items():
        for ending, content in (("png", to_png(figure)), ("pdf", to_pdf(figure))):
            files.append(out / f"{stem}-{name}.{ending}")
            write_bytes(files[-1], content)
    return files


def _unused(stem: str, names: set[str]) -> str:
    """Return a name for files that no other run has; a method's name may hold any character."""
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", stem).lstrip(".") or "run"
    name, number = stem, 1
    while name in names:
        number += 1
        name = f"{stem}-{number}"
    names.add(name)
    return name
