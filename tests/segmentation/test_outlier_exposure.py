"""Outliers that are pasted, learned and judged: what each switch changes, alone and through the one loop."""

import io
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
import torch.nn.functional as F

sys.path.append(str(Path(__file__).parents[1] / "training"))

from killing import quiet
from PIL import Image
from pydantic import ValidationError
from test_semantic_segmentation import NONE, batch_of, network, problem_of
from tiny_scenes import CLASSES, IMAGE, NETWORK, VALUES, scenes

from plora.backbones import BackboneConfig
from plora.backbones.cosine_classes import CosineClasses
from plora.build import Workspace
from plora.config import load_config
from plora.config.made_in import seen_from
from plora.errors import BackboneError, DataError
from plora.problems.arcface import with_margin
from plora.problems.mask_loss import MaskLoss
from plora.problems.outlier_scores import INLIER, OUTLIER, UNSAID
from plora.problems.semantic_segmentation import SemanticSegmentation
from plora.problems.settings import ArcFace, SemanticSegmentationSettings
from plora.results import SCORES, PixelCounts, read_curves, read_record
from plora.results.pictures.score_map import score_map
from plora.runs import evaluate, run, verify
from plora.streams.base import Stream, StreamSource, Task
from plora.streams.cutouts import Cutouts
from plora.streams.labelled_images import IGNORED, LabelledImageArray
from plora.streams.pasting import cutout_of_alpha, paste_outlier
from plora.testing import check_problem


def disc(colour: tuple[int, int, int] = (250, 250, 250)) -> bytes:
    """A disc of 11 pixels on a transparent ground."""
    rows, columns = np.mgrid[:16, :16]
    alpha = np.where((rows - 8) ** 2 + (columns - 8) ** 2 <= 30, 255, 0)
    stream = io.BytesIO()
    Image.fromarray(np.dstack([*(np.full((16, 16), part) for part in colour), alpha]).astype(np.uint8)).save(
        stream, "PNG"
    )
    return stream.getvalue()


@pytest.fixture
def objects(tmp_path: Path) -> Path:
    folder = tmp_path / "objects"
    folder.mkdir()
    (folder / "white.png").write_bytes(disc())
    return folder


def with_outliers(split: LabelledImageArray) -> LabelledImageArray:
    """Images, each with a white disc that is known as an outlier."""
    cutout = cutout_of_alpha(disc(), "disc")
    found = [paste_outlier(one, cutout, 7, index) for index, one in enumerate(split.read(np.arange(len(split))))]
    outliers = [one.outlier for one in found if one.outlier is not None]
    return LabelledImageArray([one.image for one in found], [one.classes for one in found], CLASSES, outliers)


class JudgedScenes(StreamSource):
    """Scenes of one light, of which those that are scored have outliers."""

    kind: Literal["test_outlier_exposure:JudgedScenes"] = "test_outlier_exposure:JudgedScenes"
    known: bool = True
    """Whether somebody says where."""

    def load(self) -> Stream:
        """Return the task."""
        train, *others = (scenes(number, part) for part, number in enumerate((16, 6, 6)))
        judged = [with_outliers(other) if self.known else other for other in others]
        return Stream("judged", (Task("light", (), train, *judged),))


# ---------------------------------------------------------------------- objects


def test_objects_are_those_of_a_folder_or_of_a_table(objects: Path, tmp_path: Path) -> None:
    (objects / "below").mkdir()
    (objects / "below" / "red.png").write_bytes(disc((200, 0, 0)))
    (objects / "notes.txt").write_text("no image")
    table = tmp_path / "objects.parquet"
    pa.parquet.write_table(pa.table({"image": [disc((200, 0, 0)), disc()], "label": [0, 1]}), table)
    for found in (Cutouts(objects), Cutouts(table)):
        assert len(found) == 2
        assert [int(found.cutout(index).image[5, 5].sum()) for index in range(2)] == [200, 750]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"has no images; expected some that end in \.png"):
        len(Cutouts(tmp_path / "empty"))
    with pytest.raises(DataError, match=r"neither a folder nor a \.parquet file"):
        len(Cutouts(tmp_path / "absent"))


def test_relative_objects_are_those_of_where_the_run_was_made(objects: Path) -> None:
    exposure = f"problem.exposure={{objects: {objects.name}}}"
    config = seen_from(load_config(VALUES | {"stream": {"kind": "glyphs"}}, [exposure]), objects.parent)
    assert config.problem.exposure.objects == objects  # type: ignore[attr-defined]


# ---------------------------------------------------------------------- exposure


def test_objects_are_pasted_where_it_learns_and_never_where_it_is_scored(objects: Path) -> None:
    problem = problem_of(network(), exposure={"objects": objects, "probability": 0.5})
    split = scenes(40, 0)
    learned, again, other = (batch_of(problem, split, draw) for draw in (3, 3, 4))
    outlier = learned.targets["outliers"] == OUTLIER
    pasted = outlier.flatten(1).any(1)
    assert 10 < int(pasted.sum()) < 30
    assert not torch.equal(pasted, (other.targets["outliers"] == OUTLIER).flatten(1).any(1))
    assert torch.equal(learned.inputs["pixel_values"], again.inputs["pixel_values"])
    assert (learned.targets["classes"][outlier] == IGNORED).all()
    assert (problem.layout.preparation.pixels(learned.inputs["pixel_values"])[:, 0][outlier] > 0.9).all()
    claimed = learned.targets["classes"] != IGNORED
    said = torch.where(pasted, INLIER, UNSAID)[:, None, None].expand_as(claimed)
    assert torch.equal(learned.targets["outliers"][claimed].long(), said[claimed])
    scored = batch_of(problem, split)
    assert "outliers" not in scored.targets
    assert torch.equal(scored.inputs["pixel_values"], batch_of(problem_of(network()), split).inputs["pixel_values"])


def test_what_exposure_adds_to_a_loss_by_hand(objects: Path) -> None:
    """One query claims the left half for square: RbA is −tanh there, and 0 on the right."""
    exposure = {"objects": objects, "probability": 1.0, "weight": 3.0}
    problem = problem_of(network(), exposure=exposure)
    batch = batch_of(problem, scenes(1, 0), 0)
    masks = torch.full((1, 1, 16, 16), -50.0)
    masks[..., :8] = 50.0
    classes = torch.tensor([[[-50.0, 50.0, -50.0, -50.0]]])
    found = problem.losses({"masks": masks, "classes": classes}, batch, NONE)
    scores = -F.interpolate(masks, (32, 32), mode="bilinear").sigmoid()[0].tanh()
    kinds = batch.targets["outliers"]
    expected = {
        "exposure_inlier": (scores + 0.8)[kinds == INLIER].clamp(min=0),
        "exposure_outlier": (-0.1 - scores)[kinds == OUTLIER].clamp(min=0),
    }
    for name, over in expected.items():
        torch.testing.assert_close(found[name], 1.5 * (over**2).sum())
        assert found[name] > 0
    assert batch.weights["exposure_outlier"] == (kinds == OUTLIER).sum()
    assert batch.weights["exposure_inlier"] == (kinds == INLIER).sum()
    silent = problem_of(network(), exposure=exposure | {"weight": 0.0})
    assert set(silent.losses({"masks": masks, "classes": classes}, batch, NONE)) == {"class", "mask", "dice"}


SWITCHES: dict[str, dict[str, object]] = {
    "exposure": {},
    "outlier class": {"outlier_class": True, "outlier": {"score": "outlier_class", "bins": 64}},
    "arcface": {"arcface": {"scale": 20.0}},
    "augmented": {"augment": {"scale": [0.5, 2.0], "flip": True}},
    "patches": {"answer": "patches", "outlier_class": True, "outlier": {"score": "msp", "bins": 64}},
}


@pytest.mark.parametrize("name", SWITCHES)
def test_it_keeps_what_a_problem_promises(objects: Path, name: str) -> None:
    weight = 0.0 if name == "patches" else 1.0
    values = {"exposure": {"objects": objects, "probability": 0.6, "weight": weight}} | SWITCHES[name]
    settings = SemanticSegmentationSettings.model_validate(values)
    config = BackboneConfig.model_validate({"kind": "new", "network": NETWORK, "image": IMAGE})
    split = with_outliers(scenes(4, 0))
    stream = Stream("s", (Task("a", (), split, split, split),))
    backbone = SemanticSegmentation.load_for(settings, config, lambda: stream)
    problem = SemanticSegmentation.around(settings, backbone, config, None)
    problem.check(stream, "domain")
    assert problem.class_names == CLASSES
    assert len(backbone.class_names) == len(CLASSES) + settings.outlier_class
    check_problem(problem, split, backbone.network)


def test_outliers_are_a_class_that_is_learned_and_nobodys_answer(objects: Path) -> None:
    settings = {"outlier_class": True, "exposure": {"objects": objects, "probability": 1.0}}
    few = scenes(1, 0)
    four = LabelledImageArray(few.images, few.maps, (*CLASSES, "outlier"))
    config = BackboneConfig.model_validate({"kind": "new", "network": NETWORK, "image": IMAGE})
    wanted = SemanticSegmentationSettings.model_validate(settings)
    with pytest.raises(DataError, match=r"has a class 'outlier', and problem\.outlier_class adds one"):
        SemanticSegmentation.load_for(wanted, config, lambda: Stream("s", (Task("a", (), four, four, four),)))
    split = scenes(1, 0)
    stream = Stream("s", (Task("a", (), split, split, split),))
    problem = problem_of(SemanticSegmentation.load_for(wanted, config, lambda: stream), **settings)
    learned = batch_of(problem, split, 0)
    assert learned.weights["mask"] == 4
    scored = batch_of(problem, split)
    outputs = {"masks": torch.full((1, 1, 16, 16), 9.0), "classes": torch.tensor([[[0.0, 1.0, 0.0, 9.0, 0.0]]])}
    (answers,), (scores,) = problem.answers(outputs, scored), problem.scores(outputs, scored)
    assert torch.equal(answers[:3], scores)
    assert answers[3].min() > 0.9
    assert problem.measure(outputs, scored, np.ones(0, np.bool_))["confusion"].sum(1)[0].argmax() == 1


def test_outliers_are_learned_beside_the_classes_that_are_there_by_now(objects: Path) -> None:
    """Two of three classes compete: what the third one scores has no part in a loss, and the outlier class has."""
    settings = {"outlier_class": True, "exposure": {"objects": objects, "probability": 1.0}}
    config = BackboneConfig.model_validate({"kind": "new", "network": NETWORK, "image": IMAGE})
    split = scenes(1, 0)
    split = LabelledImageArray(split.images, [np.where(one == 2, 0, one) for one in split.maps], CLASSES)
    stream = Stream("s", (Task("a", (), split, split, split),))
    wanted = SemanticSegmentationSettings.model_validate(settings)
    problem = problem_of(SemanticSegmentation.load_for(wanted, config, lambda: stream), **settings)
    batch, g = batch_of(problem, split, 0), torch.Generator().manual_seed(0)
    masks, classes = torch.randn(1, 8, 16, 16, generator=g), torch.randn(1, 8, 5, generator=g)
    two = torch.ones(2, 2, dtype=torch.bool)

    def losses(row: int) -> list[float]:
        moved = classes.index_add(2, torch.tensor([row]), torch.full((1, 8, 1), 3.0))
        return [float(loss) for loss in problem.losses({"masks": masks, "classes": moved}, batch, two).values()]

    plain = [float(loss) for loss in problem.losses({"masks": masks, "classes": classes}, batch, two).values()]
    assert losses(2) == pytest.approx(plain)
    assert losses(3) != pytest.approx(plain, rel=1e-3)


def test_what_no_class_claims_is_light_in_a_picture() -> None:
    """One query claims the left half: what lies to the right is black nowhere."""
    problem = problem_of(network(), outlier={"score": "rba"})
    masks = torch.full((1, 1, 16, 16), -50.0)
    masks[..., :8] = 50.0
    outputs = {"masks": masks, "classes": torch.tensor([[[-50.0, 50.0, -50.0, -50.0]]])}
    (places,) = problem.outlier_maps(outputs, batch_of(problem, scenes(1, 0, 0, (20, 40))))
    assert places.shape == (20, 40)
    assert places[0, 0] == pytest.approx(1 / (1 + math.tanh(1)))
    assert places[0, -1] == pytest.approx(1)
    light = score_map(places.numpy(), 0, 1).astype(int).sum(-1)
    assert light[:, -1].min() > light[:, 0].max() + 100
    silent = problem_of(network())
    with pytest.raises(DataError, match=r"set problem\.outlier, such as"):
        next(silent.outlier_maps(outputs, batch_of(silent, scenes(1, 0))))


# ---------------------------------------------------------------------- angles


def test_a_margin_by_hand_and_at_its_ends() -> None:
    """s cos(θ + m) of the own class alone, falling from θ = 0 to π, with finite slopes."""
    settings = ArcFace(scale=16.0, margin=0.3)
    angles = torch.linspace(0, math.pi, 400)
    logits = torch.stack([16 * angles.cos(), torch.full_like(angles, 2.0)], dim=1).requires_grad_()
    found = with_margin(logits, torch.zeros(400, dtype=torch.int64), settings)
    assert torch.equal(found[:, 1], logits[:, 1])
    before = angles + 0.3 < math.pi - 0.01
    own = found[:, 0].detach()
    torch.testing.assert_close(own[before][1:], 16 * (angles + 0.3).cos()[before][1:], atol=2e-3, rtol=1e-3)
    assert (own.diff() < 0).all()
    (slope,) = torch.autograd.grad(found[:, 0].sum(), logits)
    assert slope.isfinite().all()
    ends = torch.tensor([[16.0], [-16.0]]).requires_grad_()
    (slope,) = torch.autograd.grad(with_margin(ends, torch.zeros(2, dtype=torch.int64), settings).sum(), ends)
    assert slope.isfinite().all()


def test_cosines_are_of_classes_and_no_object_stays_plain() -> None:
    torch.manual_seed(0)
    plain = torch.nn.Linear(6, 4)
    cosines, states = CosineClasses(plain, 16.0), torch.randn(2, 5, 6)
    found = cosines(states)
    torch.testing.assert_close(found[..., 3], plain(states)[..., 3])
    expected = 16 * F.cosine_similarity(states[..., None, :], plain.weight[:3], dim=-1)
    torch.testing.assert_close(found[..., :3], expected)
    torch.testing.assert_close(cosines(7 * states)[..., :3], expected, rtol=1e-4, atol=1e-4)
    assert set(cosines.state_dict()) == {"weight", "bias"}


def test_the_margin_is_of_matched_queries_alone() -> None:
    g = torch.Generator().manual_seed(0)
    masks, classes = torch.randn(6, 8, 8, generator=g), 4 * torch.randn(6, 4, generator=g)
    truth, labels = (torch.rand(2, 8, 8, generator=g) > 0.5).float(), torch.tensor([0, 2])
    plain, wide = (MaskLoss(points=32, arcface=own) for own in (None, ArcFace(scale=16.0, margin=0.5)))
    points = plain.draw(2, torch.Generator().manual_seed(1))
    before, after = (loss.at(masks, classes, truth, labels, points) for loss in (plain, wide))
    rows, columns = plain.match(masks, classes, truth, labels, points.matching)
    moved = with_margin(classes[rows], labels[columns], ArcFace(scale=16.0, margin=0.5))
    more = F.cross_entropy(moved, labels[columns], reduction="sum")
    more = more - F.cross_entropy(classes[rows], labels[columns], reduction="sum")
    torch.testing.assert_close(after["class"] - before["class"], 2 * more)
    assert more > 0.1
    assert (before["mask"], before["dice"]) == (after["mask"], after["dice"])
    nothing = wide.at(masks, classes, truth[:0], labels[:0], wide.draw(0, g))
    assert nothing["class"].isfinite()


def test_a_network_of_angles_is_not_read_as_another(tmp_path: Path) -> None:
    config = BackboneConfig.model_validate({"kind": "new", "network": NETWORK, "image": IMAGE})
    split = scenes(1, 0)
    stream = Stream("s", (Task("a", (), split, split, split),))
    angles = SemanticSegmentationSettings.model_validate({"arcface": {"scale": 20.0}})
    made = SemanticSegmentation.load_for(angles, config, lambda: stream)
    SemanticSegmentation.around(angles, made, config, None).save(made, tmp_path / "kept")
    kept = BackboneConfig(id=str(tmp_path / "kept"))
    with pytest.raises(BackboneError, match=r"has learned its classes by angles; set problem\.arcface, with scale 20"):
        SemanticSegmentation.load_for(SemanticSegmentationSettings(), kept, lambda: stream)
    again = SemanticSegmentation.load_for(angles, kept, lambda: stream)
    pixels = torch.randn(1, 3, 32, 32)
    assert torch.equal(again.network(pixels).classes[0], made.network(pixels).classes[0])


# ---------------------------------------------------------------------- settings and data that do not fit


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"score": "outlier_ap"}, "score: outlier_ap is of an outlier score; set outlier"),
        ({"outlier_class": True}, "outlier_class: nothing is learned of it without outliers"),
        ({"outlier": {"score": "outlier_class"}}, "set outlier_class: true"),
        ({"outlier": {"score": "rba", "temperature": 2}}, "temperature: rba is made of no probabilities"),
        ({"outlier": {"score": "rba"}, "answer": "patches"}, "rba is of scores that are at least 0"),
        ({"exposure": {"objects": "x"}, "answer": "patches"}, "exposure.weight: its losses are of RbA"),
        ({"exposure": {"objects": "x", "inlier": 0.0}}, "inlier: 0 is not below outlier, -0.1"),
        ({"arcface": {}, "answer": "patches"}, "arcface: its margin is for queries"),
    ],
)
def test_settings_that_do_not_fit_are_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        SemanticSegmentationSettings.model_validate(values)


def test_a_test_set_of_which_nobody_knows_the_outliers_is_refused() -> None:
    problem = problem_of(network(), outlier={"score": "rba"})
    plain, known = scenes(3, 0), with_outliers(scenes(3, 0))
    problem.check(Stream("s", (Task("a", (), plain, plain, known),)), "domain")
    said = "task 'a': no image of its test split has pixels that are known as outliers beside others"
    nothing = LabelledImageArray(plain.images, plain.maps, CLASSES, [np.zeros((32, 32), np.bool_)] * 3)
    for unknown in (plain, nothing):
        with pytest.raises(DataError, match=said):
            problem.check(Stream("s", (Task("a", (), plain, known, unknown),)), "domain")
    chosen = problem_of(network(), outlier={"score": "rba"}, score="outlier_auroc")
    with pytest.raises(DataError, match="no image of its validation split"):
        chosen.check(Stream("s", (Task("a", (), plain, plain, known),)), "domain")


# ---------------------------------------------------------------------- through the one loop


Learned = Callable[..., Path]


@pytest.fixture
def learned(tmp_path: Path, objects: Path, monkeypatch: pytest.MonkeyPatch) -> Learned:
    monkeypatch.setenv("PLORA_TRUST_OWN_PARTS", "1")
    values = VALUES | {"stream": {"kind": "test_outlier_exposure:JudgedScenes"}}
    exposure = f"problem.exposure={{objects: '{objects}', probability: 0.6, weight: WEIGHT}}"

    def made(name: str, *settings: str, weight: float = 0.0, epochs: int = 6) -> Path:
        chosen = (f"output={tmp_path / name}", f"training.epochs={epochs}", "problem.outlier={score: rba}")
        config = load_config(values, [*chosen, exposure.replace("WEIGHT", str(weight)), *settings])
        return run(config, quiet(), Workspace())

    return made


def outlier_auroc(path: Path) -> float:
    return PixelCounts.read(path / "predictions/task-01.parquet").value(SCORES["outlier_auroc"])


def test_outliers_are_told_better_where_their_loss_has_a_weight(learned: Learned) -> None:
    silent, exposed = learned("silent"), learned("exposed", "problem.score=outlier_auroc", weight=5.0)
    terms = {term for point in read_curves(exposed / "curves.jsonl") for term in point.terms}
    assert terms == {"class", "mask", "dice", "exposure_inlier", "exposure_outlier"}
    assert outlier_auroc(exposed) > outlier_auroc(silent) + 0.05
    record = read_record(exposed)
    assert (record.score.name, record.matrix[1, 0]) == ("outlier_auroc", outlier_auroc(exposed))
    assert not verify(exposed).problems
    assert evaluate(exposed).changed == 0


@pytest.mark.slow
def test_an_outlier_class_and_angles_are_learned(learned: Learned) -> None:
    own = ("problem.outlier_class=true", "problem.outlier={score: outlier_class}")
    path = learned("class", *own, epochs=12)
    assert outlier_auroc(path) > 0.7
    angles = learned("angles", "problem.arcface={scale: 16, margin: 0.2}", epochs=12)
    record = read_record(angles)
    assert record.matrix[1, 0] > record.matrix[0, 0] + 0.02
    assert not verify(angles).problems
