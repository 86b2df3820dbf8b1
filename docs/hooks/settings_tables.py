"""Write the settings of a class as a table of key, default and meaning, from the class itself."""

import ast
import inspect
import re
import textwrap
from importlib import import_module
from types import SimpleNamespace
from typing import Literal, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

PAGE = "guide/settings.md"
_BLOCK = re.compile(r"^::: (plora\.[\w.]+)\.(\w+)\n(?:    options: (\{.*\})\n)?", re.MULTILINE)
_BOUNDS = ((Ge, "ge", "≥"), (Gt, "gt", ">"), (Le, "le", "≤"), (Lt, "lt", "<"))


def on_page_markdown(markdown: str, page: SimpleNamespace, **_: object) -> str:
    """Replace what names a class of settings; mkdocstrings does all others."""
    return _BLOCK.sub(_described, markdown) if page.file.src_uri == PAGE else markdown


def _described(found: re.Match[str]) -> str:
    module, name, options = found.groups()
    cls = getattr(import_module(module), name)
    chosen = (yaml.safe_load(options) if options else {}).get("members")
    if not (isinstance(cls, type) and issubclass(cls, BaseModel)) or chosen == []:
        return found[0]
    meanings = {"kind": "Which of the kinds it is."} | _meanings(cls)
    rows = []
    for key in chosen or inspect.get_annotations(cls):
        if (field := cls.model_fields.get(key)) is not None:
            meaning = f"{_cell(meanings[key])} {_allowed(field)}".strip()
            rows.append(f"| `{key}` | {_default(field)} | {meaning} |")
    return "\n".join(
        [
            *(f"### {name} {{#{module}.{name}}}", "", inspect.getdoc(cls) or "", ""),
            *("| key | default | meaning |", "| --- | --- | --- |", *rows, "", ""),
        ]
    )


def _meanings(cls: type) -> dict[str, str]:
    """Return the text below each key; what a class says goes before what those say that it is made of."""
    found: dict[str, str] = {}
    for owner in cls.__mro__:
        if not owner.__module__.startswith("plora"):
            continue
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        assert isinstance(body, ast.ClassDef)
        for line, after in zip(body.body, body.body[1:], strict=False):
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and isinstance(after, ast.Expr):
                found.setdefault(line.target.id, str(ast.literal_eval(after.value)))
    return found


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return "those of its own table" if isinstance(value, BaseModel) else f"`{_yaml(value)}`"


def _yaml(value: object) -> str:
    """Return a default as it would stand in a config."""
    plain = list(value) if isinstance(value, tuple | list) else str(value) if not _is_plain(value) else value
    style = '"' if isinstance(plain, str) and "\n" in plain else None  # in one line, as rows of a table are
    return (
        yaml.safe_dump(plain, default_flow_style=True, default_style=style, width=1000).removesuffix("\n...\n").strip()
    )


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str | dict)


def _allowed(field: FieldInfo) -> str:
    """Return the values and the range that a key takes, in words."""
    values = [f"`{value}`" for value in dict.fromkeys(_literals(field.annotation))]
    bounds = [
        f"{sign} {getattr(m, name):g}" for kind, name, sign in _BOUNDS for m in field.metadata if isinstance(m, kind)
    ]
    said = ([f"One of {', '.join(values)}."] if len(values) > 1 else []) + (
        [f"({', '.join(bounds)})"] if bounds else []
    )
    return " ".join(said)


def _literals(annotation: object) -> list[object]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [value for part in get_args(annotation) for value in _literals(part)]


def _cell(text: str) -> str:
    """Return a text as one cell; a stroke is no end of a cell, outside code."""
    parts = " ".join(text.split()).split("`")
    return "`".join(part if number % 2 else part.replace("|", "&#124;") for number, part in enumerate(parts))
