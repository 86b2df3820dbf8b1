"""THE loop: every problem and every method is trained here, and nowhere else.

Learning a stream: open → train the phases → commit → save → score → record, task after task. Each of these can be
the last thing that a process does; the next one goes on from what is on disk. `stage` is what happens to one task,
`phase` its epochs of steps, `step` one step.
"""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from plora.batches.evaluate import Scorer
from plora.batches.features import lacks_bf16
from plora.build import Parts
from plora.events.console import Console, entries
from plora.events.tracking import Tracking
from plora.failpoints import reached
from plora.gates import Verdict
from plora.results import RESULTS_FILE, Measurements, RunRecord, SlotState, TaskCost, read_record, write_record
from plora.results.record.forgotten import read_forgotten
from plora.results.record.manifest import NOTHING, Checkpoint, read_next
from plora.run_folder.checkpoint import load_checkpoint, load_strategies, save_checkpoint
from plora.run_folder.folder import RunFolder
from plora.run_folder.map_sheets import write_map_sheet
from plora.run_folder.predictions import require_answers, require_own, whose
from plora.run_folder.recording import make_record, slot_state
from plora.run_folder.sheets import write_sheets
from plora.run_folder.step_checkpoint import StepCheckpoint
from plora.training.course import StagePlan, plan_course
from plora.training.energy import EnergyMeter
from plora.training.meter import Meter
from plora.training.session import Session
from plora.training.stage import learn_stage
from plora.training.stopwatch import Stopwatch

RECORDS = 50
"""Most times that results.json, which has the square of the tasks in it, is written while a stream is learned."""


def learn_stream(parts: Parts, folder: RunFolder, console: Console) -> RunRecord:
    """Learn every task of the stream that the run folder does not hold yet, and return the record.

    What is on disk is taken from there: a run that was killed goes on with the same bits, and a run whose stream got
    one task more learns that task alone.

    Raises:
        NonFiniteLossError: before the optimizer could do harm.
        TrainingError: something that is declared frozen has changed.
        RunError: what is on disk was changed or damaged.
    """
    names = [task.name for task in parts.tasks]
    matrix = np.full((len(names) + 1, len(names)), np.nan)
    course = plan_course(parts)
    planned = sum(plan.steps(parts.config.training.batch_size) for plan in course)
    processes = parts.learner.processes
    device = parts.model.device
    meter = Meter(planned, EnergyMeter(device), Stopwatch(device), processes.count)
    inside = StepCheckpoint(
        folder.step, parts.config.training.checkpoint_seconds if processes.main else None, folder.run
    )
    tracking = Tracking(
        parts.config.trackers if processes.main else (),
        f"{parts.config.name}-{parts.config.label}-seed-{parts.config.seed}",
        folder.trackers,
        lambda name, error: console.event("tracker_failed", tracker=name, reason=f"{type(error).__name__}: {error}"),
    )
    tracking.configuration(parts.config.model_dump(mode="json"))
    if parts.config.training.precision == "bf16" and lacks_bf16(device):
        console.event(
            "warning",
            text="this device has no instructions for bf16 and computes it by detours, which is slower than fp32; set "
            "training.precision=fp32, or auto",
        )
    session = Session(parts, console, meter, folder, inside, tracking)
    if parts.learner.extractor.prefix is not None:
        parts.learner.extractor.prefix.console = console
    scorer = parts.scorer()
    costs: list[TaskCost] = []
    gates: list[dict[str, float]] = []
    slot_states: list[SlotState | None] = []
    seen: list[str] = []
    held = 0  # the checkpoint whose state the model is in; 0: nothing learned

    def hold(checkpoint: Checkpoint) -> None:
        nonlocal held
        if held != checkpoint.number:
            load_checkpoint(folder, checkpoint, parts.learner)
            held = checkpoint.number

    # ------------------------------------------------------------------ row 0: before training
    vouched = _vouched(folder, len(names))
    rows = _row(session, scorer, 0, [], [], vouched[0])
    matrix[0] = _cells(parts, rows)
    seals: list[str | None] = [require_own(folder, 0), *([None] * len(names))]
    scorer.untrained = rows
    reached("untrained")
    complete = folder.complete()
    forgotten = read_forgotten(folder.path).tasks
    now = NOTHING
    every = -(-len(names) // RECORDS)

    for plan in course:
        former, number = now, len(plan.learned)
        if number not in complete:
            # -------------------------------------------------------------- learn one stage
            hold(former)
            load_strategies(folder, former, parts.learner, parts.strategies)
            learned = set(seen).difference(forgotten)
            with scorer.still():
                for task in parts.tasks:
                    if task.name in learned and task.name in rows:
                        scorer.recall(task, seen, rows[task.name])
            meter.new_stage()
            console.event(
                "task_start",
                task=plan.name,
                number=f"{plan.position + 1}/{len(course)}",
                examples=len(plan.stage.train),
            )
            seconds, verdict = learn_stage(session, plan)

            # -------------------------------------------------------------- keep it
            processes.lead(partial(_keep, session, plan, former, seconds, verdict))
            held = number
            reached("checkpointed")
        now = read_next(folder.path, former, number)
        if number in complete:
            meter.all_steps += now.cost.steps
            meter.training_seconds += now.cost.seconds
        costs.append(now.cost)
        gates.append({**now.gate})
        slot_states.append(now.slot_state)
        seen = [*plan.learned]

        # ------------------------------------------------------------------ score it
        gone = [task for task in forgotten if task in seen]
        rows = _row(session, scorer, number, seen, gone, vouched[number], partial(hold, now))
        matrix[number], seals[number] = _cells(parts, rows), require_own(folder, number)
        reached("predicted")
        newest = number >= max(complete, default=0)
        if newest and processes.main and (number % every == 0 or number == len(names)):
            so_far = make_record(parts, folder.run, matrix, costs, gates, slot_states, seen, gone, seals)
            write_record(folder.path, so_far)
            here = {task: found for task, found in rows.items() if task not in gone}
            write_sheets(parts, folder, number, [task.name for task in plan.stage.tasks], here)
            write_map_sheet(parts, folder, number, seen, here, partial(hold, now))
            reached("recorded")
        if number not in complete:
            done = matrix[number, : len(seen)]
            score, cells = parts.model.problem.score.name, zip(names, matrix[number].tolist(), strict=True)
            told = {f"{score}/{name}": value for name, value in cells if not np.isnan(value)}
            tracking.log(told, meter.all_steps)
            console.event(
                "task_done",
                task=plan.name,
                **{score: float(done[-1])},
                mean_seen=float(np.nanmean(done)),
                seconds=now.cost.seconds,
            )
    processes.lead(session.inside.clear)  # a kill between the last manifest and its own clearing left it
    record = make_record(parts, folder.run, matrix, costs, gates, slot_states, seen, forgotten, seals)
    final = {f"final/{name}": metric.value for name, metric in record.metrics.items() if metric.value is not None}
    tracking.log(final, meter.all_steps)
    tracking.finish([folder.config, folder.path / RESULTS_FILE])
    return record


def _row(
    session: Session,
    scorer: Scorer,
    number: int,
    seen: list[str],
    forgotten: list[str],
    vouched: str | None,
    hold: Callable[[], None] = lambda: None,
) -> dict[str, Measurements]:
    """Return the scores after `number` tasks: those on disk, and what they lack measured now and written.

    A run that was extended has rows of a shorter stream. What was seen then is as it was; scores of unseen tasks
    compete, in the class-incremental scenario, with classes that are new, and are measured again.

    Args:
        number: tasks learned.
        seen: their names.
        forgotten: those of them that were forgotten.
        vouched: sha256 of the predictions that the record was made from; others are measured again, for whoever wrote
            them could seal them too. None where no record says.
        hold: brings the model into the state after `number` tasks.
    """
    parts, path = session.parts, session.folder.predictions(number)
    problem = parts.model.problem
    everything = number == 0 or parts.config.evaluation.tasks == "all"
    learned = set(seen)
    wanted = [task for task in parts.tasks if task.name in learned or everything]
    kept: dict[str, Measurements] = {}
    same_classes = same_tasks = False
    if path.exists():
        seal = require_own(session.folder, number)
        stored = problem.record.read(path)
        own = np.isin(stored.task, [task.name for task in parts.tasks])
        same_tasks = bool(own.all())  # an extension that failed leaves rows of a task that is no longer there
        whole = problem.with_names(stored.rows(own), parts.space.names)
        same_classes = getattr(stored, "class_names", None) == getattr(whole, "class_names", None)
        kept = whole.by_task()
        for task in parts.tasks:
            if task.name in kept:
                require_answers(path, kept[task.name], task.splits[scorer.split], task.name)
        if not same_classes and parts.space.scenario == "class":
            kept = {name: scores for name, scores in kept.items() if name in learned}
        if vouched not in (None, seal):
            kept = {name: scores for name, scores in kept.items() if name in forgotten}
    missing = [task for task in wanted if task.name not in kept and task.name not in forgotten]
    if same_classes and same_tasks and not missing:
        return kept
    if missing:
        hold()
    with scorer.still():
        for position, task in enumerate(missing):
            session.console.progress(f"score {task.name}", position, len(missing))
            kept[task.name] = scorer.seen(task, seen) if task.name in learned else scorer.unseen(task)
    reached("scored")
    rows = {task.name: kept[task.name] for task in wanted if task.name in kept}
    found = [*rows.values()] or [_nothing_of(next(iter(scorer.untrained.values())))]  # every task was forgotten
    of = whose(session.folder, number)
    parts.learner.processes.lead(lambda: problem.record.joined(found).write(path, of))
    return rows


def _vouched(folder: RunFolder, tasks: int) -> list[str | None]:
    """The sha256 of the predictions of each row that the record on disk was made from, None where it says none."""
    said = read_record(folder.path).predictions if folder.inside(RESULTS_FILE).exists() else ()
    return [*said, *([None] * (tasks + 1 - len(said)))]


def _keep(session: Session, plan: StagePlan, former: Checkpoint, seconds: float, verdict: Verdict) -> None:
    """Write the checkpoint after a stage; the one inside it goes.

    Args:
        plan: of the stage that was just committed.
        former: the checkpoint before it.
        seconds: that the stage took.
        verdict: of the gate, about its slot.
    """
    parts, train, stage = session.parts, plan.stage.train, [task.name for task in plan.stage.tasks]
    state = slot_state(parts, [*former.tasks, *stage], verdict)
    if state.vectors:
        shown = {name: entries(vector) for name, vector in state.vectors.items()}
        session.console.event("slots", task=plan.name, active=f"{state.active}/{state.opened}", **shown)
    save_checkpoint(
        session.folder,
        parts.learner,
        former,
        stage,
        {task.name: task.label_names for task in parts.stream.tasks},
        partial(session.meter.cost, plan.name, seconds, parts.model.device),
        (plan.task, train.collate(np.arange(min(16, len(train))))),
        parts.strategies,
        state,
    )
    reached("manifested")
    session.inside.clear()


def _nothing_of(kept: Measurements) -> Measurements:
    """A record of no examples."""
    return kept.rows(np.zeros(len(kept), np.bool_))


def _cells(parts: Parts, rows: Mapping[str, Measurements]) -> list[float]:
    """The scores of all tasks of the stream, NaN of those that were not measured."""
    score = parts.model.problem.score
    return [rows[task.name].value(score) if task.name in rows else float("nan") for task in parts.tasks]
