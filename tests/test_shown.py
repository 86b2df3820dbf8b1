"""Hostile names and texts: everywhere a person meets them they are text, on one line, and all of it can be seen."""

import csv
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from typer.testing import CliRunner

from plora.cli import app
from plora.config import load_config
from plora.errors import ConfigError
from plora.events.console import Console, word
from plora.export import export
from plora.results import read_record, write_report
from plora.results.pictures.figure import new_figure, title, to_svg
from plora.runs import run
from plora.shown import (
    markdown_cell,
    markdown_code,
    markdown_text,
    shell_word,
    visible,
    visible_json,
    visible_lines,
)

HOSTILE = (
    "\x1b[31mred",
    "a\nb|c",
    "=cmd|' /C calc'!A0",
    "<img src=x onerror=alert(1)>",
    "\u202e$\\frac$ [x](javascript:alert(1))",
)
TEXT = st.one_of(st.text(), st.text(st.characters(codec=None)), st.text("\\`*_[]()<>!|&#;:-+=~>1. \n\x1ba"))
MARKDOWN = MarkdownIt("commonmark").enable("table")


# ---------------------------------------------------------------------- the rule


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m", r"\x1b[31m"),
        ("a\nb\r\tc\x7f\x85", r"a\nb\r\tc\x7f\x85"),
        ("\u2028\u2029\u061c\u200e\u200f", r"\u2028\u2029\u061c\u200e\u200f"),
        ("\u202aa\u202e\u2066b\u2069", r"\u202aa\u202e\u2066b\u2069"),
        ("\ufeff\u200b\u2060\U000e0041", r"\ufeff\u200b\u2060\U000e0041"),
        ("\ud800 \udcff", r"\ud800 \udcff"),
        ("\0", r"\x00"),
    ],
)
def test_what_cannot_be_seen_is_written_as_its_escape(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "O'Brien & Söhne, 100 % <3",
        r"C:\new \x1b \u202e",
        "می\u200cخواهم",  # Persian needs U+200C
        "क्\u200dष שלום مرحبا 中文 ภาษาไทย e\u0301",
        "👩\u200d👩\u200d👧 ❤\ufe0f 🇩🇪",
        "a\u00a0b\u3000c",
    ],
)
def test_texts_of_every_language_are_untouched(text: str) -> None:
    assert visible(text) == text
    assert json.loads(visible_json(text)) == text
    assert word(text).replace("_", "") == "".join(text.split()).replace("_", "")


@given(TEXT)
def test_an_escaped_text_is_printable_and_is_not_escaped_again(text: str) -> None:
    once = visible(text)
    assert visible(once) == once
    assert len(once.splitlines()) <= 1
    once.encode("utf-8")
    assert visible_lines(text).count("\n") == text.count("\n")
    assert len(word(text).split()) == 1


@given(st.recursive(TEXT, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)))
@example("\U000e0041\x85\u202e")
def test_json_stays_json(value: object) -> None:
    for indent in (None, 2):
        text = visible_json(value, indent)
        assert json.loads(text) == json.loads(json.dumps(value))
        assert visible_lines(text) == text


def _inner(markdown: str) -> list[tuple[str, str]]:
    """Type and content of what stands in the lines of a Markdown text."""
    return [(part.type, part.content) for token in MARKDOWN.parse(markdown) for part in token.children or []]


@given(TEXT)
@example("<img src=x onerror=alert(1)>")
@example("[x](javascript:alert(1))")
@example("[x]: javascript:alert(1)")
@example("\\<b>")
@example("\\](a)[x\\]")
@example("![a](http://a)")
@example("1. a")
@example("__0__")
def test_markdown_has_the_text_and_nothing_else(text: str) -> None:
    line = f"{markdown_text(text)} end"
    tokens = [token.type for token in MARKDOWN.parse(line)]
    assert tokens == ["paragraph_open", "inline", "paragraph_close"]
    assert {kind for kind, _ in _inner(line)} <= {"text", "text_special"}
    table = f"| {markdown_cell(text)} | last |\n| --- | --- |\n| {markdown_cell(text)} | last |\n"
    cells = [token.content for token in MARKDOWN.parse(table) if token.type == "inline"]
    assert cells[1::2] == ["last", "last"], cells
    assert {kind for kind, _ in _inner(table)} <= {"text", "text_special"}
    assert _inner(f"`a{markdown_code(text)}b`") == [("code_inline", f"a{markdown_code(text)}b")]


@pytest.mark.parametrize(
    "text", ["o_lora", "lora.targets [query, value]", "R & D", "<0.001", "-3.2", "C:\\new", "a (b)"]
)
def test_ordinary_names_are_readable_in_markdown(text: str) -> None:
    assert markdown_cell(text) == text


def test_a_word_of_the_shell_is_the_text_again() -> None:
    for text in ("plain", "it's two", "a\nb'\\ \x1b\u202e\x85", "$'x'", "a\\nb"):
        command = f"printf %s {shell_word(text)}"
        assert visible(command) == command
        done = subprocess.run(["bash", "-c", command], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"})
        assert done.stdout.decode() == text


# ---------------------------------------------------------------------- borders


def test_a_terminal_gets_no_markup_no_emoji_and_no_escape(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(live=True)
    console.event("task_done", task="[red]:bug:\x1b[2J\nx")
    assert r"[red]:bug:\x1b[2J\nx" in capsys.readouterr().out
    console.progress("train \x1b[2J\u202e", 1, 2)
    assert console._bar.tasks[0].description == r"train \x1b[2J\u202e"


def test_a_picture_shows_names_as_they_are() -> None:
    figure, (ax,) = new_figure(3, 2)
    title(ax, "$\\frac$ \x1b\u202e \ufffe")
    ax.set_xticks([0, 1], [visible("a\nb|c"), "$x"])
    svg = to_svg(figure)
    assert r"$\frac$ \x1b\u202e \ufffe" in svg
    assert visible_lines(svg) == svg


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["name=a\0b"], r"name: got 'a\x00b'; no name, path or text of a config has a NUL character"),
        (['name="a\\0"'], r"name: got 'a\x00'; no name, path or text of a config has a NUL character"),
        (['output="a\\0"'], r"output: got 'a\x00'; no name, path or text of a config has a NUL character"),
        (['backbone.id="\\ud800"'], r"backbone.id: got '\ud800'; it has half of a character"),
        (["name=\udcff"], r"name: got '\udcff'; it has half of a character"),
        (['order=["\\ud83d"]'], r"order.0: got '\ud83d'; it has half of a character"),
        (['added=[{name: a, train: a, map: {"\\0": p}}]'], r"added.0.map.\x00: got '\x00'; no name, path or text"),
    ],
)
def test_half_characters_and_nul_get_one_line(toy_values: dict[str, Any], overrides: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_config(toy_values, overrides)
    assert str(refused.value).startswith(line)
    assert len(str(refused.value).splitlines()) == 1


def test_paths_with_nul_get_one_line(toy_values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^output: got 'a\\x00'[^\n]*$"):
        load_config({**toy_values, "output": Path("a\0")})


def test_json_writes_one_character_as_two_escapes(toy_values: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**toy_values, "order": ["😀"]}))
    assert r"\ud83d\ude00" in path.read_text()
    assert load_config(path).order == ("😀",)


# ---------------------------------------------------------------------- a whole run


def _hostile_run(toy_config: Callable[..., Any], toy_values: dict[str, Any], tmp_path: Path) -> Path:
    """Learn a stream whose names of tasks and labels are hostile; returns the run's folder."""
    tasks = []
    for number, name in enumerate(HOSTILE):
        path = tmp_path / f"{number}.jsonl"
        labels = (f"{name} {number}", f"\0{name}")
        rows = [{"text": f"{name} apple {i}", "label": labels[i % 2]} for i in range(16)]
        path.write_text("\n".join(map(json.dumps, rows)))
        tasks.append({"name": name, "train": str(path)})
    toy_values["stream"] = {"kind": "local", "name": "<img src=x>\x1b`", "tasks": tasks}
    return run(toy_config("method=per_task", "training.epochs=1"), Console(live=False))


def _seen(text: str) -> None:
    assert visible_lines(text) == text, next(line for line in text.split("\n") if visible(line) != line)


def test_a_run_with_hostile_names_is_shown_as_text(
    toy_config: Callable[..., Any],
    toy_values: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hostile = _hostile_run(toy_config, toy_values, tmp_path)
    printed = capsys.readouterr().out
    assert r"task=\x1b[31mred" in printed
    _seen(printed)
    log = (hostile / "log.txt").read_text(encoding="utf-8")
    assert all(len(line.split()) > 1 and " event=" in line for line in log.splitlines())
    _seen(log)

    def plora(*arguments: str) -> str:
        done = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert done.exit_code == 0, done.output
        return done.stdout

    for kind in ("methods", "runs", "matrix"):
        _seen(markdown := plora("table", str(hostile), "--kind", kind))
        assert "html_inline" not in {part for part, _ in _inner(markdown)}
        _seen(cells := plora("table", str(hostile), "--kind", kind, "--format", "csv"))
        assert not [cell for row in csv.reader(io.StringIO(cells)) for cell in row if cell.startswith("=")]
        _seen(plora("table", str(hostile), "--kind", kind, "--format", "latex"))
    _seen(plora("metrics", str(hostile)))
    json.loads(as_json := plora("metrics", str(hostile), "--json"))
    _seen(as_json)

    text = "\x1b]0;x\x07 \u202e <img>"
    _seen(labels := plora("predict", str(hostile), "--task", "a\nb|c", text).replace("\t", " "))
    assert r"\x00a\nb|c" in labels
    _seen(labels := plora("predict", str(hostile), "--task", "a\nb|c", "--json", text))
    assert json.loads(labels)["text"] == text
    _seen(plora("evaluate", str(hostile)))

    write_report([hostile], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    body = page[page.index("<body") :]
    assert "<img" not in body
    assert "&lt;img src=x onerror=alert(1)&gt;" in body
    _seen(body)

    export(hostile, tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    _seen(card)
    kinds = {token.type for token in MARKDOWN.parse(card)} | {kind for kind, _ in _inner(card)}
    assert not kinds & {"html_inline", "html_block", "link_open", "image"}
    folders = [path for path in (tmp_path / "out").iterdir() if path.is_dir()]
    assert len(folders) == len(HOSTILE)
    assert read_record(hostile).tasks == HOSTILE  # inside, names stay what they are
