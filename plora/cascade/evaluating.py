"""Score a cascade: alone, told the way, as a pipeline, beside a flat classifier, and what it saves whoever searches."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from plora import atomic
from plora.cascade.folder import RESULT_FILE, Cascade
from plora.cascade.members import LoadedRun, Member, Members, Progress
from plora.errors import DataError, RunError
from plora.results import ClassRankings, read_measurements, read_record
from plora.results.comparison.sampling import wilson
from plora.results.comparison.searches import (
    THRESHOLDS,
    Saving,
    choose_thresholds,
    lost_of,
    saving,
    tried_by_thresholds,
    tried_of_likeliest,
)
from plora.results.metrics.cascade import (
    CascadeAnswers,
    Ids,
    Numbers,
    Which,
    confusion_of,
    f1_of,
    node_scores,
    resampled_mean,
    resampled_ratio,
)
from plora.results.record.cascade_result import CascadeResult, ChosenPoint, Flow, Gain, Node, Point, Whole
from plora.results.record.found_runs import predictions_file
from plora.results.report.cascade_page import write_cascade_page
from plora.run_folder.folder import RunFolder
from plora.streams import TreeStream
from plora.streams.base import Split, SplitName, Stream
from plora.streams.chosen import chosen
from plora.streams.label_tree import LabelTree
from plora.streams.tree import Leaves

BUDGETS = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1)
"""Losses that validation allows while it chooses thresholds."""


def evaluate_cascade(
    cascade: Cascade, out: Path, budget: float = 0.01, progress: Progress = lambda what, done, of: None
) -> CascadeResult:
    """Score a cascade on the test examples of all its classes, and write its folder.

    Validation chooses the thresholds; test is only scored.

    Args:
        cascade: its tree and its runs, as `read_cascade` or `cascade_of_runs` returns them.
        out: the folder to write; must be new.
        budget: the loss that the thresholds which the folder keeps may have on validation, 0 to 1.
        progress: is told what is done now.

    Returns:
        What stands in `cascade.json`.

    Raises:
        RunError: the folder exists, a run is damaged, lacks a task or has other labels than its node has answers.
        DataError: the data and the tree do not fit, or a run cannot read the data.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} exists already; nothing was changed. Choose another folder with --out")
    if not 0 <= budget <= 1:
        raise DataError(f"the loss that is allowed is a share from 0 to 1, got {budget:g}")
    progress("read the data", 0, 1)
    stream, tree = cascade.stream.load(), cascade.stream.tree()
    members = Members.of(cascade, tree, progress)
    for run in members.runs.values():
        run.require_inputs(stream)
    flat = None if cascade.flat is None else LoadedRun.of(cascade.flat)
    found, doubts = {}, []
    splits: tuple[SplitName, SplitName] = ("validation", "test")
    leaves = {split: cascade.stream.leaves(split) for split in splits}
    for split in splits:
        found[split] = answers_of(members, stream, leaves[split], split, progress)
    test, labels = found["test"], leaves["test"].labels
    recorded, own = {}, {task.name: task.test for task in stream.tasks}
    for node, asked in members.nodes.items():
        recorded[node], said = _recorded(asked, node, own[node], test)
        doubts += said
    flat_answers = None
    if flat is not None:
        flat.require_inputs(stream)
        progress("flat", 0, 1)
        flat_answers = _flat_answers(flat, cascade.stream, tree, leaves["test"].inputs)
    thresholds = {}
    budgets = sorted({*BUDGETS, budget})
    for done, one in enumerate(budgets):
        progress("choose thresholds", done, len(budgets))
        thresholds[one] = choose_thresholds(found["validation"], leaves["validation"].costs, one)
    scores = node_scores(test)
    doubts += [
        f"node '{score.node}' has collapsed: it answers '{score.collapsed}' nearly always"
        for score in scores
        if score.collapsed
    ]
    flat_ends = None if flat_answers is None else flat_answers.argmax(axis=1)
    result = CascadeResult(
        name=stream.name,
        nodes={node: tuple(tree.nodes[node]) for node in tree.names},
        leaves=tree.leaves,
        runs={node: [_called(member) for member in asked] for node, asked in members.nodes.items()},
        examples=len(labels),
        costed=leaves["test"].costs is not None,
        whole=_wholes(test, flat_ends),
        gain=None if flat_ends is None else _gain(test, flat_ends),
        cost_gain=None if flat_ends is None else _cost_gain(test, flat_ends, leaves["test"].costs),
        scores=[
            Node(**{**asdict(score), "confusion": score.confusion.tolist()}, recorded=recorded[score.node])
            for score in scores
        ],
        flows=_flows(test),
        confusion=confusion_of(labels, test.ends, len(tree.leaves)).tolist(),
        curves=_curves(test, flat_answers, leaves["test"].costs),
        chosen=[_chosen_point(test, leaves["test"].costs, one, thresholds[one]) for one in budgets],
        truth=labels.tolist(),
        ends=test.ends.tolist(),
        doubts=doubts,
    )
    with atomic.atomic_folder(out) as place:
        named = cascade.stream.model_copy(update={"nodes": {node: tuple(tree.nodes[node]) for node in tree.names}})
        kept = cascade.model_copy(update={"stream": named, "thresholds": thresholds[budget]})
        kept.write(place, lying_in=out)
        result.write(place / RESULT_FILE)
        write_cascade_page(result, place)
    return result


def answers_of(
    members: Members, stream: Stream, leaves: Leaves, split: SplitName, progress: Progress
) -> CascadeAnswers:
    """Return what each node says of all examples of a split.

    Those that belong to a node are encoded and scored as the run itself scored them, so that its numbers are the same
    bits, and the others beside them.

    Args:
        members: of the cascade.
        stream: a task for each node.
        leaves: all examples of the split.
        split: its name.
        progress: is told which node is asked.
    """
    found: dict[str, Numbers] = {}
    tree = members.tree
    for done, task in enumerate(stream.tasks):
        progress(f"{split}: {task.name}", done, len(stream.tasks))
        node = task.name
        own = tree.answers(node)[leaves.labels] >= 0
        answers = np.empty((len(own), len(tree.nodes[node])))
        parts: list[tuple[np.ndarray, Split]] = [(own, dict(task.splits())[split])]
        if not own.all():
            rest = np.flatnonzero(~own)
            parts.append((~own, chosen([(leaves.inputs, rest)], np.zeros(len(rest), np.int64))))
        for which, inputs in parts:
            examples = {path: run.encode(inputs) for path, run in _asked(members, node).items()}
            answers[which] = members.answers(node, examples)
        found[node] = answers
    return CascadeAnswers(tree, leaves.labels, found)


def _asked(members: Members, node: str) -> dict[Path, LoadedRun]:
    return {member.run.path: member.run for member in members.nodes[node]}


def _recorded(asked: Sequence[Member], node: str, own: Split, test: CascadeAnswers) -> tuple[float | None, list[str]]:
    """The accuracy that the only run of a node recorded on these very examples, and what contradicts it."""
    member = asked[0]
    if len(asked) > 1 or member.task is None:
        return None, []
    folder = RunFolder.existing(member.run.path)
    if folder.read_environment().stream.splits.get(member.task, {}).get("test") != own.fingerprint():
        return None, [
            f"node '{node}': task '{member.task}' of {folder.path.name} was scored on other test examples, so nothing "
            "that it recorded can be compared; make sure that it has learned none of these"
        ]
    record = read_record(folder.path)
    file = predictions_file(folder.path, record)
    kept = None if file is None or record.split != "test" else read_measurements(file)
    if not isinstance(kept, ClassRankings):
        return None, []
    rows = kept.rows(kept.task == member.task)
    answers = test.tree.nodes[node]
    given = [answers[one] for one in test.choices[node][test.tree.answers(node)[test.truth] >= 0].tolist()]
    said = [kept.class_names[one] for one in rows.prediction.tolist()]
    differ = sum(one != other for one, other in zip(given, said, strict=True))
    doubts = [f"node '{node}': {differ} of {len(given)} answers are not those that {folder.path.name} recorded"]
    return float((rows.label == rows.prediction).mean()), doubts if differ else []


def _flat_answers(flat: LoadedRun, stream: TreeStream, tree: LabelTree, inputs: Split) -> Numbers:
    """`[N, leaves]` of a run that tells all classes at once: mapped classes are added to their leaves, dropped ones go.

    Raises:
        RunError: the run is told the task, or its classes are not those of the tree.
    """
    tasks = flat.learned.tasks
    if flat.space.scenario == "task" and len(tasks) > 1:
        raise RunError(
            f"{flat.path} is told the task, so it is no flat classifier; give a run with scenario=class, or of one task"
        )
    task = tasks[0] if flat.space.scenario == "task" else None
    labels, probabilities = flat.labels(task), flat.answers(flat.encode(inputs), task)
    leaf_of = {label: stream.map.get(label, label) for label in labels if label not in stream.drop}
    if set(leaf_of.values()) != set(tree.leaves):
        strange = sorted(set(leaf_of.values()) ^ set(tree.leaves))
        raise RunError(
            f"{flat.path} tells other classes than the tree has leaves ('{strange[0]}' is in one alone); give a run "
            "of the same data"
        )
    found = np.zeros((len(probabilities), len(tree.leaves)))
    for position, label in enumerate(labels):
        if label in leaf_of:
            found[:, tree.leaves.index(leaf_of[label])] += probabilities[:, position]
    whole: Numbers = found / np.maximum(found.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return whole


def _called(member: Member) -> str:
    """A run as a table calls it: the end of its path, and its task."""
    path = "/".join(member.run.path.parts[-3:])
    return path if member.task is None else f"{path}: {member.task}"


def _wholes(test: CascadeAnswers, flat: Ids | None) -> dict[str, Whole]:
    """How all examples fare, in each way of asking."""
    ways = {"pipeline": test.ends, "likeliest": test.leaf_probabilities.argmax(axis=1), "oracle": test.told()}
    if flat is not None:
        ways["flat"] = flat
    found = {}
    for way, ends in ways.items():
        accuracy = float((ends == test.truth).mean())
        low, high = (float(end) for end in wilson(np.array([accuracy]), [len(ends)])[0])
        counts = confusion_of(test.truth, ends, len(test.tree.leaves))
        found[way] = Whole(accuracy=accuracy, low=low, high=high, macro_f1=f1_of(counts))
    return found


def _gain(test: CascadeAnswers, flat: Ids) -> Gain:
    """The pipeline less the flat classifier, example by example."""
    difference = (test.ends == test.truth).astype(np.float64) - (flat == test.truth)
    low, high = resampled_mean(difference)
    return Gain(value=float(difference.mean()), low=low, high=high)


def _cost_gain(test: CascadeAnswers, flat: Ids, costs: Numbers | None) -> Gain | None:
    """The cost of what the pipeline answers less that of what the flat classifier does, as a share of the least."""
    if costs is None:
        return None
    alone = np.eye(costs.shape[1], dtype=bool)
    (lost, of), (flat_lost, _) = (lost_of(alone[ends], test.truth, costs) for ends in (test.ends, flat))
    difference = lost - flat_lost
    low, high = resampled_ratio(difference, of)
    return Gain(value=float(difference.sum() / of.sum()), low=low, high=high)


def _flows(test: CascadeAnswers) -> list[Flow]:
    """What each node sends where."""
    found = []
    for node in test.tree.names:
        right = test.tree.answers(node)[test.truth]
        for position, answer in enumerate(test.tree.nodes[node]):
            sent, own = test.arrived[answer], right == position
            found.append(Flow(node=node, answer=answer, right=int((sent & own).sum()), wrong=int((sent & ~own).sum())))
    return found


def _curves(test: CascadeAnswers, flat: Numbers | None, costs: Numbers | None) -> dict[str, list[Point]]:
    """What is saved and lost by one threshold for all nodes, the k likeliest leaves, and those of the flat run."""

    def point(at: float, tried: Which) -> Point:
        return Point(at=at, **asdict(saving(tried, test.truth, costs)))

    numbers = range(1, len(test.tree.leaves) + 1)
    found = {
        "thresholds": [
            point(one, tried_by_thresholds(test, dict.fromkeys(test.tree.names, one))) for one in THRESHOLDS
        ],
        "likeliest": [point(k, tried_of_likeliest(test.leaf_probabilities, k)) for k in numbers],
    }
    if flat is not None:
        found["flat"] = [point(k, tried_of_likeliest(flat, k)) for k in numbers]
    return found


def _chosen_point(
    test: CascadeAnswers, costs: Numbers | None, budget: float, thresholds: dict[str, float]
) -> ChosenPoint:
    found: Saving = saving(tried_by_thresholds(test, thresholds), test.truth, costs)
    return ChosenPoint(at=budget, thresholds=thresholds, **asdict(found))


def compared(results: Mapping[str, CascadeResult]) -> Mapping[str, CascadeResult]:
    """Return cascades that may stand side by side.

    Raises:
        RunError: they were scored on other leaves or test examples.
    """
    first = next(iter(results))
    for name, result in results.items():
        if (result.leaves, result.truth) != (results[first].leaves, results[first].truth):
            raise RunError(
                f"{name} was scored on other leaves or test examples than {first}; compare cascades of the same"
            )
    return results
