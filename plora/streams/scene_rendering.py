"""Scenes: objects with textures, pasted onto photographs; each a pure function of what names it, its map exact."""

import math
from colorsys import hsv_to_rgb
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from plora.streams.glyph_fonts import faces_with
from plora.streams.glyph_rendering import random_words, read_fields
from plora.streams.glyph_shapes import EXTENT, SIDE, distance_field
from plora.streams.labelled_images import ClassPixels, LabelledImage
from plora.streams.photographs import photograph
from plora.streams.scene_shapes import SHAPES, shape_field

RENDERING = 2
"""Counts up when the same names give other scenes."""
Texture = Literal["plain", "gradient", "stripes", "checks", "photograph"]
Range = tuple[float, float]
Name = TypeVar("Name", bound=str)
Reals = NDArray[np.float32]

_OBJECTS = (2, 5)
"""Fewest and most objects of a scene."""
_OF_SCENE, _OF_OBJECT = 16, 24
"""Random numbers that decide a scene, and each of its objects; those of its noise follow."""
_CROP = (0.35, 0.9)
"""Side of what is cut from a photograph, as a share of its shorter one."""
_SIZE = (0.2, 0.5)
"""Longer side of an object as a share of the scene."""
_PLACE = (0.08, 0.92)
"""Where the middle of an object is, as a share of the scene: some are cut by its border."""
_ANGLE, _SHEAR, _STRETCH = 0.5, 0.25, 0.2
"""Largest rotation and shear in radians, and logarithm of a factor."""
_WAVES = (1.5, 3.5)
"""Stripes and checks across an object."""
_HUES = 0.618034
"""Way around the circle of hues from one class to the next: the golden section, so that all of them are apart."""
_HUE, _SATURATION, _VALUE = (-0.04, 0.04), (0.55, 1.0), (0.35, 1.0)
"""What colours of one class differ in, the hue as a share of the circle."""
_SEEN = 0.25
"""Least difference of grey between an object and what it covers."""
_GREY = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class SceneLook:
    """What a domain looks like.

    Args:
        photographs: of which one is the ground.
        textures: of which an object has one.
        light: of a scene, by what it is multiplied.
        tint: of red, green and blue, the same.
        haze: how much of white lies over it.
        noise: of single pixels, as a share of black to white.
    """

    photographs: tuple[str, ...]
    textures: tuple[Texture, ...]
    light: Range
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    haze: Range = (0.0, 0.0)
    noise: Range = (0.0, 0.05)


LOOKS: dict[str, SceneLook] = {
    "day": SceneLook(("temple",), ("plain", "gradient"), (0.9, 1.1)),
    "haze": SceneLook(("flower",), ("plain", "stripes"), (0.9, 1.1), (0.95, 1.0, 1.05), (0.3, 0.55)),
    "dusk": SceneLook(("temple", "portrait"), ("gradient", "checks"), (0.45, 0.65), (1.25, 0.95, 0.7)),
    "night": SceneLook(
        ("flower", "portrait"), ("photograph", "stripes", "checks"), (0.3, 0.5), (0.7, 0.9, 1.3), noise=(0.04, 0.1)
    ),
}
"""The domains, by name."""


@dataclass(frozen=True)
class SceneName:
    """What decides a scene.

    Args:
        look: of its domain.
        objects: what the C − 1 classes beside the ground are: shapes, or characters.
        key: two numbers below 2⁶⁴ that name it; no two scenes have the same.
    """

    look: SceneLook
    objects: tuple[str, ...]
    key: tuple[int, int]


def render_scene(name: SceneName, size: int) -> LabelledImage:
    """Return a scene and its map: class 0 is the ground, the others are the objects in their order.

    The ground is cut from a photograph. Objects are pasted one after the other, each the distance field of its outline
    under a random affine map, in colours that objects of its class have; a pixel is of an object where more than half
    of it lies inside. Light, tint, haze and noise of the domain are laid over all. Randomness is the raw output of
    Philox under the scene's key.

    Args:
        name: of the scene.
        size: height and width in pixels.
    """
    used = _OF_SCENE + _OBJECTS[1] * _OF_OBJECT
    words = random_words(name.key, used + (3 * size * size + 3) // 4)
    shares = ((words[:used] >> np.uint64(11)).astype(np.float64) * 2.0**-53).tolist()  # in [0, 1)
    scene, rest = shares[:_OF_SCENE], shares[_OF_SCENE:]
    image = _cut(_one_of(name.look.photographs, scene[0]), scene[1:5], size)
    classes = np.zeros((size, size), np.uint8)
    for number in range(_OBJECTS[0] + int(scene[5] * (_OBJECTS[1] - _OBJECTS[0] + 1))):
        own = rest[number * _OF_OBJECT : (number + 1) * _OF_OBJECT]
        _paste(name, own, image, classes)
    image *= np.float32(_between(scene[6], name.look.light)) * np.array(name.look.tint, np.float32)
    haze = np.float32(_between(scene[7], name.look.haze))
    noise = words[used:].copy().view("<u2")[: 3 * size * size].reshape(size, size, 3)
    grain = ((noise & 255).astype(np.float32) + (noise >> 8)) / np.float32(255) - np.float32(
        1
    )  # of two bytes: like a tent, in [-1, 1]
    image += haze * (1 - image)
    image += np.float32(_between(scene[8], name.look.noise)) * grain
    pixels: NDArray[np.uint8] = (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    return LabelledImage(pixels, classes)


@cache
def _whole(name: str) -> Image.Image:
    return Image.fromarray(photograph(name))


def _cut(name: str, shares: list[float], size: int) -> Reals:
    """A square of a photograph, `[size, size, 3]` in 0 to 1, mirrored in half of the cases."""
    whole = _whole(name)
    width, height = whole.size
    side = _between(shares[0], _CROP) * min(height, width)
    left, top = shares[1] * (width - side), shares[2] * (height - side)
    box = (left, top, left + side, top + side)
    found = np.asarray(whole.resize((size, size), Image.Resampling.BILINEAR, box))
    return (found[:, ::-1] if shares[3] < 0.5 else found).astype(np.float32) / np.float32(255)


def _paste(name: SceneName, shares: list[float], image: Reals, classes: ClassPixels) -> None:
    """Paste one object into an image and its map."""
    size = len(classes)
    number = int(shares[0] * len(name.objects))
    field = _field(name.objects[number], shares[1]).astype(np.float32)
    larger = _between(shares[2], _SIZE) * (SIDE / EXTENT)
    wider = float(np.exp(_between(shares[3], (-_STRETCH, _STRETCH))))
    angle, shear = _between(shares[4], (-_ANGLE, _ANGLE)), _between(shares[5], (-_SHEAR, _SHEAR))
    along, down = _between(shares[6], _PLACE), _between(shares[7], _PLACE)
    cos, sin, slant = np.float32(np.cos(angle)), np.float32(np.sin(angle)), np.float32(np.tan(shear))
    wide, tall = np.float32(larger * wider**0.5), np.float32(larger / wider**0.5)
    # Only pixels where the object can be: the corners of its field, where they come to lie.
    up = np.array([-0.5, -0.5, 0.5, 0.5]) * tall
    aside = np.array([-0.5, 0.5, -0.5, 0.5]) * wide - slant * up
    columns, rows = _reached(along + cos * aside - sin * up, size), _reached(down + sin * aside + cos * up, size)
    ground, here = image[rows, columns], classes[rows, columns]
    middle: Reals = ((np.arange(size) + 0.5) / size).astype(np.float32)
    x = middle[None, columns] - np.float32(along)
    y = middle[rows, None] - np.float32(down)
    x, y = cos * x + sin * y, cos * y - sin * x
    x = (x + slant * y) / wide
    y = y / tall
    half = np.float32((SIDE - 1) / 2)
    inside: Reals = read_fields(field[None], (x * SIDE + half)[None], (y * SIDE + half)[None])[0]
    cover = np.clip(np.float32(0.5) + inside * np.float32(size / SIDE * larger), 0, 1)
    shown = cover > 0.5
    if shown.any():
        if (kind := _one_of(name.look.textures, shares[8])) == "photograph":
            texture = _cut(_one_of(name.look.photographs, shares[15]), shares[16:20], size)[rows, columns]
            texture = texture * _colour(number, shares[9:12])
        else:
            texture = _textured(kind, number, shares[9:17], x, y)
        texture = _seen(texture, ground, shown, shares[20])
        ground += cover[..., None] * (texture - ground)
        here[shown] = number + 1


def _reached(places: NDArray[Any], size: int) -> slice:
    """The pixels between the least and the largest of some places, which are shares of a scene."""
    first, last = math.floor(places.min() * size), math.ceil(places.max() * size)
    return slice(min(max(first, 0), size), min(max(last, 0), size))


def _field(name: str, share: float) -> NDArray[np.float16]:
    if name in SHAPES:
        return shape_field(name)
    return distance_field(name, _one_of(faces_with(name), share))


def _colour(number: int, shares: list[float]) -> Reals:
    """A colour that objects of a class have, `[3]` in 0 to 1."""
    hue = (number * _HUES + _between(shares[0], _HUE)) % 1
    return np.array(hsv_to_rgb(hue, _between(shares[1], _SATURATION), _between(shares[2], _VALUE)), np.float32)


def _textured(kind: Texture, number: int, shares: list[float], x: NDArray[Any], y: NDArray[Any]) -> Reals:
    """The colours of an object of a class whose own places are x and y, `[H, W, 3]`."""
    first, second = _colour(number, shares[:3]), _colour(number, shares[3:6])
    angle, waves = np.pi * shares[6], _between(shares[7], _WAVES)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u, v = cos * x + sin * y, cos * y - sin * x
    if kind == "plain":
        mixed = np.zeros_like(u)
    elif kind == "gradient":
        mixed = np.clip(np.float32(0.5) + u, 0, 1)
    else:
        mixed = np.floor(2 * waves * u) % 2
        if kind == "checks":
            mixed = (mixed + np.floor(2 * waves * v)) % 2
    found: Reals = (first + mixed[..., None] * (second - first)).astype(np.float32)
    return found


def _seen(texture: Reals, ground: Reals, shown: NDArray[np.bool_], share: float) -> Reals:
    """A texture that differs in grey from what it covers, on the whole."""
    # Rounded: the last bits of a sum are those of the machine, and a scene is the same on all.
    covered, own = (round(float((part[shown] @ _GREY).mean()), 3) for part in (ground, texture))
    apart = own - covered
    if abs(apart) < _SEEN:  # lighter or darker, where there is room for both
        lighter = share < 0.5 if 2 * _SEEN < covered < 1 - 2 * _SEEN else covered < 0.5
        texture = texture + np.float32((_SEEN if lighter else -_SEEN) - apart)
    return np.clip(texture, 0, 1)


def _one_of(every: tuple[Name, ...], share: float) -> Name:
    return every[int(share * len(every))]


def _between(share: float, bounds: Range) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * share
