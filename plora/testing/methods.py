"""What a row of the method table promises, seen in whole runs of the one loop."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from plora.build import Parts, build
from plora.config import RunConfig, load_config
from plora.errors import ConfigError, did_you_mean
from plora.events.console import Console
from plora.methods import METHODS, Method, Phase
from plora.model import ContinualModel
from plora.results.record.manifest import read_chain, read_checkpoint
from plora.run_folder.checkpoint import load_checkpoint
from plora.run_folder.folder import RunFolder
from plora.settings import named
from plora.strategies import Strategy
from plora.streams.base import SCENARIOS, Scenario
from plora.testing.promises import Promises
from plora.testing.strategies import check_strategy, weight_settings
from plora.testing.tiny import TASKS, own_random_numbers, tiny_network, tiny_texts, tiny_tokenizer
from plora.training.course import plan_course
from plora.training.stream import learn_stream

_TEXTS = {"train": 16, "validation": 8, "test": 8}


@own_random_numbers()
def check_method(name: str) -> None:
    """Check a row of `METHODS` in runs of two small tasks, for each of its heads and scenarios.

    - at the start of each phase, the optimizer holds exactly what the phase declares, each tensor once;
    - each of these has a gradient within two steps, but for those of a gate over a single slot;
    - every other tensor of the backbone, buffers included, is the same bits after the run;
    - a checkpoint that is loaded into a fresh model gives the same logits to the bit;
    - equal signatures mean equal predictions, and a method whose tasks are not entangled keeps a task's signature while
      the next one is learned;
    - its strategies keep their own promises, and with their weights at 0 the run is that without them, bit for bit.

    Args:
        name: of the row.

    Raises:
        ConformanceError: the first promise that is broken.
        ConfigError: there is no such row.
    """
    if name not in METHODS:
        raise ConfigError([f"method: there is no '{name}'{did_you_mean(name, METHODS)}; known: {', '.join(METHODS)}"])
    row = METHODS[name]
    for settings in row.strategies.values():
        check_strategy(settings)
    with TemporaryDirectory() as place, redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        _write_world(Path(place))
        scenarios = [scenario for scenario in SCENARIOS if scenario not in row.refusals]
        for scenario in scenarios:
            _check_runs(row, _config(Path(place), name, scenario, row.heads[0]))
        for head in row.heads[1:]:
            _check_runs(row, _config(Path(place), name, scenarios[0], head))


def _check_runs(row: Method, config: RunConfig) -> None:
    promises = Promises(f"method {config.label} ({config.scenario}-incremental)")
    parts = build(config)
    frozen = _frozen(parts.model)
    with _watched(promises, parts), promises.no_error("it learns two tasks"):
        folder = _learn(parts, config.folder)
    for name, tensor in _frozen(parts.model).items():
        promises.keep(torch.equal(tensor, frozen[name]), "what is frozen stays", f"another {name}", "the same bits")
    _check_reload(promises, parts, folder)
    if not row.at_once:
        _check_signatures(promises, row, config, folder)
    if row.strategies:
        _check_weight_0(promises, row, config)


# ---------------------------------------------------------------------- while it learns


@contextmanager
def _watched(promises: Promises, parts: Parts) -> Iterator[None]:
    """Look at every optimizer just before it steps, inside the `with` block."""
    phases = parts.config.resolved_phases()
    optimizers: list[Optimizer] = []
    steps: list[int] = []
    alive: set[str] = set()

    def look(optimizer: Optimizer, *_: object) -> None:
        held = _held(promises, parts.model, optimizer)
        if optimizer not in optimizers:
            declared = _declared(parts.model, phases[len(optimizers) % len(phases)])
            missing, extra = sorted(declared.keys() - held.keys()), sorted(held.keys() - declared.keys())
            promises.keep(not missing, "the optimizer holds all that is declared to train", f"none of {missing}", "all")
            promises.keep(not extra, "the optimizer holds nothing else", extra, f"only {len(declared)} tensors")
            optimizers.append(optimizer)
            steps.append(0)
            alive.clear()
        alive.update(name for name, parameter in held.items() if parameter.grad is not None and parameter.grad.any())
        steps[-1] += 1
        if steps[-1] == 2:
            # A gate has nothing to share out while there is one slot.
            alone = parts.model.adapters is not None and len(parts.model.adapters.names) == 1
            idle = {name for name in held if alone and name.startswith("gate.")}
            dead = sorted(held.keys() - alive - idle)
            promises.keep(not dead, "all that trains has a gradient within two steps", f"none for {dead}", "one")

    hook = register_optimizer_step_pre_hook(look)
    try:
        yield
    finally:
        hook.remove()
    trained = [plan.position for plan in plan_course(parts) if plan.phases]
    expected = len(trained) * len(phases)
    promises.keep(len(optimizers) == expected, "each phase of each task has an optimizer", len(optimizers), expected)


def _held(promises: Promises, model: ContinualModel, optimizer: Optimizer) -> dict[str, nn.Parameter]:
    """What an optimizer holds, by name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    given = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    held = {names.get(id(parameter), "a tensor that the model has not"): parameter for parameter in given}
    promises.keep(len(held) == len(given), "each tensor is in the optimizer once", f"{len(given)} tensors", len(held))
    return held


def _declared(model: ContinualModel, phase: Phase) -> dict[str, nn.Parameter]:
    """What a phase says that it trains, by name.

    Open A and B of every layer, open head rows, all that the gate learns, the whole backbone.
    """
    owners = {id(parameter): "adapter" for parameter in (model.adapters.parameters() if model.adapters else ())}
    owners |= {id(parameter): "head" for parameter in model.head.parameters()}
    owners |= {id(parameter): "gate" for parameter in (model.gate.parameters() if model.gate else ())}
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if owners.get(id(parameter), "backbone") in phase.train
    }


def _frozen(model: ContinualModel) -> dict[str, Tensor]:
    """Copies of the tensors that no row may change: the backbone's, without slots and without what trains."""
    trained = {name for name, parameter in model.backbone.named_parameters() if parameter.requires_grad}
    return {
        name: tensor.detach().clone()
        for name, tensor in [*model.backbone.named_parameters(), *model.backbone.named_buffers()]
        if ".banks." not in name and name not in trained
    }


# ---------------------------------------------------------------------- after it has learned


def _check_reload(promises: Promises, parts: Parts, folder: RunFolder) -> None:
    fresh = build(parts.config)
    with promises.no_error("its last checkpoint loads into a fresh model"):
        load_checkpoint(folder, read_checkpoint(folder.path, folder.complete()[-1]), fresh.learner)
    for task in parts.tasks:
        live, again = (_logits(model, parts, task.name) for model in (parts.model, fresh.model))
        difference = f"logits of '{task.name}' that differ by up to {(live - again).abs().max().item():.2g}"
        promises.keep(torch.equal(live, again), "a reload gives the same logits", difference, "the same bits")


def _check_signatures(promises: Promises, row: Method, config: RunConfig, folder: RunFolder) -> None:
    models: list[ContinualModel] = []
    for checkpoint in read_chain(folder.path):
        parts = build(config)
        load_checkpoint(folder, checkpoint, parts.learner)
        models.append(parts.model)
    task = parts.tasks[0].name
    blocks, rows = [parts.space.blocks[task]], parts.space.rows_of(task)
    same = len({model.signature(task, blocks) for model in models}) == 1
    if row.entangled(config.scenario, config.resolved_gate()) is None:
        promises.keep(same, f"'{task}' is as it was when '{TASKS[1]}' is learned", "another signature", "the same")
    if same:
        before, after = (_logits(model, parts, task)[:, rows] for model in models)
        difference = f"logits that differ by up to {(before - after).abs().max().item():.2g}"
        close = torch.allclose(before, after, rtol=1e-5, atol=1e-6)
        promises.keep(close, "equal signatures mean equal predictions", difference, "the same logits")


def _check_weight_0(promises: Promises, row: Method, config: RunConfig) -> None:
    off = tuple(
        named(settings.part, Strategy)(settings.model_copy(update=dict.fromkeys(weight_settings(settings), 0.0)))
        for settings in row.strategies.values()
    )
    silent, plain = (replace(build(config), strategies=strategies) for strategies in (off, ()))
    for parts, place in ((silent, "silent"), (plain, "plain")):
        _learn(parts, config.folder.with_name(place))
    for task in plain.tasks:
        blocks = [plain.space.blocks[task.name]]
        one, two = (parts.model.signature(task.name, blocks) for parts in (silent, plain))
        promises.keep(one == two, f"weight 0 equals plain training of '{task.name}'", "other weights", "the same bits")


@torch.no_grad()
def _logits(model: ContinualModel, parts: Parts, task: str) -> Tensor:
    """Scores of a task's test split."""
    examples = next(other for other in parts.tasks if other.name == task).splits["test"]
    batch = examples.collate(np.arange(len(examples))).to(model.device)
    scores: Tensor = model.eval()(batch.inputs, task)
    return scores


# ---------------------------------------------------------------------- a run of two tasks


def _learn(parts: Parts, place: Path) -> RunFolder:
    folder = RunFolder.create(place)
    folder.write_config(parts.config)
    learn_stream(parts, folder, Console(live=False))
    return folder


def _write_world(place: Path) -> None:
    """Write a tiny pretrained network and two tasks whose labels are `shared`, or each task's `own`."""
    tiny_network().save_pretrained(place / "backbone")
    tiny_tokenizer().save_pretrained(place / "backbone")
    for position, task in enumerate(TASKS[:2]):
        for shift, (split, number) in enumerate(_TEXTS.items()):
            rows = tiny_texts(number, 3 * shift + position)
            lines = [json.dumps({"text": t, "shared": "ab"[i], "own": f"{task} {'ab'[i]}"}) for t, i in rows]
            (place / f"{task}-{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")


def _config(place: Path, method: str, scenario: Scenario, head: str) -> RunConfig:
    """A run that learns the two tasks in a second."""
    labels = "shared" if scenario == "domain" else "own"
    tasks = [
        {"name": task, "label": labels} | {split: str(place / f"{task}-{split}.jsonl") for split in _TEXTS}
        for task in TASKS[:2]
    ]
    return load_config(
        {
            "name": scenario,
            "stream": {"kind": "local", "name": "tiny", "tasks": tasks},
            "scenario": scenario,
            "method": method,
            "head": head,
            "backbone": {"id": str(place / "backbone"), "max_length": 16},
            "lora": {"rank": 2, "alpha": 4} | ({"ranks": {1: 1}} if METHODS[method].lora.get("ranks") else {}),
            "training": {"epochs": 2, "batch_size": 8, "learning_rate": 0.01},
            "output": str(place / "runs"),
        }
    )
