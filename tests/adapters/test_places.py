"""What places of every kind promise alike: exact start, own gradients, commit, hash, and what cannot be combined."""

import copy
from collections.abc import Callable

import pytest
import torch
from place_networks import Normed, add, mixed, only, resnet, shake
from tiny_networks import assert_same, mlp, outputs, tiny
from torch import Tensor, nn

from plora.adapters import Adapters, Bottleneck, LoRA, Place, Pointwise, Route, checkpoint_blocks, find_blocks
from plora.errors import AdapterError


def images(network: nn.Module, seed: int = 0) -> Tensor:
    x = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    return network(x.to(next(network.parameters()).dtype)).last_hidden_state


def rows(network: nn.Module, seed: int = 0) -> Tensor:
    return network(torch.randn(5, 6, generator=torch.Generator().manual_seed(seed)))


Made = tuple[nn.Module, Adapters, Callable[..., Tensor]]


def made(kind: str) -> Made:
    if kind == "bank":
        network = tiny("bert")
        return network, Adapters.inject(network, "attention"), outputs
    if kind == "bottleneck":
        network = tiny("bert")
        return network, Adapters.inject(network, bottleneck=Bottleneck(width=5, norm="layer")), outputs
    if kind == "pooled":
        network = resnet()
        return network, Adapters.inject(network, bottleneck=Bottleneck(width=5, after="stage", form="pooled")), images
    if kind == "batch":
        network = resnet()
        return network, Adapters.inject(network, bottleneck=Bottleneck(width=5, norm="batch")), images
    if kind == "convolution":
        network = resnet()
        return network, Adapters.inject(network, "all_conv"), images
    if kind in ("parallel", "series"):
        network = resnet()
        return network, Adapters.inject(network, pointwise=Pointwise(form=kind)), images
    if kind == "sublayer":
        network = tiny("bert")
        return network, Adapters.inject(network, bottleneck=Bottleneck(width=5, after="sublayer")), outputs
    if kind == "module":
        network = Normed().eval()
        return network, Adapters.inject(network, modules=["norm", "last"]), rows
    network, adapters = mixed()
    return network, adapters, outputs


KINDS = ["bank", "bottleneck", "sublayer", "pooled", "batch", "convolution", "parallel", "series", "module", "mixed"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_slot_does_not_change_a_bit(kind: str) -> None:
    network, adapters, run = made(kind)
    with torch.no_grad():
        plain = run(network)
        adapters.open_task("a", LoRA(rank=2))
        assert torch.equal(run(network), plain)
        shake(adapters, 1)
        assert not torch.allclose(run(network), plain, atol=1e-3)
        with adapters.using([]):
            assert torch.equal(run(network), plain)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_the_open_slot_alone(kind: str) -> None:
    network, adapters, run = made(kind)
    add(adapters, "a")
    adapters.open_task("b", LoRA(rank=2, dropout=0.0))
    shake(adapters, 7)
    run(network).square().sum().backward()
    trained = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert trained == set(adapters.named_open()) == {n for n, p in network.named_parameters() if p.requires_grad}
    assert len(trained) == len(adapters.parameters()) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_committed_slot_gives_the_same_bits_for_ever(kind: str) -> None:
    network, adapters, run = made(kind)
    base = {name: tensor.clone() for name, tensor in network.state_dict().items() if "banks" not in name}
    adapters.open_task("a", LoRA(rank=2, dropout=0.0))
    shake(adapters, 3)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.1)
    run(network).sum().backward()
    optimizer.step()
    with torch.no_grad():
        open_gave = run(network)
        content = adapters.commit()
        assert torch.equal(run(network), open_gave)
    assert adapters["a"].content_hash() == content
    assert not adapters.parameters()
    assert not adapters.named_open()
    assert not [name for name, p in network.named_parameters() if p.requires_grad]

    adapters.open_task("b", LoRA(rank=2, dropout=0.0))
    shake(adapters, 5)
    optimizer.add_param_group({"params": adapters.parameters()})  # keeps the momentum of the first slot's
    for place in adapters.places.values():  # the backbone stays in eval mode
        place.train()
    for seed in range(3):
        optimizer.zero_grad()
        with adapters.using("b"):
            run(network, seed=seed).square().sum().backward()
        optimizer.step()
    network.eval()
    assert adapters.commit() != content
    assert adapters["a"].content_hash() == content
    with torch.no_grad(), adapters.using("a"):
        assert torch.equal(run(network), open_gave)
    after = network.state_dict()
    assert_same({name: tensor for name, tensor in after.items() if name in base}, base)


@pytest.mark.parametrize("kind", KINDS)
def test_reopened_deleted_and_appended(kind: str) -> None:
    network, adapters, run = made(kind)
    for name in ("a", "b"):
        add(adapters, name)
    with torch.no_grad(), adapters.using("b"):
        gave = run(network)
    before = {name: adapters[name].content_hash() for name in "ab"}
    slot = adapters.reopen("a", dropout=0.0)
    assert slot.content_hash() == before["a"]
    assert adapters.names == ["b", "a"]
    assert len(adapters.parameters()) == len(adapters.named_open())
    assert all(parameter.requires_grad for parameter in adapters.parameters())
    assert adapters.commit() == before["a"]
    kept = {
        path: {name: tensor.clone() for name, tensor in tensors.items()}
        for path, tensors in adapters["b"].tensors.items()
        if path in adapters.others
    }
    shapes = {
        path: (adapters["b"].shapes[path], adapters["b"].A[path], adapters["b"].B[path]) for path in adapters.banks
    }
    adapters.delete("b")
    assert adapters.names == ["a"]
    assert adapters.append("c", shapes, kept).content_hash() == before["b"]
    with torch.no_grad(), adapters.using("c"):
        assert torch.equal(run(network), gave)
    assert adapters.stored_parameters() == sum(
        tensor.numel() for slot in adapters for tensors in slot.tensors.values() for tensor in tensors.values()
    )


@pytest.mark.parametrize("kind", KINDS)
def test_copies_of_a_network_have_slots_of_their_own(kind: str) -> None:
    network, adapters, run = made(kind)
    add(adapters, "a", commit=False)
    twin = copy.deepcopy(network)
    other = Adapters.of(twin)
    other.use("a")
    with torch.no_grad():
        assert torch.equal(run(twin), run(network))
        shake(other, 9)
        assert not torch.equal(run(twin), run(network))
    assert other.named_open().keys() == adapters.named_open().keys()


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_draws_the_same_start(kind: str) -> None:
    hashes = set()
    for _ in range(2):
        _, adapters, _ = made(kind)
        torch.manual_seed(5)
        hashes.add(adapters.open_task("a", LoRA(rank=2)).content_hash())
    assert len(hashes) == 1


def test_a_slot_goes_on_from_another_one() -> None:
    network, adapters = mixed()
    add(adapters, "a")
    adapters.open_task("b", LoRA(rank=2, dropout=0.0)).start_from(adapters["a"])
    with torch.no_grad():
        with adapters.using("a"):
            gave = outputs(network)
        with adapters.using("b"):
            assert torch.equal(outputs(network), gave)


def test_places_are_named_and_numbered() -> None:
    network, adapters = mixed()
    assert [*adapters.places] == [
        *(f"encoder.layer.{n}.attention.self.{role}" for n in range(2) for role in ("query", "value")),
        "embeddings.LayerNorm",
        "encoder.layer.0[after]",
        "encoder.layer.1[after]",
    ]
    assert [place.site for place in adapters.places.values()] == list(range(7))
    assert [place.index for place in adapters.places.values()] == list(range(7))
    assert {place.kind for place in adapters.places.values()} == {"bank", "bottleneck", "module slot"}
    assert all(isinstance(place, Place) for place in adapters.places.values())
    assert [path for path, _ in find_blocks(network)] == ["encoder.layer.0", "encoder.layer.1"]


@pytest.mark.parametrize("kind", ["bottleneck", "sublayer", "bank", "mixed", "batch", "convolution", "series"])
def test_blocks_are_recomputed_with_equal_gradients(kind: str) -> None:
    grads = []
    for checkpointed in (False, True):
        network, adapters, run = made(kind)
        adapters.open_task("a", LoRA(rank=2, dropout=0.0))
        shake(adapters, 2)
        if checkpointed:
            checkpoint_blocks([block for _, block in find_blocks(network)], adapters.switch)
        loss = run(network).square().sum()
        adapters.use([])  # the route of the forward pass counts, not the one that is in force now
        loss.backward()
        grads.append({name: parameter.grad for name, parameter in adapters.named_open().items()})
    assert_same(*grads)


# ---------------------------------------------------------------------- what cannot be combined


def test_routes_that_a_place_cannot_do_name_it_and_say_why() -> None:
    _, adapters = mixed()
    for name in ("a", "b"):
        add(adapters, name)
    one_of = "module slot 'embeddings.LayerNorm' cannot do this route: each slot is a whole module of its own"
    refused = {
        "several": Route(("a", "b")),
        "shares": Route(("a",), torch.tensor([0.5])),
        "several with coefficients": Route(("a", "b"), torch.ones(2)),
        "samples": Route(("a",), torch.ones(3, 1), "sample"),
        "tokens": Route(("a",), torch.ones(3, 7, 1), "token"),
        "what trains": Route(("a",), torch.ones(1, requires_grad=True)),
    }
    for route in refused.values():
        with pytest.raises(AdapterError, match=one_of):
            adapters.use(route)
    for route in (Route(), Route(("b",)), Route(("a", "b"), torch.tensor([0.0, 1.0]))):
        adapters.use(route)


def test_a_bottleneck_is_not_folded() -> None:
    network, adapters, run = made("bottleneck")
    add(adapters, "a")
    says = r"bottleneck 'encoder.layer.0\[after\]' cannot do this route: its activation stands between"
    with pytest.raises(AdapterError, match=says):
        adapters.fold({"a": 1.0})
    with pytest.raises(AdapterError, match=says):
        adapters.use(Route(("a",), folded=True))
    with adapters.switch.using(Route(("a",), folded=True)), pytest.raises(AdapterError, match=says):
        run(network)
    assert adapters.cannot("soft") is None
    assert "cannot do this: its activation" in str(adapters.cannot("foldable"))


def test_a_copy_does_not_run_under_a_route_that_nobody_checked() -> None:
    network, adapters, run = made("module")
    for name in ("a", "b"):
        add(adapters, name)
    with adapters.switch.using(Route(("a", "b"))), pytest.raises(AdapterError, match="use a gate that chooses one"):
        run(network)


def test_module_slots_choose_by_coefficients_of_their_own() -> None:
    network, adapters = mixed()
    for name in ("a", "b"):
        add(adapters, name)
    one_hot = torch.zeros(7, 2)
    one_hot[:, 1] = 1
    with torch.no_grad():
        with adapters.using("b"):
            expected = outputs(network)
        for per in ("layer", "site"):
            with adapters.using(Route(("a", "b"), one_hot, per)):
                torch.testing.assert_close(outputs(network), expected)
        soft = one_hot.clone()
        soft[0, 0] = 0.5  # a bank may have shares where a module slot has none
        adapters.use(Route(("a", "b"), soft, "site"))
        soft[4, 0] = 0.5
        with pytest.raises(AdapterError, match="module slot"):
            adapters.use(Route(("a", "b"), soft, "site"))


def test_networks_that_cannot_have_these_places() -> None:
    bottleneck = Bottleneck(width=3)
    refused = {
        "nothing to adapt: give targets": {},
        r"modules 'poler' matches no module of BertModel; did you mean 'pooler'\?\. Modules: embeddings": {
            "modules": ["poler"]
        },
        "modules 'encoder.layer', a list of modules that is not called": {"modules": ["encoder.layer"]},
        "'embeddings.dropout' has no parameters": {"modules": ["embeddings.dropout"]},
        "lies in 'encoder.layer.0', of which every slot owns a copy": {
            "targets": "attention",
            "modules": ["encoder.layer.0"],
        },
        "'encoder.layer.0.output' lies in 'encoder.layer.0'": {"modules": ["layer.0", "layer.0.output"]},
        "form 'pooled' takes the mean over a map": {"bottleneck": Bottleneck(form="pooled")},
        r"bottleneck after 'encoder\.lyer\.0' matches no module of BertModel; did you mean": {
            "bottleneck": Bottleneck(after=("encoder.lyer.0",))
        },
        "no linear layer or convolution in it": {"bottleneck": Bottleneck(after=("embeddings.LayerNorm",))},
    }
    for says, asked in refused.items():
        network = tiny("bert")
        state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        with pytest.raises(AdapterError, match=says):
            Adapters.inject(network, **asked)
        assert_same(network.state_dict(), state)
        assert all(parameter.requires_grad for parameter in network.parameters())
    with pytest.raises(AdapterError, match="has no repeated blocks"):
        Adapters.inject(mlp(), bottleneck=bottleneck)
    adapted = tiny("bert")
    Adapters.inject(adapted, bottleneck=bottleneck)
    with pytest.raises(AdapterError, match="adapted already"):
        Adapters.inject(adapted, "attention")
    with pytest.raises(AdapterError, match="needs a rank: this network has low-rank banks"):
        mixed()[1].open_task("a")


def test_tensors_of_another_slot_are_refused() -> None:
    _, adapters, _ = made("module")
    add(adapters, "a")
    tensors = adapters["a"].tensors
    with pytest.raises(AdapterError, match=r"lacks places \['last'\]"):
        adapters.append("b", {}, {"norm": tensors["norm"]})
    wrong = {**tensors, "last": {**tensors["last"], "bias": torch.zeros(5)}}
    with pytest.raises(AdapterError, match=r"module slot 'last': 'bias' is \[5\] instead of \[4\]"):
        adapters.append("b", {}, wrong)
    with pytest.raises(AdapterError, match=r"it lacks the tensors \['bias'\] and has unknown ones \['b'\]"):
        adapters.append("b", {}, {**tensors, "last": {"weight": tensors["last"]["weight"], "b": torch.zeros(4)}})
    assert adapters.names == ["a"]
    assert only("a").slots == ("a",)
