"""Mistakes of a config that concern several keys."""

from collections.abc import Iterator

from plora.adapters.settings import Merging
from plora.config.run import RunConfig
from plora.config.training import TrainingConfig
from plora.errors import did_you_mean
from plora.kinds import is_own
from plora.methods import OWN, PARTS, REGRESSED, SOLVED
from plora.problems.settings import ClassificationLoss, SemanticSegmentationSettings
from plora.results.record.rouge import ROUGE
from plora.strategies.settings import GenerativeReplaySettings


def cross_checks(config: RunConfig) -> Iterator[str]:
    """Mistakes that concern several keys."""
    row = config.row
    names = [task.name for task in config.listed]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"stream.tasks: '{name}' is the name of {names.count(name)} tasks; names must be unique"
    if refusal := row.refusal(config.scenario):
        yield f"scenario: {refusal}"
    if not config.problem.classifies and config.scenario == "class":
        yield from _of_arriving_classes(config)
    if config.problem.headed:
        yield from _of_parts(config)
    if config.problem.fills_rows:
        yield from _with_targets(config)
    elif not config.problem.has_head:
        yield from _without_rows(config)
    elif config.resolved_head() not in row.heads and not is_own(config.resolved_head()):
        yield (
            f"head: '{config.head}' does not fit method '{config.method}'{did_you_mean(str(config.head), row.heads)} "
            f"(heads: {', '.join(row.heads)})"
        )
    for strategy in config.resolved_strategies() if config.problem.has_head else ():
        if isinstance(strategy, GenerativeReplaySettings) and strategy.generator.writes_documents:
            yield (
                f"strategies: generator '{strategy.generator.kind}' writes documents, and problem "
                f"'{config.problem.kind}' has classes; use generator 'mlm' or 'causal'"
            )
    gate = config.resolved_gate()
    if config.gate is not None and gate is None:
        yield f"gate: method '{config.method}' has no slots that a gate could weigh; leave it out"
    if config.gate is not None and config.gate.needs_task and config.scenario != "task":
        yield (
            f"gate: '{config.gate.kind}' needs the task's name, which is not known at test time in the "
            f"{config.scenario}-incremental scenario; use scenario=task, or another gate"
        )
    if gate is not None and gate.by_likelihood and not config.problem.writes:
        yield (
            f"gate: '{gate.kind}' compares how likely slots find a document, and problem '{config.problem.kind}' says "
            "nothing of that; use method 'routed' with its own gate"
        )
    if gate is not None and gate.by_class:
        yield from _of_own_classes(config)
    if gate is not None and gate.by_likelihood and getattr(config.problem, "score", "") in ("exact_match", *ROUGE):
        yield (
            f"gate: '{gate.kind}' says how likely an answer is, and not which one is likeliest; set "
            "problem.score=nats_per_byte, or use method 'per_task' with scenario=task"
        )
    if gate is not None and (gate.reads or gate.asks_each) and (row.slots != "per_task" or row.merging is not None):
        yield (
            f"gate: '{gate.kind}' weighs the slots of all tasks for each input, and method '{config.method}' "
            f"{'has one slot' if row.merging is None else 'makes one of them'}; use another gate or method"
        )
    others = [key for key in ("bottleneck", "pointwise", "modules") if getattr(config, key)]
    if row.slots != "none" and config.lora is None and not others:
        places = "lora, bottleneck, pointwise or modules"
        yield f"lora: method '{config.method}' has slots, and they need a place: set {places}"
    if config.lora is None and (row.lateral or row.merging is not None):
        yield f"lora: method '{config.method}' works on low-rank slots, and lora is null"
    if (row.merging is not None or row.lateral) and others:
        yield f"{', '.join(others)}: method '{config.method}' works on low-rank slots alone; leave {_them(others)} out"
    if others and row.slots != "none" and gate is not None and gate.low_rank:
        yield (
            f"{', '.join(others)}: gate '{gate.kind}' of method '{config.method}' divides by the size of ΔW, which "
            f"low-rank slots alone have; leave {_them(others)} out, or use another method"
        )
    for strategy in config.resolved_strategies():
        if others and row.slots != "none" and strategy.low_rank:
            yield (
                f"{', '.join(others)}: strategy '{strategy.kind}' of method '{config.method}' knows low-rank slots "
                f"alone and would protect nothing there; leave {_them(others)} out, or use another method"
            )
    if config.lora is not None and config.lora.ranks and (row.slots != "per_task" or row.merging == "magmax"):
        yield f"lora.ranks: the slots of method '{config.method}' have one rank, for they are one or begin as another"
    possible = {part for phase in row.phases for part in phase.train}
    possible |= {"gate", "modules"} if "adapter" in possible else set()
    used = {part for phase in config.resolved_phases() for part in phase.train if part in PARTS}
    for part in sorted(used - possible):
        yield f"phases: method '{config.method}' has no {part} to train; it can train: {', '.join(sorted(possible))}"
    trained = sorted({part for phase in config.resolved_phases() for part in phase.train})
    for number, group in enumerate(config.training.groups):
        if group.part is not None and group.part not in trained:
            yield f"training.groups.{number}: no {group.part} is trained in this run; trained: {', '.join(trained)}"
    if row.merging is None and config.merging != Merging():
        yield f"merging: method '{config.method}' merges nothing; use merged_average, merged_ties or merged_magmax"
    trained_parts = [set(phase.train) for phase in config.resolved_phases()]
    in_vain = config.solved and row.slots != "none" and all(parts == {"head"} for parts in trained_parts)
    if in_vain or (row.slots == "first" and not any("adapter" in parts for parts in trained_parts)):
        yield f"phases: method '{config.method}' without a phase that trains the adapter is method 'frozen'; use that"
    yield from _of_a_solved_head(config)
    if config.training.activation_checkpointing and row.slots == "none" and not row.trains_backbone:
        yield (
            f"training.activation_checkpointing: method '{config.method}' trains nothing inside the backbone, so there "
            "are no activations to keep or to compute again; leave it out"
        )
    if getattr(config.problem, "augment", None) is not None and config.solved and trained == ["head"]:
        yield (
            f"problem.augment: head '{config.resolved_head()}' of method '{config.method}' is solved once, and nothing "
            "else is learned; leave it out"
        )
    loss = getattr(config.problem, "loss", ClassificationLoss())
    for key, is_set in (
        ("problem.loss", loss != ClassificationLoss()),
        ("problem.sampling", getattr(config.problem, "sampling", "all") != "all"),
        ("training.head_dropout", config.training.head_dropout),
    ):
        if is_set and config.solved and trained == ["head"]:
            yield (
                f"{key}: head '{config.resolved_head()}' of method '{config.method}' is solved once, and nothing is "
                "learned step by step; leave it out"
            )
    if row.merging not in (None, "ties") and config.merging.keep != Merging().keep:
        yield f"merging.keep: method '{config.method}' keeps every entry of a slot; it is a setting of merged_ties"
    if config.loss_rows is not None and config.scenario != "class":
        yield (
            f"loss_rows: it decides nothing in the {config.scenario}-incremental scenario, where a task's own classes "
            "compete; leave it out, or use scenario=class"
        )
    training, usual = config.training, TrainingConfig()
    if training.schedule == "constant" and training.schedule_floor != usual.schedule_floor:
        yield "training.schedule_floor: a constant schedule does not go down; leave it out, or choose another schedule"
    if training.schedule != "polynomial" and training.schedule_power != usual.schedule_power:
        yield f"training.schedule_power: it is of a polynomial schedule, and schedule is {training.schedule}"
    kinds = [strategy.kind for strategy in config.strategies]
    for kind in sorted({kind for kind in kinds if kinds.count(kind) > 1}):
        yield f"strategies: '{kind}' is listed {kinds.count(kind)} times; once is possible, with all of its settings"
    shares_rows = config.scenario == "domain" or (config.scenario == "class" and config.resolved_loss_rows() != "local")
    for strategy in config.resolved_strategies():
        if reason := row.nothing_to_protect(strategy, config.resolved_head(), config.solved, shares_rows, gate):
            yield f"strategies: '{strategy.kind}' does not fit method '{config.method}': {reason}"


def _them(keys: list[str]) -> str:
    return "it" if len(keys) == 1 else "them"


def _of_a_solved_head(config: RunConfig) -> Iterator[str]:
    """Mistakes about a head that is solved, or about what only such a head knows."""
    if config.drift == "linear" and not config.solved:
        yield (
            f"drift: the head '{config.resolved_head()}' is trained step by step and keeps no sums of features; leave "
            f"it out, or use a head that is solved: {', '.join(SOLVED)}"
        )
    elif config.drift == "linear" and not config.row.features_drift(config.resolved_gate()):
        yield (
            f"drift: with method '{config.method}' the features of a task do not change when later ones are learned; "
            "leave it out"
        )
    if config.solved and not config.row.at_once and config.loss_rows not in (None, "local"):
        yield (
            f"loss_rows: the head '{config.resolved_head()}' is solved, and the one that stands in for it while a task "
            "trains knows the rows of that task alone; leave it out, or use loss_rows=local"
        )


def _of_arriving_classes(config: RunConfig) -> Iterator[str]:
    """Mistakes about classes that arrive, where an example has not one of them as its answer."""
    if not config.problem.adds_classes:
        yield (
            f"scenario: problem '{config.problem.kind}' has no classes that tasks could add; use scenario=task or "
            "scenario=domain"
        )
    elif config.row.at_once and not config.problem.fills_rows:
        yield (
            f"method: '{config.method}' learns all tasks together, and a class of one step is background in the "
            "examples of another; learn all classes as one task: leave stream.increment out"
        )


def _of_own_classes(config: RunConfig) -> Iterator[str]:
    """Mistakes about a gate whose slots answer for the classes of their own steps."""
    gate, problem = config.resolved_gate(), config.problem
    assert gate is not None
    if not isinstance(problem, SemanticSegmentationSettings):
        yield (
            f"gate: '{gate.kind}' asks each slot where its own classes are, and problem '{problem.kind}' has no "
            "pixels; use another gate"
        )
        return
    if config.scenario != "class":
        yield (
            f"gate: '{gate.kind}' asks each slot for the classes of its own step, and in the {config.scenario}-"
            "incremental scenario all have the same; set stream.increment and scenario=class, or use another gate"
        )
    needed = ("query", "class_predictor") if problem.answer == "queries" else ("class_predictor",)
    if missing := [name for name in needed if name not in config.modules]:
        yield f"modules: with gate '{gate.kind}' each slot has its own {' and '.join(missing)}; name {_them(missing)}"
    if problem.outlier is not None or problem.outlier_class:
        yield f"problem.outlier: with gate '{gate.kind}' no slot knows all classes, so none says what an outlier is"


def _of_parts(config: RunConfig) -> Iterator[str]:
    """Mistakes of a problem whose heads score parts of an example, so that it has not one feature and one class."""
    kind, gate = config.problem.kind, config.resolved_gate()
    if config.solved:
        yield (
            f"head: '{config.resolved_head()}' of method '{config.method}' is solved from one feature and one class of "
            f"each example, and problem '{kind}' has them for each of its parts; "
            + ("use head=linear" if "linear" in config.row.heads else "use another method")
        )
    if gate is not None and gate.reads:
        yield (
            f"gate: '{gate.kind}' of method '{config.method}' weighs slots by one feature of each example, and problem "
            f"'{kind}' has one for each of its parts; use another method, such as merged_average"
        )
    for strategy in config.resolved_strategies():
        if strategy.reads_scores and not strategy.reads_parts:
            yield (
                f"strategies: '{strategy.kind}' reads the scores of one class for each example, and problem '{kind}' "
                "has one for each of its parts; leave it out"
            )


def _with_targets(config: RunConfig) -> Iterator[str]:
    """Mistakes of a problem whose head has a target for each row, and no class that would be the answer."""
    kind, row, gate = config.problem.kind, config.row, config.resolved_gate()
    if config.scenario == "class" and config.loss_rows is not None:
        yield f"loss_rows: problem '{kind}' learns each label by itself, and none compete; leave it out"
    head, fitting = config.resolved_head(), [name for name in row.heads if name in REGRESSED]
    if head not in fitting:
        reason = "is made of one class for each example" if head != "cosine" else "tells directions, and no amounts"
        yield f"head: '{head}' {reason}, and problem '{kind}' has none; use {' or '.join(fitting)}"
    if config.drift == "linear":
        yield f"drift: it makes features of old classes anew, and problem '{kind}' has none; leave it out"
    if gate is not None and gate.chooses:
        yield (
            f"method: '{config.method}' chooses by classes that features are near to, and problem '{kind}' has none; "
            "use per_task with scenario=task, or merged_average"
        )
    for strategy in config.resolved_strategies():
        if strategy.reads_scores or isinstance(strategy, GenerativeReplaySettings):
            yield (
                f"strategies: '{strategy.kind}' of method '{config.method}' reads scores as of classes of which one is "
                f"right, and problem '{kind}' has none such"
            )


def _without_rows(config: RunConfig) -> Iterator[str]:
    """Mistakes of a problem whose answers are no classes, so that no head has rows for them."""
    kind, row = config.problem.kind, config.row
    if config.scenario == "class" and config.loss_rows is not None:
        yield f"loss_rows: problem '{kind}' learns all classes seen by now; leave it out"
    if config.training.head_dropout:
        yield f"training.head_dropout: problem '{kind}' has no head whose features could be dropped; leave it out"
    if config.head not in (None, OWN):
        yield f"head: problem '{kind}' has answers of its own and no classes for a head '{config.head}'; leave it out"
    if "linear" not in row.heads:
        yield f"method: '{config.method}' solves a head over classes, and problem '{kind}' has none"
    if all(part == "head" for phase in config.resolved_phases() for part in phase.train):
        yield (
            f"method: '{config.method}' trains a head alone, and problem '{kind}' answers with the network itself; to "
            "train some of its modules, use method=sequential with lora=null and name them in modules"
        )
    gate = config.resolved_gate()
    if gate is not None and gate.chooses:
        other = "set gate={kind: likelihood}"
        if config.problem.segments:
            other = "set gate={kind: own_classes}" if config.scenario == "class" else "use method 'sequential' or 'lwf'"
        yield (
            f"method: '{config.method}' chooses by classes that features are near to, and problem '{kind}' has none; "
            f"{other}"
        )
    elif gate is not None and gate.reads:
        yield f"method: '{config.method}' weighs slots by features that a head reads, and problem '{kind}' has none"
    for strategy in config.resolved_strategies():
        if config.problem.writes and not config.problem.continues and isinstance(strategy, GenerativeReplaySettings):
            yield (
                f"strategies: '{strategy.kind}' has texts written from their beginning, and problem '{kind}' writes "
                "answers to prompts; use method 'replay'"
            )
        elif strategy.reads_scores and isinstance(strategy, GenerativeReplaySettings):
            yield (
                f"strategies: generator '{strategy.generator.kind}' writes texts of classes, and problem '{kind}' has "
                "none; set strategies=[{kind: generative_replay, generator: {kind: self}}]"
            )
        elif strategy.reads_scores and not (strategy.reads_parts and config.problem.dense):
            yield f"strategies: '{strategy.kind}' reads scores of classes, and problem '{kind}' has none"
