"""Images in, tensors of one size and features out."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from plora.errors import DataError, RunError
from plora.problems.image_classification import EncodedImages, ImageClassification, Preparation
from plora.problems.settings import ImageClassificationSettings, TextClassificationSettings
from plora.streams.base import Stream, Task, Texts
from plora.streams.image_column import ImageColumn
from plora.streams.image_reading import ImageReading
from plora.streams.images import READING, ImageArray, ImageFiles
from plora.streams.stored_images import StoredImages

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (9, 6, 6)).astype(np.uint8)
COLOUR = RNG.integers(0, 256, (5, 12, 10, 3)).astype(np.uint8)
RGB = Preparation((8, 8), (0.5, 0.4, 0.3), (0.2, 0.25, 0.5))


def split(pixels: np.ndarray) -> ImageArray:
    return ImageArray(pixels, np.arange(len(pixels), dtype=np.int64) % 2)


def encoded(pixels: np.ndarray, preparation: Preparation = RGB) -> EncodedImages:
    found = ImageClassification(preparation).encode(split(pixels)).inputs
    assert isinstance(found, EncodedImages)
    return found


def pictures(inputs: EncodedImages, *indices: int) -> Tensor:
    return inputs.collate(np.array(indices or range(len(inputs))))["pixel_values"]


# ---------------------------------------------------------------------- what is made of an image


def test_a_grey_image_fills_every_channel() -> None:
    found = RGB.resized(GREY[0])
    assert found.shape == (3, 8, 8)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert torch.equal(RGB.resized(GREY[0][..., None]), found)


def test_an_image_of_the_right_size_stays_as_it_is() -> None:
    found = Preparation((12, 10), (0.5,) * 3, (0.5,) * 3).resized(COLOUR[1])
    assert torch.equal(found, torch.from_numpy(COLOUR[1]).permute(2, 0, 1).float())


def weights(before: int, after: int) -> np.ndarray:
    """Of a line: triangles as wide as a pixel of the coarser of both grids, by their definition."""
    scale = max(1.0, before / after)
    matrix = np.zeros((after, before))
    for row in range(after):
        centre = (row + 0.5) * before / after
        for column in range(before):
            matrix[row, column] = max(0.0, 1 - abs(column + 0.5 - centre) / scale)
    return matrix / matrix.sum(1, keepdims=True)


@pytest.mark.parametrize("size", [(8, 8), (5, 7), (24, 30), (3, 20)])
def test_resizing_is_what_its_definition_says(size: tuple[int, int]) -> None:
    found = Preparation(size, (0.5,) * 3, (0.5,) * 3).resized(COLOUR[2]).numpy()
    expected = np.einsum("yh,hwc,xw->cyx", weights(12, size[0]), COLOUR[2].astype(float), weights(10, size[1]))
    assert np.abs(found - expected).max() <= 0.5 + 1e-3  # rounded
    assert np.array_equal(found, np.round(found))


def test_normalising_is_by_channel() -> None:
    found = pictures(encoded(COLOUR), 0)[0]
    resized = RGB.resized(COLOUR[0])
    for channel, (mean, std) in enumerate(zip(RGB.mean, RGB.std, strict=True)):
        torch.testing.assert_close(found[channel], (resized[channel] / 255 - mean) / std)


def test_other_channels_are_refused_with_one_line() -> None:
    says = r"^an image has 4 channels, and the backbone takes 3; make it grey, or one of 3 channels$"
    with pytest.raises(DataError, match=says):
        RGB.resized(np.zeros((8, 8, 4), np.uint8))


def test_which_image_has_other_channels_is_said_and_what_to_do(tmp_path: Path) -> None:
    grey = ImageClassification(Preparation((8, 8), (0.5,), (0.5,)))
    paths = [tmp_path / name for name in ("a.png", "b.png")]
    Image.fromarray(GREY[0]).save(paths[0])
    Image.fromarray(COLOUR[0]).save(paths[1])
    content = pa.array([path.read_bytes() for path in paths])
    labels = np.zeros(2, np.int64)
    stored = StoredImages.of(
        ImageColumn(pa.chunked_array([content]), "t.parquet", in_files=False), np.arange(2), labels, READING
    )
    advice = "has 3 channels, and the backbone takes 1; set stream.reading.colours: grey, or make it grey"
    for split, where in (
        (ImageFiles(tuple(paths), labels), str(paths[1])),
        (stored, "t.parquet, row 2"),
        (ImageArray(np.stack([COLOUR[0]] * 2), labels), "image 2 of a split"),
    ):
        with pytest.raises(DataError, match=f"^{re.escape(f'{where} {advice}')}$"):
            grey.encode(split, 0).collate(np.array([1]))
    with pytest.raises(DataError, match=f"^{re.escape(f'image 2 {advice}')}$"):
        grey.given([GREY[0], COLOUR[0]])
    read = ImageFiles(tuple(paths), labels, ImageReading(colours="grey"))
    assert grey.encode(read, 0).collate(np.arange(2)).inputs["pixel_values"].shape == (2, 1, 8, 8)


# ---------------------------------------------------------------------- batches


def test_a_batch_is_in_the_order_that_was_asked_for() -> None:
    inputs = encoded(GREY)
    alone = [pictures(inputs, index) for index in range(9)]
    for order in ((8, 0, 3), (3, 3), (2,)):
        assert torch.equal(pictures(inputs, *order), torch.cat([alone[index] for index in order]))


def test_images_that_follow_others_keep_their_content_and_order() -> None:
    first, second, third = encoded(GREY[:4]), encoded(COLOUR), encoded(GREY[4:])
    joined = first.followed_by([second, third])
    assert len(joined) == 14
    expected = torch.cat([pictures(first), pictures(second), pictures(third)])
    assert torch.equal(pictures(joined), expected)
    mixed = (13, 0, 5, 4, 3, 8, 9, 0)
    assert torch.equal(pictures(joined, *mixed), expected[list(mixed)])


def test_a_subset_of_one_or_several_splits_is_the_same_images() -> None:
    joined = encoded(GREY).followed_by([encoded(COLOUR)])
    for inputs in (encoded(GREY), joined):
        some = np.array([7, 2, 5])
        subset = inputs.subset(some)
        assert len(subset) == 3
        assert torch.equal(pictures(subset), pictures(inputs, *some.tolist()))
        assert torch.equal(pictures(subset.subset(np.array([2, 0]))), pictures(inputs, 5, 7))


def test_images_that_were_kept_as_tensors_come_back_bit_for_bit() -> None:
    problem = ImageClassification(RGB)
    for pixels in (GREY, COLOUR):  # smaller and larger than what the network takes
        examples = problem.encode(split(pixels), first_row=4)
        kept = problem.restored({name: tensor.clone() for name, tensor in examples.tensors().items()})
        everything = np.arange(len(examples))
        before, after = examples.collate(everything), kept.collate(everything)
        assert torch.equal(before.inputs["pixel_values"], after.inputs["pixel_values"])
        assert torch.equal(before.targets["rows"], after.targets["rows"])
        assert before.targets["rows"].tolist() == [4 + index % 2 for index in range(len(pixels))]


def test_stored_images_that_do_not_fit_are_refused() -> None:
    problem = ImageClassification(RGB)
    good = problem.encode(split(GREY)).tensors()
    for name, tensor in (
        ("inputs/pixels", torch.zeros(9, 8, 8, 1, dtype=torch.uint8)),
        ("inputs/pixels", good["inputs/pixels"].float()),
        ("rows", good["rows"][1:]),
        ("rows", good["rows"].float()),
    ):
        with pytest.raises(RunError, match=r"^the stored images have no[^\n]*$"):
            problem.restored({**good, name: tensor})


def test_what_an_image_costs_follows_from_the_size_alone() -> None:
    assert encoded(GREY).lengths.tolist() == [1] * 9
    assert encoded(COLOUR, Preparation((32, 16), (0.5,) * 3, (0.5,) * 3)).lengths.tolist() == [8] * 5


# ---------------------------------------------------------------------- features


def test_features_are_pooled_or_averaged_or_the_first_state() -> None:
    problem = ImageClassification(RGB)
    maps, tokens = torch.randn(2, 4, 3, 3), torch.randn(2, 5, 4)
    pooled = SimpleNamespace(pooler_output=F.adaptive_avg_pool2d(maps, 1), last_hidden_state=maps)
    torch.testing.assert_close(problem.features(pooled, {}), maps.mean((2, 3)))
    torch.testing.assert_close(problem.features(SimpleNamespace(last_hidden_state=maps), {}), maps.mean((2, 3)))
    assert torch.equal(problem.features(SimpleNamespace(last_hidden_state=tokens), {}), tokens[:, 0])


def test_the_fingerprint_knows_the_preparation() -> None:
    other = [Preparation((8, 9), RGB.mean, RGB.std), Preparation((8, 8), RGB.std, RGB.mean)]
    found = {ImageClassification(preparation).fingerprint() for preparation in (RGB, *other)}
    assert len(found) == 3
    assert ImageClassification(Preparation((8, 8), RGB.mean, RGB.std)).fingerprint() in found


# ---------------------------------------------------------------------- streams of something else


def test_streams_of_another_kind_are_refused_with_one_line() -> None:
    texts = Texts(("ant", "owl"), np.array([0, 1]))
    reading = Stream("words", (Task("animals", ("a", "b"), texts, texts, texts),))
    with pytest.raises(DataError, match=r"^problem 'image_classification' needs images[^\n]*$"):
        ImageClassificationSettings().require(reading)
    seeing = Stream("pictures", (Task("grey", ("a", "b"), split(GREY), split(GREY), split(GREY)),))
    ImageClassificationSettings().require(seeing)
    with pytest.raises(DataError, match=r"^problem 'text_classification' needs texts[^\n]*$"):
        TextClassificationSettings().require(seeing)
