"""What a strategy promises."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from math import isfinite

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from plora.adapters import LoRA
from plora.gates import AllOnes
from plora.lesson import Lesson
from plora.model import ContinualModel
from plora.moment import Moment
from plora.problems import Examples
from plora.settings import named
from plora.strategies import Seen, Strategy, StrategySettings
from plora.testing.promises import Promises
from plora.testing.tiny import TASKS, open_filled, own_random_numbers, tiny_inputs, tiny_lesson, tiny_model, tiny_stream


@own_random_numbers()
def check_strategy(settings: StrategySettings) -> None:
    """Check that a strategy can be named in a config, with these settings.

    It is led through three tasks, with a slot each or one for all, as it can, and asked in each of them:

    - its settings survive a config file, and a setting that does not exist is refused;
    - what it designs are open parameters, of which some go on training; nothing else changes, and asked anew, or with
      its memory given back, it designs the same bits;
    - its terms (of the batch, of rehearsed examples, penalties) are named finite scalars, each with a gradient that
      reaches something that trains;
    - asked again with the same random state, it gives the same bits; so does another one that was given its memory;
    - asking changes nothing: no parameter, buffer, gradient, mode or route, and no optimizer of the model steps;
    - it protects something: by the third task there is a term, or, where it does nothing but design, a new slot changes
      what the first task's inputs give at most half as much as one that is not designed;
    - with every `weight` and `…_weight` at 0 there is no term, so that training is plain training, bit for bit; what
      does nothing but design has no such setting, and is switched off by leaving it out.

    Args:
        settings: they name the strategy.

    Raises:
        ConformanceError: the first promise that is broken.
    """
    kind = named(settings.part, Strategy)
    promises = Promises(f"strategy {kind.__name__}")
    _check_settings(promises, settings)
    strategy = kind(settings)
    terms: dict[str, Tensor] = {}
    model = tiny_model(AllOnes())
    for lesson, at in _stream(promises, strategy, model):
        terms = _ask(promises, strategy, model, lesson, at)
        _check_gradients(promises, model, terms)
        last = lesson
    if terms or not _designs(strategy):
        promises.keep(bool(terms), "it protects something", "no term in the third task", "one at least")
    else:
        _check_silence(promises, strategy, model, last)
    if terms or weight_settings(settings):
        _check_weight_0(promises, settings)


def _stream(promises: Promises, strategy: Strategy, model: ContinualModel) -> Iterator[tuple[Lesson, Moment]]:
    """Learn three tasks, as far as a strategy can see: in each, a random slot and head rows are open."""
    assert model.adapters is not None
    shared = strategy.settings.refusal("per_task", isolated=False) is not None
    with promises.no_error("it can begin"), _unchanged(promises, model, "beginning"):
        strategy.begin(model, tiny_stream(), tuple(f"class {row}" for row in range(2 * len(TASKS))))
    for position, task in enumerate(TASKS):
        first_row = model.head.rows
        if shared and position:
            model.adapters.reopen(model.adapters.names[0], 0.05)
            model.head.open(task, 2, torch.Generator().manual_seed(position))
        else:
            open_filled(model, task)
        lesson = tiny_lesson(model, position=position, seed=position, first_row=first_row, shift=position)
        if _designs(strategy):
            _check_design(promises, strategy, model, lesson)
        with _unchanged(promises, model, "preparing for a task"), own_random_numbers():
            strategy.before_task(model, lesson)
        model.train()
        if shared and position:
            with torch.no_grad(), own_random_numbers(position):
                for parameter in model.trainable().values():
                    parameter.add_(0.1 * torch.randn_like(parameter))
        yield lesson, Moment(task=position, step=1, total=10, epoch=0, seed=position, examples=8)
        with _unchanged(promises, model.eval(), "remembering a task"), own_random_numbers():
            strategy.after_task(model, lesson)
        again = _with_its_memory(promises, strategy, model)
        before, after = strategy.state(), again.state()
        same = before.keys() == after.keys() and all(
            torch.equal(before[name].nan_to_num(), after[name].nan_to_num()) for name in before
        )
        promises.keep(same, "a memory that is given back is the same", "another one", "the same bits")
        model.commit()


def _with_its_memory(promises: Promises, strategy: Strategy, model: ContinualModel) -> Strategy:
    """Another one with the same settings, begun for the same run, which is given a copy of what this one remembers."""
    again = type(strategy)(strategy.settings)
    with promises.no_error("it can be given its memory"):
        again.begin(model, tiny_stream(), tuple(f"class {row}" for row in range(2 * len(TASKS))))
        again.restore({name: tensor.clone() for name, tensor in strategy.state().items()}, model)
    return again


def _designs(strategy: Strategy) -> bool:
    return type(strategy).design is not Strategy.design


def _check_design(promises: Promises, strategy: Strategy, model: ContinualModel, lesson: Lesson) -> None:
    """Have the open slot designed, three times from the same start, and fix what is to be fixed."""
    task, open_now = f"in task {lesson.position + 1}", model.trainable()
    start = {name: parameter.detach().clone() for name, parameter in open_now.items()}
    before, designed = _everything(model), dict[str, Tensor]()
    for number, one in enumerate((strategy, strategy, _with_its_memory(promises, strategy, model))):
        with torch.no_grad():
            for name, parameter in open_now.items():
                parameter.copy_(start[name])
        with promises.no_error(f"its design {task}"), own_random_numbers(number):
            fixed = one.design(model, lesson)
        unknown = sorted({*fixed} - open_now.keys())
        promises.keep(not unknown, "what it fixes is open", unknown, f"some of {sorted(open_now)}")
        promises.keep(len({*fixed}) < len(open_now), "something goes on training", "all is fixed", "less")
        after = _everything(model)
        changed = [name for name in before if name not in open_now and not _equal(before[name], after.get(name))]
        promises.keep(
            not changed, "designing changes open parameters alone", f"another {min(changed, default='')}", "no other"
        )
        found = {name: parameter.detach().clone() for name, parameter in open_now.items()}
        same = all(torch.equal(found[name], value) for name, value in designed.items())
        promises.keep(same, "the same question has the same design", f"another one {task}", "the same bits")
        designed = found
    for name in fixed:
        open_now[name].requires_grad_(False)


def _check_silence(promises: Promises, strategy: Strategy, model: ContinualModel, last: Lesson) -> None:
    """See what a random fourth slot, designed or not, changes for inputs of the first task."""
    assert model.adapters is not None
    examples = tiny_lesson(model).train
    inputs = examples.collate(np.arange(len(examples))).inputs
    changes = []
    for designs in (True, False):
        with torch.no_grad(), own_random_numbers():
            before = model.eval().features(inputs)
            slot = model.adapters.open_task("fourth", LoRA(rank=2, alpha=2))
            for matrix in (*slot.A.values(), *slot.B.values()):
                torch.nn.init.normal_(matrix, std=0.3)
            if designs:
                strategy.design(model, replace(last, position=len(TASKS)))
            changes.append(float((model.features(inputs) - before).norm()))
        model.adapters.delete("fourth")
    designed, plain = changes
    promises.keep(
        designed <= plain / 2,
        "it protects what older inputs give by its design",
        f"a change of {designed:.2g}",
        f"at most half of {plain:.2g}",
    )


def _check_settings(promises: Promises, settings: StrategySettings) -> None:
    kind = type(settings)
    with promises.no_error("its settings survive a config file"):
        again = kind.model_validate_json(settings.model_dump_json())
    promises.keep(again == settings, "its settings survive a config file", repr(again), repr(settings))
    try:
        kind.model_validate({**settings.model_dump(), "no_such_setting": 1})
    except ValueError:
        return
    promises.keep(False, "an unknown setting is refused", "no error for 'no_such_setting'", "a ValidationError")


def _check_gradients(promises: Promises, model: ContinualModel, terms: Mapping[str, Tensor]) -> None:
    trainable = [*model.trainable().values()]
    for name, term in terms.items():
        promise = f"term '{name}' has a gradient"
        promises.keep(term.requires_grad, promise, "a constant (requires_grad=False)", "one that reaches what trains")
        gradients = [g for g in torch.autograd.grad(term, trainable, allow_unused=True) if g is not None]
        promises.keep(any(bool(g.any()) for g in gradients), promise, "0 on all that trains", "another value")
        finite = all(bool(g.isfinite().all()) for g in gradients)
        promises.keep(finite, f"the gradient of term '{name}' is finite", "NaN or infinite values", "numbers")


def weight_settings(settings: StrategySettings) -> list[str]:
    """Return the names of the settings that weigh a term: `weight`, and all that end in `_weight`."""
    return [name for name in type(settings).model_fields if name == "weight" or name.endswith("_weight")]


def _check_weight_0(promises: Promises, settings: StrategySettings) -> None:
    weights = weight_settings(settings)
    promises.keep(bool(weights), "it can be switched off", "no setting 'weight' or '…_weight'", "one at least")
    with promises.no_error("weight 0 is allowed"):
        silent = type(settings).model_validate({**settings.model_dump(), **dict.fromkeys(weights, 0.0)})
    off = named(settings.part, Strategy)(silent)
    model = tiny_model(AllOnes())
    for lesson, at in _stream(promises, off, model):
        trainable = model.trainable()
        terms = _ask(promises, off, model, lesson, at)
        losses = []
        for penalties in ({}, terms):
            with own_random_numbers():  # the same dropout for both
                rows = torch.arange(8) % 2 + model.head.slice_of(TASKS[at.task]).start
                loss = F.cross_entropy(model(tiny_inputs(model)), rows) + sum(penalties.values())
            losses.append((loss, torch.autograd.grad(loss, [*trainable.values()], allow_unused=True)))
        (plain, gradients), (with_terms, other_gradients) = losses
        promises.keep(torch.equal(plain, with_terms), "weight 0 equals plain training", with_terms.item(), plain.item())
        for name, one, two in zip(trainable, gradients, other_gradients, strict=True):
            same = one is two if one is None or two is None else torch.equal(one, two)
            promises.keep(same, "weight 0 equals plain training", f"another gradient of {name}", "the same bits")


def _seen(model: ContinualModel, examples: Examples, indices: NDArray[np.int64]) -> Seen:
    batch = examples.collate(indices)
    return Seen(batch, {"scores": model(batch.inputs)})


def _terms(strategy: Strategy, model: ContinualModel, lesson: Lesson, at: Moment) -> dict[str, Tensor]:
    """Ask for everything that goes into the loss, as the loop does."""
    indices = np.arange(8)
    terms = dict(strategy.on_batch(lesson, _seen(model, lesson.train, indices)))
    for old in strategy.rehearse(lesson, at):
        losses = old.losses(_seen(model, old.examples, old.indices))
        terms[old.name] = torch.stack([*losses.values()]).sum() / len(old.indices)
    return terms | strategy.penalty(model, at)


def _ask(
    promises: Promises, strategy: Strategy, model: ContinualModel, lesson: Lesson, at: Moment
) -> dict[str, Tensor]:
    """Ask everything that a strategy is asked, and return its terms."""
    for parameter in model.trainable().values():
        parameter.grad = torch.full_like(parameter, 0.25)
    task = f"in task {at.task + 1}"
    with _unchanged(promises, model, "asking for terms"):
        with promises.no_error(f"its terms {task}"), own_random_numbers():
            terms = _terms(strategy, model, lesson, at)
        for name, term in terms.items():
            promises.keep(isinstance(name, str) and bool(name), "a term has a name", repr(name), "a text")
            promises.keep(isinstance(term, Tensor), f"term '{name}' is a tensor", type(term).__name__, "Tensor")
            promises.keep(term.shape == (), f"term '{name}' is a scalar", f"shape {list(term.shape)}", "shape []")
            promises.keep(bool(term.isfinite()), f"term '{name}' is finite", term.item(), "a number")
    with promises.no_error(f"its terms {task}, asked again"), own_random_numbers():
        again = {name: term.item() for name, term in _terms(strategy, model, lesson, at).items()}
    first = {name: term.item() for name, term in terms.items()}
    promises.keep(again == first, "the same question has the same answer", again, first)
    with _unchanged(promises, model, "asking for diagnostics"):
        with promises.no_error(f"diagnostics {task}"):
            numbers = strategy.diagnostics(model)
        odd = {k: v for k, v in numbers.items() if not (isinstance(v, float) and isfinite(v))}
        promises.keep(not odd, "diagnostics are finite floats", odd, "numbers by name")
    return terms


@contextmanager
def _unchanged(promises: Promises, model: ContinualModel, doing: str) -> Iterator[None]:
    """Promise that the code inside the `with` block neither steps the model's optimizer nor changes anything of it.

    A strategy may train a network of its own, as one that writes texts does.
    """
    steps: list[object] = []
    own = {*model.parameters()}

    def count(optimizer: torch.optim.Optimizer, *_: object) -> None:
        if any(parameter in own for group in optimizer.param_groups for parameter in group["params"]):
            steps.append(optimizer)

    hook = register_optimizer_step_pre_hook(count)
    before = _everything(model)
    try:
        yield
    finally:
        hook.remove()
    promises.keep(not steps, f"{doing} steps no optimizer of the model", f"{len(steps)} steps", 0)
    after = _everything(model)
    changed = [name for name in before.keys() | after.keys() if not _equal(before.get(name), after.get(name))]
    promises.keep(not changed, f"{doing} changes nothing", f"another {min(changed, default='')}", "the same bits")


def _everything(model: ContinualModel) -> dict[str, object]:
    """All that a strategy could change: copies of tensors, and of the flags that decide what they do."""
    assert model.adapters is not None
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    gradients = {f"gradient of {name}": p.grad for name, p in model.named_parameters()}
    copies = {name: None if t is None else t.detach().clone() for name, t in {**tensors, **gradients}.items()}
    flags = {f"requires_grad of {name}": p.requires_grad for name, p in model.named_parameters()}
    modes = {f"mode of {name or 'the model'}": module.training for name, module in model.named_modules()}
    return {**copies, **flags, **modes, "route": model.adapters.switch.route, "slots": model.adapters.names}


def _equal(one: object, two: object) -> bool:
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        return torch.equal(one, two)
    return one is two or (not isinstance(one, Tensor) and not isinstance(two, Tensor) and one == two)
