"""Residual adapters beside convolutions against one output at a time in float64, and where they stand."""

import numpy as np
import pytest
import torch
from place_networks import add, resnet
from pydantic import ValidationError
from reference.places import batch_norm, convolution
from torch import nn
from transformers import ResNetConfig, ResNetModel

from plora.adapters import Adapters, Bottleneck, Pointwise, Route
from plora.config import load_config
from plora.errors import AdapterError, ConfigError


def resnet_18() -> nn.Module:
    with torch.device("meta"):
        config = ResNetConfig(embedding_size=64, hidden_sizes=[64, 128, 256, 512], depths=[2] * 4, layer_type="basic")
        return ResNetModel(config)


def two_slots(form: str, stride: int) -> tuple[nn.Module, Adapters]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, stride=stride, padding=1)).double().eval()
    adapters = Adapters.inject(network, pointwise=Pointwise(form=form, beside=("0",)))
    for name in "ab":
        add(adapters, name)
    return network, adapters


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("form", ["parallel", "series"])
def test_equal_to_one_output_at_a_time(form: str, stride: int) -> None:
    network, adapters = two_slots(form, stride)
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    with torch.no_grad(), adapters.using(Route(("b", "a"), torch.tensor([0.5, -2.0], dtype=torch.float64))):
        found = network(x).numpy()
        with adapters.using([]):
            u = network(x).numpy()
    slow = u.copy()
    for c, name in ((0.5, "b"), (-2.0, "a")):
        (tensors,) = adapters[name].tensors.values()
        t = {key: tensor.numpy() for key, tensor in tensors.items()}
        kernel = t["K"][:, :, None, None]
        if form == "parallel":
            slow += c * convolution(x.numpy(), kernel, stride, 0, 1)
        else:
            statistics = (t["norm.running_mean"], t["norm.running_var"])
            slow += c * convolution(batch_norm(u, *statistics, t["norm.weight"], t["norm.bias"]), kernel, 1, 0, 1)
    np.testing.assert_allclose(found, slow, rtol=1e-9, atol=1e-9)


def test_in_training_the_slot_normalizes_with_what_it_sees() -> None:
    network, adapters = two_slots("series", 1)
    adapters.reopen("b", 0.0)
    next(iter(adapters.places.values())).train()
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    with torch.no_grad():
        with adapters.using([]):
            u = network(x).numpy()
        with adapters.using("b"):
            found = network(x).numpy()
    (tensors,) = adapters["b"].tensors.values()
    t = {key: tensor.detach().numpy() for key, tensor in tensors.items()}
    seen = u.mean((0, 2, 3)), u.var((0, 2, 3))
    slow = u + convolution(batch_norm(u, *seen, t["norm.weight"], t["norm.bias"]), t["K"][:, :, None, None], 1, 0, 1)
    np.testing.assert_allclose(found, slow, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("form", "numbers"), [("series", 1_392_640), ("parallel", 1_220_608)])
def test_a_resnet_18_has_one_beside_each_convolution_of_its_blocks(form: str, numbers: int) -> None:
    adapters = Adapters.inject(resnet_18(), pointwise=Pointwise(form=form))
    adapters.open_task("a")
    opened = adapters.named_open()
    kernels = [parameter.numel() for name, parameter in opened.items() if name.endswith(".K")]
    assert (len(kernels), sum(kernels)) == (16, numbers)
    copies = [place for place in adapters.places.values() if place.kind == "module slot"]
    assert len(copies) == 1 + 16 + 3  # the stem's, those of the blocks, those of the shortcuts
    assert sum(p.numel() for p in opened.values()) == numbers + 9_600 + (7_680 if form == "series" else 0)


def test_stages() -> None:
    adapters = Adapters.inject(resnet_18(), pointwise=Pointwise(stages=(3, 4)))
    assert {path.split(".")[2] for path in adapters.places} == {"2", "3"}
    adapters = Adapters.inject(resnet_18(), bottleneck=Bottleneck(after="block", stages=(2,)))
    assert [*adapters.places] == [f"encoder.stages.1.layers.{n}[after]" for n in range(2)]
    adapters = Adapters.inject(resnet_18(), bottleneck=Bottleneck(after="stage", stages=(1, 4), form="pooled"))
    assert [*adapters.places] == ["encoder.stages.0[after]", "encoder.stages.3[after]"]
    for wrong in ([], [0], [4, 3], [2, 2]):
        with pytest.raises(ValidationError, match="counted from 1"):
            Pointwise(stages=wrong)


def test_a_layer_may_have_slots_of_three_kinds() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)).double().eval()
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    kinds = {"targets": ["0"], "pointwise": Pointwise(beside=("0",)), "bottleneck": Bottleneck(width=2, after=("0",))}
    adapters = Adapters.inject(network, **kinds)
    assert [*adapters.places] == ["0", "0[beside]", "0[after]"]
    add(adapters, "a")
    bank, beside, after = adapters.places.values()
    with torch.no_grad():
        y = network[0].base.base.base(x)
        found = network(x)
        y = bank(x, y.movedim(1, -1), Route(("a",))).movedim(-1, 1)
        y = beside(x, y, Route(("a",)))
        torch.testing.assert_close(found, after(y, y, Route(("a",))))


def test_networks_that_cannot_have_them() -> None:
    refused = {
        r"pointwise.stages \[2, 3\]: ResNetModel has 2 stages; give numbers from 1 to 2": Pointwise(stages=(2, 3)),
        "pointwise beside 'embedder.embedder.normalization', a BatchNorm2d; name convolutions": Pointwise(
            beside=("embedder.embedder.normalization",)
        ),
        r"none of the modules, such as 'embedder.embedder.convolution', lies in stages \[1\]": Pointwise(
            beside=("embedder.convolution",), stages=(1,)
        ),
    }
    for says, pointwise in refused.items():
        with pytest.raises(AdapterError, match=says):
            Adapters.inject(resnet(), pointwise=pointwise)
    unpadded = nn.Sequential(nn.Conv2d(3, 4, 3))
    with pytest.raises(AdapterError, match=r"with kernel \(3, 3\) and padding \(0, 0\).* use form 'series'"):
        Adapters.inject(unpadded, pointwise=Pointwise(beside=("0",)))
    with pytest.raises(AdapterError, match="no convolution larger than 1 × 1 in repeated blocks"):
        Adapters.inject(unpadded, pointwise=Pointwise())
    with pytest.raises(AdapterError, match=r"lies in 'encoder\.stages\.1', of which every slot owns a copy"):
        Adapters.inject(resnet(), modules=["stages.1"], pointwise=Pointwise(stages=(2,)))
    _, adapters = two_slots("parallel", 1)
    assert "it runs beside the convolution" in str(adapters.cannot("foldable"))
    adapters = Adapters.inject(resnet(), pointwise=Pointwise())
    for name in "ab":
        add(adapters, name)
    with pytest.raises(AdapterError, match="a whole module of its own"):
        adapters.use(["a", "b"])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["method=o_lora"], "pointwise: strategy 'orthogonality' of method 'o_lora' knows low-rank slots alone"),
        (["method=ewc", "lora={rank: 2}"], "pointwise: strategy 'ewc' of method 'ewc' knows low-rank slots alone"),
        (["method=sd_lora", "lora={rank: 2}"], "pointwise: gate 'magnitudes' of method 'sd_lora' divides by the size"),
        (["method=merged_ties", "lora={rank: 2}"], "pointwise: method 'merged_ties' works on low-rank slots alone"),
        (["method=frozen", "head=ridge", "training.head_dropout=0.5"], "training.head_dropout: head 'ridge' of method"),
        (["method=frozen", "head=ridge", "problem.loss={gamma: 2}"], "problem.loss: head 'ridge' of method 'frozen'"),
    ],
)
def test_what_makes_no_sense_with_them_is_refused(settings: list[str], says: str) -> None:
    problem = {"problem": {"kind": "image_classification"}, "stream": {"kind": "digits"}, "scenario": "class"}
    values = {**problem, "lora": None, "pointwise": {}, "backbone": {"id": "any"}}
    with pytest.raises(ConfigError, match=says):
        load_config(values, settings)
