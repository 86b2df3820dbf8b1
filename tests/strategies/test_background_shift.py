"""What old answers say of pixels that were background."""

import pytest
import torch
from reference import background_shift

from plora.strategies.background_shift import behind_the_background


@pytest.mark.parametrize(("old", "new", "temperature"), [(2, 0, 1.0), (3, 2, 0.7), (5, 1, 2.0)])
def test_against_the_loop_over_pixels(old: int, new: int, temperature: float) -> None:
    before, now = (torch.randn(2, number, 3, 4, dtype=torch.float64) for number in (old, old + new))
    expected = sum(
        background_shift.behind_the_background(*(one.flatten(1).T.tolist() for one in image), temperature)
        for image in zip(before, now, strict=True)
    )
    assert behind_the_background(before, now, temperature).item() == pytest.approx(expected, rel=1e-9)


def test_background_that_became_a_new_class_costs_nothing() -> None:
    """What was background may be shared by new classes in any way; what an old class loses costs."""
    before = torch.randn(1, 3, 2, 2)
    split = before[:, :1] + torch.log(torch.tensor(0.3))
    rest = before[:, :1] + torch.log(torch.tensor(0.7))
    now = torch.cat([split, before[:, 1:], rest], dim=1)
    assert behind_the_background(before, now, 1.0).item() == pytest.approx(0, abs=1e-6)
    now[:, 1] -= 1
    assert behind_the_background(before, now, 1.0).item() > 1e-3
