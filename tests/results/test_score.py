"""Scores that are no accuracies go through everything that concludes: right direction, right unit."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from made_up_runs import curves, record

from plora.errors import RunError
from plora.results import (
    ACCURACY,
    METRIC_NAMES,
    SCORES,
    MatrixFile,
    PixelCounts,
    Point,
    RunMetrics,
    RunRecord,
    Score,
    TokenLikelihoods,
    compare,
    compare_methods,
    comparison_table,
    cost_against_accuracy,
    differences_table,
    estimates,
    forgetting_of_methods,
    forgetting_of_tasks,
    group_doubts,
    intransigence,
    learning_curves,
    matrix_table,
    metrics_of_matrix,
    metrics_of_path,
    read_curves,
    read_record,
    run_pictures,
    summary,
    summary_table,
    tasks_over_time,
    variants,
    write_figures,
    write_record,
    write_report,
    write_table,
)
from plora.results.metrics.learning_speed import learning_speed
from plora.results.pictures.plots import accuracy_matrix
from plora.results.pictures.scale import colour_limits, shade
from plora.results.record.matrix import Matrix
from plora.results.record.matrix_metrics import matrix_metrics
from plora.sealed import write_sealed

NAN = np.nan
NATS, IOU = SCORES["nats_per_byte"], SCORES["mean_iou"]
R = np.array([[NAN, NAN], [1.25, NAN], [1.5, 2.0]])


def run(
    method: str, R: Matrix = R, seed: int = 0, score: Score = NATS, scenario: str = "domain", problem: str = "causal_lm"
) -> RunRecord:
    blank = np.where(np.isnan(R), NAN, 0.5)
    made = record(method, tasks=["poems", "code"], seed=seed, R=blank, scenario=scenario)  # type: ignore[arg-type]
    return replace(made, matrix=R, score=score, problem=problem)


def several(score: Score = NATS) -> list[RunRecord]:
    """`keeps` is best, `loses` forgets; three seeds of both, and the floor and ceiling."""
    made = []
    for method, first, last in (("keeps", 1.25, 1.0), ("loses", 1.25, 2.5), ("frozen", 3.0, 3.0), ("joint", NAN, 0.75)):
        for seed in range(3):
            off = 0.125 * seed
            matrix = np.array([[NAN] * 2, [first + off, NAN], [last + off, 1.0 + off]])
            made.append(run(method, matrix if score is NATS else matrix / 4, seed, score))
    return made


def texts(figure: object) -> str:
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))  # type: ignore[attr-defined]


def test_a_score_knows_its_direction_and_how_it_is_written() -> None:
    assert (ACCURACY.improvement(0.9, 0.8), NATS.improvement(0.75, 1.0)) == (pytest.approx(0.1), 0.25)
    assert (ACCURACY.best([0.5, NAN, 0.75]), NATS.best([1.5, NAN, 1.25]), NATS.best([NAN])) == (0.75, 1.25, None)
    assert [ACCURACY.text(x) for x in (0.73333, -0.0001, None, NAN)] == ["73.3", "0.0", "n/a", "–"]
    assert [NATS.text(x) for x in (1.23456, -0.0001, None, NAN)] == ["1.235", "0.000", "n/a", "–"]
    assert (ACCURACY.with_unit(0.8), NATS.with_unit(1.5)) == ("80.0%", "1.500 nats per byte")
    assert (ACCURACY.label, NATS.label, IOU.label) == ("accuracy (%)", "nats per byte", "mean IoU (%)")
    assert (ACCURACY.of_differences, NATS.of_differences) == ("points", "nats per byte")
    assert Score("length", "bytes", "lower").text(1234567.0) == "1,234,567"
    for broken, said in (
        ({"name": ""}, "no name"),
        ({"better": "more"}, "better is 'more'; expected 'higher' or 'lower'"),
        ({"low": 1.0, "high": 1.0}, "its range is empty, from 1 to 1"),
    ):
        with pytest.raises(RunError, match=said):
            Score(**{"name": "x", "unit": "", "better": "lower", **broken})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("score", "said"),
    [
        (ACCURACY, "an accuracy is a fraction from 0 to 1, got a cell outside; percentages?"),
        (IOU, "a mean IoU is a fraction from 0 to 1, got a cell outside; percentages?"),
        (SCORES["perplexity"], "perplexity goes from 1 up, got a cell of 0.5"),
        (Score("grade", "", "lower", 1, 6), "grade goes from 1 to 6, got a cell of 0.5"),
    ],
)
def test_a_cell_out_of_range_is_one_line(score: Score, said: str) -> None:
    cells = np.array([[NAN, NAN], [1.5, NAN], [0.5, 1.5]])
    with pytest.raises(RunError, match=r"^matrix: " + said.replace("?", r"\?")):
        run("a", cells, score=score)


def test_a_record_holds_the_whole_score(tmp_path: Path) -> None:
    own = Score("surprise", "bits", "lower")
    for score in (NATS, IOU, own, Score("grade", "", "lower", 1.0, 6.0)):
        made = run("a", R if score is not IOU else R / 4, score=score)
        write_record(tmp_path, made)
        assert read_record(tmp_path) == made
        assert read_record(tmp_path).score == score
    content = json.loads((tmp_path / "results.json").read_bytes())
    assert content["score"] == {"name": "grade", "unit": "", "better": "lower", "low": 1.0, "high": 6.0}
    del content["sha256"]
    write_sealed(tmp_path / "results.json", content | {"score": "mIoU", "schema": 2})
    with pytest.raises(RunError, match="score: 'mIoU' without its unit and range"):
        read_record(tmp_path)
    write_sealed(tmp_path / "results.json", content | {"score": content["score"] | {"better": "more"}})
    with pytest.raises(RunError, match="damaged: score"):
        read_record(tmp_path)


def test_forgetting_is_positive_where_nats_rose() -> None:
    metrics = run("a", np.array([[4.0, 5.0], [1.25, 4.5], [1.5, 2.0]])).metrics
    told = {name: metric.value for name, metric in metrics.items()}
    assert told["accuracy"] == 1.75
    assert told["learning_accuracy"] == 1.625
    assert (told["backward_transfer"], told["forgetting"], told["forward_transfer"]) == (-0.25, 0.25, 0.5)
    assert metrics["accuracy"].title == "Nats per byte after the last task"
    assert "min over l < T of R[l,j]" in metrics["forgetting"].definition
    assert [metric.score.better for metric in metrics.values()] == [
        *("lower", "lower", "higher", "lower", "lower", "higher")
    ]
    assert intransigence(R, [1.0, 1.0], "lower") == pytest.approx((0.25 + 1.0) / 2)


@given(
    st.integers(2, 8).flatmap(lambda T: arrays(np.float64, (T + 1, T), elements=st.floats(-4, 4))),
    st.integers(0, 2**31),
)
def test_negated_scores_give_negated_conclusions(R: Matrix, seed: int) -> None:
    higher, lower = Score("gain", "", "higher"), Score("loss", "", "lower")
    of_gains, of_losses = summary(R, "domain", higher), summary(-R, "domain", lower)
    for definition in matrix_metrics(higher):
        one, other = of_gains[definition.name], of_losses[definition.name]
        assert one.value is not None
        assert other.value is not None
        difference = definition.name in ("backward_transfer", "forgetting", "forward_transfer")
        assert other.value == pytest.approx(one.value if difference else -one.value, abs=1e-12)
        assert (one.score.better == other.score.better) == difference
    for one_variant, other_variant in zip(variants(R, "domain", higher), variants(-R, "domain", lower), strict=True):
        assert other_variant.value == (
            None if one_variant.value is None else pytest.approx(one_variant.value, abs=1e-12)
        )
    joint = np.random.default_rng(seed).uniform(-4, 4, R.shape[1])
    assert intransigence(R, joint) == pytest.approx(intransigence(-R, -joint, "lower"), abs=1e-12)
    values = R[-1].tolist()
    assert higher.best(values) == pytest.approx(-(lower.best([-value for value in values]) or 0.0))
    limits, mirrored = colour_limits(R, higher), colour_limits(-R, lower)
    assert shade(R[0, 0], limits, higher) == pytest.approx(shade(-R[0, 0], mirrored, lower), abs=1e-9)


def test_tables_follow_the_score() -> None:
    assert matrix_table(run("keeps")) == (
        "| nats per byte | poems |  code | mean seen |\n"
        "| ------------- | ----: | ----: | --------: |\n"
        "| after poems   | 1.250 |     – |     1.250 |\n"
        "| after code    | 1.500 | 2.000 |     1.750 |\n"
        "\nnats per byte: lower is better; a negative BWT and a positive F are what got worse\n"
    )
    text = summary_table([run("keeps")])
    assert text.splitlines()[0].split()[3:15:2] == ["seed", "last", "incremental", "BWT", "F", "learned"]
    rows = [line for line in comparison_table(several(), ["last", "F"], "latex").splitlines() if "&" in line]
    assert rows[0] == r"method & seeds & last & F \\"
    assert rows[1].startswith(r"keeps & 3 & \underline{1.125 $\pm$ 0.125} & \textbf{$-$0.250 $\pm$ 0.000}")
    assert rows[4].startswith(r"joint & 3 & \textbf{1.000 $\pm$ 0.125} & n/a")
    assert "lower is better" in comparison_table(several())
    lines = differences_table(several(), against="frozen").splitlines()
    assert "nats per byte" in lines[0]
    assert " ".join(lines[2].split()).startswith("| keeps − frozen | last | 3 | -1.000 ± 0.000")
    assert "accuracy" not in text


def test_a_fraction_that_is_no_accuracy_is_in_percent() -> None:
    text = matrix_table(run("keeps", R / 4, score=IOU))
    assert text.splitlines()[0].startswith("| mean IoU %  | poems | code | mean seen |")
    assert "| after code  |  37.5 | 50.0 |      43.8 |" in text
    assert "mean IoU (%): higher is better" in text


def test_statistics_are_in_the_unit_and_know_the_direction() -> None:
    found = estimates(several(), ["accuracy", "forgetting"])
    assert found["keeps"]["accuracy"].mean == pytest.approx(1.125)
    assert found["loses"]["forgetting"].score == NATS.change("forgetting", "lower")
    comparison = compare(several(), against="loses")[0]
    assert (comparison.score, comparison.mean) == (NATS, pytest.approx(-0.75))


def test_pictures_say_the_unit_and_the_direction(tmp_path: Path) -> None:
    runs, one = several(), run("keeps")
    for figure, said in (
        (accuracy_matrix(one), "Test nats per byte on each task, after each task, lower is better"),
        (tasks_over_time(one), "Test nats per byte of each task, from when it was learned, lower is better"),
        (compare_methods(runs), "Mean test nats per byte on the tasks seen so far, lower is better"),
        (forgetting_of_tasks(one), "Forgetting of each task (nats per byte, last minus best)"),
        (forgetting_of_methods(runs), "nats per byte, last minus best"),
        (cost_against_accuracy(runs), "Mean test nats per byte after the last task, lower is better against its cost"),
        (learning_curves(measured(), NATS), "validation, nats…"),
    ):
        assert said in texts(figure)
        assert "accuracy" not in texts(figure)
    assert "Test mean IoU (%) on each task" in texts(accuracy_matrix(run("a", R / 4, score=IOU)))
    low, high = forgetting_of_tasks(one).axes[0].get_ylim()
    assert 0.25 < high < 0.5, "the axis is as wide as the bars, not a whole point"
    assert low <= 0
    low, high = compare_methods(runs).axes[0].get_ylim()
    assert high < 4
    dark = [text.get_color() for text in accuracy_matrix(run("a", R)).axes[0].texts]
    assert dark[0] != dark[2], "the lowest cell is the darkest, so its number is light"


def measured() -> list[Point]:
    return [replace(point, validation=4.0 - 0.01 * point.step) for point in curves(["poems"], 50)]


def test_validation_above_1_is_on_the_curve_and_learning_speed_goes_down(tmp_path: Path) -> None:
    file = tmp_path / "curves.jsonl"
    file.write_text("".join(point.to_line() for point in measured()))
    points = read_curves(file)
    assert points[0].validation == 3.99
    best = 4.0 - 0.49
    assert learning_speed(points, "lower") == next(
        p.step for p in points if p.validation is not None and 0.9 * p.validation <= best
    )


def write_run(folder: Path, made: RunRecord) -> None:
    """Write a run with what was measured per example."""
    write_record(folder, made)
    file = folder / "predictions" / "task-02.parquet"
    tasks, example = np.array(["poems", "code"]), np.zeros(2, np.int32)
    if made.score is IOU:
        whole = np.array([[[3, 1], [0, 2]], [[2, 2], [2, 2]]])
        PixelCounts.of_confusions(tasks, example, whole, ("sky", "road")).write(file)
    else:
        sizes = np.array([100, 100])
        TokenLikelihoods(tasks, example, 100 * made.matrix[-1], sizes // 4, sizes).write(file)


@pytest.mark.parametrize("score", [NATS, IOU])
def test_report_metrics_and_figures_of_folders(score: Score, tmp_path: Path) -> None:
    for made in several(score):
        write_run(tmp_path / "runs" / made.method / f"seed-{made.seed}", made)
    write_report([tmp_path / "runs"], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert score.label in page
    assert ("does not discriminate" in page) == (score is IOU), "there joint is below frozen"
    told = page[page.index('id="numbers">') + len('id="numbers">') :]
    numbers = json.loads(told[: told.index("</script>")])
    group = numbers["groups"][0]
    assert (group["score"]["unit"], group["score"]["lower"]) == (score.unit, score is NATS)
    assert group["score"]["decimals"] == (3 if score is NATS else 1)
    first = next(one for one in group["runs"] if one["seed"] == 0 and group["series"][one["series"]] == "keeps")
    assert first["matrix"][1] == [1.25 if score is NATS else 31.25]
    assert "<th>percent</th>" in page if score is IOU else "<th>percent</th>" not in page
    folder = tmp_path / "runs" / "keeps" / "seed-0"
    printed = metrics_of_path(folder).markdown()
    assert f"R[i,j] is the {score.title} on task j" in printed
    row = "| Perplexity of all documents" if score is NATS else "| Pixel accuracy of all images"
    assert row in printed
    assert ("Lower is better" in printed) == (score is NATS)
    assert len(metrics_of_path(folder).to_json()["metrics"]) > 8  # type: ignore[arg-type]
    text, _ = write_table([tmp_path / "runs"], metrics=["perplexity" if score is NATS else "mIoU", "seconds", "ECE"])
    assert "n/a (ECE (%))" in text or "n/a (ECE)" in text
    assert "needs class rankings, and this run recorded" in text
    pictures, left_out = run_pictures(folder, read_record(folder))
    assert left_out == []
    assert ("confusion" in pictures) == (score is IOU)
    files = {file.name for file in write_figures([folder], tmp_path / "figures")}
    assert ("keeps-seed-0-confusion-01.png" in files) == (score is IOU)


def test_doubts_follow_the_direction() -> None:
    assert not any("discriminate" in line for line in group_doubts(several()))
    bad = [
        run(m, np.array([[NAN] * 2, [v, NAN], [v, v]]), s)
        for s in range(3)
        for m, v in (("frozen", 1.0), ("joint", 0.98))
    ]
    (line,) = group_doubts(bad)
    assert line.startswith(
        "This stream does not discriminate: the best of all methods, joint (0.980 nats per byte), is not 5 % better "
        "than a frozen backbone, frozen (1.000 nats per byte). "
    )


def test_runs_of_two_scores_are_not_in_one_table() -> None:
    with pytest.raises(RunError, match=r"has score nats_per_byte, .* has score mean_iou; compare them apart"):
        summary_table([run("a"), run("b", R / 4, score=IOU)])
    with pytest.raises(RunError, match="differ: score nats_per_byte against perplexity"):
        comparison_table([run("a"), run("b", R, score=SCORES["perplexity"])])
    one, other = Score("own", "", "lower"), Score("own", "", "higher")
    with pytest.raises(RunError, match=r"own \(no unit, lower is better, -inf to inf\)"):
        summary_table([run("a", score=one), run("b", score=other)])


def test_every_metric_of_a_run_has_a_value_or_a_reason(tmp_path: Path) -> None:
    made = run("keeps")
    write_run(tmp_path, made)
    metric_of = RunMetrics({tmp_path: made})
    for name in METRIC_NAMES:
        metric = metric_of(made, name)
        assert (metric.value is None) != (metric.reason is None)
    assert metric_of(made, "nats_per_byte").value == pytest.approx(1.75)
    assert metric_of(made, "seconds").value == pytest.approx(29.4)
    assert metric_of(made, "pooled_accuracy").reason == "pools accuracies, and this run has nats per byte"
    assert metric_of(made, "pixel_accuracy").reason == "needs pixel counts, and this run recorded token likelihoods"


def test_metrics_of_a_bare_matrix_take_a_score() -> None:
    found = metrics_of_matrix(MatrixFile(("a", "b"), R, ()), "here", "domain", score=NATS)
    assert "| Forgetting" in found.markdown()
    assert "F |  0.250 | nats per byte |" in found.markdown()
    assert "F: all definitions agree on this matrix." in found.markdown()
