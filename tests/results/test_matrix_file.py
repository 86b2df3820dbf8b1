from pathlib import Path

import numpy as np
import pytest

from plora.results import MetricError, read_matrix
from plora.results.record.matrix_file import read_row

NAN = np.nan
PLAIN = "0.9,,\n0.7,0.8,\n0.6,0.75,0.85\n"
LOWER = np.array([[NAN] * 3, [0.9, NAN, NAN], [0.7, 0.8, NAN], [0.6, 0.75, 0.85]])


@pytest.fixture
def write(tmp_path: Path):  # type: ignore[no-untyped-def]
    def write(text: str, name: str = "m.csv") -> Path:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        "\ufeff" + PLAIN.replace("\n", "\r\n"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace(",", ";"),
        "a,b,c\n" + PLAIN,
        ",a,b,c\nafter a,0.9,,\nafter b,0.7,0.8,nan\nafter c,0.6,0.75,0.85\n",
        "after,a,b,c\n1,0.9,n/a,-\n2,0.7,0.8,–\n3,0.6,0.75,0.85\n",
        PLAIN + "\n\n",
    ],
)
def test_the_shapes_in_which_people_write_it(write, text: str) -> None:  # type: ignore[no-untyped-def]
    np.testing.assert_array_equal(read_matrix(write(text)).matrix, LOWER)


def test_row_0_is_known_by_the_shape(write) -> None:  # type: ignore[no-untyped-def]
    found = read_matrix(write(",a,b\nbefore,.5,.25\n1,.9,.3\n2,.7,.8\n"))
    np.testing.assert_array_equal(found.matrix, [[0.5, 0.25], [0.9, 0.3], [0.7, 0.8]])
    assert found.tasks == ("a", "b")
    one = read_matrix(write("0.2\n0.7\n"))
    np.testing.assert_array_equal(one.matrix, [[0.2], [0.7]])
    assert one.tasks == ("task 1",)


@pytest.mark.parametrize("T", [11, 120])
def test_columns_stay_in_the_order_of_the_file(write, T: int) -> None:  # type: ignore[no-untyped-def]
    names = [f"{20 * k}-{20 * k + 19}" for k in range(T)]
    rows = [",".join([f"after {i}", *(f"{j / 1000}" if j <= i else "" for j in range(T))]) for i in range(T)]
    found = read_matrix(write("\n".join([",".join(["", *names]), *rows])))
    assert found.tasks == tuple(names)
    np.testing.assert_array_equal(found.matrix[-1], np.arange(T) / 1000)


def test_percentages_are_said(write) -> None:  # type: ignore[no-untyped-def]
    path = write("90,\n70.5,80\n")
    np.testing.assert_allclose(read_matrix(path, percent=True).matrix[1:], [[0.9, NAN], [0.705, 0.8]])
    with pytest.raises(MetricError, match=r"a cell is 90, more than 1; say --percent"):
        read_matrix(path)
    with pytest.raises(MetricError, match="no cell is more than 1; leave out --percent"):
        read_matrix(write(PLAIN), percent=True)


def test_numbers_that_may_be_names_are_asked_for(write) -> None:  # type: ignore[no-untyped-def]
    header = write("1,2\n.9,.3\n.7,.8\n")
    with pytest.raises(MetricError, match=r"line 1 counts \(1, 2\); say --header"):
        read_matrix(header)
    assert read_matrix(header, header=True).tasks == ("1", "2")
    with pytest.raises(MetricError, match="more than 1"):
        read_matrix(header, header=False)
    both = write("0,1,2,3\n1,.9,.3,.1\n2,.7,.8,.2\n3,.6,.75,.85\n")
    with pytest.raises(MetricError, match="line 1 counts"):
        read_matrix(both)
    assert read_matrix(both, header=True).tasks == ("1", "2", "3")
    column = write("0,.5,.5,.5\n1,.9,.3,.1\n2,.7,.8,.2\n3,.6,.75,.85\n")
    with pytest.raises(MetricError, match=r"the first column counts \(0, 1, 2, …\); say --row-names"):
        read_matrix(column)
    np.testing.assert_array_equal(read_matrix(column, row_names=True).matrix[0], [0.5] * 3)


def test_zeros_above_the_diagonal_are_pointed_at(write) -> None:  # type: ignore[no-untyped-def]
    assert any("above the diagonal is 0" in note for note in read_matrix(write(".9,0\n.7,.8\n")).notes)
    assert not any("above" in note for note in read_matrix(write(".9,.1\n.7,.8\n")).notes)
    assert not any("above" in note for note in read_matrix(write(PLAIN)).notes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("a,b\n", "names but no numbers"),
        (",\n,\n", "has no number"),
        (".9,.8,.7,.6\n.7,.8,.5,.4\n", r"has 2 rows of 4 numbers; T tasks need T columns"),
        (".9,.8\n.7\n", "line 2 has 1 cells, line 1 has 2"),
        ("a,b\n.9,x\n.7,.8\n", "'x' is not a number"),
        ("a,b\n.9,80%\n.7,.8\n", "'80%' is not a number"),
        ("a;b\n0,9;0,3\n0,7;0,8\n", r"'0,3' is not a number; write accuracies with a decimal point"),
        (".9,-.1\n.7,.8\n", "never negative"),
        ("a,b\n.9,inf\n.7,.8\n", "more than 1"),
        ('"a,b\n.9\n', r"not CSV|names but no numbers"),
    ],
)
def test_what_is_no_matrix_is_one_line(write, text: str, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(MetricError, match=message) as caught:
        read_matrix(write(text))
    assert "\n" not in str(caught.value)


def test_percent_has_an_end(write) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(MetricError, match="more than 100 percent"):
        read_matrix(write("900,\n70,80\n"), percent=True)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(MetricError, match="cannot be read"):
        read_matrix(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe0\x00")
    with pytest.raises(MetricError, match="not UTF-8"):
        read_matrix(tmp_path / "b.csv")


def test_a_line_of_references(write) -> None:  # type: ignore[no-untyped-def]
    for text in (".9,.8\n", "a,b\n.9,.8\n", "joint,.9,.8\n", ",a,b\njoint,.9,.8\n"):
        np.testing.assert_array_equal(read_row(write(text)), [0.9, 0.8])
    np.testing.assert_array_equal(read_row(write("90,80\n"), percent=True), [0.9, 0.8])
    assert read_row(write(".9,.8\n.7,.6\n")) is None
