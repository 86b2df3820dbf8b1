"""From a config to the live parts of a run: stream, backbone, problem, model, strategies."""

import copy
import re
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import GradientAccumulationPlugin
from torch import nn

from plora.adapters import AdaptedLinear, Adapters, Route
from plora.adapters.merging import MERGED
from plora.adapters.prefix import Prefix
from plora.backbones import Backbone
from plora.batches.data import EncodedTask, Stage, encode_stream, make_stages
from plora.batches.evaluate import Scorer
from plora.batches.features import Extractor, FeatureCache, autocast, lacks_bf16
from plora.batches.prefix_cache import PrefixCache
from plora.cache import cache_folder, prefix_cache_bytes
from plora.config import RunConfig
from plora.config.made_in import seen_from
from plora.errors import AdapterError, ConfigError, DataError
from plora.events.tracking import require_installed
from plora.gates import ChoosingGate, Gate, ReadingGate
from plora.heads import HEADS, ClosedFormHead, Head, head_class, in_units
from plora.kinds import is_own
from plora.model import ContinualModel
from plora.optimizers import refuse_idle
from plora.problems import Problem
from plora.processes import Processes
from plora.settings import named
from plora.strategies import Strategy
from plora.streams.base import Stream, StreamSource
from plora.streams.incremental import LabelSpace


class Workspace:
    """What the runs of one process share, so that it is loaded or computed once: streams, backbone, bare features."""

    def __init__(self) -> None:
        self.features = FeatureCache()
        self._streams: dict[str, Stream] = {}
        self._backbone: tuple[str, Backbone] | None = None

    def backbone(self, config: RunConfig) -> Backbone:
        """Return the backbone of a run: modules of its own, and the frozen tensors of the run before.

        One is kept, in one precision: for another one it is loaded anew. A method that trains the backbone gets its
        own.
        """
        problem = named(config.problem.part, Problem)
        load = partial(problem.load_for, config.problem, config.backbone, partial(self.stream, config.stream))
        if config.row.trains_backbone:
            return load()
        settings = f"{config.problem.model_dump_json()} {config.backbone.model_dump_json()}"
        of_stream = config.stream.model_dump_json() if problem.of_stream else ""
        key = f"{settings} {config.training.precision} {of_stream}"
        if self._backbone is None or self._backbone[0] != key:
            self._backbone = None  # before the next is loaded: two may not fit into memory
            self._backbone = key, load()
        kept, moving = self._backbone[1], re.compile("|".join(problem.moving) or "(?!)")
        named_tensors = (*kept.network.named_parameters(), *kept.network.named_buffers())
        shared = {id(tensor): tensor for name, tensor in named_tensors if not moving.search(name)}
        return replace(kept, network=copy.deepcopy(kept.network, shared))

    def stream(self, source: StreamSource) -> Stream:
        """Return the stream of a source, as it was when it was first asked for."""
        key = source.model_dump_json()
        if key not in self._streams:
            self._streams[key] = source.load()
        return self._streams[key]


@dataclass(frozen=True)
class Learner:
    """What a config makes without any data: enough to load a checkpoint and label new inputs."""

    backbone: Backbone
    model: ContinualModel
    extractor: Extractor
    accelerator: Accelerator
    processes: Processes


@dataclass(frozen=True)
class Parts:
    """Everything that a run is made of."""

    config: RunConfig
    stream: Stream
    space: LabelSpace
    learner: Learner
    strategies: tuple[Strategy, ...]
    tasks: list[EncodedTask]
    stages: list[Stage]

    @property
    def model(self) -> ContinualModel:
        """The model of the learner."""
        return self.learner.model

    def begin(self) -> None:
        """Let every strategy load what it needs to learn, before anything is written.

        Raises:
            PloraError: of the strategy that cannot work with these parts.
        """
        for strategy in self.strategies:
            strategy.begin(self.model, self.stream, self.space.names)

    def scorer(self) -> Scorer:
        """Return a scorer of the test splits (or those that the config names) with nothing scored yet."""
        split = self.config.evaluation.split
        return Scorer(self.learner.extractor, self.space, self.tasks, self.config.seed, split)


def build(config: RunConfig, workspace: Workspace | None = None, made_in: Path | None = None) -> Parts:
    """Load and assemble all parts of a run.

    Args:
        config: of the run.
        workspace: what runs of this process share; None shares nothing.
        made_in: the folder in which the run was made, from which its relative paths lead; None is the current one.

    Returns:
        The parts. Their config is the given one, but that `training.precision` is decided where it was `auto`.

    Raises:
        PloraError: of the part that does not fit, in one line.
        ConfigError: a group of the optimizer takes no parameter.
    """
    workspace = workspace or Workspace()
    require_installed(config.trackers)
    config = _with_precision(config)
    placed = seen_from(config, made_in)
    stream = workspace.stream(placed.stream)
    if config.order is not None:
        stream = stream.ordered(config.order)
    for source in placed.added_sources():
        stream = stream.followed_by(workspace.stream(source))
    config.problem.require(stream)
    if config.scenario == "domain":
        stream = stream.in_one_order()
    if config.row.merging is not None and MERGED in (task.name for task in stream.tasks):
        raise DataError(
            f"stream '{stream.name}' has a task '{MERGED}', and so does method '{config.method}' call the slot that it "
            "makes of all tasks; rename the task"
        )
    space = LabelSpace.of(stream, config.scenario)
    learner = assemble(config, workspace, made_in)
    learner.model.problem.check(stream, config.scenario)
    tasks = encode_stream(stream, space, learner.model.problem)
    parts = Parts(
        config=config,
        stream=stream,
        space=space,
        learner=learner,
        strategies=tuple(named(s.part, Strategy)(s) for s in config.resolved_strategies()),
        tasks=tasks,
        stages=make_stages(tasks, config.row.at_once),
    )
    _refuse_idle_groups(parts)
    return parts


def _with_precision(config: RunConfig) -> RunConfig:
    """Return the config with the precision that `auto` is on the devices of all processes."""
    if config.training.precision != "auto":
        return config
    lacking = Processes.joined().any(lacks_bf16(make_accelerator().device))
    training = config.training.model_copy(update={"precision": "fp32" if lacking else "bf16"})
    return config.model_copy(update={"training": training})


def _refuse_idle_groups(parts: Parts) -> None:
    """Refuse groups of the optimizer that take nothing: open what the first stage opens, for as long as they look."""
    config, model, stage = parts.config, parts.model, parts.stages[0]
    gate, head, solved = model.gate, model.head, isinstance(model.head, ClosedFormHead)
    if not config.training.groups or (solved and config.row.slots == "none"):  # nothing is stepped
        return
    model.head = head.stand_in() if isinstance(head, ClosedFormHead) else type(head)(head.features, head.pooled)
    model.gate = None if gate is None else gate.fresh()
    with torch.random.fork_rng(devices=[]):
        for task in stage.tasks:
            model.head.open(parts.space.blocks[task.name], task.classes, torch.Generator())
        if model.adapters is not None:
            model.adapters.open_task(stage.name, config.lora, config.row.lateral)
        if model.gate is not None:
            model.gate.opened(stage.name)
        part_of = model.parts()
        opened = {name: part_of[name] for name in model.trainable()}
    if model.adapters is not None:
        model.adapters.delete(stage.name)
    model.gate, model.head = gate, head
    refuse_idle(config.training.groups, opened)


def assemble(config: RunConfig, workspace: Workspace, made_in: Path | None = None) -> Learner:
    """Load the backbone and assemble the model of a config around it, on the device that Accelerate chooses."""
    config = seen_from(config, made_in)
    accelerator, processes = make_accelerator(), Processes.joined()
    backbone = workspace.backbone(config)
    precision = config.training.precision
    if precision == "bf16" and accelerator.device.type == "cpu":
        # On a CPU the fused attention's backward is about 5 times slower in bf16 than plain matrix products.
        eager = getattr(backbone.network, "set_attn_implementation", None)
        if eager is not None:
            eager("eager")
    part = named(config.problem.part, Problem)
    problem = part.around(config.problem, backbone, config.backbone, cache_folder())
    problem.read_as(config.stream)
    problem.learn_as(config.problem)
    model = build_model(config, backbone, problem).to(accelerator.device)
    model.head.device = accelerator.device
    # Measured on two CPU cores: batches of 16,384 tokens score 20 to 40 % slower than batches of 2,048.
    at_once = config.evaluation.tokens_per_batch or (2048 if accelerator.device.type == "cpu" else 16384)
    prefix = _prefix_cache(model, f"{backbone.fingerprint} {precision}", precision, at_once)
    extractor = Extractor(model, backbone.fingerprint, precision, at_once, workspace.features, processes, prefix)
    return Learner(backbone, model, extractor, accelerator, processes)


def _prefix_cache(model: ContinualModel, key: str, precision: str, tokens_per_batch: int) -> PrefixCache | None:
    """The cache of what enters the first adapted block; None where there is nothing frozen below it."""
    prefix = None if model.adapters is None or model.trains_backbone else Prefix.of(model.backbone)
    if prefix is None or (folder := cache_folder()) is None:
        return None
    computing = partial(autocast, model.device, precision)
    return PrefixCache(model, prefix, key, computing, tokens_per_batch, folder / "prefix", prefix_cache_bytes())


def make_accelerator() -> Accelerator:
    """Accelerate's devices and processes, and nothing of its environment that would change what is learned."""
    try:
        once = GradientAccumulationPlugin(num_steps=1)  # an argument would give way to the environment
        return Accelerator(mixed_precision="no", gradient_accumulation_plugin=once)
    except ValueError as error:  # this process has an Accelerator of another kind already
        raise ConfigError(
            [f"this process has set up Accelerate for something else ({error}); start another, with training.precision"]
        ) from None


def build_model(config: RunConfig, backbone: Backbone, problem: Problem) -> ContinualModel:
    """Assemble the model of a method around a backbone: adapters (still without slots), gate and head."""
    row = config.row
    adapters = None
    trains_backbone = row.trains_backbone
    if row.slots != "none":
        adapters = inject(backbone.network, config)
        problem.check_network(backbone.network)
    if config.training.precision == "bf16" and not trains_backbone:
        hold_in_bf16(backbone.network)
    settings = config.resolved_gate()
    head = _head_of(config)(backbone.width, _competes(config))
    if isinstance(head, ClosedFormHead) and config.drift == "linear":
        head.keeps_statistics = True
    gate = None if settings is None else named(settings.part, Gate)(settings)
    model = ContinualModel(
        backbone.network, problem, head, adapters, gate, trains_backbone, config.training.head_dropout
    )
    if config.training.activation_checkpointing:
        model.activation_checkpointing_enable()
    if gate is not None and adapters is not None:
        _require_fit(adapters, gate.fresh(), config)
    return model


def _head_of(config: RunConfig) -> type[Head]:
    """The class of the head; one of the user's own goes where one of the table goes that learns in its way."""
    name, row = config.resolved_head(), config.row
    head = head_class(name)
    solved = issubclass(head, ClosedFormHead)
    if is_own(name) and solved not in (issubclass(HEADS[other], ClosedFormHead) for other in row.heads):
        ways = ("trains step by step", "is solved")
        raise ConfigError([f"head: '{name}' {ways[solved]}, and that of method '{row.name}' {ways[not solved]}"])
    return in_units(head) if config.problem.fills_rows else head


def _competes(config: RunConfig) -> bool:
    """Whether all blocks of the head compete: not where the task is known, the gate chooses one for each input, or rows
    have targets of their own."""
    if config.problem.fills_rows:
        return False
    gate = config.resolved_gate()
    return config.scenario == "domain" or (config.scenario == "class" and (gate is None or not gate.chooses))


def inject(network: nn.Module, config: RunConfig) -> Adapters:
    """Give a network the places for slots that a config names."""
    lora = config.lora
    adapters = Adapters.inject(
        network,
        None if lora is None else lora.targets,
        "all" if lora is None else lora.layers,
        config.bottleneck,
        config.modules,
        config.pointwise,
    )
    for bank in adapters.banks.values():
        assert lora is not None
        bank.require_rank(lora.largest_rank)  # before anything is written, not when the first slot opens
    return adapters


def _require_fit(adapters: Adapters, gate: Gate, config: RunConfig) -> None:
    """Refuse a gate whose routes some place cannot do, as that declares, before anything is written."""
    slots = ("first", "second") if config.row.slots == "per_task" else ("shared",)
    for slot in slots:
        gate.opened(slot)
    route = gate.route(slots, slots[-1])
    routes = [route]
    if isinstance(gate, ReadingGate):
        weights = torch.eye(len(slots)) if isinstance(gate, ChoosingGate) else torch.full((2, len(slots)), 0.5)
        routes.append(Route(slots, weights, "sample"))
    for per, number in adapters.counts().items():
        if route.per == per and route.coefficients is not None and len(route.coefficients) != number:
            raise AdapterError(
                f"gate '{gate.settings.kind}': coefficients per {per} are for {len(route.coefficients)} {per}s, the "
                f"network has {number}"
            )
    for place in adapters.places.values():
        for wanted in routes:
            if reason := place.refusal(wanted):
                raise AdapterError(
                    f"{place} cannot do what gate '{config.gate.kind if config.gate else config.row.gate}' of method "
                    f"'{config.method}' asks for: {reason}"
                )


def hold_in_bf16(network: nn.Module) -> None:
    """Store the weights of frozen linear layers in bf16: the numbers that autocast makes of them at every call.

    A weight that is an embedding too stays as it is, for nothing is rounded where that is looked up.
    """
    embedded = {id(module.weight) for module in network.modules() if isinstance(module, nn.Embedding)}
    for module in network.modules():
        base = module.base if isinstance(module, AdaptedLinear) else module
        if isinstance(base, nn.Linear) and id(base.weight) not in embedded:
            base.to(torch.bfloat16)
