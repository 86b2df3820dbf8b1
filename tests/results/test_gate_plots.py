from dataclasses import replace

import numpy as np
import pytest
from made_up_runs import record

from plora.errors import RunError
from plora.results import gate_coefficients


def test_a_cell_per_task_and_slot_and_a_gap_where_a_slot_is_not_on_the_route() -> None:
    gates = tuple({f"slot {k}": 1 / (t + 1) for k in range(t + 1)} for t in range(5))
    ax = gate_coefficients(replace(record(), gates=gates)).axes[0]
    written = [text.get_text() for text in ax.texts]
    assert [text for text in written if text in ("1", "0.5", "0.33", "0.25", "0.2")] == [
        *["1"],
        *["0.5"] * 2,
        *["0.33"] * 3,
        *["0.25"] * 4,
        *["0.2"] * 5,
    ]
    assert len([patch for patch in ax.patches if patch.get_hatch()]) == 10
    assert [label.get_text() for label in ax.get_yticklabels()][:2] == ["after library", "after kind"]


def test_many_slots_have_a_key_and_no_coefficients_have_a_reason() -> None:
    many = tuple({f"t{k}": float(k == t) for k in range(40)} for t in range(40))
    tasks = [f"t{k}" for k in range(40)]
    figure = gate_coefficients(replace(record(tasks=tasks), gates=many))
    assert len(figure.axes) == 2  # the second is the key
    with pytest.raises(RunError, match="no gate"):
        gate_coefficients(record())


def test_pruned_and_negative_coefficients_are_shown() -> None:
    ax = gate_coefficients(replace(record(), gates=({"a": 1.5, "b": -0.25}, {"a": 0.0}))).axes[0]
    assert {"1.5", "−0.25", "0"} <= {text.get_text() for text in ax.texts}
    assert np.isclose(ax.collections[0].norm.vmin, -0.25)
