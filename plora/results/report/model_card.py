"""The README.md of an exported model: what it learned, from which data, how well, and what it is good for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import yaml

from plora.results.comparison.doubts import split_doubts
from plora.results.record.run_record import RunRecord
from plora.results.record.score import ACCURACY
from plora.results.tables.table import markdown_table
from plora.shown import markdown_cell, markdown_code, markdown_text
from plora.streams.base import Scenario

_QUESTION: Mapping[Scenario, str] = {
    "task": "The task of {one} is given, and each task has its own labels.",
    "class": "The task of {one} is not given: the labels of all tasks compete.",
    "domain": "The task of {one} is not given: all tasks have the same labels.",
}


@dataclass(frozen=True)
class InputWords:
    """What a card calls the inputs of a model, and says of them.

    Args:
        pipeline_tag: what the hub calls the task.
        article, noun: of one input.
        limit: a sentence about what is lost of an input.
        example: two inputs as the script is given them.
        note: a sentence about how they are written.
        described_in: the file that says how an input is prepared.
        packages: that the script needs beside torch and transformers.
        model: what it is, with an article; empty for a classifier of its inputs.
        prints: what the script prints; empty for a label's probability.
        use: a sentence about what the model is good for; empty for one that gives labels.
    """

    pipeline_tag: str
    article: str
    noun: str
    limit: str
    example: str
    note: str
    described_in: str
    packages: tuple[str, ...] = ()
    model: str = ""
    prints: str = ""
    use: str = ""

    @property
    def one(self) -> str:
        """An input, with its article."""
        return f"{self.article} {self.noun}"

    @property
    def many(self) -> str:
        """Several inputs."""
        return f"{self.noun}s"


def model_card(
    record: RunRecord,
    labels: Mapping[str, Sequence[str]],
    base_model: str,
    on_hub: bool,
    library: str,
    words: InputWords,
    usage: str,
    root: str,
) -> str:
    """Return a model card in Markdown, with the header that the hub reads.

    Args:
        record: of the run.
        labels: the label names of each task that was exported, in order.
        base_model: hub id or folder of the pretrained network.
        on_hub: whether it is a hub id.
        library: what loads the model, `peft` or `transformers`.
        words: about the inputs.
        usage: how to use it, in Markdown.
        root: hash of the whole run.
    """
    base_model, stream = markdown_code(base_model), markdown_code(record.stream.name)
    header = {
        "library_name": library,
        "pipeline_tag": words.pipeline_tag,
        "tags": ["plora", "continual-learning"],
        **({"base_model": base_model} if on_hub else {}),
    }
    score = record.score
    last = dict(zip(record.tasks, record.matrix[~np.isnan(record.matrix).all(axis=1)][-1], strict=True))
    data = [entry for entry in record.data if entry.task in labels]
    tasks = markdown_table(
        [
            "task",
            score.title if score.unit in ("", score.title) else f"{score.title} {score.unit}",
            "train",
            "validation",
            "test",
        ],
        [
            [entry.task, score.text(last[entry.task]), str(entry.train), str(entry.validation), str(entry.test)]
            for entry in data
        ],
    )
    names = "".join(f"- {markdown_text(task)}: {', '.join(map(markdown_cell, labels[task]))}\n" for task in labels)
    told = f"Labels:\n\n{names}" if any(labels.values()) else ""
    metrics = markdown_table(
        ["metric", score.unit or score.title],
        [[f"{metric.title} ({metric.symbol})", metric.score.text(metric.value)] for metric in record.metrics.values()],
    )
    definitions = "".join(f"- {metric.symbol}: {metric.definition}\n" for metric in record.metrics.values())
    hashes = markdown_table(
        ["task", "split", "sha256"],
        [[entry.task, split, sha256] for entry in data for split, sha256 in entry.fingerprints.items()],
    )
    scores = "accuracies" if score == ACCURACY else "numbers"
    choosing = "".join(markdown_text(line) + "\n" for line in split_doubts([record]))
    warned = "".join(f"- {markdown_text(line)}\n" for line in record.warnings)
    order, other = ", ".join(map(markdown_cell, record.tasks)), f"Any other {words.noun}"
    question = f" {_QUESTION[record.scenario].format(one=words.one)}" if told else ""
    model = words.model or f"{words.one.capitalize()} classifier"
    use = words.use or (
        f"It gives {words.one} of the kind it was trained on one of the labels above. {other} gets one of them too."
    )
    return f"""---
{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---

# {markdown_text(record.name)}: {markdown_cell(record.method)}, seed {record.seed}

{model} on `{base_model}` that learned a stream of tasks with plora: {order}.
Method `{markdown_code(record.method)}`: {markdown_cell(record.method_summary)}.{question}

## Tasks

{tasks}
{score.title[0].upper() + score.title[1:]} on the {record.split} split, after the last task.
{choosing}
{told}
## Metrics

Of the whole run, over all its tasks.

{metrics}
{definitions}
## Data

Stream `{stream}`, sha256 `{record.stream.fingerprint}`. Each split, inputs and labels in order:

{hashes}
The run that this model comes from has the root hash `{root}`: `plora verify RUN --expect` that hash says whether a run
folder is that run, unchanged.

## Intended use and limits

- {use}
- {words.limit}
- The {scores} above are of one run with one seed, on {record.split} splits like its training data; measure it on
  {words.many} of your own before you rely on it, and do not let it decide about people alone.
- It has the biases of its pretrained network and of the {words.many} and labels that it learned from.
{warned}
## How to use

{usage}"""
