import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_runs import record

from plora.results import accuracy_matrix, tasks_over_time, to_png, to_svg
from plora.results.pictures.figure import CSS_VARIABLES, spread
from plora.results.tables.one_line import elide, shorten


@given(st.lists(st.floats(0, 100), min_size=1, max_size=15), st.floats(0.1, 20))
def test_spread_keeps_order_distance_and_limits(values: list[float], gap: float) -> None:
    places = np.array(spread(values, gap, 0, 100))
    order = np.argsort(values, kind="stable")
    possible = min(gap, 100 / max(1, len(values) - 1))
    assert (np.diff(places[order]) >= possible - 1e-6).all()
    assert places.min() >= -1e-6
    assert places.max() <= 100 + 1e-6


def test_spread_leaves_what_does_not_collide_and_centres_what_does() -> None:
    assert spread([10, 50, 90], 5, 0, 100) == pytest.approx([10, 50, 90])
    assert spread([50, 50, 90], 4, 0, 100) == pytest.approx([48, 52, 90])


def test_shorten() -> None:
    assert shorten("short", 5) == "short"
    assert shorten("two\nlines  here", 30) == r"two\nlines here"
    assert shorten("longer than that", 8) == "longer…"


def test_svg_is_one_element_that_can_stand_in_a_page() -> None:
    svg = to_svg(accuracy_matrix(record()), "a")
    root = ET.fromstring(svg)
    assert root.tag.endswith("svg")
    assert "viewBox" in root.attrib
    assert "<metadata" not in svg
    assert "http" not in svg.replace("http://www.w3.org", "")  # nothing is fetched
    assert "var(--ink, " in svg
    for colour in CSS_VARIABLES:
        assert f": {colour}" not in svg


def test_svg_is_repeatable_and_its_ids_are_unique_between_pictures() -> None:
    first, again, other = (to_svg(tasks_over_time(record()), salt) for salt in ("a", "a", "b"))
    assert first == again
    ids = [
        {element.attrib["id"] for element in ET.fromstring(svg).iter() if "id" in element.attrib}
        for svg in (first, other)
    ]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_names_are_written_as_they_are() -> None:
    name = "<b>$x_1$</b> & 中文 🐍"
    run = record(tasks=[name, "other"])
    svg = to_svg(tasks_over_time(run), "a")
    texts = [element.text for element in ET.fromstring(svg).iter() if element.tag.endswith("text")]
    assert name in texts
    assert to_png(tasks_over_time(run), 50).startswith(b"\x89PNG")  # a missing glyph is a box, not an error


def test_long_labels_keep_the_end_that_tells_them_apart() -> None:
    labels = [f"per_task, training.learning_rate {rate}" for rate in ("0.01", "0.002")]
    shown = [elide(label, 24) for label in labels]
    assert shown == ["per_task, t…ng_rate 0.01", "per_task, t…g_rate 0.002"]
    assert elide("o_lora\n(a)", 24) == r"o_lora\n(a)"
