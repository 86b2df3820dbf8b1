"""Files of one run in another, and of one moment in another: refused in one line, or as if nothing had been swapped."""

import shutil
from collections.abc import Mapping
from functools import partial
from itertools import permutations
from pathlib import Path

import pytest
from attempts import VERBS, Outcome
from cases import RUNS, Attacked

SEALED = (
    "config.yaml",
    "environment.json",
    "results.json",
    "costs.json",
    "predictions/task-00.parquet",
    "predictions/task-01.parquet",
    "predictions/task-02.parquet",
    "checkpoints/task-01/manifest.json",
    "checkpoints/task-02/manifest.json",
)
"""Each kind of file that carries a seal, of which a run has one for each number."""
WHOLE = ("config.yaml results.json costs.json", "results.json costs.json", "config.yaml environment.json")
"""Files that agree with each other, swapped together."""
WITHIN = {
    "checkpoints/task-01/manifest.json": "checkpoints/task-02/manifest.json",
    "checkpoints/task-02/manifest.json": "checkpoints/task-01/manifest.json",
    "predictions/task-01.parquet": "predictions/task-02.parquet",
    "predictions/task-02.parquet": "predictions/task-01.parquet",
    "environment.json": "results.json",
    "results.json": "environment.json",
    "costs.json": "checkpoints/task-02/manifest.json",
}
"""Files of a run under the names of others of the same run."""
PAIRS = [*permutations(RUNS, 2)]
OF_ITS_MOMENT = ("report", "metrics", "table", "forget")
"""Verbs that take the record as it is, at whatever moment of the run it was written."""

Expected = Mapping[tuple[str, str], Outcome]


def _swap(source: Path, names: str, run: Path) -> None:
    for name in names.split():
        if (source / name).exists():
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, run / name)


def _wrong(attacked: Attacked, expected: Expected, cases: list[tuple[str, Path, str, str]]) -> list[str]:
    """Say which verbs gave something else on a run that has files from elsewhere."""
    outcomes = attacked.attempt(
        *((verb, attacked.copy(run, partial(_swap, source, names))) for run, source, names, verb in cases)
    )
    return [
        f"{names} of {source} in {run}, {verb}: {outcome.how}: {outcome.said}"
        for (run, source, names, verb), outcome in zip(cases, outcomes, strict=True)
        if not outcome.clear and outcome not in (expected[run, verb], _again(expected, run, verb))
    ]


def _again(expected: Expected, run: str, verb: str) -> Outcome | None:
    """Extending a run by the task that it has, where its config no longer says so, brings back what it was."""
    return expected["extended", "resume"] if (run, verb) == ("extended", "extend") else None


def _same_run(one: str, other: str) -> bool:
    """Whether two runs are moments of one, of the same settings: only what took time differs in their files."""
    return {one, other} <= {"per_task", "unfinished"}


@pytest.mark.parametrize("names", [*SEALED, *WHOLE])
def test_another_runs_files_do_not_pass(attacked: Attacked, expected: Expected, names: str) -> None:
    pairs = [pair for pair in PAIRS if not _same_run(*pair)]
    first = 7 * [*SEALED, *WHOLE].index(names)
    chosen = [pairs[(first + number) % len(pairs)] for number in range(len(VERBS))]
    work = [(run, attacked.runs[source], names, verb) for (run, source), verb in zip(chosen, VERBS, strict=True)]
    assert not _wrong(attacked, expected, work)


@pytest.mark.slow
@pytest.mark.parametrize(("run", "source"), [pair for pair in PAIRS if not _same_run(*pair)])
def test_no_file_of_another_run_passes(attacked: Attacked, expected: Expected, run: str, source: str) -> None:
    """Every fifth of all cases of each pair, others of the next: the whole takes 10 minutes."""
    work = [(run, attacked.runs[source], names, verb) for names in (*SEALED, *WHOLE) for verb in VERBS]
    assert not _wrong(attacked, expected, work[PAIRS.index((run, source)) % 5 :: 5])


@pytest.mark.parametrize("verb", VERBS)
def test_a_file_does_not_pass_for_another_of_its_run(attacked: Attacked, expected: Expected, verb: str) -> None:
    def misplace(source: str, target: str, run: Path) -> None:
        shutil.copyfile(run / source, run / target)

    work = [(verb, attacked.copy("per_task", partial(misplace, *pair))) for pair in WITHIN.items()]
    wrong = [
        f"{pair}: {outcome.how}: {outcome.said}"
        for pair, outcome in zip(WITHIN.items(), attacked.attempt(*work), strict=True)
        if not outcome.clear and outcome != expected["per_task", verb]
    ]
    assert not wrong


@pytest.mark.parametrize("verb", VERBS)
def test_an_earlier_moment_of_a_run_does_not_pass_for_a_later_one(
    attacked: Attacked, expected: Expected, verb: str
) -> None:
    """A kill leaves an older record beside newer checkpoints, and nothing else; who shows a record shows that one."""
    runs = {**attacked.runs, "before": attacked.before}
    moments = [("extended", "before"), ("per_task", "unfinished"), ("unfinished", "per_task")]
    cases = [(run, runs[source], names, verb) for run, source in moments for names in (*SEALED, *WHOLE)]
    wrong = _wrong(attacked, expected, cases)
    if verb in OF_ITS_MOMENT:
        wrong = [line for line in wrong if "results.json" not in line.partition(" of ")[0] or ": done" not in line]
    assert not wrong
