"""Outliers as objects: components, against one pixel at a time and by hand."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "reference"))

import components as reference

from plora.results import SCORES, PixelCounts
from plora.results.record.components import component_counts, component_f1, component_ppv, component_siou


def blobs(rng: np.random.Generator) -> np.ndarray:
    found = np.zeros((14, 17), bool)
    for _ in range(rng.integers(0, 6)):
        top, left = rng.integers(0, 12), rng.integers(0, 14)
        found[top : top + rng.integers(1, 6), left : left + rng.integers(1, 6)] = True
    return found


def pixels(one: np.ndarray) -> set[tuple[int, int]]:
    return {(int(y), int(x)) for y, x in np.argwhere(one)}


@pytest.mark.parametrize("seed", range(15))
def test_against_one_pixel_at_a_time(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = [(blobs(rng), blobs(rng)) for _ in range(4)]
    counts = np.stack([component_counts(*one) for one in images])
    sets = [(pixels(true), pixels(seen)) for true, seen in images]
    assert component_f1(counts) == pytest.approx(reference.f1_star(sets), rel=1e-12)
    parts = [(reference.components(true), reference.components(seen)) for true, seen in sets]
    sious = [reference.siou(one, true, seen) for true, seen in parts for one in true]
    ppvs = [reference.ppv(one, true) for true, seen in parts for one in seen]
    assert component_siou(counts) == pytest.approx(np.mean(sious), rel=1e-12)
    assert component_ppv(counts) == pytest.approx(np.mean(ppvs), rel=1e-12)


def test_two_objects_under_one_that_is_seen_are_not_held_against_each_other() -> None:
    true = np.zeros((3, 9), bool)
    true[:, :4] = true[:, 5:] = True  # 12 pixels each, a column between them
    seen = np.ones((3, 9), bool)
    counts = component_counts(true, seen)
    assert (counts[0], counts[2]) == (2, 1)
    assert component_siou(counts[None]) == pytest.approx(12 / 15)  # and not 12 / 27
    assert component_ppv(counts[None]) == pytest.approx(24 / 27)
    assert component_f1(counts[None]) == 1


def test_corners_join_and_what_is_not_there_has_no_number() -> None:
    nothing, corners = np.zeros((2, 2), bool), np.eye(2, dtype=bool)
    assert component_counts(corners, nothing)[0] == 1
    assert component_f1(component_counts(corners, nothing)[None]) == 0
    assert component_f1(component_counts(nothing, corners)[None]) == 0
    assert np.isnan(component_f1(component_counts(nothing, nothing)[None]))
    assert np.isnan(component_siou(component_counts(nothing, corners)[None]))
    assert np.isnan(component_ppv(component_counts(corners, nothing)[None]))


def test_images_count_together_and_a_record_without_components_has_no_number() -> None:
    task, example = np.array(["a", "a"]), np.arange(2, dtype=np.int32)
    confusions, histograms = np.full((2, 1, 1), 4), np.ones((2, 3), np.int64)
    whole, nothing = np.ones((2, 2), bool), np.zeros((2, 2), bool)
    counts = np.stack([component_counts(whole, whole), component_counts(whole, nothing)])
    record = PixelCounts.of_confusions(task, example, confusions, ("x",), histograms, histograms, counts)
    assert record.value(SCORES["outlier_f1"]) == pytest.approx(2 / 3)
    assert record.rows(np.array([1])).value(SCORES["outlier_f1"]) == 0
    assert record.value(SCORES["outlier_siou"]) == 0.5
    assert record.value(SCORES["outlier_ppv"]) == 1
    other = PixelCounts.of_confusions(task, example, confusions, ("x",), histograms, histograms, counts[::-1])
    assert record.differs(other).all()
    without = PixelCounts.of_confusions(task, example, confusions, ("x",), histograms, histograms)
    assert np.isnan(without.value(SCORES["outlier_f1"]))
    assert record.differs(without).all()
