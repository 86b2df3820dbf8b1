"""What a language model gave documents: the record of a run whose answers are texts.

`predictions/task-03.parquet` holds, after task 3, the columns `task` (string), `example` (int32, position in the split
that was scored), `nll` (float64, in nats), `tokens` and `bytes` (int64), of documents with answers `exact` (bool), and
where texts were written `rouge_1`, `rouge_2` and `rouge_l` (float64). The file's metadata holds `plora.kind`
`token_likelihoods` and `plora.schema` 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from plora.errors import RunError
from plora.results.record.columns import (
    KIND_KEY,
    SCHEMA_KEY,
    column,
    example_columns,
    examples_of,
    read_table,
    require_schema,
    write_columns,
)
from plora.results.record.measurements import Chosen, Measurements, Which
from plora.results.record.rouge import ROUGE
from plora.results.record.score import Score
from plora.sealed import Identity

SCHEMA = 1


@dataclass(frozen=True, eq=False)
class TokenLikelihoods(Measurements):
    """N documents of one or more tasks, after one row of the matrix.

    Args:
        task: `[N]` strings, the task of each document.
        example: `[N]` int32, its position in the split of its task that was scored.
        nll: `[N]` float64, minus the log-likelihood of its tokens that were predicted, summed, in nats; at least 0.
        tokens: `[N]` int64, how many were predicted.
        bytes: `[N]` int64, the length in UTF-8 of the text that these tokens stand for.
        exact: `[N]` bool, whether the likeliest token is the right one at every place of the answers, their ends
            included: greedy decoding writes exactly them. None where documents are not asked for.
        rouge: `[N, 3]` float64 in 0 to 1, ROUGE-1, ROUGE-2 and ROUGE-L of what greedy decoding writes. None where that
            was not asked for.

    Raises:
        RunError: the columns differ in length, or a number is negative or not finite.
    """

    kind: ClassVar[str] = "token_likelihoods"
    scores: ClassVar[tuple[str, ...]] = ("nats_per_byte", "nats_per_token", "perplexity", "exact_match", *ROUGE)

    task: NDArray[np.str_]
    example: NDArray[np.int32]
    nll: NDArray[np.float64]
    tokens: NDArray[np.int64]
    bytes: NDArray[np.int64]
    exact: NDArray[np.bool_] | None = None
    rouge: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in ("task", "example", "nll", "tokens", "bytes")}
        lengths |= {} if self.exact is None else {"exact": len(self.exact)}
        if len(set(lengths.values())) > 1:
            raise RunError(f"token likelihoods: columns differ in length: {lengths}")
        if not bool((np.isfinite(self.nll) & (self.nll >= 0)).all()):
            raise RunError("token likelihoods: a negative log-likelihood is NaN, infinite or below 0")
        if self.rouge is not None and not (
            self.rouge.shape == (len(self.task), len(ROUGE)) and bool(((self.rouge >= 0) & (self.rouge <= 1)).all())
        ):
            raise RunError(f"token likelihoods: ROUGE of {len(self.task)} documents is [N, 3] and from 0 to 1")
        if bool((self.tokens < 0).any()) or bool((self.bytes < 0).any()):
            raise RunError("token likelihoods: a document has fewer than 0 tokens or bytes")

    def write(self, path: Path, of: Identity | None = None) -> None:
        """Write a parquet file, atomically."""
        columns = example_columns(self.task, self.example) | {
            "nll": pa.array(np.ascontiguousarray(self.nll, dtype=np.float64)),
            "tokens": pa.array(np.ascontiguousarray(self.tokens, dtype=np.int64)),
            "bytes": pa.array(np.ascontiguousarray(self.bytes, dtype=np.int64)),
        }
        if self.exact is not None:
            columns["exact"] = pa.array(np.ascontiguousarray(self.exact, dtype=np.bool_))
        if self.rouge is not None:
            columns |= {name: pa.array(self.rouge[:, at].copy()) for at, name in enumerate(ROUGE)}
        write_columns(path, columns, {KIND_KEY: self.kind, SCHEMA_KEY: str(SCHEMA)}, of)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and check a file that `write` wrote.

        Raises:
            RunError: it is missing or damaged, a column is missing or has another type, a value is out of range.
        """
        table = read_table(path)
        require_schema(path, table, cls.kind, SCHEMA)
        nll, tokens, long = (
            column(path, table, name, kind).to_numpy()
            for name, kind in (("nll", pa.float64()), ("tokens", pa.int64()), ("bytes", pa.int64()))
        )
        exact = column(path, table, "exact", pa.bool_()).to_numpy() if "exact" in table.column_names else None
        rouge = None
        if ROUGE[0] in table.column_names:
            rouge = np.stack([column(path, table, name, pa.float64()).to_numpy() for name in ROUGE], axis=1)
        try:
            return cls(*examples_of(path, table), nll, tokens, long, exact, rouge)
        except RunError as error:
            raise RunError(f"{path}: {error}") from None

    def rows(self, chosen: Which) -> Self:
        """Return some of the documents."""
        return type(self)(
            self.task[chosen],
            self.example[chosen],
            self.nll[chosen],
            self.tokens[chosen],
            self.bytes[chosen],
            None if self.exact is None else self.exact[chosen],
            None if self.rouge is None else self.rouge[chosen],
        )

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the documents of several; whether answers are exact, and their ROUGE, only where all of them say it.

        Raises:
            RunError: there are none.
        """
        if not parts:
            raise RunError("token likelihoods: there is nothing to join")
        exact = [part.exact for part in parts if part.exact is not None]
        rouge = [part.rouge for part in parts if part.rouge is not None]
        return cls(
            np.concatenate([part.task for part in parts]),
            np.concatenate([part.example for part in parts]),
            np.concatenate([part.nll for part in parts]),
            np.concatenate([part.tokens for part in parts]),
            np.concatenate([part.bytes for part in parts]),
            np.concatenate(exact) if len(exact) == len(parts) else None,
            np.concatenate(rouge) if len(rouge) == len(parts) else None,
        )

    def value(self, score: Score) -> float:
        """Return a score of all documents together, long ones counting by their length.

            nats per byte = Σ nll / Σ bytes      nats per token = Σ nll / Σ tokens      perplexity = e^(nats per token)
            exact match = documents whose answers are exact / documents      ROUGE = mean over the documents

        Raises:
            RunError: the score is none of these.
        """
        if score.name not in self.scores:
            raise self._unknown(score)
        if score.name == "exact_match":
            return float("nan") if self.exact is None or not len(self.exact) else float(self.exact.mean())
        if score.name in ROUGE:
            if self.rouge is None or not len(self.rouge):
                return float("nan")
            return float(self.rouge[:, ROUGE.index(score.name)].mean())
        length = int((self.bytes if score.name == "nats_per_byte" else self.tokens).sum())
        if not length:
            return float("nan")
        nats = float(self.nll.sum()) / length
        return float(np.exp(nats)) if score.name == "perplexity" else nats

    def differs(self, other: Self) -> Chosen:
        """Return which documents have another likelihood, or other lengths."""
        changed: Chosen = (self.nll != other.nll) | (self.tokens != other.tokens) | (self.bytes != other.bytes)
        if self.exact is not None and other.exact is not None:
            changed |= self.exact != other.exact
        if self.rouge is not None and other.rouge is not None:
            changed |= (self.rouge != other.rouge).any(axis=1)
        return changed

    def farthest(self, other: Self) -> float:
        """Return the largest difference of a document's negative log-likelihood, in nats."""
        return float(np.abs(self.nll - other.nll).max())
