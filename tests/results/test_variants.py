import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from peer_matrices import CLASS_GROUPS, ONE_MATRIX_FIVE_FORMULAS, TWENTY_CLASSES_PER_TASK, as_matrix

from plora.results import VARIANTS, MetricError, Variant, backward_transfer, forgetting, summary, variants
from plora.results.metrics.variants import forgetting_over_all_rows
from plora.results.record.matrix import Matrix

NAN = np.nan
SMALL = np.array([[0.25, 0.25, 0.25], [0.9, 0.2, 0.1], [0.7, 0.8, 0.3], [0.6, 0.75, 0.85]])


def by_printer(R: Matrix, metric: str) -> dict[str, Variant]:
    return {v.printed_by: v for v in variants(R, "domain") if v.metric == metric}


def test_on_a_matrix_computed_by_hand() -> None:
    values = {(v.symbol, v.printed_by): v.value for v in variants(SMALL, "domain")}
    assert values == pytest.approx(
        {
            ("F", "PyCIL, Mammoth, SD-LoRA"): (0.3 + 0.05) / 2,
            ("F", "Avalanche"): (0.3 + 0.05) / 2,
            ("F", "LibContinual"): 0.3 / 2,
            ("F", "CODA-Prompt"): (0.2 + (0.1 + 0.05) / 2) / 2,
            ("BWT", "GEM's code"): (-0.3 - 0.05) / 3,
            ("BWT", "LibContinual"): -0.3 * 2 / 6,
            ("FWT", "GEM's code"): 0.0,
            ("FWT", "Mammoth"): 0.0,
            ("FWT", "zeros for unmeasured cells"): -0.5,
        },
        abs=1e-12,
    )


def test_one_matrix_gives_what_five_toolkits_print() -> None:
    R = as_matrix(ONE_MATRIX_FIVE_FORMULAS)
    printed = {(v.symbol, v.printed_by): f"{100 * v.value:.2f}" for v in variants(R, "class") if v.value is not None}
    assert f"{100 * forgetting(R):.2f}" == "13.74"
    assert f"{100 * backward_transfer(R):.2f}" == "-13.69"
    assert printed["F", "PyCIL, Mammoth, SD-LoRA"] == "13.74"
    assert printed["F", "Avalanche"] == "13.69"
    assert printed["F", "LibContinual"] == "13.43"
    assert printed["F", "CODA-Prompt"] == "2.89"
    assert printed["BWT", "LibContinual"] == "-9.96"
    assert printed["BWT", "GEM's code"] == "-12.32"
    assert ("FWT", "GEM's code") not in printed


def test_columns_sorted_as_texts_are_another_forgetting() -> None:
    R = as_matrix(TWENTY_CLASSES_PER_TASK)
    assert f"{100 * forgetting_over_all_rows(R):.2f}" == "5.17"
    T = R.shape[1]
    mixed = np.zeros((T, T))
    for i in range(1, T + 1):  # the peers' defect: the groups seen so far, sorted as texts, row by row
        mixed[i - 1, :i] = [R[i, CLASS_GROUPS.index(name)] for name in sorted(CLASS_GROUPS[:i])]
    assert f"{100 * (mixed.max(axis=0) - mixed[-1])[: T - 1].mean():.2f}" == "6.11"


def test_a_task_that_got_better_counts_for_some_only() -> None:
    R = np.array([[NAN] * 3, [0.6, NAN, NAN], [0.9, 0.5, NAN], [0.7, 0.8, 0.4]])
    found = by_printer(R, "forgetting")
    assert forgetting(R) == pytest.approx(-0.05)
    assert found["PyCIL, Mammoth, SD-LoRA"].value == pytest.approx(0.1)
    assert found["PyCIL, Mammoth, SD-LoRA"].difference == pytest.approx(0.15)
    assert found["Avalanche"].value == pytest.approx(-0.2)
    assert found["LibContinual"].value == pytest.approx(-0.05)
    assert found["CODA-Prompt"].value == pytest.approx((-0.3 + (0.2 - 0.3) / 2) / 2)


@given(st.integers(3, 12).flatmap(lambda T: arrays(np.float64, (T + 1, T), elements=st.floats(0, 1))))
def test_against_loops_written_as_the_peers_write_them(R: Matrix) -> None:
    T = R.shape[1]
    r = R[1:]  # counted from 0, as the peers' code does
    consecutive = sum((r[t - 1, i] - r[t, i]) / t for t in range(1, T) for i in range(t)) / (T - 1)
    k = T - 1
    frgt = sum(np.diag(r)[: k - 1] - r[-1][: k + 1][:-2]) / k
    bwt = sum(r[i, j] - r[j, j] for i in range(2, k) for j in range(i - 1))
    bwt += sum(r[-1, j] - r[j, j] for j in range(k - 1))
    F, B = by_printer(R, "forgetting"), by_printer(R, "backward_transfer")
    assert F["CODA-Prompt"].value == pytest.approx(consecutive, abs=1e-9)
    assert F["LibContinual"].value == pytest.approx(frgt, abs=1e-9)
    assert B["LibContinual"].value == pytest.approx(bwt * 2 / (k * (k + 1)), abs=1e-9)
    assert B["GEM's code"].value == pytest.approx((r[-1] - np.diag(r)).mean(), abs=1e-9)
    assert F["PyCIL, Mammoth, SD-LoRA"].value == pytest.approx((r.max(axis=0) - r[-1])[: T - 1].mean(), abs=1e-9)


@given(
    st.integers(3, 8).flatmap(lambda T: arrays(np.float64, (T + 1, T), elements=st.floats(0, 1))),
    st.data(),
)
def test_a_missing_cell_is_an_error_or_does_not_matter(R: Matrix, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(R) - 1))
    column = data.draw(st.integers(0, R.shape[1] - 1))
    holed = R.copy()
    holed[row, column] = NAN
    for definition in VARIANTS:
        try:
            value = definition.function(holed)
        except MetricError:
            continue
        if not (definition.function is forgetting_over_all_rows and row <= column):
            assert value == pytest.approx(definition.function(R), abs=1e-12)


def test_what_has_no_value_says_why() -> None:
    for R in (SMALL, SMALL[:, :1][:2], np.full((3, 2), NAN)):
        for variant in variants(R, "class"):
            assert (variant.value is None) == (variant.reason is not None)
    two = {v.printed_by: v for v in variants(np.array([[NAN, NAN], [0.9, NAN], [0.5, 0.7]]), "task")}
    assert two["LibContinual"].reason == "leaves out two tasks, so there must be at least three"
    assert summary(SMALL, None)["forward_transfer"].reason is not None
