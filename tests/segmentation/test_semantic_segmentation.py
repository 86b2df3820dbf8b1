"""Images and maps in, classes of pixels out: encoding, decoding, counting, and what is odd."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_scenes import CLASSES, IMAGE, NETWORK, scenes
from torch import Tensor
from transformers import EomtImageProcessorPil

from plora.backbones import BackboneConfig
from plora.backbones.segmenters import SegmentationBackbone, load_segmentation_backbone
from plora.errors import BackboneError, DataError, RunError
from plora.moment import Moment
from plora.problems.base import Batch
from plora.problems.encoded_maps import nearest
from plora.problems.semantic_segmentation import SemanticSegmentation
from plora.problems.settings import SemanticSegmentationSettings
from plora.results import SCORES
from plora.streams.base import Stream, Task, Texts
from plora.streams.labelled_images import IGNORED, LabelledImageArray
from plora.testing import check_problem

NONE = torch.ones(0, 0, dtype=torch.bool)


def network(**more: object) -> SegmentationBackbone:
    config = BackboneConfig.model_validate({"kind": "new", "network": NETWORK | more, "image": IMAGE})
    return load_segmentation_backbone(config, CLASSES)


def problem_of(backbone: SegmentationBackbone, **settings: object) -> SemanticSegmentation:
    wanted = SemanticSegmentationSettings.model_validate(settings)
    return SemanticSegmentation.around(wanted, backbone, BackboneConfig(), None)


def pair(classes: np.ndarray, image: np.ndarray | None = None) -> LabelledImageArray:
    pixels = np.zeros((*classes.shape, 3), np.uint8) if image is None else image
    return LabelledImageArray([pixels], [classes.astype(np.uint8)], CLASSES)


def batch_of(problem: SemanticSegmentation, split: LabelledImageArray, draw: int | None = None) -> Batch:
    return problem.encode(split).collate(np.arange(len(split)), draw)


def at(step: int) -> Moment:
    return Moment(0, step, 12, 0)


def confusion(problem: SemanticSegmentation, outputs: dict[str, Tensor], batch: Batch) -> np.ndarray:
    found = problem.measure(outputs, batch, np.ones(0, np.bool_))["confusion"]
    assert isinstance(found, np.ndarray)
    return found


# ---------------------------------------------------------------------- promises


@pytest.mark.parametrize("answer", ["queries", "patches"])
@pytest.mark.parametrize(
    ("windows", "size"), [(False, (32, 32)), (False, (21, 45)), (True, (50, 33)), (True, (32, 70))]
)
def test_it_keeps_what_a_problem_promises(answer: str, windows: bool, size: tuple[int, int]) -> None:
    backbone = network()
    check_problem(problem_of(backbone, answer=answer, windows=windows), scenes(4, 0, 0, size), backbone.network)


def test_what_a_step_learns_does_not_depend_on_its_parts() -> None:
    """Losses and weights of a training step, annealed masks and points included, in one pass and in two."""
    backbone, everything = network(), np.arange(4)
    problem = problem_of(backbone)
    examples = problem.encode(scenes(4, 0))

    def learned(indices: np.ndarray) -> tuple[dict[str, Tensor], dict[str, float]]:
        batch = examples.collate(indices, 7)
        found = problem.outputs(problem.run(backbone.network, batch.inputs, {}, at(5)), None)
        return problem.losses(found, batch, NONE), dict(batch.weights)

    whole, weights = learned(everything)
    parts = [learned(part) for part in (everything[2:], everything[:2])]
    for name, loss in whole.items():
        torch.testing.assert_close(parts[0][0][name] + parts[1][0][name], loss)
        assert parts[0][1][name] + parts[1][1][name] == pytest.approx(weights[name])


def test_masks_are_annealed_while_it_learns_and_never_where_it_is_scored() -> None:
    backbone = network()
    problem, seen = problem_of(backbone), []
    batch = batch_of(problem, scenes(2, 0), 3)
    backbone.network.register_forward_pre_hook(lambda _, args: seen.append(args[1:]))
    for moment in (at(0), at(6), at(12), None):
        found = problem.outputs(problem.run(backbone.network, batch.inputs, {}, moment), None)
        assert ("masks 0" in found, "classes 1" in found) == ((moment is not None),) * 2
    (first, chances), (half, again), (last, _), nothing = seen
    assert (first, last, nothing) == ((1, 1), (0, 0), ())
    assert half[0] == 0 < half[1] <= 1
    assert torch.equal(chances, again)  # of the examples and their draw alone
    assert chances.shape == (2, 2, 8)
    assert not torch.equal(chances[0], chances[1])


# ---------------------------------------------------------------------- images and maps


def test_maps_are_resized_to_classes_that_were_there_and_originals_are_kept() -> None:
    problem = problem_of(network())
    wide, high = scenes(1, 0, 0, (20, 70)), scenes(1, 0, 0, (45, 40))
    split = LabelledImageArray([*wide.images, *high.images], [*wide.maps, *high.maps], CLASSES)
    batch = batch_of(problem, split)
    assert batch.inputs["pixel_values"].shape == (2, 3, 32, 32)
    assert batch.targets["classes"].shape == (2, 32, 32)
    assert set(batch.targets["classes"].unique().tolist()) <= {0, 1, 2, IGNORED}
    assert batch.targets["sizes"].tolist() == [[20, 70, 1], [45, 40, 1]]
    assert np.array_equal(batch.targets["truth"][0, :20, :70].numpy(), wide.maps[0])
    assert (batch.targets["truth"][0, 20:] == IGNORED).all()
    assert "truth" not in batch_of(problem, split, 0).targets


def test_a_map_keeps_its_place_under_its_image() -> None:
    """Halving and doubling: each pixel has the class that lies under its centre, as the image has the colour."""
    classes = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 0, 0], [2, 2, 0, 0]], np.uint8)
    assert nearest(classes, (2, 2)).tolist() == [[0, 1], [2, 0]]
    assert np.array_equal(nearest(classes, (8, 8)), classes.repeat(2, 0).repeat(2, 1))
    odd = nearest(np.arange(5, dtype=np.uint8)[None], (1, 3))
    expected = F.interpolate(torch.arange(5.0)[None, None, None], (1, 3), mode="nearest-exact")
    assert odd.tolist() == expected[0, 0].tolist()


def test_windows_cover_an_image_that_keeps_its_shape() -> None:
    problem = problem_of(network(), windows=True)
    layout = problem.layout
    assert layout.canvas(16, 40) == (32, 80)
    assert layout.corners((32, 80)) == [(0, 0), (0, 24), (0, 48)]
    assert layout.canvas(100, 50) == (64, 32)
    assert layout.corners((64, 32)) == [(0, 0), (32, 0)]
    batch = batch_of(problem, scenes(1, 0, 0, (16, 40)))
    assert len(batch.inputs["pixel_values"]) == 3
    drawn = [batch_of(problem, scenes(1, 0, 0, (16, 40)), draw).targets["classes"][0] for draw in range(12)]
    places = {next(w for w in range(3) if torch.equal(one, batch.targets["classes"][w])) for one in drawn}
    assert places == {0, 1, 2}


def test_a_map_with_other_classes_is_refused() -> None:
    said = "image 1 of a split: its map has the classes 3, 7; expected 0 to 2, or 255 for what is ignored"
    with pytest.raises(DataError, match=said) as error:
        batch_of(problem_of(network()), pair(np.array([[0, 3], [IGNORED, 7]])))
    assert "\n" not in str(error.value)


def test_streams_that_do_not_fit_are_refused() -> None:
    problem, good = problem_of(network()), scenes(2, 0)
    other = LabelledImageArray(good.images, good.maps, ("ground", "stripe", "square"))
    with pytest.raises(DataError, match="task 'b' has the classes ground, stripe, square, and the network tells apart"):
        problem.check(Stream("s", (Task("a", (), good, good, good), Task("b", (), other, other, other))), "domain")
    texts = Texts(("one", "two"), np.array([0, 1]))
    with pytest.raises(
        DataError, match="needs images with a class for every pixel, and task 'a' of stream 's' has text"
    ):
        problem.settings.require(Stream("s", (Task("a", ("x", "y"), texts, texts, texts),)))
    with pytest.raises(BackboneError, match="none was given"):
        problem.load(problem.settings, BackboneConfig())


def test_damaged_stored_images_are_refused() -> None:
    problem = problem_of(network())
    kept = problem.encode(scenes(2, 0)).tensors()
    for name, tensor in (
        ("maps", kept["maps"][1:]),
        ("shapes", kept["shapes"][1:]),
        ("images", kept["images"].float()),
    ):
        with pytest.raises(RunError, match="stored images"):
            problem.restored({**kept, name: tensor})


# ---------------------------------------------------------------------- answers


def test_two_queries_by_hand() -> None:
    """Scores are Σ_q softmax(classes)_c sigmoid(mask): the left half is square, the right one stripe."""
    problem = problem_of(network())
    masks = torch.full((1, 2, 16, 16), -4.0)
    masks[0, 0, :, :8], masks[0, 1, :, 8:] = 4.0, 4.0
    classes = torch.tensor([[[0.0, 2.0, 0.0, 1.0], [0.0, 0.0, 3.0, 3.0]]])
    left = np.ones((32, 32))
    left[:, 16:] = 2
    batch = batch_of(problem, pair(left))
    (scores,) = problem.scores({"masks": masks, "classes": classes}, batch)
    p, q = classes[0].softmax(1)
    high, low = torch.tensor(4.0).sigmoid(), torch.tensor(-4.0).sigmoid()
    torch.testing.assert_close(scores[:, 0, 0], high * p[:3] + low * q[:3])
    torch.testing.assert_close(scores[:, 31, 31], low * p[:3] + high * q[:3])
    assert confusion(problem, {"masks": masks, "classes": classes}, batch)[0].tolist() == [
        [0, 0, 0],
        [0, 512, 0],
        [0, 0, 512],
    ]


@pytest.mark.parametrize("size", [(32, 32), (50, 33), (20, 71)])
def test_scores_are_those_of_transformers(size: tuple[int, int]) -> None:
    problem = problem_of(network())
    g = torch.Generator().manual_seed(0)
    outputs = {"masks": 3 * torch.randn(2, 8, 16, 16, generator=g), "classes": torch.randn(2, 8, 4, generator=g)}
    batch = batch_of(problem, scenes(2, 0, 0, size))
    theirs = EomtImageProcessorPil(size={"shortest_edge": 32, "longest_edge": 32})
    found = SimpleNamespace(
        masks_queries_logits=F.interpolate(outputs["masks"], 32, mode="bilinear"),
        class_queries_logits=outputs["classes"],
        patch_offsets=[[image, 0, 32] for image in range(2)],
    )
    plain = torch.einsum(
        "bqc,bqhw->bchw", outputs["classes"].softmax(2)[..., :-1], found.masks_queries_logits.sigmoid()
    )
    for image, scores in enumerate(problem.scores(outputs, batch)):
        expected = F.interpolate(plain[image : image + 1], size, mode="bilinear")[0]
        torch.testing.assert_close(scores, expected)
        if size == (32, 32):
            merged = theirs.post_process_semantic_segmentation(found, [size] * 2)[image]
            assert torch.equal(scores.argmax(0), merged)


def test_windows_are_averaged_where_they_overlap() -> None:
    problem = problem_of(network(), windows=True, answer="patches")
    batch = batch_of(problem, scenes(1, 0, 0, (32, 80)))
    logits = torch.arange(3.0)[:, None, None, None].expand(3, 3, 4, 4)  # of each window its own number
    (scores,) = problem.scores({"patches": logits}, batch)
    assert scores[0, 0, [0, 23, 24, 31, 32, 47, 48, 55, 56, 79]].tolist() == pytest.approx(
        [0, 0, 0.5, 0.5, 1, 1, 1.5, 1.5, 2, 2]
    )


def test_what_is_ignored_counts_in_nothing() -> None:
    backbone = network()
    for answer in ("queries", "patches"):
        problem = problem_of(backbone, answer=answer)
        nothing = batch_of(problem, pair(np.full((32, 32), IGNORED)))
        outputs = problem.outputs(problem.run(backbone.network, nothing.inputs, {}), None)
        assert confusion(problem, outputs, nothing).sum() == 0
        losses = {name: loss / nothing.weights[name] for name, loss in problem.losses(outputs, nothing, NONE).items()}
        assert all(bool(loss.isfinite()) for loss in losses.values())
        assert all(losses[name] == 0 for name in losses if name != "class")
        some = scenes(1, 0)
        batch = batch_of(problem, some)
        assert confusion(problem, outputs, batch).sum() == (some.maps[0] != IGNORED).sum()


def test_one_class_alone_and_an_image_without_masks_beside_others_are_finite() -> None:
    backbone = network()
    problem = problem_of(backbone)
    split = LabelledImageArray(
        [np.zeros((9, 7), np.uint8)] * 3,
        [np.full((9, 7), fill, np.uint8) for fill in (1, IGNORED, 0)],
        CLASSES,
    )
    batch = batch_of(problem, split, 0)
    parameters = [parameter.requires_grad_() for parameter in backbone.network.parameters()]
    outputs = problem.outputs(problem.run(backbone.network, batch.inputs, {}, at(3)), None)
    losses = problem.losses(outputs, batch, NONE)
    gradients = torch.autograd.grad(torch.stack([*losses.values()]).sum(), parameters, allow_unused=True)
    assert all(bool(one.isfinite().all()) for one in gradients if one is not None)
    assert batch.weights["mask"] == 2
    assert batch.weights["class"] == pytest.approx(2 + 0.1 * (24 - 2))


def test_the_record_is_of_the_pixels_of_all_images() -> None:
    problem = problem_of(network())
    columns = {"confusion": np.array([np.diag([4, 0, 0]), [[0, 4, 0], [0, 0, 0], [0, 0, 0]]])}
    record = problem.measurements(np.array(["a", "a"]), np.arange(2, dtype=np.int32), columns, ())
    assert record.class_names == CLASSES
    assert record.value(SCORES["mean_iou"]) == pytest.approx((0.5 + 0) / 2)


# ---------------------------------------------------------------------- classes that arrive in steps


@pytest.mark.parametrize("answer", ["queries", "patches"])
def test_classes_of_later_steps_are_not_there_yet(answer: str) -> None:
    """What the row of a later class says changes no loss, no score and no count of the steps before it."""
    backbone = network()
    problem = problem_of(backbone, answer=answer)
    classes = np.zeros((32, 32), np.uint8)
    classes[4:20, 4:20], classes[24:, 8:] = 1, 2
    batch, competing, visible = (
        batch_of(problem, pair(classes)),
        torch.ones(2, 2, dtype=torch.bool),
        [True, True, False],
    )
    learned = batch_of(problem, pair(np.where(classes == 2, 0, classes)), 3)
    found = []
    with torch.no_grad():
        for bias in (0.0, 50.0):
            backbone.network.class_predictor.bias[2] = bias
            outputs = problem.outputs(problem.run(backbone.network, batch.inputs, {}), None)
            losses = problem.losses(outputs, learned, competing)
            (scores,) = problem.scores(outputs, batch, np.array(visible))
            counts = problem.measure(outputs, batch, np.array(visible))["confusion"][0]
            found.append((losses, scores, counts, problem.dense_logits(outputs, 2)))
    (losses, scores, counts, logits), (again, same, recounted, others) = found
    assert {name: loss.item() for name, loss in losses.items()} == {name: loss.item() for name, loss in again.items()}
    assert torch.equal(scores, same)
    assert torch.equal(logits, others)
    assert np.array_equal(counts, recounted)
    assert not counts[2].any()
    assert not counts[:, 2].any()
    assert counts.sum() == 32 * 32
    assert counts[0].sum() == (classes != 1).sum()
