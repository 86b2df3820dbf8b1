"""Slots that become one: against loops over entries, by hand, and against PEFT's functions where they mean the same."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft.utils.merge_utils import ties as peft_ties
from reference import merging as reference
from tiny_networks import tiny
from torch import Tensor

from plora.adapters import Adapters, LoRA, Merging
from plora.adapters.merging import MERGED, Way, average, factors, magmax, merge, ties

WAYS: tuple[Way, ...] = ("average", "ties", "magmax")


def with_slots(*names: str, rank: int = 3) -> Adapters:
    """A network whose committed slots are random, each of another size."""
    torch.manual_seed(0)
    adapters = Adapters.inject(tiny("bert"), "attention")
    for number, name in enumerate(names, 1):
        slot = adapters.open_task(name, LoRA(rank=rank, alpha=2.0 * number))
        for matrix in (*slot.A.values(), *slot.B.values()):
            torch.nn.init.normal_(matrix, std=0.3)
        adapters.commit()
    return adapters


def put(adapters: Adapters, way: Way, **settings: object) -> tuple[dict[str, Tensor], float]:
    """ΔW of the merged slot by layer, and what was lost."""
    merged, lost = merge(adapters.banks, adapters.names, way, Merging.model_validate(settings))
    return adapters.append(MERGED, merged).delta(), lost


def expected(adapters: Adapters, way: Way, scale: float, keep: float) -> dict[str, Tensor]:
    vectors = [[delta.double().tolist() for delta in slot.delta().values()] for slot in adapters]
    found = reference.ties(vectors, keep) if way == "ties" else getattr(reference, way)(vectors)
    return {path: scale * torch.tensor(layer) for path, layer in zip(adapters.banks, found, strict=True)}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("scale", "keep"), [(None, 0.2), (0.7, 0.5), (1.5, 1.0)])
def test_it_equals_loops_over_entries(way: Way, scale: float | None, keep: float) -> None:
    adapters = with_slots("a", "b", "c")
    entries = expected(adapters, way, scale or (0.5 if way == "magmax" else 1.0), keep)
    found, lost = put(adapters, way, scale=scale, keep=keep, rank=1000)  # of no layer more than it has
    assert lost < 1e-5
    for path, delta in found.items():
        torch.testing.assert_close(delta, entries[path], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_one_slot_is_that_slot(way: Way) -> None:
    adapters = with_slots("only")
    before = adapters["only"].delta()
    found, lost = put(adapters, way, scale=1.0, keep=1.0)
    assert lost < 1e-5
    for path, delta in found.items():
        torch.testing.assert_close(delta, before[path], rtol=1e-4, atol=1e-6)
    assert {shape.rank for shape in adapters[MERGED].shapes.values()} == {3}


def test_an_average_is_the_slots_own_factors_unless_its_rank_is_cut() -> None:
    adapters = with_slots("a", "b")
    _, lost = put(adapters, "average")
    assert lost < 1e-6
    for path, A in adapters[MERGED].A.items():
        assert torch.equal(A, torch.cat([adapters[name].A[path] for name in ("a", "b")]))
    adapters.delete(MERGED)
    found, lost = put(adapters, "average", rank=2)
    assert {shape.rank for shape in adapters[MERGED].shapes.values()} == {2}
    whole = {path: (adapters["a"].delta()[path] + adapters["b"].delta()[path]) / 2 for path in found}
    apart = sum(float((whole[path] - found[path]).square().sum()) for path in found)
    size = sum(float(delta.square().sum()) for delta in whole.values())
    assert lost == pytest.approx((apart / size) ** 0.5, rel=1e-4)
    assert 0.1 < lost < 0.9
    for path, delta in found.items():  # the nearest of its rank: what is left is the rest of the spectrum
        rest = torch.linalg.svdvals(whole[path])[2:].square().sum()
        torch.testing.assert_close((whole[path] - delta).square().sum(), rest, rtol=1e-3, atol=1e-6)


def test_the_default_rank_is_that_of_all_slots_together_as_far_as_a_layer_has_it() -> None:
    adapters = with_slots("a", "b", "c", rank=12)
    for way in WAYS:
        put(adapters, way)
        assert {shape.rank for shape in adapters[MERGED].shapes.values()} == {32}  # of 36: layers of 32 × 32
        adapters.delete(MERGED)


def test_by_hand() -> None:
    first = torch.tensor([[3.0, -1.0, 0.5, 0.0], [2.0, -2.0, 0.1, -4.0]])
    second = torch.tensor([[1.0, 2.0, -0.5, 0.0], [2.0, 2.0, 5.0, -2.0]])
    everything = [torch.tensor(0.0)] * 2
    assert average([first, second]).tolist() == [[2.0, 0.5, 0.0, 0.0], [2.0, 0.0, pytest.approx(2.55), -3.0]]
    # opposites of one size elect nobody; where signs differ the larger side's entry stands
    assert ties([first, second], everything).tolist() == [[2.0, 2.0, 0.0, 0.0], [2.0, 0.0, pytest.approx(2.55), -3.0]]
    # only entries of 2 and more are kept: 1.0, 0.5 and 0.1 do not dilute a mean
    assert ties([first, second], [torch.tensor(2.0)] * 2).tolist() == [[3.0, 2.0, 0.0, 0.0], [2.0, 0.0, 5.0, -3.0]]
    # of equal magnitudes the earlier slot's wins: 0.5, and −2
    assert magmax([first, second]).tolist() == [[3.0, 2.0, 0.5, 0.0], [2.0, -2.0, 5.0, -4.0]]


def test_what_is_kept_is_chosen_over_all_layers_together() -> None:
    """A layer whose entries are all small keeps none: PEFT trims each tensor by itself and would keep a share of it."""
    adapters = with_slots("a")
    small, *_ = adapters.banks.values()
    small.B_old *= 1e-3
    found, _ = put(adapters, "ties", keep=0.2, rank=1000)
    deltas = list(found.values())
    assert float(deltas[0].abs().max()) < 1e-6
    kept = sum(int((delta.abs() > 1e-5).sum()) for delta in deltas)
    assert kept == pytest.approx(0.2 * sum(delta.numel() for delta in deltas), rel=0.02)


@pytest.mark.parametrize("way", WAYS)
def test_slots_that_learned_nothing_merge_to_nothing(way: Way) -> None:
    adapters = with_slots("a", "b")
    for bank in adapters.banks.values():
        bank.B_old.zero_()
    found, lost = put(adapters, way)
    assert lost == 0
    assert not any(delta.any() for delta in found.values())


@given(st.integers(0, 2**31), st.integers(1, 4), st.sampled_from([0.1, 0.3, 0.8]))
def test_ties_of_one_layer_is_pefts(seed: int, slots: int, density: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    deltas = [torch.randn(7, 5, generator=rng) for _ in range(slots)]
    kept = max(int(density * 35), 1)
    smallest = [delta.abs().flatten().sort(descending=True).values[kept - 1] for delta in deltas]
    theirs = peft_ties(deltas, torch.ones(slots), density)
    torch.testing.assert_close(ties(deltas, smallest), theirs, rtol=1e-5, atol=1e-6)


@given(st.integers(0, 2**31), st.integers(1, 7), st.integers(1, 6), st.integers(1, 8))
def test_factors_are_the_nearest_of_their_rank(seed: int, rows: int, columns: int, rank: int) -> None:
    delta = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    A, B = factors(delta, rank)
    rest = torch.linalg.svdvals(delta)[rank:].square().sum()
    torch.testing.assert_close((delta - B @ A).square().sum(), rest, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(A.norm(), B.norm(), rtol=1e-4, atol=1e-5)  # the two share what there is
