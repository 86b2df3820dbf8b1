"""Chance in images and their maps: both move together, and draw and position alone decide how."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from plora.errors import DataError
from plora.problems.pair_augmentation import random_pairs
from plora.problems.settings import PairAugmentation
from plora.streams.labelled_images import IGNORED

pytest.importorskip("kornia")

ALL = {"scale": [0.5, 2], "flip": True, "colour": 0.4}
HEIGHT, WIDTH = 12, 16
EVERY = np.arange(40)
MAPS = (torch.arange(HEIGHT)[:, None] * WIDTH + torch.arange(WIDTH)).expand(40, -1, -1).to(torch.uint8)
"""Each pixel of a map says where it was: 0 to 191."""


def images() -> Tensor:
    """What the maps say, as colours: red is the column and green the row, in 0 to 1; none is black."""
    rows = (torch.arange(HEIGHT).view(-1, 1).expand(HEIGHT, WIDTH) + 10) / (HEIGHT + 20)
    columns = (torch.arange(WIDTH).expand(HEIGHT, WIDTH) + 10) / (WIDTH + 20)
    return torch.stack([columns, rows, torch.ones(HEIGHT, WIDTH)]).expand(40, -1, -1, -1)


def of(indices: np.ndarray = EVERY, draw: int = 5, **settings: object) -> tuple[Tensor, Tensor]:
    return random_pairs(images()[indices], MAPS[indices], indices, draw, PairAugmentation.model_validate(settings))


def said(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column that the colours of an image say."""
    return pixels[:, 1] * (HEIGHT + 20) - 10, pixels[:, 0] * (WIDTH + 20) - 10


def test_image_and_map_stay_aligned() -> None:
    pixels, maps = of(scale=[0.5, 2], flip=True)
    inside = (maps != IGNORED) & (pixels[:, 2] > 0.999)  # bilinear reading mixes in black at the border
    assert inside.float().mean() > 0.4
    rows, columns = said(pixels)
    assert (rows - maps // WIDTH).abs()[inside].max() <= 0.51
    assert (columns - maps % WIDTH).abs()[inside].max() <= 0.51


def test_ids_are_those_of_before_and_outside_is_ignored() -> None:
    odd = torch.tensor([0, 7, 200, 254], dtype=torch.uint8)[torch.arange(HEIGHT * WIDTH).view(HEIGHT, WIDTH) % 4]
    settings = PairAugmentation.model_validate({"scale": [0.3, 3]})
    pixels, maps = random_pairs(images(), odd.expand(40, -1, -1), EVERY, 1, settings)
    assert maps.dtype == torch.uint8
    assert set(maps.unique().tolist()) == {0, 7, 200, 254, IGNORED}
    assert (pixels[:, 2][maps == IGNORED] < 0.51).all()  # black, or less than half of a pixel
    _, larger = of(scale=[1.5, 3])
    assert not (larger == IGNORED).any()
    _, smaller = of(scale=[0.5, 0.5])
    assert (smaller != IGNORED).sum((1, 2)).float().mean() == pytest.approx(HEIGHT * WIDTH / 4, rel=0.05)


def test_a_factor_of_one_changes_nothing() -> None:
    pixels, maps = of(scale=[1, 1])
    assert torch.equal(maps, MAPS)
    torch.testing.assert_close(pixels, images(), rtol=0, atol=1e-5)


def test_places_and_factors_are_everywhere_in_their_range() -> None:
    _, maps = of(scale=[2, 2])
    corners = torch.stack([maps[:, 0, 0] // WIDTH, maps[:, 0, 0] % WIDTH], 1)
    assert corners.min(0).values.tolist() == [0, 0]
    assert corners.max(0).values.tolist()[0] in (5, 6)
    assert corners.max(0).values.tolist()[1] in (7, 8)
    wide = of(scale=[0.5, 2])[1]
    areas = (wide != IGNORED).float().mean((1, 2))
    assert areas.min() < 0.4
    assert (areas == 1).float().mean() > 0.3  # about half become larger


def test_half_are_mirrored_to_the_bit() -> None:
    pixels, maps = of(flip=True)
    mirrored = torch.tensor([not torch.equal(one, MAPS[0]) for one in maps])
    assert 10 < mirrored.sum() < 30
    assert torch.equal(maps[mirrored], MAPS[mirrored].flip(-1))
    assert torch.equal(pixels[mirrored], images()[mirrored].flip(-1))
    assert torch.equal(pixels[~mirrored], images()[~mirrored])


def test_colours_change_the_image_alone() -> None:
    pixels, maps = of(colour=0.4)
    assert torch.equal(maps, MAPS)
    assert not torch.allclose(pixels, images(), atol=0.01)
    moved, _ = of(scale=[0.5, 2], colour=0.4)
    plain, _ = of(scale=[0.5, 2])
    assert not torch.allclose(moved, plain, atol=0.01)


def test_several_maps_of_one_image_move_alike() -> None:
    both = torch.stack([MAPS, 191 - MAPS], 1)
    _, maps = random_pairs(images(), both, EVERY, 5, PairAugmentation.model_validate(ALL))
    assert maps.shape == both.shape
    outside = maps[:, 0] == IGNORED
    assert torch.equal(outside, maps[:, 1] == IGNORED)
    assert torch.equal(maps[:, 1][~outside], 191 - maps[:, 0][~outside])
    assert torch.equal(maps[:, 0], of(**ALL)[1])


def test_draw_and_position_decide_whatever_the_batch() -> None:
    whole = of(**ALL)
    for part in (EVERY[:1], EVERY[3:10], EVERY[::-1].copy(), np.array([7, 7, 2])):
        pixels, maps = of(part, **ALL)
        torch.testing.assert_close(pixels, whole[0][part], rtol=0, atol=1e-6)
        assert torch.equal(maps, whole[1][part])
    assert not torch.equal(whole[1][0], whole[1][1])
    assert not torch.equal(of(draw=6, **ALL)[1], whole[1])
    assert torch.equal(of(flip=True)[1], of(flip=True, colour=0.2)[1])  # one setting has no part in another's chance


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "nothing is changed; set scale, flip or colour"),
        ({"scale": [2, 0.5]}, "scale: the least factor, 2, is above the largest, 0.5"),
        ({"scale": [0, 1]}, "greater than or equal to 0.1"),
        ({"colour": 2}, "less than or equal to 1"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        PairAugmentation.model_validate(settings)


def test_without_kornia_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "kornia", None)
    with pytest.raises(DataError, match=r"^problem.augment needs the package 'kornia', which is not installed; "):
        of(flip=True)
