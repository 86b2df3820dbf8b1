"""The gate of SD-LoRA: equal to a loop in both of its forms, a function that stays, and slots that go into others."""

from collections.abc import Sequence

import pytest
import torch
from pydantic import ValidationError
from reference import sd_lora
from torch import Tensor
from torch.func import functional_call

from plora.adapters import Adapters, Bank, Directions, LoRA, SlotShape
from plora.errors import RunError
from plora.gates import AllOnes, Gate, Magnitudes, MagnitudesSettings
from plora.model import ContinualModel
from plora.testing import check_gate
from plora.testing.tiny import open_filled, tiny_inputs, tiny_model, tiny_network

REPO = {"compat": "repo"}


def model_of(**settings: object) -> tuple[ContinualModel, Magnitudes, Adapters]:
    gate = Magnitudes(MagnitudesSettings(**settings))
    model = tiny_model(gate)
    assert model.adapters is not None
    return model, gate, model.adapters


def layers_of(adapters: Adapters, slot: str) -> dict[str, tuple[float, Tensor, Tensor]]:
    """What the loop reads of a slot: copies of a committed one, the parameters of the open one."""
    own = adapters[slot]
    return {path: (own.shapes[path].scale, own.A[path], own.B[path]) for path in adapters.banks}


def opened(model: ContinualModel, gate: Gate, slot: str) -> None:
    open_filled(model, slot)
    gate.opened(slot)


def committed(model: ContinualModel, gate: Gate, slots: Sequence[str]) -> list[dict[str, tuple[float, Tensor, Tensor]]]:
    """Open and commit slots, and return what they were when they were trained."""
    assert model.adapters is not None
    found = []
    for slot in slots:
        opened(model, gate, slot)
        own = layers_of(model.adapters, slot).items()
        found.append({path: (s, A.detach().clone(), B.detach().clone()) for path, (s, A, B) in own})
        assert not model.commit(lambda _: 0.0).drop
    return found


@pytest.mark.parametrize(
    "settings",
    [{}, {"per": "layer"}, {"per": "site"}, {"absorb": 0.5}, {"carried": False}, REPO, {**REPO, "per": "site"}],
)
def test_it_conforms(settings: dict[str, object]) -> None:
    check_gate(Magnitudes, MagnitudesSettings(**settings))


# ---------------------------------------------------------------------- the forward pass


@pytest.mark.parametrize(
    ("settings", "divided_by", "each_layer"),
    [
        ({}, "product", False),
        ({"divided_by": "factors"}, "factors", False),
        ({"keeps_function": False}, "product", True),
        (REPO, "factors", True),
    ],
)
def test_features_and_gradients_equal_the_loop(settings: dict[str, object], divided_by: str, each_layer: bool) -> None:
    model, gate, adapters = model_of(**settings)
    inputs = tiny_inputs(model)
    trained = committed(model, gate, ("one", "two"))
    opened(model, gate, "three")
    a = [*gate.magnitudes.values()]
    if settings == REPO:
        assert [number.item() for number in a] == [pytest.approx(0.8)] * 3
    with torch.no_grad():
        for number, value in zip(a, (0.7, -1.2, 1.6), strict=True):
            number.fill_(value)
    trains = [*a, *adapters.parameters()]

    features = model.features(inputs)
    direction = torch.randn(features.shape, generator=torch.Generator().manual_seed(0))
    found = torch.autograd.grad((features * direction).sum(), trains)

    network = tiny_network()
    pristine = {path: network.get_submodule(path).weight for path in adapters.banks}
    slots = [*trained, layers_of(adapters, "three")]
    made = sd_lora.weights(pristine, slots, a, divided_by, each_layer)
    output = functional_call(network, {f"{path}.weight": W for path, W in made.items()}, kwargs=dict(inputs))
    expected = model.problem.features(output, inputs)
    assert expected is not None
    torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(found, torch.autograd.grad((expected * direction).sum(), trains), strict=True):
        assert mine.any()
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_the_gradient_of_a_magnitude_is_what_its_direction_adds_along_that_of_the_output() -> None:
    bank, x, g = Bank(5, 4, "layer", 0), torch.randn(7, 5), torch.randn(7, 4)
    gate = Magnitudes()
    gate.begin(1, 1)
    for slot in ("one", "two", "three"):
        bank.append(slot, SlotShape(2, 0.5), torch.randn(2, 5), torch.randn(2, 4))
        gate.opened(slot)
    y = bank(x, torch.zeros(7, 4), gate.route(("one", "two", "three"), None))
    (y * g).sum().backward()
    for slot in ("one", "two", "three"):
        expected = (g * (x @ bank.delta(slot).T)).sum()
        torch.testing.assert_close(gate.magnitudes.of(slot).grad, expected[None], rtol=1e-5, atol=1e-5)


def test_one_slot_begins_as_plain_lora() -> None:
    found = []
    for gate in (Magnitudes(), AllOnes()):
        model = tiny_model(gate)
        assert model.adapters is not None
        torch.manual_seed(0)
        model.adapters.open_task("one", LoRA(rank=2, alpha=4))
        gate.opened("one")
        features = model.features(tiny_inputs(model))
        trained = model.adapters.parameters()
        found.append((features, *torch.autograd.grad(features.square().sum(), trained)))
    assert any(gradient.any() for gradient in found[0][1:])
    assert all(torch.equal(mine, plain) for mine, plain in zip(*found, strict=True))


# ---------------------------------------------------------------------- what a commit does


@pytest.mark.parametrize("settings", [{}, {"per": "layer"}, {"per": "site"}, {"divided_by": "factors"}, REPO])
def test_the_function_stays_through_commit_and_reload(settings: dict[str, object]) -> None:
    model, gate, _ = model_of(**settings)
    inputs = tiny_inputs(model)
    for slot in ("one", "two"):
        opened(model, gate, slot)
        with torch.no_grad():
            gate.magnitudes.of(slot).mul_(1.7)
        before = model(inputs).detach()
        model.commit(lambda _: 0.0)
        torch.testing.assert_close(model(inputs).detach(), before, rtol=1e-5, atol=1e-6)
    again = gate.fresh()
    again.restore(gate.state())
    model.gate = again
    torch.testing.assert_close(model(inputs).detach(), before, rtol=1e-5, atol=1e-6)
    assert again.state().keys() == gate.state().keys()


@pytest.mark.parametrize("per", ["slot", "layer", "site"])
def test_directions_of_committed_slots_have_norm_1(per: str) -> None:
    model, gate, adapters = model_of(per=per)
    committed(model, gate, ("one",))
    norms = torch.tensor([float(delta.norm()) for delta in adapters["one"].delta().values()])
    if per == "slot":
        assert norms.mean().item() == pytest.approx(1)
        assert norms.std() > 0.01  # layers keep their proportions
    else:
        torch.testing.assert_close(norms, torch.ones(8), rtol=1e-5, atol=0)


def test_as_published_the_function_jumps_when_the_next_slot_is_opened() -> None:
    model, gate, adapters = model_of(**REPO)
    opened(model, gate, "one")
    trained = model.features(tiny_inputs(model)).detach()
    model.commit(lambda _: 0.0)
    assert gate.route(adapters.names, None).per == "site"
    torch.testing.assert_close(model.features(tiny_inputs(model)).detach(), trained, rtol=1e-5, atol=1e-5)
    gate.opened("two")
    assert gate.route(adapters.names, None).per == "slot"
    assert not torch.allclose(model.features(tiny_inputs(model)).detach(), trained, rtol=1e-2, atol=1e-2)


def test_magnitudes_are_carried_or_start_again() -> None:
    for carried, expected in ((True, 3.0), (False, 1.0)):
        _, gate, _ = model_of(carried=carried)
        gate.opened("one")
        gate.magnitudes.of("one").data.fill_(3.0)
        gate.opened("two")
        assert gate.vectors(("one", "two"))["magnitude"].tolist() == [expected, 1.0]


def test_a_slot_that_never_moved_goes() -> None:
    model, gate, adapters = model_of()
    adapters.open_task("one", LoRA(rank=2, alpha=4))
    gate.opened("one")
    model.head.open("one", 2, torch.Generator())
    verdict = model.commit(lambda _: 0.0)
    assert (verdict.drop, verdict.reason) == (True, "its ΔW is 0")
    assert not adapters.names
    assert not gate.state()
    assert model(tiny_inputs(model)).isfinite().all()


# ---------------------------------------------------------------------- slots that go into older ones


@pytest.mark.parametrize("per", ["slot", "layer", "site"])
def test_a_sum_of_older_slots_goes_into_their_magnitudes(per: str) -> None:
    model, gate, adapters = model_of(per=per, absorb=9e-4)
    committed(model, gate, ("one", "two"))
    adapters.open_task("three", LoRA(rank=4, alpha=4))
    gate.opened("three")
    model.head.open("three", 2, torch.Generator())
    older = {slot: gate.magnitudes.of(slot).tolist() for slot in ("one", "two")}
    with torch.no_grad():
        for bank in adapters.banks.values():
            (A1, B1), (A2, B2), (A, B) = (bank.rows(slot) for slot in adapters.names)
            A.copy_(torch.cat([A1, A2]))
            B.copy_(torch.cat([0.3 * bank.shape("one").scale * B1, -0.5 * bank.shape("two").scale * B2]))
        gate.magnitudes.of("three").fill_(2.0)
    before = model(tiny_inputs(model)).detach()
    verdict = model.commit(lambda _: 0.0)
    assert verdict.drop
    assert "their magnitudes take it over" in verdict.reason
    assert adapters.names == ["one", "two"]
    for slot, share in (("one", 0.3), ("two", -0.5)):
        expected = [number + 2 * share for number in older[slot]]
        assert gate.magnitudes.of(slot).tolist() == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(model(tiny_inputs(model)).detach(), before, rtol=1e-5, atol=1e-5)


def test_what_is_left_of_a_slot_beside_older_ones_equals_the_loop() -> None:
    model, gate, adapters = model_of(absorb=9e-4)
    committed(model, gate, ("one", "two"))
    opened(model, gate, "three")
    share, rho = sd_lora.as_a_sum(layers_of(adapters, "three"), [layers_of(adapters, slot) for slot in ("one", "two")])
    found, own_rho = gate._share_of_older("three", ("one", "two"), Directions(adapters.banks, "three"))
    assert found[0].tolist() == pytest.approx(share, rel=1e-5)
    assert own_rho == pytest.approx(rho, rel=1e-9)
    verdict = model.commit(lambda _: 0.0)
    assert not verdict.drop
    assert f"ρ = {rho:.4g} of its ΔW" in verdict.reason


def test_products_of_factors_are_those_of_whole_updates() -> None:
    model, gate, adapters = model_of()
    committed(model, gate, ("one", "two"))
    opened(model, gate, "three")
    directions, names = Directions(adapters.banks, "three"), ("three", "one", "two")
    gram = directions.gram(names)
    for at, path in enumerate(adapters.banks):
        flat = torch.stack([adapters[name].delta()[path].detach().double().flatten() for name in names])
        torch.testing.assert_close(gram[at], flat @ flat.T, rtol=1e-5, atol=1e-6)
        own = layers_of(adapters, "three")[path]
        assert directions.of_factors()[path] == pytest.approx(sd_lora.size(*own, "factors"), rel=1e-5)
        assert directions[path] == pytest.approx(sd_lora.size(*own, "product"), rel=1e-5)
    assert directions.layers == directions.sites == tuple(range(8))


# ---------------------------------------------------------------------- settings and state


def test_as_published_is_what_the_settings_then_say() -> None:
    said = MagnitudesSettings(compat="repo").model_dump()
    assert (said["start"], said["carried"], said["keeps_function"]) == (0.8, False, False)
    assert said["divided_by"] == "factors"
    assert MagnitudesSettings.model_validate(said) == MagnitudesSettings(compat="repo")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"compat": "repo", "start": 1.0}, "compat=repo is start=0.8, .* and start=1.0 is given"),
        ({"compat": "repo", "absorb": 0.5}, "carried=false forgets those"),
        ({"per": "layer", "keeps_function": False}, "use per=site"),
        ({"per": "token"}, "'slot', 'layer' or 'site'"),
        ({"absorb": 1.5}, "less than or equal to 1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        MagnitudesSettings(**settings)


def test_a_state_that_does_not_fit_is_refused() -> None:
    model, gate, _ = model_of(**REPO)
    committed(model, gate, ("v1.5%",))
    state = gate.state()
    assert sorted(state) == ["magnitude of v1%2E5%25", "norms v1.5%"]
    for damaged, says in (
        ({**state, "magnitude of one": torch.zeros(3)}, "has 'magnitude of one' of shape"),
        ({**state, "logit of one": torch.zeros(1)}, "do not fit each other"),
        ({"norms v1.5%": state["norms v1.5%"]}, "do not fit each other"),
        ({**state, "norms v1.5%": torch.ones(3)}, "do not fit each other"),
    ):
        with pytest.raises(RunError, match=says):
            gate.fresh().restore(damaged)
