"""What becomes of the bytes of an image: equal to Pillow, step by step; damaged and too large ones in one line."""

import io
import math
from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import ValidationError

from plora.errors import DataError
from plora.streams.image_reading import DamagedImageError, ImageReading, Pixels

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (7, 5, 3)).astype(np.uint8)
GREY = RNG.integers(0, 256, (7, 5)).astype(np.uint8)
WIDE = RNG.integers(0, 65536, (7, 5)).astype(np.uint16)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def read(content: bytes, **settings: object) -> Pixels:
    return ImageReading.model_validate(settings).pixels(io.BytesIO(content), "x.png")


def over(colour: NDArray[np.uint8], alpha: NDArray[np.uint8], ground: tuple[int, int, int]) -> NDArray[np.float64]:
    """The formula: α x + (1 − α) ground."""
    share = alpha[..., None] / 255
    return share * colour + (1 - share) * np.array(ground)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_its_exif_says(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turns: Mapping[int, NDArray[np.uint8]] = {
        1: COLOUR,
        2: COLOUR[:, ::-1],
        3: COLOUR[::-1, ::-1],
        4: COLOUR[::-1],
        5: COLOUR.swapaxes(0, 1),
        6: np.rot90(COLOUR, -1),
        7: np.rot90(COLOUR, 2).swapaxes(0, 1),
        8: np.rot90(COLOUR),
    }
    np.testing.assert_array_equal(read(encoded(Image.fromarray(COLOUR), exif=exif)), turns[orientation])


@pytest.mark.parametrize("ground", [(255, 255, 255), (0, 0, 0), (10, 200, 90)])
def test_a_transparent_image_lies_over_the_ground(ground: tuple[int, int, int]) -> None:
    alpha = RNG.integers(0, 256, (7, 5)).astype(np.uint8)
    found = read(encoded(Image.fromarray(np.dstack([COLOUR, alpha]))), ground=ground)
    assert np.abs(found - over(COLOUR, alpha, ground)).max() <= 1
    np.testing.assert_array_equal(found[alpha == 0], np.broadcast_to(ground, (int((alpha == 0).sum()), 3)))
    grey = read(encoded(Image.merge("LA", (Image.fromarray(GREY), Image.fromarray(alpha)))), ground=ground)
    assert grey.ndim == (2 if len(set(ground)) == 1 else 3)  # grey on a grey ground stays grey
    expected = over(np.dstack([GREY] * 3), alpha, ground)
    assert np.abs((grey if grey.ndim == 3 else np.dstack([grey] * 3)) - expected).max() <= 1


def test_what_is_hidden_behind_full_transparency_is_not_seen() -> None:
    clear = np.dstack([COLOUR, np.zeros((7, 5), np.uint8)])
    assert (read(encoded(Image.fromarray(clear))) == 255).all()


def test_palettes_are_colours_and_one_of_them_may_be_transparent() -> None:
    palette = Image.fromarray(COLOUR).convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    np.testing.assert_array_equal(read(encoded(palette)), np.asarray(palette.convert("RGB")))
    content = encoded(palette, transparency=3)
    chosen = np.asarray(palette) == 3
    assert chosen.any()
    found = read(content, ground=(1, 2, 3))
    assert (found[chosen] == (1, 2, 3)).all()
    np.testing.assert_array_equal(found[~chosen], np.asarray(palette.convert("RGB"))[~chosen])


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (Image.fromarray(COLOUR), "PNG"),
        (Image.fromarray(COLOUR), "JPEG"),
        (Image.fromarray(COLOUR), "WEBP"),
        (Image.fromarray(COLOUR).convert("CMYK"), "JPEG"),
        (Image.fromarray(COLOUR).convert("YCbCr"), "JPEG"),
        (Image.fromarray(COLOUR), "GIF"),
    ],
)
def test_colours_are_those_of_pillow(image: Image.Image, kind: str) -> None:
    content = encoded(image, kind)
    np.testing.assert_array_equal(read(content), np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))


def test_grey_stays_grey_or_becomes_what_is_asked_for() -> None:
    content = encoded(Image.fromarray(GREY))
    np.testing.assert_array_equal(read(content), GREY)
    np.testing.assert_array_equal(read(content, colours="rgb"), np.dstack([GREY] * 3))
    np.testing.assert_array_equal(read(encoded(Image.fromarray(GREY > 99))), np.where(GREY > 99, 255, 0))
    colour = Image.fromarray(COLOUR)
    np.testing.assert_array_equal(read(encoded(colour), colours="grey"), np.asarray(colour.convert("L")))


@pytest.mark.parametrize(("highest", "kind"), [(65535, "PNG"), (4095, "PNG"), (65535, "TIFF")])
def test_sixteen_bits_are_scaled_and_not_cut(highest: int, kind: str) -> None:
    found = read(encoded(Image.fromarray(WIDE), kind), highest=highest)
    np.testing.assert_array_equal(found, np.round(np.minimum(WIDE / highest, 1) * 255))
    assert len(np.unique(found)) > 1  # Pillow's own conversion makes almost all of them white


def test_a_value_of_sixteen_bits_may_be_transparent() -> None:
    wide = WIDE.copy()
    wide[0, :2] = 512
    found = read(encoded(Image.fromarray(wide), transparency=512), ground=(9, 9, 9))
    assert found.ndim == 2
    assert (found[wide == 512] == 9).all()
    np.testing.assert_array_equal(found[wide != 512], np.round(wide[wide != 512] / 257))


def test_floats_and_32_bits() -> None:
    floats = np.array([[0, 0.25], [0.5, 3]], np.float32)
    np.testing.assert_array_equal(read(encoded(Image.fromarray(floats), "TIFF"), highest=1), [[0, 64], [128, 255]])
    whole = np.array([[-4, 1000], [500, 2000]], np.int32)
    np.testing.assert_array_equal(read(encoded(Image.fromarray(whole), "TIFF"), highest=1000), [[0, 255], [128, 255]])
    with pytest.raises(DamagedImageError, match=r"^x.png cannot be read as an image: it holds values that are no num"):
        read(encoded(Image.fromarray(np.array([[math.nan]], np.float32)), "TIFF"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no image",
        encoded(Image.fromarray(COLOUR))[:60],
        encoded(Image.fromarray(RNG.integers(0, 256, (64, 64, 3)).astype(np.uint8)), "JPEG")[:-900],
        encoded(Image.fromarray(RNG.integers(0, 256, (64, 64, 3)).astype(np.uint8)))[:-900],
    ],
    ids=["empty", "text", "header", "half a jpeg", "half a png"],
)
def test_what_is_damaged_is_named_in_one_line(content: bytes) -> None:
    with pytest.raises(DamagedImageError, match=r"^x.png cannot be read as an image: [^\n]+$"):
        read(content)


def test_a_large_image_is_refused_before_it_is_decoded() -> None:
    content = encoded(Image.new("1", (4000, 3000)))
    assert len(content) < 10_000
    with pytest.raises(
        DataError, match=r"^x.png has 4000 × 3000 pixels, and at most 1,000,000 are decoded[^\n]*$"
    ) as e:
        read(content, max_pixels=1_000_000)
    assert not isinstance(e.value, DamagedImageError)  # it is never left out unseen
    assert read(content).shape == (3000, 4000)


def test_a_bomb_is_refused_whatever_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(
        DataError, match=r"^x.png cannot be read as an image: [^\n]*decompression bomb[^\n]*$"
    ) as caught:
        read(encoded(Image.fromarray(COLOUR)))
    assert not isinstance(caught.value, DamagedImageError)


@pytest.mark.parametrize("settings", [{"ground": (0, 0, 256)}, {"highest": 0}, {"colours": "red"}, {"max_pixels": 0}])
def test_settings_that_make_no_sense(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ImageReading.model_validate(settings)


def test_whatever_holds_transparency_is_what_pillow_composes() -> None:
    """A clear colour, one share of clearness per colour of a palette, both or neither turned: as RGBA over a ground."""
    ground, exif = (10, 200, 90), Image.Exif()
    exif[0x0112] = 6
    keyed = COLOUR.copy()
    keyed[2, 1:4] = (1, 2, 3)
    palette = Image.fromarray(COLOUR).convert("P", palette=Image.Palette.ADAPTIVE, colors=4)
    shares = bytes([0, 60, 128, 255])
    for content in (
        encoded(Image.fromarray(keyed), transparency=(1, 2, 3)),
        encoded(palette, transparency=shares),
        encoded(palette, transparency=shares, exif=exif),
        encoded(Image.fromarray(np.dstack([COLOUR, COLOUR[..., 0]])), exif=exif),
    ):
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGBA")
        expected = Image.alpha_composite(Image.new("RGBA", image.size, (*ground, 255)), image).convert("RGB")
        found = read(content, ground=ground)
        np.testing.assert_array_equal(found, np.asarray(expected))
        assert not np.array_equal(found, read(content, ground=(0, 0, 0)))  # something of it shows through
