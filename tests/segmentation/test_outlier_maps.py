"""Outliers through a run: their scores as pictures beside masks and on the page, and outliers counted as objects."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from test_outlier_exposure import JudgedScenes
from tiny_scenes import VALUES, scenes
from typer.testing import CliRunner

from plora.cli import app
from plora.config import load_config
from plora.errors import ConfigError, DataError
from plora.problems.outlier_scores import INLIER, OUTLIER, UNSAID, OutlierMeasure
from plora.problems.settings import OutlierScore, SemanticSegmentationSettings
from plora.results import SCORES, PixelCounts, write_report
from plora.results.pictures.score_map import score_map
from plora.results.record.sheet import read_sheet, sheet_files
from plora.runs import evaluate, run, segment, validate
from plora.streams.labelled_images import IGNORED


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLORA_TRUST_OWN_PARTS", "1")
        outlier = {"score": "rba", "threshold": 0.6}
        values = {**VALUES, "stream": {"kind": JudgedScenes.model_fields["kind"].default}}
        values["problem"] = {"kind": "semantic_segmentation", "outlier": outlier}
        return run(load_config(values, [f"output={tmp_path_factory.mktemp('runs') / 'run'}", "training.epochs=1"]))


def test_outlier_scores_lie_beside_masks_and_on_the_page(
    judged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLORA_TRUST_OWN_PARTS", "1")
    (tmp_path / "images").mkdir()
    Image.fromarray(scenes(1, 9, size=(24, 40)).images[0]).save(tmp_path / "images/street.png")
    found = CliRunner().invoke(app, ["predict", str(judged), str(tmp_path / "images"), "--out", str(tmp_path / "out")])
    assert found.exit_code == 0, found.exception
    (one,) = segment(judged, [tmp_path / "images/street.png"])
    assert one.outliers is not None
    assert one.outliers.shape == (24, 40)
    assert one.outliers.std() > 0
    with Image.open(tmp_path / "out/outliers/street.png") as png:
        assert np.array_equal(np.asarray(png), score_map(one.outliers, 0, 1))
    (sheet,) = sheet_files(judged)
    assert {len(row.taken_for) for row in read_sheet(sheet).rows} == {4}
    write_report([judged], tmp_path / "report.html")
    assert "outlier scores, the highest of which are light" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_outliers_are_counted_as_objects_and_counted_again_alike(judged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLORA_TRUST_OWN_PARTS", "1")
    record = PixelCounts.read(judged / "predictions/task-01.parquet")
    assert record.components is not None
    assert record.components[:, 0].min() >= 1  # each image has a disc
    assert 0 <= record.value(SCORES["outlier_f1"]) <= 1
    assert evaluate(judged).changed == 0


def test_a_pixel_is_of_an_object_from_the_threshold_on() -> None:
    measure = OutlierMeasure(OutlierScore(score="msp"), 2)
    sure, unsure = [1.0, 0.0], [0.5, 0.5]
    answers = torch.tensor([[sure, unsure, unsure, sure, unsure]]).permute(2, 0, 1)
    truth = torch.tensor([[INLIER, OUTLIER, INLIER, INLIER, IGNORED]])
    places = measure.places(measure.scores(answers))
    between = float(places[0, :2].mean())
    assert measure.components(answers, truth, between)[:4].tolist() == [1, 0.5, 1, 0.5]  # what is ignored is not seen
    assert measure.components(answers, truth, 0.9999)[:4].tolist() == [1, 0.5, 1, 0.5]
    assert measure.components(answers, truth, 1e-6)[:4].tolist() == [1, 0.25, 1, 0.25]
    assert not measure.components(answers, torch.tensor([[INLIER, OUTLIER, INLIER, INLIER, UNSAID]]), between).any()


def test_objects_need_a_threshold() -> None:
    with pytest.raises(ValidationError, match=r"outlier_f1 is of objects; set outlier\.threshold"):
        SemanticSegmentationSettings(score="outlier_f1", outlier=OutlierScore())


def test_objects_that_are_none_are_told_before_anything_is_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLORA_TRUST_OWN_PARTS", "1")
    objects = tmp_path / "objects"
    config = load_config(VALUES, [f"output={tmp_path / 'run'}", f"problem.exposure={{objects: {objects}}}"])
    with pytest.raises(ConfigError, match=r"problem\.exposure\.objects: .* does not exist"):
        validate(config)
    objects.mkdir()
    Image.fromarray(scenes(1, 0).images[0]).save(objects / "a.png")
    with pytest.raises(DataError, match=r"a\.png is transparent nowhere"):
        run(config)
    assert not (tmp_path / "run").exists()
