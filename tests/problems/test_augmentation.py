"""Chance in training images: what it does, and that draw and position alone decide it."""

import builtins
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from plora.backbones import Preparation
from plora.config import RunConfig, load_config
from plora.errors import ConfigError, DataError
from plora.problems.augmentation import RandomImages
from plora.problems.image_classification import EncodedImages, ImageClassification
from plora.problems.settings import Augmentation
from plora.streams.images import ImageArray

kornia = pytest.importorskip("kornia")

ALL = {"crop": [0.2, 0.9], "flip": True, "colour": 0.4}
IMAGES = torch.rand(12, 3, 10, 14, generator=torch.Generator().manual_seed(0))
EVERY = np.arange(12)


def of(**settings: object) -> RandomImages:
    return RandomImages(Augmentation.model_validate(settings))


def boxes(found: RandomImages, number: int, height: int, width: int) -> np.ndarray:
    """What is cut out, `[number, 4]`: left, top, width and height."""
    return found._drawn(np.arange(number), 5, height, width).crop.numpy()


# ---------------------------------------------------------------------- what it does


def test_a_crop_is_what_kornia_makes_of_the_same_box() -> None:
    random = of(crop=[0.2, 0.9])
    cut = torch.from_numpy(boxes(random, 12, 10, 14)).float()
    left, top = cut[:, 0], cut[:, 1]
    right, bottom = left + cut[:, 2] - 1, top + cut[:, 3] - 1
    corners = torch.stack([left, top, right, top, right, bottom, left, bottom], 1).view(12, 4, 2)
    expected = kornia.geometry.transform.crop_and_resize(IMAGES, corners, (10, 14))
    torch.testing.assert_close(random(IMAGES, EVERY, 5), expected, rtol=1e-4, atol=1e-5)
    whole = of(crop=[1, 1])(IMAGES[..., :10], EVERY, 5)  # only a square fits, or nothing does: the whole image
    torch.testing.assert_close(whole, IMAGES[..., :10], rtol=0, atol=1e-5)


def test_crops_have_the_area_and_the_ratio_that_are_asked_for() -> None:
    cut = boxes(of(crop=[0.08, 0.5]), 2000, 64, 64)
    assert (cut[:, :2] >= 0).all()
    assert (cut[:, :2] + cut[:, 2:] <= 64 + 1e-9).all()
    areas, ratios = cut[:, 2] * cut[:, 3] / 64**2, cut[:, 2] / cut[:, 3]
    assert areas.min() >= 0.08 - 1e-9
    assert areas.max() <= 0.5 + 1e-9
    assert ratios.min() >= 3 / 4 - 1e-9
    assert ratios.max() <= 4 / 3 + 1e-9
    assert abs(areas.mean() - 0.29) < 0.01  # uniform
    assert abs(np.log(ratios).mean()) < 0.02
    room = cut[:, :2] / (64 - cut[:, 2:])
    assert abs(room - 0.5).mean() == pytest.approx(0.25, abs=0.01)  # anywhere where it fits


def test_half_of_the_images_are_mirrored_to_the_bit() -> None:
    many = IMAGES[:1].expand(400, -1, -1, -1)
    found = of(flip=True)(many, np.arange(400), 3)
    mirrored = [torch.equal(image, IMAGES[0].flip(-1)) for image in found]
    assert all(turned or torch.equal(image, IMAGES[0]) for turned, image in zip(mirrored, found, strict=True))
    assert 160 < sum(mirrored) < 240


@pytest.mark.parametrize("channels", [1, 3])
def test_colours_are_changed_as_pillow_would(channels: int) -> None:
    random, images = of(colour=0.4), IMAGES[:, :channels]
    brightness, contrast, saturation = random._drawn(EVERY, 5, 10, 14).colour.float()[..., None, None, None]
    assert min(t.min() for t in (brightness, contrast, saturation)) >= 0.6
    assert max(t.max() for t in (brightness, contrast, saturation)) <= 1.4
    weights = torch.tensor([0.299, 0.587, 0.114]) if channels == 3 else torch.ones(1)

    def grey(pixels: Tensor) -> Tensor:
        return (pixels * weights[:, None, None]).sum(1, keepdim=True)

    expected = (images * brightness).clamp(0, 1)
    expected = (contrast * expected + (1 - contrast) * grey(expected).mean((2, 3), keepdim=True)).clamp(0, 1)
    expected = (saturation * expected + (1 - saturation) * grey(expected)).clamp(0, 1) if channels == 3 else expected
    torch.testing.assert_close(random(images, EVERY, 5), expected, rtol=1e-5, atol=1e-5)


def test_one_setting_has_no_part_in_the_chance_of_another() -> None:
    alone, together = of(flip=True), of(**ALL)
    assert torch.equal(alone._drawn(EVERY, 5, 10, 14).flip, together._drawn(EVERY, 5, 10, 14).flip)


# ---------------------------------------------------------------------- what decides it


def test_draw_and_position_decide_whatever_the_batch() -> None:
    random = of(**ALL)
    whole = random(IMAGES, EVERY, 5)
    assert torch.equal(random(IMAGES, EVERY, 5), whole)
    for part in (EVERY[:1], EVERY[3:10], EVERY[::-1].copy(), np.array([7, 7, 2])):
        assert torch.equal(random(IMAGES[part], part, 5), whole[part])
    assert not torch.equal(random(IMAGES[[0, 0]], np.array([0, 1]), 5)[0], random(IMAGES[[0, 0]], EVERY[:2], 5)[1])
    assert all(not torch.equal(one, other) for one, other in zip(random(IMAGES, EVERY, 6), whole, strict=True))


def test_only_what_is_learned_is_changed() -> None:
    preparation = Preparation((8, 8), (0.5, 0.4, 0.3), (0.2, 0.25, 0.5))
    split = ImageArray((255 * IMAGES).byte().permute(0, 2, 3, 1).numpy(), EVERY % 2)
    plain, random = ImageClassification(preparation), ImageClassification(preparation, of(**ALL))
    assert plain.encode(split).fixed
    examples = random.encode(split)
    assert not examples.fixed
    assert not examples.subset(EVERY[:3]).followed_by([examples]).fixed
    for draw in (None, 4):  # as they are scored, and before they are on the device
        batch = examples.collate(EVERY, draw)
        assert torch.equal(batch.inputs["pixel_values"], plain.encode(split).collate(EVERY).inputs["pixel_values"])
    assert plain.augmented(batch, 4) is batch
    found = random.augmented(batch, 4)
    pixels = preparation.normalised(255 * of(**ALL)(preparation.pixels(batch.inputs["pixel_values"]), EVERY, 4))
    torch.testing.assert_close(found.inputs["pixel_values"], pixels)
    assert found.targets["rows"] is batch.targets["rows"]
    assert plain.fingerprint() == random.fingerprint()  # of what is scored, which may be kept
    inputs = examples.inputs  # type: ignore[attr-defined]
    assert isinstance(inputs, EncodedImages)
    assert torch.equal(inputs.tensors()["pixels"], plain.encode(split).tensors()["inputs/pixels"])


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "nothing is changed; set crop, flip or colour"),
        ({"crop": [0.5, 0.1]}, "crop: the least share, 0.5, is above the largest, 0.1"),
        ({"crop": [0, 1]}, "greater than 0"),
        ({"colour": 2}, "less than or equal to 1"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Augmentation.model_validate(settings)


Config = Callable[..., RunConfig]


def test_a_method_that_trains_nothing_refuses_it(tmp_path: Path) -> None:
    values = {
        "name": "a",
        "stream": {"kind": "digits"},
        "problem": {"kind": "image_classification", "augment": {"flip": True}},
        "scenario": "class",
        "method": "frozen",
        "head": "ncm",
    }
    with pytest.raises(
        ConfigError, match=r"problem.augment: head 'ncm' of method 'frozen' is solved once, and nothing"
    ):
        load_config(values)
    load_config({**values, "head": "linear"})
    load_config({**values, "method": "sequential", "head": None})


def test_without_kornia_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: object, **kwargs: object) -> object:
        if name.partition(".")[0] == "kornia":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError, match=r"^problem.augment needs the package 'kornia'[^\n]*\"plora\[images\]\"$"):
        of(flip=True)
