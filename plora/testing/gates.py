"""What a gate promises."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import isfinite

import torch
from torch import Tensor

from plora.adapters import Route
from plora.errors import UnknownTaskError
from plora.gates import ChoosingGate, Gate, GateSettings, ReadingGate
from plora.model import ContinualModel
from plora.moment import Moment
from plora.testing.promises import Promises
from plora.testing.tiny import TASKS, WIDTH, open_filled, own_random_numbers, tiny_inputs, tiny_model

_LAYERS, _SITES = 8, 8
"""Of the tiny network."""
_EXAMPLES = 32
"""Of each task, for a gate that reads inputs."""
_UNKNOWN = "a task that no slot was opened for"


@own_random_numbers()
def check_gate(gate: type[Gate], settings: GateSettings | None = None) -> None:
    """Check that a gate can stand in `GATES`.

    - it is made without arguments, and says `needs_task` and `constant`;
    - coefficients per layer and per site are as many as the network has, whatever network it is told of;
    - its routes name slots that exist, with coefficients that a network accepts, however many slots there are;
    - the same question has the same answer, whatever was asked before and whatever the random state is, and it draws
      no random number of its own;
    - a gate that needs the task refuses an unknown one, a gate that does not gives every task the same route, unless it
      chooses a slot for each input, or lets each slot answer alone where no task is named;
    - no slot is forgotten: each is on some task's route (where slots are merged, the newest is), and the open slot
      trains, in every layer;
    - what is called `constant` may be folded while a task trains, and what `settles` may be for evaluation: the outputs
      are the same;
    - it decides about a slot when that is committed;
    - at a moment of training the same holds, whatever else was drawn, and penalty and diagnostics are finite;
    - what it shows of its slots is finite, one number for each slot, or for each layer or site and slot;
    - its parameters have gradients; its state, given to another one, gives the same routes, and a fresh one, or one
      that is given nothing, has learned nothing;
    - a gate that reads inputs weighs the slots of its route for each input by itself, whatever else is in the batch,
      and all above holds for what it makes of inputs, too.

    Args:
        gate: the class.
        settings: it is made with; None makes it without any.

    Raises:
        ConformanceError: the first promise that is broken.
    """
    promises = Promises(f"gate {gate.__name__}")
    new = gate if settings is None else partial(gate, settings)
    with promises.no_error("it is made without arguments" if settings is None else "it is made with its settings"):
        made = new()

    def make(layers: int = _LAYERS, sites: int = _SITES) -> Gate:
        begun = new()
        with promises.no_error("it can be told of the network"):
            begun.begin(layers, sites)
            if isinstance(begun, ReadingGate):
                begun.begin_reading(WIDTH)
        return begun

    for name in ("needs_task", "constant"):
        value = getattr(made, name, None)
        promises.keep(isinstance(value, bool), f"it declares {name}", repr(value), "True or False")
    for number in range(len(TASKS) + 1):
        _check_routes(promises, make, TASKS[:number])
        if number:
            _check_moments(promises, make, TASKS[:number])
    for layers, sites in ((_LAYERS, _SITES), (2, 3)):
        _check_counts(promises, partial(make, layers, sites), layers, sites)
    if made.needs_task:
        _check_refusals(promises, make())
    if isinstance(made, ReadingGate):
        _check_reading(promises, make)
    if issubclass(gate, ChoosingGate):
        _check_choices(promises, gate if settings is None else partial(gate, settings))
    _check_in_a_network(promises, make())
    _check_state(promises, make)


def _check_counts(promises: Promises, make: Callable[[], Gate], layers: int, sites: int) -> None:
    fresh = _opened(_opened(make, TASKS).fresh, TASKS)
    for gate, of in ((_opened(make, TASKS), ""), (fresh, ", a fresh one too")):
        route = _ask(promises, gate, TASKS, TASKS[-1])
        number = {"layer": layers, "site": sites}.get(route.per)
        if number is not None and route.coefficients is not None:
            found = len(route.coefficients)
            promise = f"coefficients per {route.per} are as many as the network has{of}"
            promises.keep(found == number, promise, found, f"{number}; begin tells them")


def _opened(make: Callable[[], Gate], slots: Sequence[str]) -> Gate:
    """A gate that was told of some slots, and has seen their tasks if it reads inputs."""
    gate = make()
    for position, slot in enumerate(slots):
        gate.opened(slot)
        if isinstance(gate, ReadingGate):
            gate.learn(position, _features(position), torch.full((_EXAMPLES,), position))
    return gate


def _features(position: int) -> Tensor:
    """Bare features of a task `[N, D, d]`, around a centre of its own at each of three depths."""
    generator = torch.Generator().manual_seed(position)
    centre = 3 * torch.randn(3, WIDTH, generator=generator)
    return centre + 0.3 * torch.randn(_EXAMPLES, 3, WIDTH, generator=generator)


def _check_moments(promises: Promises, make: Callable[[], Gate], slots: Sequence[str]) -> None:
    """A route is a pure function of the moment: the same in each micro-batch, process and recomputation."""
    moments = [Moment(len(slots) - 1, step, 4, 0, seed) for seed in (1, 2) for step in (0, 3)]
    first = [_ask(promises, _opened(make, slots), slots, slots[-1], at) for at in moments]
    worn = _opened(make, slots)
    evaluated = _ask(promises, worn, slots, slots[-1])
    for at, route in reversed([*zip(moments, first, strict=True)]):
        with own_random_numbers(at.step):
            before = torch.get_rng_state()
            again = _ask(promises, worn, slots, slots[-1], at)
            drawn = not torch.equal(before, torch.get_rng_state())
        promises.keep(not drawn, "noise is drawn from the moment's seed alone", "a changed random state", "the same")
        same = again.same_as(route)
        promises.keep(same, "the same moment has the same route", _shown(again), _shown(route))
        with promises.no_error("penalty and diagnostics"):
            numbers = {name: float(value.detach()) for name, value in worn.penalty(again, at).items()}
            numbers |= worn.diagnostics()
        finite = all(isfinite(value) for value in numbers.values())
        promises.keep(finite, "penalty and diagnostics are finite", numbers, "numbers")
    _check_vectors(promises, worn, slots)
    again = _ask(promises, worn, slots, slots[-1])
    promises.keep(again.same_as(evaluated), "evaluation has no noise", _shown(again), _shown(evaluated))


@torch.no_grad()
def _check_vectors(promises: Promises, gate: Gate, slots: Sequence[str]) -> None:
    with promises.no_error("it shows vectors of its slots"):
        vectors = gate.vectors(slots)
    for name, vector in vectors.items():
        found, expected = (
            tuple(vector.shape),
            ((len(slots),), *((rows, len(slots)) for rows in (gate.layers, gate.sites))),
        )
        promises.keep(found in expected, f"'{name}' has a number for each slot", found, f"one of {expected}")
        promises.keep(bool(vector.isfinite().all()), f"'{name}' is finite", vector.tolist(), "numbers")


@torch.no_grad()
def _check_state(promises: Promises, make: Callable[[], Gate]) -> None:
    worn = _opened(make, TASKS)
    untouched = _ask(promises, worn, TASKS, TASKS[-1])
    parameters = [*worn.parameters()]
    for number, parameter in enumerate(parameters, 1):
        parameter.add_(number * torch.linspace(0.1, 0.3, parameter.numel()).view_as(parameter))
    learned = _ask(promises, worn, TASKS, TASKS[-1])
    if parameters:
        moved = not learned.same_as(untouched)
        promises.keep(moved, "its parameters decide its routes", "the same route", "another one")
    fresh, restored = worn.fresh(), make()
    kept = fresh.state()
    promises.keep(not kept, "a fresh one has learned nothing", f"a state of {', '.join(kept)}", "none")
    with promises.no_error("it can be given its state"):
        restored.restore({name: tensor.clone() for name, tensor in worn.state().items()})
    again = _ask(promises, restored, TASKS, TASKS[-1])
    promises.keep(again.same_as(learned), "its state is all that decides its routes", _shown(again), _shown(learned))
    with promises.no_error("it can be given nothing"):
        restored.restore({})
    left = restored.state()
    promises.keep(not left, "given nothing it has learned nothing", f"a state of {', '.join(left)}", "none")


def _check_routes(promises: Promises, gate: Callable[[], Gate], slots: Sequence[str]) -> None:
    made = gate()
    chooses = isinstance(made, ChoosingGate) or made.asks_each
    with_slots = f"with {len(slots)} slot{'' if len(slots) == 1 else 's'}"
    asked: list[str | None] = [*(slots or TASKS[:1])] if made.needs_task else [*slots, None]
    if not made.needs_task and not chooses:
        asked.append(_UNKNOWN)
    routes: dict[str | None, Route] = {}
    for task in asked:
        routes[task] = _ask(promises, _opened(gate, slots), slots, task)
        foreign = [name for name in routes[task].slots if name not in slots]
        promises.keep(not foreign, f"{with_slots}, its route names slots that exist", foreign, list(slots))
    worn = _opened(gate, slots)
    for seed in (1, 2):
        for task in reversed(asked):
            with own_random_numbers(seed):
                before = torch.get_rng_state()
                again = _ask(promises, worn, slots, task)
                drawn = not torch.equal(before, torch.get_rng_state())
            promises.keep(not drawn, "a route draws no random numbers", "a changed random state", "the same one")
            promises.keep(
                again.same_as(routes[task]),
                f"{with_slots}, the same question has the same answer",
                _shown(again),
                _shown(routes[task]),
            )
    if not made.needs_task and not chooses:
        for task, route in routes.items():
            promises.keep(
                route.same_as(routes[None]),
                "needs_task = False gives every task the same route",
                f"{_shown(route)} for {task!r}",
                f"{_shown(routes[None])} as for None",
            )
    reached = {name for route in routes.values() for name in route.slots}
    forgotten = [name for name in (slots[-1:] if made.merges else slots) if name not in reached]
    promises.keep(not forgotten, f"{with_slots}, each is on some task's route", f"none with {forgotten}", list(slots))


def _check_refusals(promises: Promises, gate: Gate) -> None:
    for task in (None, _UNKNOWN):
        try:
            route = gate.route(TASKS, task)
        except UnknownTaskError:
            continue
        except Exception as error:
            promises.keep(False, f"it refuses the task {task!r}", type(error).__name__, "UnknownTaskError")
        else:
            promises.keep(False, f"it refuses the task {task!r}", _shown(route), "UnknownTaskError")


@torch.no_grad()
def _check_reading(promises: Promises, make: Callable[[], Gate]) -> None:
    """Each input has coefficients of its own, whatever else is in the batch."""
    gate = _opened(make, TASKS)
    assert isinstance(gate, ReadingGate)
    inputs = _features(0)
    with promises.no_error("it weighs slots for inputs"):
        found = gate.weigh(inputs, TASKS)
        alone = torch.cat([gate.weigh(one, TASKS) for one in torch.split(inputs, 1)])
    shape = (len(inputs), len(TASKS))
    promises.keep(found.shape == shape, "each input has a coefficient for each slot", tuple(found.shape), shape)
    promises.keep(bool(found.isfinite().all()), "its coefficients are finite", "NaN or infinite values", "numbers")
    far = (found - alone).abs().max().item()
    promises.keep(far < 1e-5, "an input is weighed by itself", f"{far:.2g} more or less in a batch", "the same")


def _check_choices(promises: Promises, gate: Callable[[], ChoosingGate]) -> None:
    """Two tasks far apart, one class each: every input must go to its own, and do so after a restart."""
    worn, restored = gate(), gate()
    inputs = [_features(position) for position in range(2)]
    with promises.no_error("it learns two tasks and keeps what it has learned"):
        for position, features in enumerate(inputs):
            worn.learn(position, features, torch.full((_EXAMPLES,), position))
        restored.restore(worn.state())
        chosen = [worn.choose(features) for features in inputs]
        again = [restored.choose(features) for features in inputs]
    for position, found in enumerate(chosen):
        share = (found == position).float().mean().item()
        promises.keep(share == 1, "inputs of tasks that are far apart go to their own slots", f"{share:.0%}", "100%")
    same = all(torch.equal(one, two) for one, two in zip(chosen, again, strict=True))
    promises.keep(same, "what it keeps is all that it chooses by", "other choices after a restart", "the same")


def _check_in_a_network(promises: Promises, gate: Gate) -> None:
    model = tiny_model(gate)
    assert model.adapters is not None
    for number, task in enumerate(TASKS, 1):
        inputs = tiny_inputs(model, number)
        open_filled(model, task)
        gate.opened(task)
        if isinstance(gate, ReadingGate):
            with promises.no_error(f"it learns from features of '{task}'"), torch.no_grad():
                gate.learn(number - 1, model.bare_features(inputs), torch.arange(len(inputs["input_ids"])) % 2)
        with promises.no_error(f"a network of {number} slots takes its route"):
            model.adapters.use(model.route(task))
            features = model.features(inputs, task)
        promises.keep(bool(features.isfinite().all()), "features are finite", "NaN or infinite values", "numbers")
        names = [f"{matrix} of {path}" for path in model.adapters.banks for matrix in "AB"]
        trained = model.adapters.parameters()
        loss = features.square().sum()
        promises.keep(loss.requires_grad, f"the open slot '{task}' is on its own route", "no gradient", "one")
        gradients = torch.autograd.grad(loss, trained, allow_unused=True)
        still = [name for name, g in zip(names, gradients, strict=True) if g is None or not g.any()]
        if number == len(TASKS):
            _check_gradients(promises, gate, model, task, inputs)
        promises.keep(not still, f"the open slot '{task}' trains in every layer", f"no gradient for {still}", "one")
        if gate.constant:
            _check_folding(promises, model, task, inputs)
        _check_commit(promises, gate, model, task)
        if gate.settles:
            _check_settled(promises, model, task, inputs)


@torch.no_grad()
def _check_commit(promises: Promises, gate: Gate, model: ContinualModel, task: str) -> None:
    """The open slot is committed as the gate decides, which is asked as a run asks it."""
    assert model.adapters is not None
    with promises.no_error(f"it decides about the slot '{task}' when that is committed"):
        verdict = model.commit(lambda _: 0.0)
    if verdict.drop:
        return
    again = gate.fresh()
    with promises.no_error("it can be given its state"):
        again.restore({name: tensor.clone() for name, tensor in gate.state().items()})
    found, own = (_ask(promises, each, model.adapters.names, task) for each in (again, gate))
    promises.keep(found.same_as(own), "its state is all that decides its routes", _shown(found), _shown(own))


def _check_gradients(
    promises: Promises, gate: Gate, model: ContinualModel, task: str, inputs: Mapping[str, Tensor]
) -> None:
    named = dict(gate.named_parameters())
    if not named:
        return
    loss = model.features(inputs, task).square().sum()
    promises.keep(loss.requires_grad, "its parameters have gradients", "a constant loss", "gradients")
    gradients = torch.autograd.grad(loss, [*named.values()], allow_unused=True)
    still = [name for name, g in zip(named, gradients, strict=True) if g is None or not g.any()]
    promises.keep(not still, "its parameters have gradients", f"none for {still}", "one each")


@torch.no_grad()
def _check_folding(promises: Promises, model: ContinualModel, task: str, inputs: Mapping[str, Tensor]) -> None:
    plain = model.features(inputs, task)
    with promises.no_error("constant = True lets committed slots be folded"):
        model.fold(task)
        folded = model.features(inputs, task)
    _keep_features(promises, "constant = True lets committed slots be folded with coefficient 1", folded, plain)


def _check_settled(promises: Promises, model: ContinualModel, task: str, inputs: Mapping[str, Tensor]) -> None:
    promise = "settles = True lets committed slots be folded for evaluation"
    beside = model.features(inputs, task).detach()
    with promises.no_error(promise), torch.no_grad():
        folded = model.features(inputs, task)
    _keep_features(promises, promise, folded, beside)


def _keep_features(promises: Promises, promise: str, found: Tensor, expected: Tensor) -> None:
    same = torch.allclose(expected, found, rtol=1e-3, atol=1e-4)
    differ = f"features that differ by up to {(expected - found).abs().max().item():.2g}"
    promises.keep(same, promise, differ, "the same features")


def _ask(promises: Promises, gate: Gate, slots: Sequence[str], task: str | None, at: Moment | None = None) -> Route:
    with promises.no_error(f"route({list(slots)}, {task!r})"):
        route: object = gate.route(slots, task) if at is None else gate.route(slots, task, at)
    promises.keep(isinstance(route, Route), "it returns a route", type(route).__name__, "Route")
    assert isinstance(route, Route)
    if isinstance(gate, ReadingGate) and gate.reads(task) and route.slots:
        inputs = torch.cat([_features(position)[:4] for position in range(len(TASKS))])
        with promises.no_error(f"it weighs {list(route.slots)}"):
            route = Route(route.slots, gate.weigh(inputs, route.slots), "sample")
    return route


def _shown(route: Route) -> str:
    coefficients = "" if route.coefficients is None else f" × {route.coefficients.tolist()} per {route.per}"
    mixing = f" mixed in {len(route.mixing)} layers" if route.mixing else ""
    return f"{list(route.slots)}{coefficients}{mixing}"
