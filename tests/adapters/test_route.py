"""Routes, the switch, and activation checkpointing."""

import copy
from functools import partial

import pytest
import torch
from tiny_networks import add_slot, assert_near, fill, mlp, outputs, tiny
from torch import Tensor, nn
from torch.utils import checkpoint as torch_checkpoint

from plora.adapters import Adapters, LoRA, Route, Switch, checkpoint_blocks, find_blocks, merge_lora
from plora.errors import AdapterError, UnknownTaskError


@pytest.mark.parametrize(
    ("shape", "per"),
    [
        ((3,), "slot"),
        ((2, 2), "slot"),
        ((), "slot"),
        ((2,), "layer"),
        ((4, 3), "layer"),
        ((2,), "sample"),
        ((4, 1), "sample"),
        ((4, 2), "token"),
        ((4, 7, 3), "token"),
    ],
)
def test_coefficients_of_another_shape(shape: tuple[int, ...], per: str) -> None:
    with pytest.raises(AdapterError, match=rf"coefficients per {per} must be .* with 2 slots, got \[") as caught:
        Route(("a", "b"), torch.ones(shape), per)  # type: ignore[arg-type]
    assert str(list(shape)) in str(caught.value)


def test_impossible_routes() -> None:
    with pytest.raises(AdapterError, match="names a slot twice"):
        Route(("a", "b", "a"))
    with pytest.raises(AdapterError, match="cannot be folded"):
        Route(("a",), mixing={"0": torch.eye(2)}, folded=True)


def test_coefficients_that_do_not_fit_the_batch_or_the_network() -> None:
    network = mlp()
    adapters = Adapters.inject(network, "all_linear")
    add_slot(adapters, "a")
    with pytest.raises(AdapterError, match="for 3 layers, the network has 2"):
        adapters.use(Route(("a",), torch.ones(3, 1), "layer"))
    with pytest.raises(AdapterError, match="mixing names '1', which is not adapted; layers: 0, 2"):
        adapters.use(Route(("a",), mixing={"1": torch.eye(2)}))
    with pytest.raises(UnknownTaskError, match="no slot 'b'"):
        adapters.use(Route(("a", "b")))
    for c, per in ((torch.ones(2, 1), "sample"), (torch.ones(1, 1), "sample"), (torch.ones(3, 7, 1), "token")):
        route = Route(("a",), c, per)  # type: ignore[arg-type]
        with pytest.raises(AdapterError, match="but the input of layer '0' is"), adapters.using(route):
            outputs(network)
    says = r"mixing matrix of layer '2' is \[3, 3\], but its slots have 2 rows"
    with pytest.raises(AdapterError, match=says), adapters.using(Route(("a",), mixing={"2": torch.eye(3)})):
        outputs(network)


def test_using_restores_the_former_route() -> None:
    switch, outer, inner = Switch(), Route(("a",)), Route(("b",))
    before = switch.route
    with switch.using(outer):
        with switch.using(inner):
            assert switch.route is inner
        assert switch.route is outer
        with pytest.raises(KeyError), switch.using(inner):
            raise KeyError
        assert switch.route is outer
    assert switch.route is before


def test_use_takes_a_name_several_names_or_a_route() -> None:
    network = mlp()
    adapters = Adapters.inject(network, "all_linear")
    for name in ("a", "b"):
        add_slot(adapters, name)
    seen = {}
    for key, route in {"a": "a", "b": "b", "none": [], "both": ["a", "b"]}.items():
        with adapters.using(route):
            seen[key] = outputs(network)
    assert torch.equal(seen["none"], outputs(mlp()))
    assert len({tuple(value.flatten().tolist()) for value in seen.values()}) == 4
    adapters.use(Route(("b", "a"), torch.tensor([0.0, 1.0])))
    torch.testing.assert_close(outputs(network), seen["a"])
    assert torch.equal(outputs(network), outputs(network))


# ---------------------------------------------------------------------- activation checkpointing


def twins(kind: str, dropout: float = 0.0) -> tuple[nn.Module, nn.Module]:
    """Two adapted networks, the second one checkpointed."""
    networks = []
    for checkpointed in (False, True):
        network = tiny(kind)
        adapters = Adapters.inject(network, "attention")
        add_slot(adapters, "a")
        adapters.open_task("b", LoRA(rank=2, dropout=dropout))
        fill(adapters, "b")
        if checkpointed:
            checkpoint_blocks([block for _, block in find_blocks(network)], adapters.switch)
        networks.append(network)
    return networks[0], networks[1]


def count_calls(network: nn.Module) -> list[str]:
    """Names of the layers' banks in the order in which they are evaluated."""
    calls: list[str] = []
    for path, bank in Adapters.of(network).banks.items():
        bank.register_forward_hook(lambda *_, path=path: calls.append(path))
    return calls


def gradients(network: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    loss.backward()
    found = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    network.zero_grad()
    return found


@pytest.mark.parametrize("kind", ["bert", "modernbert", "gpt2", "t5"])
def test_blocks_are_recomputed_in_eval_mode_with_equal_gradients(kind: str) -> None:
    plain, checkpointed = twins(kind)
    counts = []
    for network in (plain, checkpointed):
        assert not network.training
        calls = count_calls(network)
        loss = outputs(network).square().sum()
        forward = len(calls)
        counts.append(forward)
        loss.backward()
        counts.append(len(calls))
    banks = len(Adapters.of(plain).banks)
    assert counts[:3] == [banks, banks, banks]
    # a block's recomputation stops as soon as all that backward needs is there
    assert banks < counts[3] <= 2 * banks
    for (name, left), (_, right) in zip(plain.named_parameters(), checkpointed.named_parameters(), strict=True):
        assert (left.grad is None) == (right.grad is None)
        if left.grad is not None:
            assert torch.equal(left.grad, right.grad), name


def test_dropout_is_the_same_in_recomputation() -> None:
    plain, checkpointed = twins("bert", dropout=0.4)
    results = []
    for network in (plain, checkpointed):
        for bank in Adapters.of(network).banks.values():
            bank.train()
        torch.manual_seed(3)
        results.append(gradients(network, outputs(network).square().sum()))
    assert results[0].keys() == results[1].keys()
    for name in results[0]:
        assert torch.equal(results[0][name], results[1][name]), name


@pytest.mark.parametrize("later", [[], ["a"], ["a", "b"]])
def test_recomputation_uses_the_route_of_the_forward_pass(later: list[str]) -> None:
    plain, checkpointed = twins("bert")
    found = []
    c = torch.tensor([0.5, 2.0], requires_grad=True)
    for network in (plain, checkpointed):
        adapters = Adapters.of(network)
        with adapters.using(Route(("a", "b"), c)):
            loss = outputs(network).square().sum()
        adapters.use(later)
        if network is checkpointed:
            outputs(network)  # another forward pass under another route
        found.append(gradients(network, loss) | {"c": c.grad.clone()})
        c.grad = None
        assert adapters.switch.route.slots == tuple(later)
    assert found[0].keys() == found[1].keys()
    for name in found[0]:
        assert torch.equal(found[0][name], found[1][name]), name


def test_a_decoder_keeps_its_cache_without_gradients_only() -> None:
    """A recomputed block would write into a key-value cache a second time."""
    _, network = twins("gpt2")
    ids = torch.randint(3, 50, (2, 6), generator=torch.Generator().manual_seed(0))
    whole = network(input_ids=ids).last_hidden_state
    with torch.no_grad():
        first = network(input_ids=ids[:, :5], use_cache=True)
        assert first.past_key_values.get_seq_length() == 5
        last = network(input_ids=ids[:, 5:], past_key_values=first.past_key_values).last_hidden_state
    torch.testing.assert_close(last[:, 0], whole[:, -1], rtol=1e-5, atol=1e-5)
    with pytest.raises(AdapterError, match="filled key-value cache"):
        network(input_ids=ids[:, 5:], past_key_values=first.past_key_values)


def test_checkpointing_twice_is_checkpointing_once() -> None:
    _, network = twins("bert")
    checkpoint_blocks([block for _, block in find_blocks(network)], Adapters.of(network).switch)
    calls = count_calls(network)
    outputs(network).sum().backward()
    assert len(calls) <= 2 * len(Adapters.of(network).banks)


def test_copies_of_a_checkpointed_network_use_their_own_weights_and_route() -> None:
    plain, network = twins("bert")
    twin = copy.deepcopy(network)
    before = outputs(network)
    fill(Adapters.of(twin), "b", seed=9)
    Adapters.of(twin).use("b")
    fill(Adapters.of(plain), "b", seed=9)
    Adapters.of(plain).use("b")
    assert torch.equal(outputs(twin), outputs(plain))
    assert torch.equal(outputs(network), before)
    assert_near(outputs(merge_lora(network)), before, 1e-5)


# ---------------------------------------------------------------------- torch's own checkpointing, and others'


class Stack(nn.Module):
    """Blocks, each computed again for backward as torch does it."""

    def __init__(self, how: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6)) for _ in range(3))
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "sequential":
            mapped: Tensor = torch_checkpoint.checkpoint_sequential(self.blocks, 2, x, use_reentrant=False)
            return mapped
        for block in self.blocks:
            if self.how == "nested":
                inner = partial(torch_checkpoint.checkpoint, block, use_reentrant=False)
                x = torch_checkpoint.checkpoint(inner, x, use_reentrant=False)
            elif self.how == "both":  # the inner region is recomputed while the outer one is
                x = torch_checkpoint.checkpoint(partial(self.reentrant, block), x, use_reentrant=True)
            elif self.how == "plain":
                x = block(x)
            else:
                x = torch_checkpoint.checkpoint(block, x, use_reentrant=self.how == "reentrant")
        return x

    @staticmethod
    def reentrant(block: nn.Module, x: Tensor) -> Tensor:
        mapped: Tensor = torch_checkpoint.checkpoint(block, x, use_reentrant=True)
        return mapped


def two_routes(how: str, order: str) -> dict[str, Tensor]:
    """Gradients of one backward pass through two forward passes, under two routes."""
    network = Stack(how)
    adapters = Adapters.inject(network, "all_linear")
    add_slot(adapters, "a")
    add_slot(adapters, "b")
    adapters.open_task("new", LoRA(rank=2, dropout=0.0))
    fill(adapters, "new", seed=5)
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    c = torch.tensor([2.0, 0.5])
    if order == "one after the other":
        adapters.use(["a", "new"])
        first = network(x)
        adapters.use(Route(("b", "new"), c))
        second = network(x * 0.5)
    elif order == "one into the other":
        adapters.use(["a", "new"])
        first = network(x)
        with adapters.using(Route(("b", "new"), c)):
            second = network(first)
    else:
        with adapters.using(["a", "new"]):
            first = network(x)
        second = x * 0
        adapters.use([])
        with torch.no_grad():
            network(x)
    (first.pow(3).sum() + second.sin().sum()).backward()
    assert x.grad is not None
    named = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    return {"x": x.grad, **named}


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # of the pass without gradients
@pytest.mark.parametrize("order", ["one after the other", "one into the other", "another in force"])
@pytest.mark.parametrize("how", ["reentrant", "not reentrant", "sequential", "nested", "both"])
def test_what_torch_computes_again_has_the_route_of_its_forward_pass(how: str, order: str) -> None:
    plain, recomputed = two_routes("plain", order), two_routes(how, order)
    assert plain.keys() == recomputed.keys()
    for name in plain:
        torch.testing.assert_close(recomputed[name], plain[name], msg=name)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    ("kind", "reentrant"), [("bert", False), ("bert", True), ("gpt2", False), ("gpt2", True), ("t5", False)]
)
def test_what_transformers_computes_again_has_the_route_of_its_forward_pass(kind: str, reentrant: bool) -> None:
    found = []
    for checkpointed in (False, True):
        network = tiny(kind).train()
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        adapters = Adapters.inject(network, "attention")
        add_slot(adapters, "a")
        add_slot(adapters, "b")
        adapters.open_task("new", LoRA(rank=2, dropout=0.0))
        fill(adapters, "new", seed=5)
        if checkpointed:
            network.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
        network.enable_input_require_grads()
        loss = torch.zeros(())
        for seed, name in enumerate(("a", "b")):
            adapters.use([name, "new"])
            loss = loss + outputs(network, seed).pow(3).sum()
        found.append(gradients(network, loss))
    assert found[0].keys() == found[1].keys()
    for name in found[0]:
        torch.testing.assert_close(found[1][name], found[0][name], rtol=1e-4, atol=1e-5, msg=name)


def test_a_forward_pass_that_is_too_long_ago_is_refused() -> None:
    network = Stack("not reentrant")
    adapters = Adapters.inject(network, "all_linear")
    add_slot(adapters, "a")
    adapters.open_task("new", LoRA(rank=2, dropout=0.0))
    fill(adapters, "new")
    loss = network(torch.ones(1, 6)).sum()
    for _ in range(300):
        adapters.use("a")
    with pytest.raises(AdapterError, match="computes a block again whose forward pass is too long ago"):
        loss.backward()


def test_a_copy_has_no_history_of_its_original() -> None:
    network = Stack("not reentrant")
    adapters = Adapters.inject(network, "all_linear")
    add_slot(adapters, "a", commit=False)
    loss = network(torch.ones(1, 6)).sum()
    twin = copy.deepcopy(network)
    other = twin(torch.ones(1, 6)).sum()
    adapters.use([])
    Adapters.of(twin).use([])
    (loss + other).backward()
    for (name, left), right in zip(network.named_parameters(), twin.parameters(), strict=True):
        assert (left.grad is None) == (right.grad is None)
        assert left.grad is None or torch.equal(left.grad, right.grad), name
    assert any(parameter.grad is not None for parameter in twin.parameters())
