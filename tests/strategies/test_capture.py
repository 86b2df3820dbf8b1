import torch
from torch import nn

from plora.adapters import Adapters, LoRA
from plora.adapters.capture import captured
from plora.adapters.route import Route


def test_every_call_of_a_layer_is_there_with_its_input_and_a_gradient() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(4, 4)
    network = nn.Sequential(layer, nn.Tanh(), layer)  # called twice
    adapters = Adapters.inject(network, "all_linear")
    slot = adapters.open_task("a", LoRA(rank=2, dropout=0))
    for matrix in (*slot.A.values(), *slot.B.values()):
        nn.init.normal_(matrix)
    x = torch.randn(3, 4)
    with adapters.switch.using(Route(("a",))), captured(adapters) as passed:
        y = network(x).square().sum()
    assert len(passed) == 2
    assert torch.equal(passed[0].x, x)
    assert not passed[1].x.requires_grad
    gradients = torch.autograd.grad(y, [call.y for call in passed], retain_graph=True)
    (bank,) = adapters.banks.values()
    assert bank.A is not None
    assert bank.B is not None
    expected_A, expected_B = torch.autograd.grad(y, [bank.A, bank.B])
    scale = bank.open_shape.scale
    A = sum((scale * (G @ bank.B.T)).T @ call.x for call, G in zip(passed, gradients, strict=True))
    B = sum((scale * (call.x @ bank.A.T)).T @ G for call, G in zip(passed, gradients, strict=True))
    torch.testing.assert_close(A, expected_A)
    torch.testing.assert_close(B, expected_B)
    network(x)
    assert len(passed) == 2  # outside of the block nothing is kept
