"""The bank against a loop over samples and slots in float64."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.lora import Array, Coefficient, Pair, adapted_linear, mixed_linear
from tiny_networks import add_slot, fill, outputs, tiny
from torch import Tensor, nn

from plora.adapters import Adapters, LoRA, Route, merge_lora
from plora.errors import AdapterError

NAMES = ("a", "b", "c", "d")


class Case(NamedTuple):
    network: nn.Sequential  # I → H → O
    adapters: Adapters
    slots: tuple[str, ...]  # of the route, in its order
    x: Tensor
    seed: int


@st.composite
def cases(draw: st.DrawFn, dtype: torch.dtype = torch.float64) -> Case:
    sizes = draw(st.tuples(*[st.integers(2, 6)] * 3))
    ranks = draw(st.lists(st.integers(1, min(sizes)), min_size=1, max_size=4))
    names = NAMES[: len(ranks)]
    slots = draw(st.permutations(names))[: draw(st.integers(1, len(names)))]
    leading = draw(st.sampled_from([(3,), (2, 3)]))
    seed = draw(st.integers(0, 2**31))
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(*sizes[:2]), nn.Linear(*sizes[1:])).to(dtype)
    adapters = Adapters.inject(network, ["0", "1"])
    last_stays_open = draw(st.booleans())
    for k, (name, rank) in enumerate(zip(names, ranks, strict=True)):
        adapters.open_task(name, LoRA(rank=rank, alpha=draw(st.sampled_from([0.5, 4.0])), dropout=0.0))
        fill(adapters, name, seed + k)
        if k < len(ranks) - 1 or not last_stays_open:
            adapters.commit()
    return Case(network, adapters, tuple(slots), torch.randn(*leading, sizes[0], dtype=dtype), seed)


def array(tensor: Tensor) -> Array:
    return tensor.detach().double().numpy()


def pairs(case: Case, layer: str) -> list[Pair]:
    slots = [case.adapters[name] for name in case.slots]
    return [Pair(array(s.A[layer]), array(s.B[layer]), s.shapes[layer].scale) for s in slots]


def reference(case: Case, *per_layer: Coefficient, mixing: dict[str, Tensor] | None = None) -> Array:
    y = array(case.x)
    for number, c in enumerate(per_layer):
        base = case.adapters.layers[number].base
        W, b, slots = array(base.weight), array(base.bias), pairs(case, str(number))
        if mixing is not None and str(number) in mixing:
            y = mixed_linear(y, W, b, slots, c, array(mixing[str(number)]))
        else:
            y = adapted_linear(y, W, b, slots, c)
    return y


@torch.no_grad()
def fast(case: Case, route: Route) -> Array:
    with case.adapters.using(route):
        return array(case.network(case.x))


def random(case: Case, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(case.seed + 99), dtype=case.x.dtype)


@given(cases())
def test_slots_without_coefficients(case: Case) -> None:
    one: Coefficient = lambda k, where: 1.0  # noqa: E731
    np.testing.assert_allclose(fast(case, Route(case.slots)), reference(case, one, one), rtol=1e-9, atol=1e-9)


@given(cases(torch.float32))
@settings(max_examples=30)
def test_slots_in_fp32(case: Case) -> None:
    one: Coefficient = lambda k, where: 1.0  # noqa: E731
    slow = reference(case, one, one)
    scale = max(1.0, np.abs(slow).max())
    np.testing.assert_allclose(fast(case, Route(case.slots)) / scale, slow / scale, rtol=0, atol=1e-6)


@given(cases())
def test_coefficients_per_slot(case: Case) -> None:
    c = random(case, len(case.slots))
    same: Coefficient = lambda k, where: float(c[k])  # noqa: E731
    np.testing.assert_allclose(fast(case, Route(case.slots, c)), reference(case, same, same), rtol=1e-9, atol=1e-9)


@given(cases())
def test_coefficients_per_layer(case: Case) -> None:
    c = random(case, 2, len(case.slots))
    slow = reference(case, lambda k, where: float(c[0, k]), lambda k, where: float(c[1, k]))
    np.testing.assert_allclose(fast(case, Route(case.slots, c, "layer")), slow, rtol=1e-9, atol=1e-9)


@given(cases())
def test_coefficients_per_sample(case: Case) -> None:
    c = random(case, len(case.x), len(case.slots))
    own: Coefficient = lambda k, where: float(c[where[0], k])  # noqa: E731
    np.testing.assert_allclose(
        fast(case, Route(case.slots, c, "sample")), reference(case, own, own), rtol=1e-9, atol=1e-9
    )


@given(cases().filter(lambda case: case.x.dim() == 3))
def test_coefficients_per_token(case: Case) -> None:
    c = random(case, *case.x.shape[:2], len(case.slots))
    own: Coefficient = lambda k, where: float(c[(*where, k)])  # noqa: E731
    np.testing.assert_allclose(
        fast(case, Route(case.slots, c, "token")), reference(case, own, own), rtol=1e-9, atol=1e-9
    )


@given(cases(), st.booleans())
def test_mixing_matrices(case: Case, with_coefficients: bool) -> None:
    rows = sum(len(case.adapters[name].A["1"]) for name in case.slots)
    mixing = {"1": random(case, rows, rows)}  # one layer mixes, the other does not
    c = random(case, len(case.slots)) if with_coefficients else None
    same: Coefficient = lambda k, where: 1.0 if c is None else float(c[k])  # noqa: E731
    slow = reference(case, same, same, mixing=mixing)
    np.testing.assert_allclose(fast(case, Route(case.slots, c, mixing=mixing)), slow, rtol=1e-9, atol=1e-9)


@given(cases())
def test_identity_mixing_is_no_mixing(case: Case) -> None:
    rows = sum(len(case.adapters[name].A["0"]) for name in case.slots)
    identity = dict.fromkeys(("0", "1"), torch.eye(rows, dtype=torch.float64))
    mixed = fast(case, Route(case.slots, mixing=identity))
    np.testing.assert_allclose(mixed, fast(case, Route(case.slots)), rtol=1e-9, atol=1e-9)


@given(cases(torch.float32))
def test_folded_equals_unfolded(case: Case) -> None:
    committed = [name for name in case.slots if name != case.adapters.open_name]
    c = random(case, len(case.slots))
    case.adapters.fold({name: float(c[case.slots.index(name)]) for name in committed})
    folded = fast(case, Route(case.slots, c, folded=True))
    unfolded = fast(case, Route(case.slots, c))
    scale = max(1.0, np.abs(unfolded).max())
    np.testing.assert_allclose(folded / scale, unfolded / scale, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("slots", [("a", "b"), ("b", "c"), ("c", "a"), ("a", "c"), ("b",), ("c", "b", "a")])
def test_gradient_of_gathered_slots(slots: tuple[str, ...]) -> None:
    """Views and copies of the committed rows give the same gradient to the input and to the coefficients."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 4)).double()
    adapters = Adapters.inject(network, ["0"])
    for k, name in enumerate("abc"):
        adapters.open_task(name, LoRA(rank=k + 1, dropout=0.0))
        fill(adapters, name, k)
        adapters.commit()
    x = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    c = torch.randn(len(slots), dtype=torch.float64, requires_grad=True)

    def run(x: Tensor, c: Tensor) -> Tensor:
        with adapters.using(Route(slots, c)):
            return network(x)

    assert torch.autograd.gradcheck(run, (x, c))


def test_a_single_vector_without_batch() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 4))
    adapters = Adapters.inject(network, ["0"])
    for name in ("a", "b"):
        adapters.open_task(name, LoRA(rank=2, dropout=0.0))
        fill(adapters, name)
        if name == "a":
            adapters.commit()
    x = torch.randn(5)
    torch.testing.assert_close(network(x), network(x[None])[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_networks_held_in_other_types(dtype: torch.dtype) -> None:
    """Slots of a half-precision network are fp32, of a double network double; the output keeps the network's type."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 4)).to(dtype)
    x = torch.randn(3, 5, dtype=dtype)
    plain = network(x)
    adapters = Adapters.inject(network, ["0"])
    adapters.open_task("a", LoRA(rank=2, dropout=0.0))
    assert adapters["a"].A["0"].dtype == torch.promote_types(dtype, torch.float32)
    assert torch.equal(network(x), plain)
    fill(adapters, "a")
    expected = plain.double() + x.double() @ adapters["a"].delta()["0"].detach().double().T
    torch.testing.assert_close(network(x).double(), expected, rtol=2e-2, atol=2e-2)
    assert network(x).dtype == dtype
    adapters.commit()
    assert network(x).dtype == dtype


@given(cases())
def test_coefficients_per_site(case: Case) -> None:
    c = random(case, 2, len(case.slots))
    slow = reference(case, lambda k, where: float(c[0, k]), lambda k, where: float(c[1, k]))
    np.testing.assert_allclose(fast(case, Route(case.slots, c, "site")), slow, rtol=1e-9, atol=1e-9)


def test_sites_of_a_fused_projection_have_coefficients_of_their_own() -> None:
    network = tiny("modernbert").double()
    adapters = Adapters.inject(network, "attention:qv")
    for name in ("a", "b"):
        add_slot(adapters, name)
    assert [bank.site for bank in adapters.banks.values()] == [0, 1, 2, 3]
    only_v = torch.tensor([[0.0, 0.0], [1.0, 0.5], [0.0, 0.0], [1.0, 0.5]], dtype=torch.float64)
    with torch.no_grad():
        with adapters.using(Route(("a", "b"), only_v, "site")):
            found = outputs(network)
            merged = outputs(merge_lora(network))
        for bank in adapters.banks.values():
            if bank.path.endswith("[q]"):
                bank.B_old.zero_()
        with adapters.using(Route(("a", "b"), torch.tensor([1.0, 0.5], dtype=torch.float64))):
            torch.testing.assert_close(outputs(network), found)
    torch.testing.assert_close(merged, found)
    with pytest.raises(AdapterError, match="coefficients per site are for 2 sites, the network has 4"):
        adapters.use(Route(("a",), torch.ones(2, 1), "site"))


def test_what_was_kept_of_a_route_follows_the_slots() -> None:
    """The same names on a route, after other slots came and went, are other rows."""
    network = nn.Sequential(nn.Linear(5, 4))
    adapters = Adapters.inject(network, ["0"])
    for k, name in enumerate("abc"):
        adapters.open_task(name, LoRA(rank=k + 1, dropout=0.0))
        fill(adapters, name, k)
        adapters.commit()
    x, c = torch.randn(2, 5), torch.tensor([0.5, 2.0])
    route = Route(("c", "b"), c)
    with torch.inference_mode(), adapters.using(route):
        before = network(x)
    adapters.delete("a")
    c.requires_grad_()
    with adapters.using(Route(("c", "b"), c)):
        after = network(x)
    torch.testing.assert_close(after, before)
    after.sum().backward()
    assert c.grad is not None
    adapters.reopen("b", dropout=0.0)
    with adapters.using(route):
        torch.testing.assert_close(network(x), before)
