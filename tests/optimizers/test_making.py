"""Optimizers: each parameter has the rate and decay that its group says, and steps as the reference does."""

import re
from collections.abc import Callable, Mapping, Sequence

import pytest
import torch
from reference.optimizers import layer_rates, sgd
from torch import nn

from plora.build import build
from plora.config import RunConfig, load_config
from plora.errors import ConfigError
from plora.optimizers import OPTIMIZERS, SGD, AdamW, Group, OptimizerSettings, make_optimizer, set_rates
from plora.optimizers.depth import blocks_above
from plora.runs import run

TOPICS = {"stream": {"kind": "docstring_topics"}, "scenario": "class"}
NAMES = (
    "backbone.embeddings.word.weight",
    *(f"backbone.encoder.layer.{i}.{kind}" for i in range(3) for kind in ("q.weight", "q.bias", "norm.0.weight")),
    "backbone.norm.weight",
    "head.weight:0",
)


def network() -> tuple[dict[str, nn.Parameter], dict[str, str]]:
    """Parameters by name, and their parts."""
    torch.manual_seed(0)
    shapes = {name: (3,) if "bias" in name or "norm" in name else (3, 2) for name in NAMES}
    parameters = {name: nn.Parameter(torch.randn(shape)) for name, shape in shapes.items()}
    return parameters, {name: name.partition(".")[0] for name in NAMES}


def settings_of(
    parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> dict[str, tuple[float, float]]:
    """Rate and decay of each parameter, by name."""
    names = {id(parameter): name for name, parameter in parameters.items()}
    return {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


def made(*groups: Group, settings: OptimizerSettings | None = None) -> dict[str, tuple[float, float]]:
    parameters, part_of = network()
    return settings_of(parameters, make_optimizer(parameters, part_of, settings or AdamW(), groups, 0.5, 0.1))


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_without_groups_matrices_decay_and_vectors_do_not(kind: str) -> None:
    found = made(settings=OPTIMIZERS[kind]())
    assert {name for name, (_, decay) in found.items() if decay} == {
        n for n in NAMES if "norm" not in n and "bias" not in n
    }
    assert {rate for rate, _ in found.values()} == {0.5}


def test_the_default_is_what_it_always_was() -> None:
    parameters, part_of = network()
    optimizer = make_optimizer(parameters, part_of, AdamW(), (), 0.5, 0.1)
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.defaults["fused"]
    matrices, vectors = optimizer.param_groups
    for group, decay in ((matrices, 0.1), (vectors, 0.0)):
        assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.9, 0.999), 1e-8, decay)
    assert [p.dim() for p in matrices["params"]] == [2] * len(matrices["params"])


def test_the_first_group_that_takes_a_parameter_has_it() -> None:
    found = made(
        Group(pattern=r"layer\.1\..*weight$", learning_rate=0.25, weight_decay=0.5),
        Group(part="backbone", learning_rate=0.125),
    )
    assert found["backbone.encoder.layer.1.q.weight"] == (0.25, 0.5)
    assert found["backbone.encoder.layer.1.norm.0.weight"] == (0.25, 0.0)  # scales never decay
    assert found["backbone.encoder.layer.1.q.bias"] == (0.125, 0.0)
    assert found["backbone.encoder.layer.2.q.weight"] == (0.125, 0.1)
    assert found["head.weight:0"] == (0.5, 0.1)


def test_the_rate_decays_towards_the_input() -> None:
    found = made(Group(part="backbone", layer_decay=0.5), Group(part="head", layer_decay=0.5))
    expected = layer_rates(["embeddings", "block 0", "block 1", "block 2", "norm", "head"], 0.5, 0.5)
    assert found["backbone.embeddings.word.weight"][0] == expected["embeddings"] == 0.5 * 0.5**3
    for i in range(3):
        for kind in ("q.weight", "q.bias", "norm.0.weight"):
            assert found[f"backbone.encoder.layer.{i}.{kind}"][0] == expected[f"block {i}"]
    assert found["backbone.norm.weight"][0] == found["head.weight:0"][0] == expected["norm"] == expected["head"] == 0.5


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["0.embed", "0.layer.0.w", "0.layer.1.w", "norm"], [2, 1, 0, 0]),  # a number that stands alone is no block
        (["layer.2.w", "layer.5.w"], [3, 0]),  # adapters in some blocks only
        (["enc.0.a", "enc.1.a", "between", "dec.0.a", "dec.1.a", "last"], [3, 2, 2, 1, 0, 0]),
        (["layer.0.experts.0.w", "layer.0.experts.1.w", "layer.1.experts.9.w"], [1, 1, 0]),
        (["weight", "bias"], [0, 0]),
        ([], []),
    ],
)
def test_blocks_are_the_outermost_lists(names: list[str], expected: list[int]) -> None:
    found = blocks_above(names)
    assert [found[name] for name in names] == expected


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd_steps_as_the_reference(momentum: float, nesterov: bool) -> None:
    start, gradients, factors = 0.7, [0.3, -0.2, 0.5, 0.1], [1.0, 0.5, 0.75, 0.1]
    weight = nn.Parameter(torch.full((1, 1), start, dtype=torch.double))
    optimizer = make_optimizer({"w": weight}, {"w": "head"}, SGD(momentum=momentum, nesterov=nesterov), (), 0.1, 0.05)
    found = []
    for gradient, factor in zip(gradients, factors, strict=True):
        set_rates(optimizer, factor)
        weight.grad = torch.full_like(weight, gradient)
        optimizer.step()
        found.append(weight.item())
    assert found == pytest.approx(sgd(start, gradients, [0.1 * f for f in factors], momentum, 0.05, nesterov))


def test_every_group_follows_the_schedule_from_its_own_peak() -> None:
    parameters, part_of = network()
    groups = (Group(part="head", learning_rate=2.0),)
    optimizer = make_optimizer(parameters, part_of, SGD(), groups, 0.5, 0.1)
    for factor in (0.25, 1.0, 0.0):
        set_rates(optimizer, factor)
        assert settings_of(parameters, optimizer)["head.weight:0"][0] == 2.0 * factor
        assert settings_of(parameters, optimizer)["backbone.norm.weight"][0] == 0.5 * factor


def test_what_is_open_may_be_more_than_what_trains() -> None:
    parameters, part_of = network()
    head = {"head.weight:0": parameters["head.weight:0"]}
    optimizer = make_optimizer(head, part_of, AdamW(), (Group(part="backbone", learning_rate=1.0),), 0.5, 0.1)
    assert settings_of(parameters, optimizer) == {"head.weight:0": (0.5, 0.1)}


def test_a_group_that_takes_nothing_is_refused() -> None:
    says = "training.groups.1: pattern 'layr' takes none of the 12 parameters that are open (parts: backbone, head"
    with pytest.raises(ConfigError, match=re.escape(says)):
        made(Group(part="head"), Group(pattern="layr"))
    with pytest.raises(ConfigError, match="part 'gate' takes none"):
        made(Group(part="gate"))


@pytest.mark.parametrize(("method", "opened"), [("per_task", 18), ("first_session", 18), ("full", 41)])
def test_it_is_refused_before_anything_is_written(
    toy_config: Callable[..., RunConfig], method: str, opened: int
) -> None:
    config = toy_config(f"method={method}", "training.groups=[{pattern: layr, learning_rate: 0.1}]")
    with pytest.raises(ConfigError, match=rf"training.groups.0: pattern 'layr' takes none of the {opened} parameters"):
        run(config)
    assert not config.folder.exists()
    drawn = []
    for groups in ("[]", "[{pattern: head, learning_rate: 0.1}]"):
        torch.manual_seed(0)
        parts = build(toy_config(f"method={method}", f"training.groups={groups}"))
        drawn.append(torch.rand(1).item())
    assert drawn[0] == drawn[1]  # looking draws nothing
    assert parts.model.head.blocks == {}
    assert parts.model.adapters is None or parts.model.adapters.names == []


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["training.optimizer={kind: adam}"], "unknown optimizer kind 'adam'; did you mean 'adamw'?"),
        (["training.optimizer={}"], "training.optimizer: needs a 'kind' key; kinds: adamw, sgd"),
        (["training.optimizer={kind: sgd, betas: [0, 0]}"], "betas: unknown key (keys here: kind, momentum, nesterov)"),
        (["training.optimizer={kind: sgd, momentum: 1}"], "training.optimizer.momentum: got 1"),
        (["training.optimizer={kind: sgd, momentum: 0, nesterov: true}"], "nesterov looks ahead along the momentum"),
        (["training.optimizer={kind: adamw, betas: [0.9, 1]}"], "two numbers from 0 to below 1 were expected"),
        (["training.groups=[{learning_rate: 1}]"], "a group names its parameters by part: or by pattern:, one of"),
        (["training.groups=[{pattern: ''}]"], "a group names its parameters by part: or by pattern:, one of the two"),
        (["training.groups=[{part: head, pattern: x}]"], "by part: or by pattern:, one of the two"),
        (["training.groups=[{pattern: '('}]"], "training.groups.0.pattern: got '('; a regular expression was expected"),
        (["training.groups=[{part: heads}]"], "training.groups.0.part: got 'heads'"),
        (["training.groups=[{part: backbone}]"], "training.groups.0: no backbone is trained in this run; trained: ad"),
        (["training.groups=[{part: head, rate: 1}]"], "training.groups.0.rate: unknown key (keys here: part, pattern"),
        (["training.schedule=constant", "training.schedule_floor=0.1"], "training.schedule_floor: a constant schedule"),
        (["training.schedule_power=2"], "training.schedule_power: it is of a polynomial schedule, and schedule is lin"),
        (["training.schedule=exponential"], "training.schedule: got 'exponential'"),
        (["training.schedule_floor=1.5"], "training.schedule_floor: got 1.5"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(overrides: Sequence[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(TOPICS, overrides)
    assert message in str(caught.value)


def test_a_config_with_an_optimizer_survives_being_written_and_read() -> None:
    config = load_config(
        TOPICS,
        ["training.optimizer={kind: sgd, momentum: 0.5}", "training.groups=[{part: head, learning_rate: 0.1}]"],
    )
    assert load_config(config.model_dump(mode="json")) == config
    assert config.training.optimizer == SGD(momentum=0.5)
