"""Opening, training, committing, reopening, deleting and folding slots."""

import copy

import pytest
import torch
from tiny_networks import add_slot, assert_same, base_state, fill, mlp, outputs, tiny
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from plora.adapters import Adapters, LoRA, Route, SlotShape
from plora.adapters.route import CoefficientsPer
from plora.errors import AdapterError, PloraError, UnknownTaskError


def adapted_mlp() -> tuple[nn.Sequential, Adapters]:
    network = mlp()
    return network, Adapters.inject(network, "all_linear")


def train(network: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 3) -> None:
    for step in range(steps):
        optimizer.zero_grad()
        outputs(network, seed=step).square().sum().backward()
        optimizer.step()


# ---------------------------------------------------------------------- step 0


@pytest.mark.parametrize("init", ["kaiming", "gauss"])
@pytest.mark.parametrize("kind", ["bert", "gpt2", "modernbert"])
def test_a_new_slot_does_not_change_a_bit(kind: str, init: str) -> None:
    network = tiny(kind)
    plain = outputs(network)
    adapters = Adapters.inject(network, "attention")
    assert torch.equal(outputs(network), plain)  # without any slot
    adapters.open_task("a", LoRA(rank=4, init=init, dropout=0.3))
    for bank in adapters.banks.values():  # the network's own dropout is not the matter here
        bank.train()
    assert torch.equal(outputs(network), plain)
    add = adapters["a"].delta()
    assert add
    assert not any(delta.any() for delta in add.values())


def test_initialisations() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(400, 300))
    adapters = Adapters.inject(network, ["0"])
    A = adapters.open_task("kaiming", LoRA(rank=100)).A["0"]
    assert A.abs().max() <= 400**-0.5
    assert A.std().item() == pytest.approx(400**-0.5 / 3**0.5, rel=0.03)
    adapters.commit()
    A = adapters.open_task("gauss", LoRA(rank=100, init="gauss")).A["0"]
    assert A.std().item() == pytest.approx(0.01, rel=0.03)
    assert A.mean().item() == pytest.approx(0, abs=3e-4)


def test_scaling() -> None:
    assert LoRA(rank=4, alpha=8).shape() == SlotShape(4, 2.0)
    assert LoRA(rank=4, alpha=8, rslora=True).shape() == SlotShape(4, 4.0)


# ---------------------------------------------------------------------- training and committing


def test_gradient_reaches_A_and_B_within_two_steps() -> None:
    network, adapters = adapted_mlp()
    slot = adapters.open_task("a", LoRA(rank=2, dropout=0.0))
    optimizer = torch.optim.SGD(adapters.parameters(), lr=0.1)
    outputs(network).square().sum().backward()
    for path in adapters.banks:  # with B = 0 nothing reaches A in the first step
        assert not slot.A[path].grad.any()
        assert adapters.banks[path].B.grad.any()
    optimizer.step()
    optimizer.zero_grad()
    outputs(network).square().sum().backward()
    for bank in adapters.banks.values():
        assert bank.A.grad.any()
        assert bank.B.grad.any()


@pytest.mark.parametrize(
    "make",
    [
        lambda parameters: torch.optim.AdamW(parameters, lr=0.05, weight_decay=0.1),
        lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=0.1),
    ],
)
def test_only_the_open_slot_moves(make) -> None:
    """Every parameter of the network is given to the optimizer; base and committed slots stay bit-identical."""
    network, adapters = adapted_mlp()
    base = base_state(network)
    adapters.open_task("a", LoRA(rank=2, dropout=0.1))
    network.train()
    optimizer = make(network.parameters())
    train(network, optimizer)
    before = adapters.commit()
    tensors = {path: (A.clone(), B.clone()) for path, (A, B) in _rows(adapters, "a").items()}
    adapters.open_task("b", LoRA(rank=3, dropout=0.1))
    start = adapters["b"].content_hash()
    optimizer.add_param_group({"params": adapters.parameters()})  # keeps the momentum of the first task
    train(network, optimizer)
    assert adapters["a"].content_hash() == before
    for path, (A, B) in _rows(adapters, "a").items():
        assert torch.equal(A, tensors[path][0])
        assert torch.equal(B, tensors[path][1])
    assert adapters["b"].content_hash() != start
    assert_same(base_state(network), base)


def _rows(adapters: Adapters, name: str) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    return {path: bank.rows(name) for path, bank in adapters.banks.items()}


def test_committed_slots_are_buffers() -> None:
    network, adapters = adapted_mlp()
    adapters.open_task("a", LoRA(rank=2))
    trainable = {name for name, p in network.named_parameters() if p.requires_grad}
    assert trainable == {f"{layer}.banks.whole.{matrix}" for layer in (0, 2) for matrix in "AB"}
    adapters.commit()
    assert not [name for name, p in network.named_parameters() if p.requires_grad]
    assert not [name for name, _ in network.named_parameters() if "banks" in name]
    buffers = dict(network.named_buffers())
    for layer, (inputs, out) in {"0": (6, 8), "2": (8, 4)}.items():
        assert buffers[f"{layer}.banks.whole.A_old"].shape == (2, inputs)
        assert buffers[f"{layer}.banks.whole.B_old"].shape == (2, out)
    assert adapters.parameters() == []


def test_commit_changes_no_output() -> None:
    network, adapters = adapted_mlp()
    add_slot(adapters, "a")
    add_slot(adapters, "b", rank=3, commit=False)
    before = outputs(network)
    adapters.commit()
    torch.testing.assert_close(outputs(network), before, rtol=1e-6, atol=1e-6)


def test_content_hash_knows_values_ranks_and_scales() -> None:
    def content(rank: int = 2, alpha: float = 3.0, changed: bool = False) -> str:
        _, adapters = adapted_mlp()
        adapters.open_task("a", LoRA(rank=rank, alpha=alpha))
        fill(adapters, "a")
        if changed:
            with torch.no_grad():
                adapters["a"].B["2"][0, 0] += 1e-6
        opened = adapters["a"].content_hash()
        assert adapters.commit() == opened
        return opened

    assert content() == content()
    assert len({content(), content(rank=3), content(alpha=3.5), content(changed=True)}) == 4


def test_reopen_continues_with_the_values() -> None:
    network, adapters = adapted_mlp()
    for name in "abc":
        add_slot(adapters, name)
    adapters.use("b")
    hashes, before = {name: adapters[name].content_hash() for name in "abc"}, outputs(network)
    slot = adapters.reopen("b", dropout=0.0)
    assert (adapters.names, adapters.open_name) == (["a", "c", "b"], "b")
    torch.testing.assert_close(outputs(network), before, rtol=1e-6, atol=1e-6)
    assert {name: adapters[name].content_hash() for name in "abc"} == hashes
    optimizer = torch.optim.AdamW(adapters.parameters(), lr=0.05)
    train(network, optimizer)
    assert slot.content_hash() != hashes["b"]
    adapters.commit()
    assert {name: adapters[name].content_hash() for name in "ac"} == {name: hashes[name] for name in "ac"}


def test_handles_to_one_network_agree() -> None:
    network, adapters = adapted_mlp()
    other = Adapters.of(network)
    adapters.open_task("a", LoRA(rank=2))
    assert (other.names, other.open_name) == (["a"], "a")
    other.commit()
    assert adapters.open_name is None
    adapters.open_task("b", LoRA(rank=2))
    assert "b" in other
    assert len(other) == 2


def test_deepcopies_are_independent() -> None:
    network, adapters = adapted_mlp()
    add_slot(adapters, "a")
    add_slot(adapters, "b", commit=False)
    twin = copy.deepcopy(network)
    before = outputs(network)
    assert torch.equal(outputs(twin), before)
    Adapters.of(twin).use([])
    fill(Adapters.of(twin), "b", seed=77)
    assert torch.equal(outputs(network), before)


# ---------------------------------------------------------------------- dropout


def test_dropout_touches_the_open_slot_alone() -> None:
    network, adapters = adapted_mlp()
    add_slot(adapters, "a", dropout=0.5)
    add_slot(adapters, "b", commit=False, dropout=0.5)
    network.eval()
    with adapters.using("a"):
        still = outputs(network)
    with adapters.using("b"):
        open_still = outputs(network)
    network.train()
    torch.manual_seed(1)
    with adapters.using("a"):
        assert torch.equal(outputs(network), still)
    with adapters.using("b"):
        assert not torch.equal(outputs(network), open_still)
    adapters.commit()
    with adapters.using("b"):
        torch.testing.assert_close(outputs(network), open_still)


def test_dropout_under_a_mixing_matrix() -> None:
    network, adapters = adapted_mlp()
    add_slot(adapters, "a", dropout=0.5)
    add_slot(adapters, "b", commit=False, dropout=0.5)
    for reads, random in (("a", False), ("b", True)):  # only what enters from the open slot is dropped
        M = torch.zeros(4, 4)
        M[:, :2] = 1.0 if reads == "a" else 0.0
        M[:, 2:] = 1.0 if reads == "b" else 0.0
        with adapters.using(Route(("a", "b"), mixing={"0": M, "2": M})):
            network.train()
            assert torch.equal(outputs(network), outputs(network)) is not random
            network.eval()
            assert torch.equal(outputs(network), outputs(network))


# ---------------------------------------------------------------------- what it costs


class Calls(TorchFunctionMode):
    """Counts the calls of torch functions, whatever their size."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


def cost(network: nn.Module) -> tuple[int, int]:
    """Floating-point operations of one forward and backward pass, and the number of torch calls of a forward one."""
    with FlopCounterMode(display=False) as flops:
        outputs(network).sum().backward()
    with Calls() as calls:
        outputs(network)
    return flops.get_total_flops(), calls.count


def with_slots(number: int) -> tuple[nn.Sequential, Adapters]:
    network, adapters = adapted_mlp()
    for k in range(number - 1):
        add_slot(adapters, f"t{k}")
    add_slot(adapters, "last", commit=False)
    return network, adapters


def test_a_one_hot_route_pays_for_one_slot() -> None:
    costs = []
    for number in (2, 20):
        network, adapters = with_slots(number)
        adapters.use("last")
        costs.append(cost(network))
        adapters.commit()
        for parameter in network.parameters():
            parameter.requires_grad_(True)
        for name in ("t0", "last"):
            adapters.use(name)
            costs.append(cost(network))
    assert costs[:3] == costs[3:]
    adapters.use(adapters.names)
    assert cost(network)[0] > costs[-1][0]  # the measure does see slots


def test_folded_costs_the_same_whatever_the_number_of_tasks() -> None:
    costs = {}
    for number in (1, 20):
        network, adapters = with_slots(number)
        committed = adapters.names[:-1]
        adapters.fold(dict.fromkeys(committed, 1.0))
        adapters.use(Route(tuple(adapters.names), folded=True))
        costs[number] = cost(network)
    assert costs[1][0] == costs[20][0]
    assert costs[1][1] == costs[20][1]
    adapters.use(adapters.names)
    assert cost(network)[0] > costs[20][0]


def test_many_slots_are_one_pair_of_products() -> None:
    calls = []
    for number in (3, 20):
        network, adapters = with_slots(number)
        adapters.use(adapters.names)
        calls.append(cost(network)[1])
    assert calls[0] == calls[1]


# ---------------------------------------------------------------------- folding


def test_folding_never_writes_the_base_weight() -> None:
    for kind in ("bert", "gpt2", "modernbert"):
        network = tiny(kind)
        plain, base = outputs(network), base_state(network)
        adapters = Adapters.inject(network, "attention:qv")
        for name in ("a", "b"):
            add_slot(adapters, name)
        adapters.fold({"a": 1.0, "b": 0.5})
        with adapters.using(Route(("a", "b"), folded=True)):
            folded = outputs(network)
        with adapters.using(Route(("a", "b"), torch.tensor([1.0, 0.5]))):
            torch.testing.assert_close(folded, outputs(network), rtol=1e-5, atol=1e-5)
        assert_same(base_state(network), base)
        adapters.unfold()
        assert_same(base_state(network), base)
        with adapters.using([]):
            assert torch.equal(outputs(network), plain)


def test_a_fold_that_does_not_fit_the_route_is_refused() -> None:
    network, adapters = with_slots(3)
    with pytest.raises(AdapterError, match=r"Adapters\.fold first"), adapters.using(Route(("t0",), folded=True)):
        outputs(network)
    adapters.fold({"t0": 1.0})
    says = r"wants slots \['t0', 't1'\] folded, but layer '0' has \['t0'\]"
    with pytest.raises(AdapterError, match=says), adapters.using(Route(("t0", "t1", "last"), folded=True)):
        outputs(network)
    with pytest.raises(AdapterError, match="'last' is open and cannot be folded"):
        adapters.fold({"last": 1.0})
    with pytest.raises(UnknownTaskError):
        adapters.fold({"t9": 1.0})


@pytest.mark.parametrize("per", ["layer", "site"])
@pytest.mark.parametrize("kind", ["bert", "gpt2", "modernbert"])
def test_a_route_is_folded_with_the_coefficients_of_each_layer_or_site(kind: str, per: CoefficientsPer) -> None:
    network = tiny(kind)
    adapters = Adapters.inject(network, "attention:qv")
    for name in ("a", "b"):
        add_slot(adapters, name)
    c = torch.randn(adapters.counts()[per], 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    route = Route(("a", "b"), c, per)
    adapters.fold(route)
    assert adapters.folded is not None
    assert adapters.folded.same_as(route)
    with torch.no_grad():
        with adapters.using(route):
            beside = outputs(network)
        with adapters.using(Route(("a", "b"), folded=True)):
            torch.testing.assert_close(outputs(network), beside, rtol=1e-5, atol=1e-5)
        c.add_(1)  # what is folded keeps the numbers that it was made with
    assert not adapters.folded.same_as(route)
    adapters.unfold()
    assert adapters.folded is None


def test_a_route_without_one_weight_for_all_inputs_is_not_folded() -> None:
    _, adapters = with_slots(3)
    with pytest.raises(AdapterError, match=r"coefficients per sample have no single effective weight"):
        adapters.fold(Route(("t0", "t1"), torch.ones(4, 2), "sample"))


@pytest.mark.parametrize("change", ["commit", "reopen", "delete", "rescale"])
def test_no_fold_outlives_the_slots_it_was_made_of(change: str) -> None:
    network, adapters = with_slots(3)
    if change == "reopen":
        adapters.commit()
    adapters.fold({"t0": 1.0, "t1": 1.0})
    if change == "commit":
        adapters.commit()
    elif change == "reopen":
        adapters.reopen("t1", dropout=0.0)
    elif change == "rescale":
        adapters.rescale("t0", {"0": 2.0})
    else:
        adapters.delete("t1")
    with pytest.raises(AdapterError, match=r"Adapters\.fold first"), adapters.using(Route(("t0",), folded=True)):
        outputs(network)


# ---------------------------------------------------------------------- deleting


def test_deleting_forgets_the_slot_and_nothing_else() -> None:
    network, adapters = adapted_mlp()
    for name, rank in (("a", 1), ("b", 2), ("c", 3)):
        add_slot(adapters, name, rank, commit=name != "c")
    hashes = {name: adapters[name].content_hash() for name in "ac"}
    with adapters.using(["a", "c"]):
        without = outputs(network)
    adapters.delete("b")
    assert adapters.names == ["a", "c"]
    assert adapters.switch.route.slots == ("a", "c")
    torch.testing.assert_close(outputs(network), without)
    assert {name: adapters[name].content_hash() for name in "ac"} == hashes
    adapters.delete("c")
    assert adapters.open_name is None
    assert adapters.parameters() == []
    assert adapters.switch.route.slots == ("a",)
    adapters.delete("a")
    assert torch.equal(outputs(network), outputs(mlp()))


@pytest.mark.parametrize("per", ["slot", "layer", "mixing"])
def test_deleting_keeps_the_coefficients_of_the_others(per: str) -> None:
    network, adapters = adapted_mlp()
    for name, rank in (("a", 1), ("b", 2), ("c", 1)):
        add_slot(adapters, name, rank)
    c = torch.tensor([0.5, 0.0, -2.0])
    if per == "slot":
        route = Route(("c", "b", "a"), c)
    elif per == "layer":
        route = Route(("c", "b", "a"), c.repeat(2, 1), "layer")
    else:
        M = torch.randn(4, 4)
        M[:, 1:3] = M[1:3] = 0
        route = Route(("c", "b", "a"), c, mixing={"2": M})
    adapters.use(route)
    before = outputs(network)
    adapters.delete("b")
    assert adapters.switch.route.slots == ("c", "a")
    torch.testing.assert_close(outputs(network), before)


# ---------------------------------------------------------------------- mistakes


def test_rank_too_large_leaves_nothing_behind() -> None:
    _, adapters = adapted_mlp()
    with pytest.raises(AdapterError, match=r"rank 5 .* layer '2' allows \(8 inputs, 4 outputs\); choose rank ≤ 4"):
        adapters.open_task("a", LoRA(rank=5))
    assert adapters.names == []
    assert adapters.parameters() == []


def test_mistakes_with_slots() -> None:
    _, adapters = adapted_mlp()
    with pytest.raises(AdapterError, match="no slot is open; call open_task first"):
        adapters.commit()
    adapters.open_task("reviews", LoRA(rank=2))
    with pytest.raises(AdapterError, match="'reviews' is still open; commit or delete it before opening 'news'"):
        adapters.open_task("news", LoRA(rank=2))
    adapters.commit()
    with pytest.raises(AdapterError, match="'reviews' exists already"):
        adapters.open_task("reviews", LoRA(rank=2))
    with pytest.raises(UnknownTaskError, match="no slot 'review'; did you mean 'reviews'\\?; slots: reviews"):
        adapters.use("review")
    with pytest.raises(KeyError):
        adapters["nothing"]
    with pytest.raises(PloraError):
        adapters.delete("nothing")
    adapters.open_task("news", LoRA(rank=2))
    with pytest.raises(AdapterError, match="'news' is still open; commit it before reopening 'reviews'"):
        adapters.reopen("reviews", 0.0)
    with pytest.raises(AdapterError, match="adapted already"):
        Adapters.inject(_, "all_linear")


def test_append_refuses_what_does_not_fit() -> None:
    _, adapters = adapted_mlp()
    add_slot(adapters, "a")
    given = {path: (SlotShape(2, 1.0), adapters["a"].A[path], adapters["a"].B[path]) for path in adapters.banks}
    with pytest.raises(AdapterError, match="'a' exists already"):
        adapters.append("a", given)
    with pytest.raises(AdapterError, match=r"lacks layers \['2'\] and has unknown layers \[\]"):
        adapters.append("b", {"0": given["0"]})
    with pytest.raises(AdapterError, match=r"slot 'b', layer '2': A \[2, 6\]"):
        adapters.append("b", {"0": given["0"], "2": given["0"]})
    assert adapters.names == ["a"]
    adapters.open_task("open", LoRA(rank=2))
    adapters.append("b", given)
    assert adapters.names == ["a", "b", "open"]
    assert adapters["b"].content_hash() != adapters["a"].content_hash()  # alpha differs
    assert adapters.stored_parameters() == 3 * 2 * (6 + 8 + 8 + 4)
