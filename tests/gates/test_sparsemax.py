"""Sparsemax: equal to exact fractions, finite where logits are huge, and dead where it is 0."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import sparsemax as reference

from plora.errors import AdapterError
from plora.gates.sparsemax import sparsemax

NUMBERS = st.floats(-8, 8, width=32)
LOGITS = st.lists(NUMBERS, min_size=1, max_size=9)


@pytest.mark.parametrize(
    ("logits", "shares"),
    [
        ((2, 1, 0.5, 0.1), (1, 0, 0, 0)),
        ((1.2, 0.9, 0.3), (0.65, 0.35, 0)),
        ((0.5, 0.4, 0.3, 0), (0.43333333, 0.33333333, 0.23333333, 0)),
        ((0, 0, 0, 0), (0.25, 0.25, 0.25, 0.25)),
        ((1, 0), (1, 0)),  # the edge of the support: strictly greater
        ((-3,), (1,)),
    ],
)
def test_known_values(logits: tuple[float, ...], shares: tuple[float, ...]) -> None:
    torch.testing.assert_close(sparsemax(torch.tensor(logits)), torch.tensor(shares, dtype=torch.float32))


@given(LOGITS, st.data())
def test_values_and_gradient_equal_the_loop(logits: list[float], data: st.DataObject) -> None:
    mask = data.draw(st.lists(st.booleans(), min_size=len(logits), max_size=len(logits)).filter(any))
    gradient = data.draw(st.lists(NUMBERS, min_size=len(logits), max_size=len(logits)))
    z = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    p = sparsemax(z, torch.tensor(mask))
    expected = reference.sparsemax(logits, mask)
    torch.testing.assert_close(p, torch.tensor([float(share) for share in expected]).double(), atol=1e-7, rtol=0)
    assert p.sum().item() == pytest.approx(1)
    assert not p[~torch.tensor(mask)].any()
    if all(share == 0 or share > 1e-9 for share in expected):  # else rounding decides what is on the support
        (found,) = torch.autograd.grad(p, z, torch.tensor(gradient, dtype=torch.float64))
        wanted = [float(entry) for entry in reference.vector_jacobian(expected, gradient)]
        torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), atol=1e-6, rtol=0)


def test_the_gradient_is_that_of_finite_differences() -> None:
    z = torch.tensor([[0.5, 0.4, 0.3, -2.0], [3.0, 0.0, 2.9, 2.8]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(sparsemax, z, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_huge_logits_are_finite(dtype: torch.dtype) -> None:
    large = 6e4 if dtype == torch.float16 else 1e9
    for logits in ([large, -large, 0.0], [large, large, -large], [-large, -large, -large], [-large, 0.0, 1.0]):
        z = torch.tensor(logits, dtype=dtype, requires_grad=True)
        p = sparsemax(z)
        p.square().sum().backward()
        assert p.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert p.isfinite().all()
        assert z.grad is not None
        assert z.grad.isfinite().all()
        assert p.sum().item() == pytest.approx(1)
        assert (p > 0).tolist() == [value == max(logits) or value == max(logits) - 1 < 0 for value in logits]


def test_half_precision_is_computed_in_full() -> None:
    z = (torch.randn(64, 20, generator=torch.Generator().manual_seed(0)) + 300).bfloat16()
    assert torch.equal(sparsemax(z), sparsemax(z.float()))
    torch.testing.assert_close(sparsemax(z).double(), sparsemax(z.double()), atol=1e-6, rtol=0)


def test_a_mask_is_the_same_as_leaving_out() -> None:
    z = torch.randn(6, 7, generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([True, False, True, True, False, False, True])
    assert torch.equal(sparsemax(z, mask)[:, mask], sparsemax(z[:, mask]))
    for position in range(7):
        alone = torch.arange(7) == position
        assert torch.equal(sparsemax(z, alone), alone.float().expand(6, 7))


def test_nothing_to_share_among_is_one_line() -> None:
    mask = torch.tensor([[True, False], [False, False]])
    with pytest.raises(
        AdapterError, match=r"^sparsemax shares among 2 logits and the mask lets none take part; [^\n]+$"
    ):
        sparsemax(torch.zeros(2, 2), mask)
    with pytest.raises(AdapterError, match="among 0 logits"):
        sparsemax(torch.zeros(0))
