"""Which pixels were taken for which class: the record of a run whose answers are maps of classes.

`predictions/task-03.parquet` holds, after task 3, the columns `task` (string), `example` (int32, position in the split
that was scored), and for each image the cells of its confusion matrix that are not 0: `pairs` (list of int32, true
class · C + predicted class, rising) and `counts` (list of int64). Where an outlier score was measured, `inlier` and
`outlier` (lists of int64) are its histograms over the pixels of both, and where outliers were counted as objects
`components` (list of float64) is what `plora.results.record.components` keeps of an image. The file's metadata holds
`plora.kind` `pixel_counts`, `plora.schema` 1 and `plora.class_names`, a JSON list of the names of the C classes.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from plora.errors import RunError
from plora.results.record.columns import (
    CLASS_NAMES_KEY,
    KIND_KEY,
    SCHEMA_KEY,
    class_names_of,
    column,
    example_columns,
    examples_of,
    read_table,
    require_schema,
    write_columns,
)
from plora.results.record.components import WIDTH, component_f1, component_ppv, component_siou
from plora.results.record.detection import auroc, average_precision, false_alarms
from plora.results.record.matrix import Matrix
from plora.results.record.measurements import Chosen, Measurements, Which
from plora.results.record.ragged import Starts, list_columns, places_of, read_lists, require_starts, starts_of
from plora.results.record.score import Score
from plora.sealed import Identity

SCHEMA = 1
_DETECTION: Mapping[str, Callable[[NDArray[np.int64], NDArray[np.int64]], float]] = {
    "outlier_ap": average_precision,
    "outlier_fpr95": false_alarms,
    "outlier_auroc": auroc,
}
_LISTS: Mapping[str, pa.DataType] = {"inlier": pa.int64(), "outlier": pa.int64(), "components": pa.float64()}
"""Columns with as many numbers of each image, which need not be there."""
_OBJECTS: Mapping[str, Callable[[Matrix], float]] = {
    "outlier_f1": component_f1,
    "outlier_siou": component_siou,
    "outlier_ppv": component_ppv,
}


@dataclass(frozen=True, eq=False)
class PixelCounts(Measurements):
    """N images of one or more tasks, after one row of the matrix. The confusion matrices are kept without their zeros.

    Args:
        task: `[N]` strings, the task of each image.
        example: `[N]` int32, its position in the split of its task that was scored.
        starts: `[N + 1]` int64, where the cells of each image begin, and the end of the last.
        pairs: `[M]` int32, true class · C + predicted class of each cell.
        counts: `[M]` int64, its pixels, at least 1.
        class_names: the names of the C classes.
        inlier, outlier: `[N, bins]` int64, how many pixels of each kind have an outlier score in each bin, low scores
            first; None where none was measured. Pixels that count in neither are left out.
        components: `[N, WIDTH]` float64, what is kept of outliers as objects; None where they were not counted.

    Raises:
        RunError: the columns do not fit each other, or a class or a count is out of range.
    """

    kind: ClassVar[str] = "pixel_counts"
    scores: ClassVar[tuple[str, ...]] = ("mean_iou", "foreground_iou", "pixel_accuracy", *_DETECTION, *_OBJECTS)

    task: NDArray[np.str_]
    example: NDArray[np.int32]
    starts: Starts
    pairs: NDArray[np.int32]
    counts: NDArray[np.int64]
    class_names: tuple[str, ...]
    inlier: NDArray[np.int64] | None = None
    outlier: NDArray[np.int64] | None = None
    components: Matrix | None = None

    def __post_init__(self) -> None:
        N, M, C = len(self.task), len(self.pairs), len(self.class_names)
        require_starts(self.starts, N, M, "pixel counts", ("images", "cells"))
        if len(self.example) != N or len(self.counts) != M:
            raise RunError(f"pixel counts: the columns of {N} images and {M} cells do not fit each other")
        if M and not 0 <= int(self.pairs.min()) <= int(self.pairs.max()) < C * C:
            raise RunError(f"pixel counts: a class is out of range, there are {C} classes")
        if M and int(self.counts.min()) < 1:
            raise RunError("pixel counts: a cell has fewer than 1 pixel; leave it out")
        if (self.inlier is None) != (self.outlier is None):
            raise RunError("pixel counts: inlier and outlier scores are measured together")
        for histogram in (self.inlier, self.outlier):
            if histogram is not None and (histogram.ndim != 2 or len(histogram) != N or bool((histogram < 0).any())):
                raise RunError(f"pixel counts: histograms of {N} images are [N, bins] and never negative")
        if self.inlier is not None and self.outlier is not None and self.inlier.shape != self.outlier.shape:
            raise RunError("pixel counts: inlier and outlier scores have the same bins")
        if self.components is not None:
            whole = self.components.shape == (N, WIDTH) and bool(np.isfinite(self.components).all())
            if not whole or bool((self.components < 0).any()):
                raise RunError(f"pixel counts: components of {N} images are [{N}, {WIDTH}] and never negative")

    @classmethod
    def of_confusions(
        cls,
        task: NDArray[np.str_],
        example: NDArray[np.int32],
        confusions: NDArray[np.int64],
        class_names: Sequence[str],
        inlier: NDArray[np.int64] | None = None,
        outlier: NDArray[np.int64] | None = None,
        components: Matrix | None = None,
    ) -> Self:
        """Return the record of whole confusion matrices.

        Args:
            confusions: `[N, C, C]`, entry (i, j) of each counts pixels of class i that were taken for j.
            task, example, class_names, inlier, outlier, components: as they stand in the record.

        Raises:
            RunError: the matrices do not have the size of the classes, or what the class itself refuses.
        """
        C = len(class_names)
        if confusions.shape != (len(task), C, C):
            got = list(confusions.shape)
            raise RunError(f"pixel counts: {len(task)} images of {C} classes need [{len(task)}, {C}, {C}], got {got}")
        flat = confusions.reshape(len(task), C * C)
        images, pairs = np.nonzero(flat)
        starts = np.searchsorted(images, np.arange(len(task) + 1)).astype(np.int64)
        counts = flat[images, pairs].astype(np.int64)
        cells = (starts, pairs.astype(np.int32), counts)
        return cls(task, example, *cells, tuple(class_names), inlier, outlier, components)

    def write(self, path: Path, of: Identity | None = None) -> None:
        """Write a parquet file, atomically."""
        cells: dict[str, NDArray[Any]] = {"pairs": self.pairs.astype(np.int32), "counts": self.counts.astype(np.int64)}
        columns = example_columns(self.task, self.example) | list_columns(self.starts, cells)
        for name, type_ in _LISTS.items():
            kept = getattr(self, name)
            if kept is not None:
                ends = pa.array(np.arange(len(kept) + 1, dtype=np.int32) * kept.shape[1])
                flat = pa.array(np.ascontiguousarray(kept).ravel(), type_)
                columns[name] = pa.ListArray.from_arrays(ends, flat)
        names = json.dumps(self.class_names)
        write_columns(path, columns, {KIND_KEY: self.kind, SCHEMA_KEY: str(SCHEMA), CLASS_NAMES_KEY: names}, of)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and check a file that `write` wrote.

        Raises:
            RunError: it is missing or damaged, a column is missing or has another type, a value is out of range.
        """
        table = read_table(path)
        require_schema(path, table, cls.kind, SCHEMA)
        starts, cells = read_lists(path, table, {"pairs": pa.int32(), "counts": pa.int64()})
        lists = [
            column(path, table, name, pa.list_(type_)).combine_chunks() if name in table.column_names else None
            for name, type_ in _LISTS.items()
        ]
        task, example = examples_of(path, table)
        try:
            inlier, outlier, components = (None if found is None else _rectangle(found) for found in lists)
            return cls(
                task,
                example,
                starts,
                **cells,  # type: ignore[arg-type]  # of the types that were asked for
                class_names=class_names_of(path, table),
                inlier=inlier,
                outlier=outlier,
                components=components,
            )
        except (RunError, ValueError) as error:
            raise RunError(f"{path}: {error}") from None

    def rows(self, chosen: Which) -> Self:
        """Return some of the images."""
        cells, starts = places_of(self.starts, chosen)
        return type(self)(
            self.task[chosen],
            self.example[chosen],
            starts,
            self.pairs[cells],
            self.counts[cells],
            self.class_names,
            None if self.inlier is None else self.inlier[chosen],
            None if self.outlier is None else self.outlier[chosen],
            None if self.components is None else self.components[chosen],
        )

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the images of several.

        Raises:
            RunError: there are none, they have other classes, or some have an outlier score and some have none.
        """
        if not parts:
            raise RunError("pixel counts: there is nothing to join")
        if len({part.class_names for part in parts}) > 1:
            raise RunError("pixel counts: records of other classes cannot be joined")
        for name in _LISTS:
            measured = [getattr(part, name) is not None for part in parts]
            if any(measured) != all(measured):
                raise RunError("pixel counts: some images have an outlier score and some have none")
        inlier, outlier, components = (
            None if getattr(parts[0], name) is None else np.concatenate([getattr(part, name) for part in parts])
            for name in _LISTS
        )
        return cls(
            np.concatenate([part.task for part in parts]),
            np.concatenate([part.example for part in parts]),
            starts_of(np.concatenate([np.diff(part.starts) for part in parts])),
            np.concatenate([part.pairs for part in parts]),
            np.concatenate([part.counts for part in parts]),
            parts[0].class_names,
            inlier,
            outlier,
            components,
        )

    def confusion(self) -> NDArray[np.int64]:
        """Return `[C, C]`: the pixels of all images, entry (i, j) those of class i that were taken for j."""
        C = len(self.class_names)
        found = np.zeros(C * C, dtype=np.int64)
        np.add.at(found, self.pairs, self.counts)
        return found.reshape(C, C)

    def ious(self) -> Matrix:
        """Return `[C]`: the intersection over union of each class, NaN where it is neither truth nor prediction.

        IoU_c = TP_c / (TP_c + FP_c + FN_c)
        """
        counts = self.confusion()
        hits = counts.diagonal().astype(np.float64)
        union = counts.sum(axis=0) + counts.sum(axis=1) - hits
        found: Matrix = np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)
        return found

    def value(self, score: Score) -> float:
        """Return a score of the pixels of all images together, as one large image.

            mean IoU = mean of IoU_c over the classes that occur      pixel accuracy = Σ_c TP_c / Σ pixels
            foreground IoU = mean of IoU_c over those that occur but the first one, the background

        and of outlier scores AP, FPR at 95 % recall and AUROC, as `plora.results.record.detection` has them; of
        outliers as objects F1*, mean sIoU and mean PPV, as `plora.results.record.components` has them.

        Source: Everingham et al. 2010 (PASCAL VOC) for IoU over a whole set; means over images are another number.

        Raises:
            RunError: the score is none of these.
        """
        if score.name not in self.scores:
            raise self._unknown(score)
        if score.name in _DETECTION:
            if self.inlier is None or self.outlier is None:
                return float("nan")
            return _DETECTION[score.name](self.inlier.sum(axis=0), self.outlier.sum(axis=0))
        if score.name in _OBJECTS:
            return float("nan") if self.components is None else _OBJECTS[score.name](self.components)
        if not len(self.counts):
            return float("nan")
        if score.name == "mean_iou":
            return mean_of(self.ious())
        if score.name == "foreground_iou":
            return mean_of(self.ious()[1:])
        counts = self.confusion()
        return float(counts.trace() / counts.sum())

    def differs(self, other: Self) -> Chosen:
        """Return which images have another confusion matrix, or other outlier scores."""
        return self._distances(other) > 0

    def farthest(self, other: Self) -> float:
        """Return the most by which a cell of a confusion matrix, of a histogram or of components differs."""
        return float(self._distances(other).max())

    def _distances(self, other: Self) -> NDArray[np.float64]:
        """`[N]`: of each image, the largest difference of a cell."""
        found = np.zeros(len(self))
        for image in range(len(self)):
            cells = {int(pair): int(count) for pair, count in zip(*self._cells(image), strict=True)}
            for pair, count in zip(*other._cells(image), strict=True):
                cells[int(pair)] = cells.get(int(pair), 0) - int(count)
            found[image] = max(map(abs, cells.values()), default=0)
        for own, others in ((getattr(self, name), getattr(other, name)) for name in _LISTS):
            if own is not None and others is not None and own.shape == others.shape:
                found = np.maximum(found, np.abs(own - others).max(axis=1, initial=0))
            elif own is not None or others is not None:
                found[:] = np.maximum(found, 1)  # measured in one of them, or in other bins
        return found

    def _cells(self, image: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        own = slice(int(self.starts[image]), int(self.starts[image + 1]))
        return self.pairs[own], self.counts[own]


def mean_of(ious: Matrix) -> float:
    """Return the mean over the classes that occur; NaN where none does."""
    return float("nan") if np.isnan(ious).all() else float(np.nanmean(ious))


def _rectangle(lists: pa.ListArray) -> Any:  # noqa: ANN401  (of integers or of floats)
    """`[N, width]`: lists of one length; of none the width of components, which histograms may have too."""
    lengths = np.asarray(lists.value_lengths(), dtype=np.int64)
    if len(np.unique(lengths)) > 1:
        raise RunError("pixel counts: inlier and outlier scores have the same bins")
    flat = lists.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(lengths), -1) if len(lengths) else flat.reshape(0, WIDTH)
