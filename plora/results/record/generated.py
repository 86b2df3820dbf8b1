"""Texts that a network wrote to stand in for old tasks: `generated/task-03.jsonl`, those rehearsed in the third task.

One JSON object per line: `task` (number of the old task, from 1) and `intended` (the class) that it was written for,
null where it was for none in particular, `answer` (what the model took it for before the new task; empty of a document,
which has no class), `confidence` (the probability that it gave the intended class, or where there is none its answer;
of a document the geometric mean of those of its tokens), `rejected` (null where the text is rehearsed, else why it is
not) and `text`.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import NoneType

from plora.errors import RunError
from plora.regular import inside, read_file


@dataclass(frozen=True)
class GeneratedText:
    """One of them."""

    task: int | None
    intended: str | None
    answer: str
    confidence: float
    rejected: str | None
    text: str


def to_lines(texts: Iterable[GeneratedText]) -> bytes:
    """Return the content of a file."""
    return "".join(json.dumps(asdict(text), ensure_ascii=False) + "\n" for text in texts).encode("utf-8", "replace")


def read_generated(path: Path) -> list[GeneratedText]:
    """Read a file of generated texts.

    Raises:
        RunError: it is missing or damaged; names the line.
    """
    types: dict[str, type | tuple[type, ...]] = {"task": (int, NoneType), "confidence": (int, float)}
    types |= {"intended": (str, NoneType), "rejected": (str, NoneType), "answer": str, "text": str}
    found = []
    try:
        lines = read_file(path).decode("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path} cannot be read: {error}") from None
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            values = None
        if (
            not isinstance(values, dict)
            or values.keys() != {field.name for field in fields(GeneratedText)}
            or not all(isinstance(values[name], kind) for name, kind in types.items())
            or not 0 <= values["confidence"] <= 1
        ):
            raise RunError(f"{path} is damaged: line {number} is no generated text")
        found.append(GeneratedText(**values))
    return found


def generated_files(folder: Path) -> list[Path]:
    """Return the files of generated texts of a run folder, in the order of the tasks."""
    home = inside(folder, "generated")
    names = sorted((path.name for path in home.glob("task-*.jsonl")), key=lambda name: (len(name), name))
    return [inside(folder, "generated", name) for name in names]


@dataclass(frozen=True)
class ClassOfTexts:
    """What was written for one old class.

    Args:
        task: number of the old task, from 1; None where texts were for no class in particular.
        name: of the class; empty of documents.
        written: texts written for it; of those for none, texts of which the model said that they are of it.
        kept: those of them that are rehearsed.
        confidence: the mean probability that the model gave it for those; None where there is none.
        samples: some of them.
    """

    task: int | None
    name: str
    written: int
    kept: int
    confidence: float | None
    samples: tuple[str, ...]


def by_class(texts: Sequence[GeneratedText], samples: int) -> list[ClassOfTexts]:
    """Return what was written for each old class, with so many of the texts that are rehearsed, the first of them."""
    meant = [(text.task, text.answer if text.intended is None else text.intended) for text in texts]
    found = []
    for task, name in dict.fromkeys(meant):
        own = [text for text, meaning in zip(texts, meant, strict=True) if meaning == (task, name)]
        kept = [text for text in own if text.rejected is None]
        found.append(
            ClassOfTexts(
                task=task,
                name=name,
                written=len(own),
                kept=len(kept),
                confidence=sum(text.confidence for text in kept) / len(kept) if kept else None,
                samples=tuple(text.text for text in kept[:samples]),
            )
        )
    return found
