"""Bottlenecks against a loop over positions and slots in float64."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from place_networks import add, resnet, shake
from pydantic import ValidationError
from reference.places import Array, Coefficient, Path, maps, states
from tiny_networks import tiny
from torch import Tensor, nn
from transformers import BertConfig, BertModel, ViTConfig, ViTModel
from transformers.modeling_outputs import BaseModelOutput

from plora.adapters import Adapters, Bottleneck, Route, find_blocks, find_stages
from plora.errors import AdapterError
from plora.heads import LinearHead

ONE: Coefficient = lambda k, where: 1.0  # noqa: E731


class Block(nn.Module):
    """Returns its states as one of the things that blocks return."""

    def __init__(self, layer: nn.Module, wrap: str = "tensor") -> None:
        super().__init__()
        self.layer, self.wrap, self.attention_type = layer, wrap, "full"

    def forward(self, x: Tensor) -> object:
        y = self.layer(x)
        return {"tensor": y, "tuple": (y, "cache"), "output": BaseModelOutput(y), "text": "none"}[self.wrap]


@dataclass
class Case:
    network: nn.Module
    adapters: Adapters
    x: Tensor
    y: Array
    paths: list[Path]


def case(what: str, **settings: object) -> Case:
    """A block with three slots, the last one open, and what the bare block makes of x."""
    torch.manual_seed(0)
    layer = nn.Linear(6, 4) if what == "states" else nn.Conv2d(3, 4, 3, padding=1)
    network = nn.ModuleDict({"block": Block(layer)}).double()
    x = torch.randn(3, 5, 6) if what == "states" else torch.randn(3, 3, 2, 5)
    x = x.double()
    y = network["block"](x).detach().numpy()
    adapters = Adapters.inject(network, bottleneck=Bottleneck(width=3, after=("block",), **settings))
    for name in "abc":
        add(adapters, name, commit=name != "c")
    paths = []
    for name in "abc":
        t = {key: tensor.detach().numpy() for key, tensor in adapters[name].tensors["block[after]"].items()}
        paths.append(Path(t["D"], t["D_bias"], t["U"], t["U_bias"]))
    return Case(network, adapters, x, y, paths)


@torch.no_grad()
def fast(made: Case, route: Route) -> Array:
    with made.adapters.using(route):
        return made.network["block"](made.x).numpy()


@pytest.mark.parametrize("per", ["none", "slot", "layer", "site", "sample", "token"])
@pytest.mark.parametrize("what", ["states", "maps", "pooled"])
def test_coefficients(what: str, per: str) -> None:
    made = case("states") if what == "states" else case("maps", form="pooled" if what == "pooled" else "residual")
    shape = {"slot": (2,), "layer": (1, 2), "site": (1, 2), "sample": (3, 2)}
    tokens = 5 if what == "states" else 10
    slots, paths = ("c", "a"), [made.paths[2], made.paths[0]]
    if per == "none":
        route, c = Route(slots), ONE
    else:
        given = torch.randn(shape.get(per, (3, tokens, 2)), dtype=torch.float64)
        route = Route(slots, given, per)  # type: ignore[arg-type]

        def c(k: int, where: tuple[int, ...]) -> float:
            picked = {"slot": (), "layer": (0,), "site": (0,), "sample": where[:1], "token": where}[per]
            return float(given[(*picked, k)])

    slow = states(made.y, paths, c) if what == "states" else maps(made.y, paths, c, pooled=what == "pooled")
    np.testing.assert_allclose(fast(made, route), slow, rtol=1e-9, atol=1e-9)


def test_every_sample_by_itself() -> None:
    made = case("maps")
    c = torch.randn(3, 3, dtype=torch.float64)
    together = fast(made, Route(("a", "b", "c"), c, "sample"))
    x = made.x
    for n in range(3):
        made.x = x[n : n + 1]
        alone = fast(made, Route(("a", "b", "c"), c[n]))
        np.testing.assert_allclose(together[n : n + 1], alone, rtol=1e-12, atol=1e-12)


def test_layer_norm_is_over_features_of_states_and_maps() -> None:
    for what in ("states", "maps"):
        made = case(what, norm="layer")
        with torch.no_grad():
            for tensors in made.adapters["c"].tensors.values():
                tensors["norm.weight"].fill_(1)
                tensors["norm.bias"].fill_(0)
        y = made.y if what == "states" else np.moveaxis(made.y, 1, -1).reshape(3, 10, 4)
        slow = states(y, made.paths[2:], ONE, normed=True)
        found = fast(made, Route(("c",)))
        found = found if what == "states" else np.moveaxis(found, 1, -1).reshape(3, 10, 4)
        np.testing.assert_allclose(found, slow, rtol=1e-7, atol=1e-7)


def test_start() -> None:
    torch.manual_seed(0)
    network = nn.ModuleDict({"block": Block(nn.Linear(6, 400))})
    adapters = Adapters.inject(network, bottleneck=Bottleneck(width=100, after=("block",)))
    tensors = adapters.open_task("a").tensors["block[after]"]
    assert tensors["D"].abs().max() <= 400**-0.5
    assert tensors["D"].std().item() == pytest.approx(400**-0.5 / 3**0.5, rel=0.03)
    assert not any(tensors[name].any() for name in ("D_bias", "U", "U_bias"))
    network["block"](torch.randn(2, 6)).sum().backward()
    assert tensors["U"].grad.any()


def test_pooled_adapters_after_the_stages_of_a_resnet_18() -> None:
    """129 C + 64 numbers after each stage."""
    network = resnet([64, 128, 256, 512], [2, 2, 2, 2])
    assert len(find_blocks(network)) == 4
    settings = Bottleneck(width=64, after="stage", form="pooled")
    adapters = Adapters.inject(network, bottleneck=settings)
    assert [*adapters.places] == [f"encoder.stages.{n}[after]" for n in range(4)]
    adapters.open_task("a")
    assert sum(parameter.numel() for parameter in adapters.parameters()) == 124_096 == adapters.stored_parameters()
    head = LinearHead(512)
    head.open("a", 3, torch.Generator())
    assert 124_096 + sum(parameter.numel() for parameter in head.parameters()) == 125_635


def test_a_pooled_adapter_cannot_tell_positions_apart() -> None:
    made = case("maps", form="pooled")
    added = fast(made, Route(("c",))) - made.y
    assert added.any()
    np.testing.assert_allclose(added, np.broadcast_to(added[:, :, :1, :1], added.shape), rtol=0, atol=1e-12)


def test_a_start_near_zero() -> None:
    torch.manual_seed(0)
    network = resnet()
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        plain = network(x).last_hidden_state
        settings = Bottleneck(width=64, after="stage", form="pooled", init="near_zero")
        tensors = Adapters.inject(network, bottleneck=settings).open_task("a").tensors["encoder.stages.1[after]"]
        changed = network(x).last_hidden_state
    for name in ("D", "U"):
        assert tensors[name].std().item() == pytest.approx(1e-3, rel=0.2)
    assert 0 < (changed - plain).abs().max() < 1e-3


def test_after_attention_and_mlp_of_each_block() -> None:
    """Twice 2 m d + m + d in each block, before its residual sums."""
    with torch.device("meta"):
        networks = {"bert": BertModel(BertConfig()), "vit": ViTModel(ViTConfig())}
    for network in networks.values():
        adapters = Adapters.inject(network, bottleneck=Bottleneck(width=64, after="sublayer"))
        adapters.open_task("a")
        assert len(adapters.places) == 24
        assert sum(parameter.numel() for parameter in adapters.parameters()) == 2_379_264
    with pytest.raises(AdapterError, match="after 'sublayer': no attention recognised in any block of ResNetModel"):
        Adapters.inject(resnet(), bottleneck=Bottleneck(after="sublayer"))


def test_blocks_and_stages() -> None:
    def after(network: nn.Module, where: str | tuple[str, ...]) -> list[str]:
        adapters = Adapters.inject(network, bottleneck=Bottleneck(width=3, after=where))
        return [path.removesuffix("[after]") for path in adapters.places]

    layers = [f"encoder.stages.{n}.layers.{i}" for n, depth in enumerate((2, 1)) for i in range(depth)]
    assert after(resnet(), "block") == layers
    assert after(resnet(), "stage") == ["encoder.stages.0", "encoder.stages.1"]
    for where in ("block", "stage"):
        assert after(tiny("bert"), where) == ["encoder.layer.0", "encoder.layer.1"]
    assert after(tiny("bert"), r"encoder\.layer\.\d") == ["encoder.layer.0", "encoder.layer.1"]
    assert after(tiny("bert"), ("attention.output", "layer.1.output")) == [
        "encoder.layer.0.attention.output",
        "encoder.layer.1.attention.output",
        "encoder.layer.1.output",
    ]
    for kind, mlp in (("bert", "output.dense"), ("distilbert", "ffn.lin2")):
        assert [path for path in after(tiny(kind), "sublayer") if ".0." in path][1].endswith(f".0.{mlp}")

    def two() -> nn.Sequential:
        return nn.Sequential(*(Block(nn.Conv2d(4, 4, 1)) for _ in range(2)))

    torchvision = nn.ModuleDict({"conv1": nn.Conv2d(3, 4, 1), "layer1": two(), "layer2": two()})
    holder = nn.ModuleDict({"net": torchvision})
    assert [path for path, _ in find_stages(holder)] == ["net.layer1", "net.layer2"]


@pytest.mark.parametrize("wrap", ["tuple", "output"])
def test_blocks_that_return_more_than_states(wrap: str) -> None:
    torch.manual_seed(0)
    network = nn.ModuleDict({"block": Block(nn.Linear(4, 4), wrap)})
    x = torch.randn(2, 3, 4)
    with torch.no_grad():
        plain = network["block"](x)[0]
        adapters = Adapters.inject(network, bottleneck=Bottleneck(width=2, after=("block",)))
        add(adapters, "a")
        found = network["block"](x)
    assert not torch.allclose(found[0], plain)
    if wrap == "tuple":
        assert found[1] == "cache"
    else:
        assert isinstance(found, BaseModelOutput)
        assert found.last_hidden_state is found[0]
    assert network["block"].attention_type == "full"
    with pytest.raises(AttributeError, match="no attribute 'never'"):
        _ = network["block"].never


def test_blocks_that_return_something_else() -> None:
    network = nn.ModuleDict({"block": Block(nn.Linear(4, 6), "text")})
    adapters = Adapters.inject(network, bottleneck=Bottleneck(width=2, after=("block",)))
    adapters.open_task("a")
    with pytest.raises(AdapterError, match="after a module that returns str; it needs a tensor"):
        network["block"](torch.randn(2, 4))
    flipped = nn.ModuleDict({"block": nn.Sequential(nn.Linear(4, 6), nn.Flatten(0))})
    Adapters.inject(flipped, bottleneck=Bottleneck(width=2, after=("block",))).open_task("a")
    with pytest.raises(AdapterError, match=r"states \[…, 6\] were expected, got \[12\]"):
        flipped["block"](torch.randn(2, 4))
    for per, shape in (("sample", (2, 1)), ("token", (3, 4, 1))):
        made = case("states")
        says = rf"coefficients per {per} are for .*, but the input of bottleneck 'block\[after\]' is \[3, 5, 4\]"
        with pytest.raises(AdapterError, match=says):
            fast(made, Route(("a",), torch.ones(shape), per))  # type: ignore[arg-type]


def test_settings() -> None:
    with pytest.raises(ValidationError):
        Bottleneck(width=0)
    with pytest.raises(ValidationError):
        Bottleneck(dropout=1.0)
    assert json.loads(Bottleneck().model_dump_json())["after"] == "block"


def test_dropout_is_for_training() -> None:
    torch.manual_seed(0)
    network = nn.ModuleDict({"block": Block(nn.Linear(6, 4))}).eval()
    adapters = Adapters.inject(network, bottleneck=Bottleneck(width=3, after=("block",), dropout=0.5))
    adapters.open_task("a")
    shake(adapters, 1)
    x = torch.randn(2, 6)
    with torch.no_grad():
        assert torch.equal(network["block"](x), network["block"](x))
        (place,) = adapters.places.values()
        place.train()
        assert not torch.equal(network["block"](x), network["block"](x))
        adapters.commit()
        assert torch.equal(network["block"](x), network["block"](x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_networks_held_in_other_types(dtype: torch.dtype) -> None:
    network = nn.ModuleDict({"block": Block(nn.Linear(6, 4))}).to(dtype)
    adapters = Adapters.inject(network, bottleneck=Bottleneck(width=3, after=("block",), norm="layer"))
    add(adapters, "a")
    assert adapters["a"].tensors["block[after]"]["D"].dtype == torch.promote_types(dtype, torch.float32)
    assert network["block"](torch.randn(2, 6, dtype=dtype)).dtype == dtype
