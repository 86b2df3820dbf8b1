from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from made_up_runs import unsealed
from reference import scores as reference

from plora.errors import RunError
from plora.results import (
    ACCURACY,
    MEASUREMENTS,
    SCORES,
    ClassRankings,
    Measurements,
    PixelCounts,
    Score,
    TokenLikelihoods,
    read_measurements,
)
from plora.results.record.components import WIDTH

TASKS = ["b", "a"]
OF_TASK = np.array(["a", "b", "a", "b", "a"])
EXAMPLE = np.array([0, 0, 1, 1, 2], dtype=np.int32)


def rankings(seed: int = 0) -> ClassRankings:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 4, 5).astype(np.int32)
    ranking = np.stack([rng.permutation(4)[:2] for _ in range(5)]).astype(np.int32)
    return ClassRankings(OF_TASK, EXAMPLE, label, ranking, np.tile(np.float32([0.6, 0.3]), (5, 1)), tuple("wxyz"))


def likelihoods(seed: int = 0) -> TokenLikelihoods:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, 50, 5)
    return TokenLikelihoods(OF_TASK, EXAMPLE, rng.uniform(1, 200, 5), tokens, tokens * rng.integers(2, 6, 5))


def answers(seed: int = 0) -> TokenLikelihoods:
    return replace(likelihoods(seed), exact=np.random.default_rng(seed).integers(0, 2, 5) == 1)


def confusions(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = rng.integers(0, 9, (5, 4, 4)) * rng.integers(0, 2, (5, 4, 4))
    found[:, 3] = found[:, :, 3] = 0  # a class that never occurs
    found[:, 0, 0] += 1
    return found


def pixels(seed: int = 0, outliers: bool = False) -> PixelCounts:
    rng = np.random.default_rng(seed)
    inlier, outlier = (rng.integers(0, 5, (5, 6)) if outliers else None for _ in range(2))
    objects = rng.integers(1, 5, (5, WIDTH)) / 2 if outliers else None
    return PixelCounts.of_confusions(OF_TASK, EXAMPLE, confusions(seed), tuple("wxyz"), inlier, outlier, objects)


ALL = [rankings, likelihoods, answers, pixels, lambda seed=0: pixels(seed, outliers=True)]


@pytest.mark.parametrize("seed", range(20))
def test_scores_against_slow_references(seed: int) -> None:
    found = rankings(seed)
    labels, predicted = found.label.tolist(), found.prediction.tolist()
    assert found.value(ACCURACY) == reference.accuracy(labels, predicted)
    assert found.value(SCORES["macro_f1"]) == pytest.approx(reference.macro_f1(labels, predicted), abs=1e-12)
    texts = likelihoods(seed)
    nll = texts.nll.tolist()
    told = reference.nats_per_byte(nll, texts.bytes.tolist())
    assert texts.value(SCORES["nats_per_byte"]) == pytest.approx(told, rel=1e-12)
    told = reference.perplexity(nll, texts.tokens.tolist())
    assert texts.value(SCORES["perplexity"]) == pytest.approx(told, rel=1e-12)
    assert np.log(told) == pytest.approx(texts.value(SCORES["nats_per_token"]), rel=1e-12)
    images, whole = pixels(seed, outliers=True), confusions(seed).tolist()
    assert images.value(SCORES["mean_iou"]) == pytest.approx(reference.mean_iou(whole), rel=1e-12)
    assert images.value(SCORES["pixel_accuracy"]) == pytest.approx(reference.pixel_accuracy(whole), rel=1e-12)
    assert images.inlier is not None
    assert images.outlier is not None
    told = reference.outlier_auroc(images.inlier.tolist(), images.outlier.tolist())
    assert images.value(SCORES["outlier_auroc"]) == pytest.approx(told, rel=1e-12)


@pytest.mark.parametrize("make", ALL)
def test_what_is_written_is_read_and_cells_are_those_of_each_task(make: "type[Measurements]", tmp_path: Path) -> None:
    before = make()
    before.write(tmp_path / "one.parquet")
    after = read_measurements(tmp_path / "one.parquet")
    assert type(after) is type(before)
    assert (before.changed(after), before.largest_difference(after)) == (0, 0.0)
    for name in before.scores:
        score = SCORES[name]
        np.testing.assert_array_equal(after.value(score), before.value(score))
        row = before.cells([*TASKS, "c"], score)
        np.testing.assert_array_equal(row[:2], [before.of(task).value(score) for task in TASKS])
        assert np.isnan(row[2])
    again = type(before).joined([before.of("b"), before.of("a")])
    np.testing.assert_array_equal(again.cells(TASKS, SCORES[before.scores[0]]), row_of(before))
    again.write(tmp_path / "two.parquet")
    assert len(read_measurements(tmp_path / "two.parquet")) == 5
    nothing = before.of("c")
    nothing.write(tmp_path / "none.parquet")
    assert len(read_measurements(tmp_path / "none.parquet")) == 0
    assert nothing.largest_difference(nothing) == 0.0


def row_of(measured: Measurements) -> np.ndarray:
    return measured.cells(TASKS, SCORES[measured.scores[0]])


@pytest.mark.parametrize("make", ALL)
def test_what_came_out_otherwise_is_counted(make: "type[Measurements]") -> None:
    before, after = make(0), make(1)
    assert 0 < before.changed(after) <= 5
    with pytest.raises(RunError, match="other examples cannot be compared"):
        before.changed(before.of("a"))
    with pytest.raises(RunError, match="nothing to join"):
        type(before).joined([])
    with pytest.raises(RunError, match=r"name the task 'a', the run has: b"):
        before.cells(["b"], SCORES[before.scores[0]])
    with pytest.raises(RunError, match="cannot give the score 'beauty'; they give"):
        before.value(Score("beauty", "", "higher"))


def test_how_far_a_record_is_from_another() -> None:
    before = likelihoods()
    nll = before.nll.copy()
    nll[2] += 0.25
    after = TokenLikelihoods(before.task, before.example, nll, before.tokens, before.bytes)
    assert (before.changed(after), before.largest_difference(after)) == (1, pytest.approx(0.25))
    whole = confusions()
    whole[1, 0, 1] += 7
    after_images = PixelCounts.of_confusions(OF_TASK, EXAMPLE, whole, tuple("wxyz"))
    assert (pixels().changed(after_images), pixels().largest_difference(after_images)) == (1, 7.0)


def test_exact_match_is_the_share_of_exact_answers() -> None:
    given = replace(likelihoods(), exact=np.array([True, False, True, True, False]))
    score = SCORES["exact_match"]
    assert score.text(given.value(score)) == "60.0"
    np.testing.assert_allclose(given.cells(TASKS, score), [0.5, 2 / 3])
    flipped = replace(given, exact=~given.exact)
    assert (given.changed(flipped), given.largest_difference(flipped)) == (5, 0.0)
    # Of texts that are not asked for there is none, and so of these and answers together.
    assert np.isnan(likelihoods().value(score))
    assert TokenLikelihoods.joined([given, likelihoods()]).exact is None
    with pytest.raises(RunError, match="differ in length"):
        replace(given, exact=given.exact[1:])


def test_a_file_says_its_kind_and_class_rankings_are_what_says_none(tmp_path: Path) -> None:
    of_parts = ["token_likelihoods", "pixel_counts", "word_tags"]
    assert list(MEASUREMENTS) == ["class_rankings", *of_parts, "label_scores", "predicted_numbers"]
    for make, kind in ((rankings, None), (likelihoods, b"token_likelihoods"), (pixels, b"pixel_counts")):
        make().write(tmp_path / "file.parquet")
        assert pq.read_schema(tmp_path / "file.parquet").metadata.get(b"plora.kind") == kind
    with pytest.raises(RunError, match="is not a record of token likelihoods"):
        TokenLikelihoods.read(tmp_path / "file.parquet")
    with pytest.raises(RunError, match=r"is a record of 'pixel_counts' \(kinds: class_rankings\)"):
        read_measurements(tmp_path / "file.parquet", {"class_rankings": ClassRankings})
    with pytest.raises(RunError, match="does not exist"):
        read_measurements(tmp_path / "other.parquet")


@pytest.mark.parametrize("make", [likelihoods, pixels])
def test_damage_is_one_line(make: "type[Measurements]", tmp_path: Path) -> None:
    file = tmp_path / "file.parquet"
    make().write(file)
    table = unsealed(file)
    for name in table.column_names:
        pq.write_table(table.drop_columns([name]), file)
        with pytest.raises(RunError, match=f"has no column '{name}'"):
            type(make()).read(file)
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"plora.schema": b"9"}), file)
    with pytest.raises(RunError, match="has schema 9, this version of plora reads schema 1"):
        type(make()).read(file)
    make().write(file)
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(RunError, match="damaged"):
        type(make()).read(file)


def test_values_out_of_range_are_refused() -> None:
    given = likelihoods()
    with pytest.raises(RunError, match="NaN, infinite or below 0"):
        TokenLikelihoods(given.task, given.example, -given.nll, given.tokens, given.bytes)
    with pytest.raises(RunError, match="differ in length"):
        TokenLikelihoods(given.task, given.example, given.nll[1:], given.tokens, given.bytes)
    with pytest.raises(RunError, match=r"need \[5, 2, 2\], got \[5, 4, 4\]"):
        PixelCounts.of_confusions(OF_TASK, EXAMPLE, confusions(), ("a", "b"))
    with pytest.raises(RunError, match="inlier and outlier scores are measured together"):
        PixelCounts.of_confusions(OF_TASK, EXAMPLE, confusions(), tuple("wxyz"), np.zeros((5, 3), np.int64))
    with pytest.raises(RunError, match="records of other classes cannot be joined"):
        PixelCounts.joined([pixels(), PixelCounts.of_confusions(OF_TASK, EXAMPLE, confusions(), tuple("abcd"))])
