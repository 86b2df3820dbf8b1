"""Low-rank slots beside convolutions, against loops in float64."""

import numpy as np
import pytest
import torch
from place_networks import add, resnet
from reference.places import convolution
from torch import nn

from plora.adapters import Adapters, LoRA, Route, find_targets, merge_lora
from plora.adapters.capture import captured
from plora.errors import AdapterError

SHAPES = [(1, 1, 0, 1), (3, 1, 1, 1), (3, 2, 1, 1), (3, 1, 2, 2), (2, 3, 0, 1)]  # kernel, stride, padding, dilation


def convolved(kernel: int, stride: int, padding: int, dilation: int) -> tuple[nn.Sequential, Adapters, torch.Tensor]:
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 5, kernel, stride, padding, dilation)
    network = nn.Sequential(layer).double()
    adapters = Adapters.inject(network, ["0"])
    for name in "abc":
        add(adapters, name, commit=name != "c")
    return network, adapters, torch.randn(2, 3, 7, 8, dtype=torch.float64)


@pytest.mark.parametrize("shape", SHAPES)
def test_two_convolutions_are_one_with_another_kernel(shape: tuple[int, int, int, int]) -> None:
    network, adapters, x = convolved(*shape)
    c = torch.randn(3, dtype=torch.float64)
    base = network[0].base
    kernel = base.weight.detach().numpy().copy()
    for weight, slot in zip(c, adapters, strict=True):
        kernel += float(weight) * slot.delta()["0"].detach().numpy().reshape(kernel.shape)
    slow = convolution(x.numpy(), kernel, *shape[1:]) + base.bias.detach().numpy()[:, None, None]
    with torch.no_grad(), adapters.using(Route(("a", "b", "c"), c)):
        np.testing.assert_allclose(network(x).numpy(), slow, rtol=1e-9, atol=1e-9)
        merged = merge_lora(network)
    np.testing.assert_allclose(merged(x).detach().numpy(), slow, rtol=1e-9, atol=1e-9)
    adapters.fold({"a": float(c[0]), "b": float(c[1])})
    with torch.no_grad(), adapters.using(Route(("a", "b", "c"), c, folded=True)):
        np.testing.assert_allclose(network(x).numpy(), slow, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("slots", [("a", "b"), ("c", "a"), ("b", "a", "c")])
@pytest.mark.parametrize("per", ["sample", "token"])
def test_every_sample_and_position_by_itself(per: str, slots: tuple[str, ...]) -> None:
    network, adapters, x = convolved(3, 2, 1, 1)
    with torch.no_grad():
        with adapters.using([]):
            bare = network(x)
        rows, columns = bare.shape[2:]
        c = torch.randn(2, *([rows * columns] if per == "token" else []), len(slots), dtype=torch.float64)
        expected = bare.clone()
        for k, name in enumerate(slots):
            with adapters.using(name):
                share = network(x) - bare
            own = c[..., k].reshape(2, 1, *((rows, columns) if per == "token" else (1, 1)))
            expected += own * share
        with adapters.using(Route(slots, c, per)):  # type: ignore[arg-type]
            torch.testing.assert_close(network(x), expected)


def test_mixing_and_an_image_without_batch() -> None:
    network, adapters, x = convolved(3, 1, 1, 1)
    with torch.no_grad():
        with adapters.using(["a", "c"]):
            expected = network(x)
            torch.testing.assert_close(network(x[0]), expected[0])
        with adapters.using(Route(("a", "c"), mixing={"0": torch.eye(4, dtype=torch.float64)})):
            torch.testing.assert_close(network(x), expected)


def test_what_a_bank_saw_gives_the_gradient_of_its_update() -> None:
    """d loss / d ΔW = Σ g xᵀ over all positions."""
    network, adapters, x = convolved(3, 2, 1, 1)
    with adapters.using("c"), captured(adapters) as passed:
        loss = network(x).square().sum()
    (call,) = passed
    (g,) = torch.autograd.grad(loss, call.y, retain_graph=True)
    gradient = torch.einsum("bhwo,bhwi->oi", g, call.x)
    slot = adapters["c"]
    A, B = slot.A["0"], adapters.banks["0"].B
    scale = slot.shapes["0"].scale
    expected_A, expected_B = torch.autograd.grad(loss, [A, B])
    torch.testing.assert_close(scale * B @ gradient, expected_A)
    torch.testing.assert_close(scale * A @ gradient.T, expected_B)


def test_targets() -> None:
    paths = [target.path for target in find_targets(resnet(), "all_conv")]
    assert len(paths) == 1 + 2 * 2 + 2 + 1  # the first one, three blocks of two, one shortcut
    assert paths[0] == "embedder.embedder.convolution"
    (named,) = find_targets(resnet(), ["shortcut.convolution"])
    assert named.path == "encoder.stages.1.layers.0.shortcut.convolution"
    assert len(find_targets(resnet(), r".*layers\.0\..*convolution")) == 5
    network = nn.ModuleDict({"wide": nn.Conv2d(4, 4, 3, groups=4), "same": nn.Conv2d(4, 4, 3, padding="same")})
    for name, says in (("wide", "groups=4"), ("same", "padding='same'")):
        with pytest.raises(AdapterError, match=f"{says}.* cannot have a low-rank slot"):
            find_targets(network, [name])
    with pytest.raises(AdapterError, match="has no linear layer to adapt"):
        find_targets(network, "all_linear")
    with pytest.raises(AdapterError, match="has no convolution without groups; layers: fc"):
        find_targets(nn.ModuleDict({"fc": nn.Linear(3, 3)}), "all_conv")
    small = Adapters.inject(nn.Sequential(nn.Conv2d(1, 9, 2)), "all_conv")
    with pytest.raises(AdapterError, match="4 inputs, 9 outputs"):
        small.open_task("a", LoRA(rank=5))
