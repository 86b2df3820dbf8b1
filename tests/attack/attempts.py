"""What each verb makes of a run folder that somebody has tampered with, in a child that may hang, and what is left."""

import hashlib
import json
import os
import shutil
import stat
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from killing import in_child, snapshot

from plora.config import load_task
from plora.errors import PloraError
from plora.events.console import Console
from plora.export import export
from plora.results import find_runs, metrics_of_path, write_report, write_table
from plora.runs import evaluate, extend, forget, predict, resume, verify

SECONDS = 120.0
"""After which a child hangs; each case takes a hundredth of it."""
TEXTS = ("the apple and a pear", "very old rye", "a train of the platform")


@dataclass(frozen=True)
class Case:
    """A copy of a run, and what the verbs need beside it.

    Args:
        run: the folder.
        extra: `nature-train` and `nature-test`, a task to extend the run by.
        named: whether predictions are asked for a named task.
    """

    run: Path
    extra: Mapping[str, Path]
    named: bool


def _verify(case: Case) -> object:
    found = verify(case.run)
    if found.problems:
        raise _UnsoundError("; ".join(found.problems))
    return found.checkpoints, found.files, found.examples


def _evaluate(case: Case) -> object:
    found = evaluate(case.run)
    return found.tasks, found.values, found.recorded, found.changed


def _predict(case: Case) -> object:
    return [
        (one.labels, one.probabilities) for one in predict(case.run, TEXTS, task="food" if case.named else None, top=2)
    ]


def _export(case: Case) -> object:
    folder = case.run.parent / "exported"
    export(case.run, folder, task=None)
    weights = sorted(path for path in folder.rglob("*") if path.suffix in (".safetensors", ".json"))
    return [(path.relative_to(folder).as_posix(), _sha(path)) for path in weights]


def _report(case: Case) -> object:
    page = case.run.parent / "report.html"
    found = write_report([case.run], page)
    assert page.stat().st_size > 1000
    return _numbers(found.runs[case.run].to_json())


def _metrics(case: Case) -> object:
    return metrics_of_path(case.run).to_json()


def _table(case: Case) -> object:
    text, _ = write_table([case.run], kind="matrix")
    if said := [line for line in text.splitlines() if line.startswith("n/a (chance)")]:
        raise _UnsoundError("; ".join(said))
    return text, {str(record.seed) for record in find_runs([case.run]).runs.values()}


def _resume(case: Case) -> object:
    resume(case.run, Console(live=False))
    return _learned(case.run)


def _extend(case: Case) -> object:
    task = load_task(case.extra["nature-train"], ["name=nature", f"test='{case.extra['nature-test']}'"])
    extend(case.run, task, Console(live=False))
    return _learned(case.run)


def _forget(case: Case) -> object:
    forget(case.run, "food")
    learned, numbers = _learned(case.run)  # what was predicted is not read
    return {key: value for key, value in learned.items() if not key.endswith(".parquet")}, numbers


READING: Mapping[str, Callable[[Case], object]] = {
    "verify": _verify,
    "evaluate": _evaluate,
    "predict": _predict,
    "export": _export,
    "report": _report,
    "metrics": _metrics,
    "table": _table,
}
WRITING: Mapping[str, Callable[[Case], object]] = {"resume": _resume, "extend": _extend, "forget": _forget}
VERBS = {**READING, **WRITING}


class _UnsoundError(PloraError):
    """What `verify` returns and does not raise."""


def _numbers(record: Mapping[str, object]) -> object:
    return {key: record[key] for key in ("matrix", "tasks", "seed", "method", "metrics", "status")}


def _learned(run: Path) -> tuple[dict[str, str], object]:
    """What has to be the same after a verb that writes: all but times, and files that are not the run's."""
    found = {key: value for key, value in snapshot(run).items() if key not in ("files", "curves")}
    results = json.loads(found.pop("results"))
    return {key: repr(value) for key, value in sorted(found.items())}, _numbers(results)


@dataclass(frozen=True)
class Outcome:
    """How a verb ended.

    Args:
        how: `refused`, `done`, `failed` (another exception than a PloraError) or `hung`.
        said: the refusal, or the traceback.
        result: sha256 of what came out.
    """

    how: str
    said: str = ""
    result: str = ""

    @property
    def clear(self) -> bool:
        """Whether it is one line that can be printed."""
        return self.how == "refused" and bool(self.said) and self.said.isprintable()


def attempt(work: Sequence[tuple[str, Callable[[], Case]]], answers: Path) -> list[Outcome]:
    """Do some verbs in one child, each on a case of its own, and say how each of them ended.

    Args:
        work: verbs, each with what makes its case.
        answers: where the child writes down what it saw.
    """
    answers.write_text("", encoding="utf-8")

    def child() -> None:
        for verb, make in work:
            case = make()
            try:
                result = json.dumps(VERBS[verb](case), sort_keys=True, default=str)
                seen = Outcome("done", result=hashlib.sha256(result.encode()).hexdigest())
            except PloraError as error:
                seen = Outcome("refused", str(error))
            except Exception:
                seen = Outcome("failed", traceback.format_exc())
            with answers.open("a", encoding="utf-8") as file:
                file.write(json.dumps([seen.how, seen.said, seen.result]) + "\n")

    in_child(child, after=SECONDS)
    found = [Outcome(*json.loads(line)) for line in answers.read_text(encoding="utf-8").splitlines()]
    if len(found) < len(work):
        found += [Outcome("hung", f"{work[len(found)][0]} did not come back")]
        found += [Outcome("hung", "after one that hung")] * (len(work) - len(found))
    return found


def state(folder: Path) -> dict[str, object]:
    """Everything in a folder: kinds, permissions, times of change and content, of links where they lead."""
    found: dict[str, object] = {}
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(root) / name
            told = path.lstat()
            content = _sha(path) if stat.S_ISREG(told.st_mode) else os.readlink(path) if path.is_symlink() else ""
            found[path.relative_to(folder).as_posix()] = (told.st_mode, told.st_mtime_ns, content)
    found["."] = folder.stat().st_mtime_ns
    return found


def replace_by(path: Path) -> None:
    """Take away what stands at a path of a case, so that something else can stand there; its parents are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
