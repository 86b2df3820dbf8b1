"""What a study found, on disk: every trial as sealed JSON, a table for people, and a picture."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from plora import atomic
from plora.errors import RunError
from plora.results.pictures.figure import to_pdf, to_png
from plora.sealed import read_sealed, write_sealed
from plora.shown import markdown_cell, markdown_code, markdown_text
from plora.sweep.picture import search_picture
from plora.sweep.sampler import Settings
from plora.sweep.study import Study

SCHEMA = 1


def write_findings(study: Study) -> None:
    """Write `<study>.json`, `.md`, `.png` and `.pdf` into the folder of the search; what is there already is kept.

    Args:
        study: one that is over.
    """
    content = findings(study)
    file = study.folder / f"{study.name}.json"
    if _read(file) == content:
        return
    atomic.write_text(file.with_suffix(".md"), trials_table(study))
    if study.ranked:
        figure = search_picture(study)
        atomic.write_bytes(file.with_suffix(".png"), to_png(figure))
        atomic.write_bytes(file.with_suffix(".pdf"), to_pdf(figure))
    write_sealed(file, content)  # last: what it stands for is whole


def findings(study: Study) -> Mapping[str, JsonValue]:
    """Return everything that a study tried and reached, as JSON."""
    search = study.search
    return {
        "schema": SCHEMA,
        "study": study.label,
        "split": "validation",
        "metric": search.metric,
        "best": study.score.end,
        "seed": search.seed,
        "at_once": search.at_once,
        "settings": dict(search.settings),
        "space": {key: setting.model_dump(mode="json") for key, setting in search.space.items()},
        "trials": [
            {
                "number": trial.number,
                "settings": dict(trial.settings),
                "value": trial.value,
                "failure": trial.failure or None,
            }
            for trial in study.trials
        ],
        "chosen": None if study.chosen is None else study.chosen.number,
    }


def trials_table(study: Study) -> str:
    """Return the trials of a study as Markdown, best first, then those that failed."""
    keys = list(study.search.space)
    heads = ["", "trial", *(f"`{markdown_code(key)}`" for key in keys), f"{study.head} on validation"]
    rows = []
    for trial in study.ranked:
        mark = "**chosen**" if trial is study.chosen else ""
        value = study.score.text(trial.value)
        rows.append([mark, str(trial.number), *(markdown_cell(shown(trial.settings[key])) for key in keys), value])
    failed = [trial for trial in study.trials if trial.failure]
    for trial in failed:
        rows.append(["", str(trial.number), *(markdown_cell(shown(trial.settings[key])) for key in keys), "failed"])
    lines = [
        f"# Search: {markdown_text(study.label)}",
        "",
        f"Chosen by {study.symbol} on the validation split ({study.score.end} is best; of equal ones the earliest "
        f"trial), with seed {study.search.seed}. No trial read the test split.",
        *_shortened(study),
        "",
        "| " + " | ".join(heads) + " |",
        "| --- |" + " ---: |" * (len(heads) - 1),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
    if failed:
        lines += ["", *(f"- Trial {trial.number} failed: {markdown_cell(trial.failure)}" for trial in failed)]
        lines += [
            "",
            "A failure is kept: later trials are chosen knowing of it. Where it was the machine's, not the setting's, "
            f"search anew: remove `{markdown_code(str(study.trials_folder))}` and the final runs of "
            f"{markdown_text(study.label)}.",
        ]
    return "\n".join(lines) + "\n"


def _shortened(study: Study) -> list[str]:
    """What trials had otherwise than the runs, as a paragraph; nothing where that is nothing."""
    own = study.search.settings
    return ["", f"Trials had `{markdown_code(settings_text(own))}`, the runs have not."] if own else []


def choice_lines(study: Study) -> list[str]:
    """Return what a study chose, against its other trials, and where all of them stand."""
    file = study.folder / f"{study.name}.md"
    if study.chosen is None:
        return [f"{study.label}: nothing chosen, every trial failed  {file}"]
    best, median, worst = (
        study.score.text(value) for value in (study.chosen.value, study.median, study.ranked[-1].value)
    )
    return [
        f"{study.label}: {settings_text(study.chosen.settings)}",
        f"  {study.head} on validation: {best} by trial {study.chosen.number}, the best of {len(study.ranked)} "
        f"(median {median}, worst {worst})  {file}",
    ]


def settings_text(settings: Settings) -> str:
    """Return settings as they are given on a command line."""
    return " ".join(f"{key}={shown(value)}" for key, value in settings.items())


def shown(value: JsonValue) -> str:
    """Return one value as a reader would write it."""
    if isinstance(value, list):
        return "[" + ",".join(map(shown, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _read(file: Path) -> object:
    try:
        return read_sealed(file)
    except RunError:  # not there, or edited: it is written again from the runs
        return None
