"""`apply_lora`, `save_lora`, `load_lora` and `merge_lora` on transformers networks and plain ones."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from tiny_networks import add_slot, assert_near, assert_same, base_state, fill, mlp, outputs, tiny
from torch import nn

import plora
from plora.adapters import AdaptedLinear, Adapters, LoRA, Route, apply_lora, load_lora, merge_lora, save_lora
from plora.errors import AdapterError

NETWORKS = ("bert", "modernbert", "gpt2", "mlp")


def network_of(kind: str) -> nn.Module:
    return mlp() if kind == "mlp" else tiny(kind)


def targets_of(kind: str) -> str:
    return "all_linear" if kind == "mlp" else "attention"


def trained(kind: str, **settings: object) -> nn.Module:
    network = apply_lora(network_of(kind), rank=2, targets=targets_of(kind), **settings)  # type: ignore[arg-type]
    fill(Adapters.of(network), Adapters.of(network).names[0])
    return network


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_copy_leaves_the_original_alone(kind: str) -> None:
    network = network_of(kind)
    before, plain, trains = (
        base_state(network),
        outputs(network),
        {n: p.requires_grad for n, p in network.named_parameters()},
    )
    adapted = apply_lora(network, rank=2, targets=targets_of(kind))
    fill(Adapters.of(adapted), "default")
    outputs(adapted).sum().backward()
    assert adapted is not network
    assert type(adapted) is type(network)
    assert not any(isinstance(module, AdaptedLinear) for module in network.modules())
    assert {name: p.requires_grad for name, p in network.named_parameters()} == trains
    assert_same(dict(network.state_dict()), before)
    assert torch.equal(outputs(network), plain)
    assert not torch.equal(outputs(adapted), plain)
    assert_same(base_state(adapted), before)


@pytest.mark.parametrize("kind", NETWORKS)
def test_in_place(kind: str) -> None:
    network = network_of(kind)
    weights = {id(p) for p in network.parameters()}
    adapted = apply_lora(network, rank=2, targets=targets_of(kind), copy=False)
    assert adapted is network
    assert {id(p) for name, p in network.named_parameters() if "banks" not in name} == weights


@pytest.mark.parametrize("kind", NETWORKS)
def test_only_A_and_B_train(kind: str) -> None:
    network = apply_lora(network_of(kind), rank=3, targets=targets_of(kind))
    adapters = Adapters.of(network)
    trains = {id(p) for p in network.parameters() if p.requires_grad}
    assert trains == {id(p) for p in adapters.parameters()}
    expected = sum(3 * (bank.in_features + bank.out_features) for bank in adapters.banks.values())
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == expected


def test_any_module_learns() -> None:
    """A recurrent network with linear layers in odd places, trained by its user's own loop."""

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleDict({"in": nn.Linear(3, 5, bias=False), "state": nn.GRUCell(5, 5)})
            self.out = nn.Sequential(nn.LayerNorm(5), nn.Linear(5, 2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.parts["state"](self.parts["in"](x)))

    torch.manual_seed(0)
    network = apply_lora(Odd(), rank=2, alpha=8, targets=["in", "out.1"], dropout=0.0)
    assert list(Adapters.of(network).banks) == ["parts.in", "out.1"]
    x, y = torch.randn(40, 3), torch.randint(2, (40,))
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=0.05)
    losses = []
    for _ in range(60):
        loss = nn.functional.cross_entropy(network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("training", [True, False])
def test_a_network_in_eval_mode_gets_no_dropout(training: bool) -> None:
    network = apply_lora(mlp().train(training), rank=2, targets="all_linear", dropout=0.5)
    fill(Adapters.of(network), "default")
    assert torch.equal(outputs(network), outputs(network)) is not training
    network.train(not training)
    assert torch.equal(outputs(network), outputs(network)) is training


def test_settings_reach_the_slot() -> None:
    network = apply_lora(
        mlp(), rank=4, alpha=6, targets="all_linear", dropout=0.25, rslora=True, init="gauss", name="mine"
    )
    adapters = Adapters.of(network)
    assert adapters.names == ["mine"]
    for bank in adapters.banks.values():
        assert bank.open_shape.rank == 4
        assert bank.open_shape.scale == pytest.approx(3.0)
        assert bank.dropout == 0.25
        assert bank.A is not None
        assert bank.A.abs().max() < 0.1


def test_names_of_the_package() -> None:
    for name in ("apply_lora", "save_lora", "load_lora", "merge_lora", "Adapters", "LoRA", "Route"):
        assert getattr(plora, name) is not None
        assert name in dir(plora)


# ---------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"rank": 0}, "apply_lora: rank: Input should be greater than or equal to 1"),
        ({"dropout": 1.0}, "apply_lora: dropout: Input should be less than 1"),
        ({"alpha": -1.0}, "apply_lora: alpha: "),
        ({"init": "zeros"}, "apply_lora: init: "),
        ({"rank": 5}, "rank 5 is larger than layer '2' allows"),
        ({"targets": "heads"}, "matches no linear layer"),
    ],
)
@pytest.mark.parametrize("copy", [True, False])
def test_a_refusal_changes_nothing(settings: dict[str, object], says: str, copy: bool) -> None:
    network = mlp()
    with pytest.raises(AdapterError) as caught:
        apply_lora(network, **{"targets": "all_linear", "rank": 2, "copy": copy} | settings)  # type: ignore[arg-type]
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [type(module) for module in network] == [nn.Linear, nn.Tanh, nn.Linear]
    assert all(p.requires_grad for p in network.parameters())


def test_adapting_twice_is_refused() -> None:
    with pytest.raises(AdapterError, match="adapted already; open another slot"):
        apply_lora(trained("mlp"), targets="all_linear")


# ---------------------------------------------------------------------- on disk


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("kind", NETWORKS)
def test_round_trip_is_exact(kind: str, rslora: bool, tmp_path: Path) -> None:
    network = trained(kind, alpha=5.0, rslora=rslora)
    save_lora(network, tmp_path / "deep" / "folder")
    assert sorted(p.name for p in (tmp_path / "deep" / "folder").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    fresh = apply_lora(network_of(kind), rank=7 if kind != "mlp" else 1, targets=targets_of(kind))
    slot = load_lora(fresh, tmp_path / "deep" / "folder")
    own = Adapters.of(network)["default"]
    assert slot.content_hash() == own.content_hash()
    assert slot.shapes == own.shapes
    for path in own.A:
        assert torch.equal(slot.A[path], own.A[path])
        assert torch.equal(slot.B[path], own.B[path])
    assert not [name for name, p in fresh.named_parameters() if p.requires_grad]
    Adapters.of(network).commit()
    assert torch.equal(outputs(fresh), outputs(network))


def test_ranks_and_scales_that_differ_by_layer(tmp_path: Path) -> None:
    network, fresh = mlp(), mlp()
    adapters = Adapters.inject(network, "all_linear")
    for name, rank, layers in (("x", 1, "0"), ("y", 3, "2")):
        add_slot(adapters, name, rank)
        assert layers in adapters.banks
    mixed = {
        path: (adapters[name].shapes[path], adapters[name].A[path], adapters[name].B[path])
        for path, name in (("0", "x"), ("2", "y"))
    }
    adapters.append("mixed", mixed)
    save_lora(network, tmp_path, "mixed")
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["r"], config["rank_pattern"]) == (1, {"^2": 3})
    loaded = Adapters.inject(fresh, "all_linear")
    assert load_lora(fresh, tmp_path, "again").content_hash() == adapters["mixed"].content_hash()
    assert loaded.names == ["again"]


def test_a_slot_is_saved_by_its_name(tmp_path: Path) -> None:
    network = trained("mlp")
    adapters = Adapters.of(network)
    adapters.commit()
    add_slot(adapters, "b")
    save_lora(network, tmp_path, "b")
    with safe_open(tmp_path / "adapter_model.safetensors", "pt") as file:
        assert torch.equal(file.get_tensor("base_model.model.0.lora_A.weight"), adapters["b"].A["0"])


def test_loading_never_drops_what_was_learned(tmp_path: Path) -> None:
    network = trained("mlp")
    save_lora(network, tmp_path)
    before = Adapters.of(network)["default"].content_hash()
    with pytest.raises(AdapterError, match="'default' is being trained; commit or delete it"):
        load_lora(network, tmp_path)
    with pytest.raises(AdapterError, match="has no adapter_config"):
        load_lora(network, tmp_path / "nothing")
    assert Adapters.of(network)["default"].content_hash() == before
    load_lora(network, tmp_path, "other")
    assert Adapters.of(network).names == ["other", "default"]


def test_folders_that_do_not_fit(tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    save_lora(trained("bert"), saved)
    with pytest.raises(AdapterError, match=r"no adapter for layer 'encoder.layer.0.intermediate.dense'"):
        load_lora(apply_lora(tiny("bert"), rank=2, targets="all_linear"), saved)
    with pytest.raises(AdapterError, match=r"12 tensors belong to layers that are not adapted here") as caught:
        load_lora(apply_lora(tiny("bert"), rank=2, targets=["value"]), saved)
    assert "inject the targets" in str(caught.value)
    fresh = apply_lora(tiny("bert"), rank=2)
    for damage in ("{", "[]", '{"peft_type": "IA3"}'):
        (saved / "adapter_config.json").write_text(damage)
        with pytest.raises(AdapterError, match=r"cannot be read|expected 'LORA'"):
            load_lora(fresh, saved)
    (saved / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (saved / "adapter_model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(AdapterError, match="cannot be read"):
        load_lora(fresh, saved)
    assert Adapters.of(fresh).names == ["default"]


def test_sites_that_the_adapter_was_not_made_for(tmp_path: Path) -> None:
    save_lora(trained("gpt2"), tmp_path / "qkv")
    narrow = apply_lora(tiny("gpt2"), rank=2, targets="attention:qvo")
    with pytest.raises(AdapterError, match=r"changes more of its output than \['q', 'v'\]"):
        load_lora(narrow, tmp_path / "qkv")
    fill(Adapters.of(narrow), "default")
    save_lora(narrow, tmp_path / "qv")
    wide = apply_lora(tiny("gpt2"), rank=2, targets="attention")
    load_lora(wide, tmp_path / "qv")
    torch.testing.assert_close(outputs(wide), outputs(narrow), rtol=1e-5, atol=1e-5)
    whole = apply_lora(tiny("gpt2"), rank=2, targets=["c_attn", "attn.c_proj"])
    load_lora(whole, tmp_path / "qv")
    torch.testing.assert_close(outputs(whole), outputs(narrow), rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------------- merging


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("per", [None, "slot", "layer"])
def test_merged_equals_unmerged(kind: str, per: str | None) -> None:
    network = network_of(kind)
    plain, base = outputs(network), base_state(network)
    adapters = Adapters.inject(network, targets_of(kind))
    for name, rank in (("a", 1), ("b", 2), ("c", 3)):
        add_slot(adapters, name, rank, commit=name != "c")
    if per is None:
        adapters.use(["a", "c"])
    else:
        c = torch.tensor([0.5, -0.25]) if per == "slot" else torch.randn(len(adapters.layers), 2)
        adapters.use(Route(("c", "a"), c, per))  # type: ignore[arg-type]
    unmerged = outputs(network)
    merged = merge_lora(network)
    assert not any(isinstance(module, AdaptedLinear) for module in merged.modules())
    assert merged.state_dict().keys() == base.keys()
    assert_near(outputs(merged), unmerged, 1e-5)
    assert not torch.allclose(outputs(merged), plain, rtol=1e-3, atol=1e-3)
    assert_same(base_state(network), base)
    assert torch.equal(outputs(network), unmerged)
    in_place = merge_lora(network, copy=False)
    assert in_place is network
    assert torch.equal(outputs(network), outputs(merged))


def test_merging_nothing_gives_the_bare_network() -> None:
    network = trained("bert")
    Adapters.of(network).use([])
    assert_same(dict(merge_lora(network).state_dict()), dict(tiny("bert").state_dict()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_merging_keeps_the_type(dtype: torch.dtype) -> None:
    network = apply_lora(mlp(dtype), rank=2, targets="all_linear", dropout=0.0)
    fill(Adapters.of(network), "default")
    unmerged, merged = outputs(network), merge_lora(network)
    assert {p.dtype for p in merged.parameters()} == {dtype}
    tolerance = 1e-12 if dtype == torch.float64 else 3e-2
    torch.testing.assert_close(outputs(merged), unmerged, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("route", "says"),
    [
        (lambda: Route(("default",), torch.ones(3, 1), "sample"), "per sample have no single merged weight"),
        (lambda: Route(("default",), torch.ones(3, 7, 1), "token"), "per token have no single merged weight"),
        (lambda: Route(("default",), mixing={"0": torch.eye(2)}), r"per rank \(mixing\) have no single"),
    ],
)
def test_routes_without_one_weight_are_refused(route, says: str) -> None:
    network = trained("mlp")
    Adapters.of(network).use(route())
    with pytest.raises(AdapterError, match=says):
        merge_lora(network)
    assert isinstance(network[0], AdaptedLinear)


def test_slots_in_a_row(tmp_path: Path) -> None:
    """A user's own continual loop: open, train, commit, save; each task predicts with its own slot."""
    network = apply_lora(mlp(), rank=2, targets="all_linear", name="one")
    adapters = Adapters.of(network)
    predictions = {}
    for number, name in enumerate(("one", "two", "three")):
        if number:
            adapters.open_task(name, LoRA(rank=number + 1))
            adapters.use(name)
        optimizer = torch.optim.AdamW(adapters.parameters(), lr=0.05)
        for _ in range(3):
            loss = (outputs(network) - number).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        adapters.commit()
        predictions[name] = outputs(network)
        save_lora(network, tmp_path / name, name)
    fresh = apply_lora(mlp(), rank=2, targets="all_linear", name="empty")
    Adapters.of(fresh).delete("empty")
    for name in predictions:
        load_lora(fresh, tmp_path / name, name)
    for name, before in predictions.items():
        adapters.use(name)
        Adapters.of(fresh).use(name)
        assert torch.equal(outputs(network), before)
        assert torch.equal(outputs(fresh), before)
