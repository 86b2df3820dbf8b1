"""What several runs write after the same prompts, and numbers for how well it reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plora.backbones.continuing import Drawing
from plora.batches.evaluate import measured
from plora.errors import ConfigError, DataError, RunError
from plora.problems.causal_lm import CausalLM
from plora.problems.encoded_documents import EncodedDocuments
from plora.runs.generating import Continuation, generate
from plora.runs.loading import load_learner


@dataclass(frozen=True)
class Written:
    """What one run wrote after each prompt.

    Args:
        run: its folder.
        continuations: one per prompt.
        distinct: n → share of different sequences of n words among all of them, over all texts (Li et al. 2016,
            1510.03055: distinct-n); near 1 is varied. Absent where no text has n words.
        repeated: share of sequences of four words that stood earlier in the same text, the mean over texts that have
            some (Welleck et al. 2020, 1908.04319: seq-rep-4); near 0 is varied. None where no text has four words.
        nats_per_byte: by run, − Σ log p(text | prompt) / Σ bytes of the texts, under that run's model: its own, and
            the others'. None where nothing was written.
    """

    run: Path
    continuations: tuple[Continuation, ...]
    distinct: dict[int, float]
    repeated: float | None
    nats_per_byte: dict[Path, float | None]


def write_side_by_side(
    runs: Sequence[Path],
    prompts: Sequence[str],
    task: str | None = None,
    tokens: int = 64,
    drawing: Drawing = Drawing(),  # noqa: B008  (frozen)
    seed: int = 0,
) -> list[Written]:
    """Continue the same prompts with several runs, and score each run's texts under every run's model.

    Networks may have other tokenizers: a byte is the same for all.

    Args:
        runs: folders of runs of language models.
        prompts: texts to continue.
        task: as `generate` takes it, the same for all runs; runs that write with the same weights for every task leave
            it out.
        tokens: most tokens after each prompt.
        drawing, seed: as `generate` takes them.

    Raises:
        ConfigError: a run is named twice.
        PloraError: as `generate`.
    """
    if len({*runs}) < len(runs):
        raise ConfigError(["a run is named twice; name each once"])
    texts = {run: generate(run, prompts, task, tokens, drawing, seed) for run in runs}
    under = {judge: _nats(judge, texts) for judge in runs}
    return [
        Written(
            run,
            tuple(texts[run]),
            {n: share for n in (1, 2, 3) if (share := _distinct([one.text for one in texts[run]], n)) is not None},
            _repeated([one.text for one in texts[run]]),
            {judge: under[judge][run] for judge in runs},
        )
        for run in runs
    ]


def _grams(text: str, n: int) -> list[tuple[str, ...]]:
    words = text.split()
    return [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]


def _distinct(texts: Sequence[str], n: int) -> float | None:
    grams = [gram for text in texts for gram in _grams(text, n)]
    return len({*grams}) / len(grams) if grams else None


def _repeated(texts: Sequence[str]) -> float | None:
    shares = [1 - len({*grams}) / len(grams) for text in texts if (grams := _grams(text, 4))]
    return sum(shares) / len(shares) if shares else None


def _nats(judge: Path, texts: dict[Path, list[Continuation]]) -> dict[Path, float | None]:
    """Nats per byte of each run's texts under one run's model, after the prompts that they continue."""
    learner, learned, _ = load_learner(judge)
    model, problem = learner.model.eval(), learner.model.problem
    if not isinstance(problem, CausalLM):
        raise RunError(f"{judge} answers prompts, and texts have no nats under it; ask one run at a time")
    gate = model.gate
    per_task = model.adapters is not None and gate is not None and gate.needs_task
    found: dict[Path, float | None] = {}
    for run, own in texts.items():
        nats = bytes_ = 0.0
        for one in own:
            before, text = (problem.encode(problem.given([said])) for said in (one.prompt, one.text))
            whole = _joined(before, text)
            if per_task and one.task not in learned.tasks:
                raise DataError(f"{judge} has not learned task '{one.task}', of which {run} wrote; name another task")
            task = one.task if per_task else None
            for sign, document in ((1, whole), (-1, before)):
                nats += sign * float(measured(learner.extractor, document, task, np.ones(0, np.bool_))["nll"].sum())
            bytes_ += len(one.text.encode())
        found[run] = nats / bytes_ if bytes_ else None
    return found


def _joined(before: EncodedDocuments, after: EncodedDocuments) -> EncodedDocuments:
    """One document of the tokens of two: those of the prompt stay what they were."""
    return EncodedDocuments(
        np.concatenate([before.ids, after.ids]),
        before.lengths + after.lengths,
        before.bytes + after.bytes,
        before.layout,
    )
