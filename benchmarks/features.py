"""The table of features: what each method can do beside learning, as a test shows or a refusal says.

`python -m benchmarks.features` writes `docs/features.md`; `--check` fails when a cell is empty, or when the page is not
what the tests and the program say now.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.render import NONE, table
from plora.config import load_config
from plora.errors import PloraError
from plora.export import refuse
from plora.methods import METHODS

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "features.md"
PROBLEM = "text_classification"
TESTS = {
    "kill and resume": "tests/training/test_resume.py::test_every_method_resumes_with_the_same_bits",
    "bf16": "tests/test_features.py::test_bf16",
    "two processes": "tests/training/test_processes.py::test_two_processes_learn_what_one_learns",
    "activation checkpointing": "tests/test_features.py::test_activation_checkpointing",
    "export": "tests/test_export.py::test_labels_and_probabilities_are_those_of_predict",
    "learns label sets": "tests/targeted/test_targeted_runs.py::test_a_method_learns_label_sets",
    "learns numbers": "tests/targeted/test_targeted_runs.py::test_a_method_learns_numbers",
}
"""Feature → the test whose parameters have the name of the method in them."""
LEARNING = {
    "token_classification": "tests/tokens/test_every_method_tags.py::test_a_method_learns_to_tag",
    "text_to_text": "tests/text_to_text/test_every_method_answers.py::test_a_method_learns_to_answer",
}
"""Problem → the test in which a method learns it, and what it has written is verified."""
_STREAMS: dict[str, dict[str, object]] = {
    "token_classification": {"kind": "docstring_arguments"},
    "text_to_text": {"kind": "corpora", "domains": [{"name": "x", "path": "x.jsonl", "prompt": "p", "answer": "a"}]},
}


_INTRODUCTION = """\
What each method can do beside learning. *Tested* means that the test below does it with this method and compares:
after a kill the same bits, with two processes and with activation checkpointing the predictions of a plain run, after
an export the probabilities of `plora predict`; in bf16 a run that reloads and predicts the same; of label sets and
numbers a run that reads back and predicts what it recorded. *Refused* means that
plora says the message below before it starts. A cell that is neither fails `make check`, which calls
`python -m benchmarks.features --check`."""


def _config(method: str, **settings: object) -> dict[str, object]:
    scenario = next(s for s in ("class", "task", "domain") if s not in METHODS[method].refusals)
    return {"stream": {"kind": "docstring_topics"}, "method": method, "scenario": scenario, **settings}


def _checkpointed(method: str) -> None:
    load_config(_config(method, training={"activation_checkpointing": True}))


def _exported(method: str) -> None:
    """Refuse what is refused both as adapters and merged."""
    config = load_config(_config(method))
    try:
        refuse(config, task=None, merged=True, push=None)
    except PloraError:
        refuse(config, task=None, merged=False, push=None)


def _with_targets(stream: str, problem: str) -> Callable[[str], None]:
    def asked(method: str) -> None:
        scenario = next(s for s in ("task", "domain") if s not in METHODS[method].refusals)
        load_config(_config(method, stream={"kind": stream}, problem={"kind": problem}) | {"scenario": scenario})

    return asked


REFUSALS: dict[str, Callable[[str], None]] = {
    "activation checkpointing": _checkpointed,
    "export": _exported,
    "learns label sets": _with_targets("docstring_labels", "text_multi_label"),
    "learns numbers": _with_targets("docstring_parameters", "text_regression"),
}
"""Feature → what a user asks for, which is refused before anything is loaded."""


def collected() -> list[str]:
    """Return the ids of all tests."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "-q",
        *{test.partition("::")[0] for test in (*TESTS.values(), *LEARNING.values())},
    ]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if found.returncode:
        sys.exit(found.stdout[-2000:] + found.stderr[-2000:])
    return [line for line in found.stdout.splitlines() if "::" in line]


def cell(method: str, feature: str, ids: list[str]) -> tuple[str, str] | None:
    """Return `tested` and the tests, or `refused` and the message; None where there is neither."""
    own = [
        i for i in ids if i.startswith(f"{TESTS[feature]}[") and method in i.partition("[")[2].rstrip("]").split("-")
    ]
    if own:
        return "tested", own[0]
    try:
        if feature in REFUSALS:
            REFUSALS[feature](method)
    except PloraError as error:
        return "refused", str(error).removeprefix("1 mistake in the config:").strip()
    return None


def learning(method: str, problem: str, ids: list[str]) -> tuple[str, str] | None:
    """Return `tested` and the test, or `refused` and why the method cannot learn a problem; None for neither."""
    if own := [one for one in ids if one == f"{LEARNING[problem]}[{method}]"]:
        return "tested", own[0]
    scenario = next(s for s in ("domain", "task") if s not in METHODS[method].refusals)
    settings = {"problem": {"kind": problem}, "stream": _STREAMS[problem], "scenario": scenario}
    try:
        load_config(_config(method, **settings))
    except PloraError as error:
        lines = [line for line in str(error).splitlines() if "mistake" not in line]
        return "refused", lines[0].strip()
    return None


def main() -> None:
    ids = collected()
    cells = {(method, feature): cell(method, feature, ids) for method in METHODS for feature in TESTS}
    learned = {(method, problem): learning(method, problem, ids) for method in METHODS for problem in LEARNING}
    every = [*cells.items(), *learned.items()]
    if empty := [f"{method}: {what}" for (method, what), found in every if found is None]:
        sys.exit(f"{len(empty)} cells of the table of features are neither tested nor refused: {'; '.join(empty)}")
    filled = {place: found for place, found in cells.items() if found is not None}
    rows = [[f"`{PROBLEM}`", f"`{m}`", *(filled[m, feature][0] for feature in TESTS)] for m in METHODS]
    shown = [
        [f"`{m}`", feature, what if kind == "refused" else f"`{what}`"] for (m, feature), (kind, what) in filled.items()
    ]
    text = "\n".join(
        [
            "# Features",
            "",
            *_INTRODUCTION.splitlines(),
            "",
            table(["problem", "method", *TESTS], rows, left=2 + len(TESTS)),
            "",
            "## Other problems",
            "",
            "Which methods learn them: *tested* means that a run learns, and that all it has written is verified.",
            "",
            table(
                ["method", *LEARNING],
                [[f"`{m}`", *((learned[m, p] or NONE)[0] for p in LEARNING)] for m in METHODS],
                left=1 + len(LEARNING),
            ),
            "",
            table(
                ["method", "problem", "refused with"],
                [[f"`{m}`", f"`{p}`", f[1]] for (m, p), f in learned.items() if f is not None and f[0] == "refused"],
                left=3,
            ),
            "",
            "## Tests and refusals",
            "",
            table(["method", "feature", "test, or message"], shown, left=3),
            "",
        ]
    )
    if "--check" in sys.argv:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
            sys.exit(f"{PAGE.relative_to(ROOT)} is not what tests and program say; run: make results")
        return
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
