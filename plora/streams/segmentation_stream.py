"""A stream of images with maps of classes: one task, a task for each domain, or for each step of classes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from plora.errors import DataError
from plora.streams.base import SPLITS, SplitName, Stream, Task
from plora.streams.class_steps import ClassSteps, Present
from plora.streams.image_reading import ImageReading
from plora.streams.pair_data import (
    CamVidPairs,
    CityscapesPairs,
    FolderPairs,
    FoundPairs,
    HubPairs,
    ParquetPairs,
    RoadAnomalyPairs,
)

if TYPE_CHECKING:
    from plora.streams.labelled_images import LabelledImages
    from plora.streams.row_count import RowCount
    from plora.streams.stored_pairs import StoredPairs

    SplitsOfDomains = dict[tuple[str, SplitName], StoredPairs]
    """The pairs of each domain and split."""

_SHOWN = 5
"""Names in a message or a note before it says how many more there are."""
_IDS_SHOWN = 12


@dataclass(frozen=True)
class _Usable:
    """Pairs that can be used.

    Args:
        splits: of each domain and split.
        pixels: `[C]` of each class, by the digest of a pair.
        rows: how many there are, and why others are left out.
        notes: what there is to know of those.
    """

    splits: "SplitsOfDomains"
    pixels: Mapping[bytes, NDArray[np.int64]]
    rows: "RowCount"
    notes: Mapping[str, str]

    def pixels_of(self, pairs: "StoredPairs") -> NDArray[np.int64]:
        """Return the pixels of each class in some of the pairs, `[C]`."""
        found: NDArray[np.int64] = np.sum([self.pixels[digest.tobytes()] for digest in pairs.digests], axis=0)
        return found

    def shown(self, pairs: "StoredPairs") -> Present:
        """Return which classes each of the pairs shows, `[N, C]`."""
        return np.stack([self.pixels[digest.tobytes()] > 0 for digest in pairs.digests])


class SegmentationStream(ClassSteps):
    """Images with a mask each: folders, Cityscapes, CamVid, parquet files or a data set of the hub."""

    kind: Literal["segmentation"] = "segmentation"

    name: str = Field(default="segmentation", min_length=1)
    """Name of the stream, shown in reports."""

    data: Annotated[FolderPairs | CityscapesPairs | CamVidPairs | ParquetPairs | HubPairs, Field(discriminator="kind")]
    """Where images and masks are: `kind: folders`, `cityscapes`, `camvid`, `parquet` or `hub`, and its own keys."""

    anomalies: RoadAnomalyPairs | None = None
    """Images with outliers, which stand in the test split of every task: their pixels count in an outlier score, and
    in no class."""

    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of the training images of each domain that becomes validation, where no validation data are given."""

    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of the images of each domain that becomes test, where no test data are given."""

    split_seed: int = Field(default=0, ge=0)
    """Decides, with the bytes of each image, which ones are cut for validation and test."""

    unusable: Literal["refuse", "skip"] = "refuse"
    """Images and masks that lack their partner, are damaged, or are of two sizes: are refused, with their number, or
    left out, counted and named."""

    reading: ImageReading = ImageReading()
    """How images are decoded: `ground`, `highest`, `colours`, `max_pixels` (of masks too)."""

    @model_validator(mode="after")
    def _outliers_are_of_no_step(self) -> Self:
        if self.anomalies is not None and self.increment is not None:
            raise ValueError("anomalies: their images show no class of a step; leave anomalies or increment out")
        return self

    def load(self) -> Stream:
        """Find images and masks, cut the splits that are missing, decode every one once, and make the tasks.

        Raises:
            DataError: an image, a mask, an id, a column or a domain that cannot be used; says which.
        """
        from plora.streams.labelled_images import JoinedLabelledImages
        from plora.streams.row_count import row_notes

        found = self.data.pairs()
        given = self._split(found)
        if not given:
            raise DataError(f"stream '{self.name}': there are no images with masks; check the paths under data")
        self._require_train(given)
        usable = self._usable(found, given, "pairs")
        splits, rows, notes = self._cut(usable.splits), {"pairs": usable.rows}, dict(usable.notes)
        for domain, split in splits:
            if split == "train":
                notes |= _never_learned(domain, usable.pixels_of(splits[domain, split]), found.classes.names)
        if self.increment is not None:
            domains = list(dict.fromkeys(domain for domain, _ in splits))
            joined = {split: JoinedLabelledImages(tuple(splits[one, split] for one in domains)) for split in SPLITS}
            present = {split: np.concatenate([usable.shown(splits[one, split]) for one in domains]) for split in SPLITS}
            steps, said = self.steps(joined, present)
            return Stream(self.name, steps, ("class",), found.provenance, {**row_notes(rows), **notes, **said}, rows)
        outliers: list[LabelledImages] = []
        if self.anomalies is not None:
            beside = self.anomalies.pairs(found.classes.names)
            apart = self._split(beside)
            if not apart:
                raise DataError(f"anomalies: there are no pairs in '{self.anomalies.root}'")
            judged = self._usable(beside, apart, "anomalies")
            outliers, rows["anomalies"], notes = list(judged.splits.values()), judged.rows, {**notes, **judged.notes}
        tasks = []
        for domain in dict.fromkeys(domain for domain, _ in splits):
            own: dict[SplitName, LabelledImages] = {split: splits[domain, split] for split in SPLITS}
            if outliers:
                own["test"] = JoinedLabelledImages((own["test"], *outliers))
            tasks.append(Task(domain, (), **own))
        notes = {**row_notes(rows), **notes}
        return Stream(self.name, tuple(tasks), ("task", "domain"), found.provenance, notes, rows)

    def _split(self, found: FoundPairs) -> "SplitsOfDomains":
        """The pairs of each domain and split."""
        from plora.streams.stored_pairs import StoredPairs

        splits: SplitsOfDomains = {}
        domains = sorted({str(domain) for part in found.parts for domain in np.unique(part.domains)})
        for part in found.parts:
            every = StoredPairs.of(part.images, part.masks, np.arange(len(part.domains)), found.classes, self.reading)
            for domain in domains:
                for split in SPLITS:
                    chosen = (part.domains == domain) & (part.splits == split)
                    if not chosen.any():
                        continue
                    if (domain or self.name, split) in splits:
                        raise DataError(f"the {split} images are given twice: by data.{split} and by data.split")
                    splits[domain or self.name, split] = every.select(chosen)
        return splits

    def _require_train(self, given: "SplitsOfDomains") -> None:
        """Refuse a domain of which nothing is to be learned, before anything is decoded."""
        for domain in dict.fromkeys(domain for domain, _ in given):
            if (domain, "train") not in given:
                where, hint = "", ""
                if domain != self.name:
                    where = f" of domain '{domain}'"
                    hint = ", and cut: true puts all images together" if hasattr(self.data, "cut") else ""
                raise DataError(
                    f"stream '{self.name}': there are no training images{where}; every task needs some{hint}"
                )

    def _cut(self, given: "SplitsOfDomains") -> "SplitsOfDomains":
        """All three splits of each domain."""
        from plora.streams.held_out import held_out

        splits = dict(given)
        for domain in dict.fromkeys(domain for domain, _ in given):
            cuts: tuple[tuple[SplitName, float], ...] = (
                ("test", self.test_fraction),
                ("validation", self.validation_fraction),
            )
            for split, fraction in cuts:
                if (domain, split) not in splits:
                    pool = splits[domain, "train"]
                    held = held_out(pool.keys(self.split_seed), np.zeros(len(pool), np.int64), None, fraction, None)
                    splits[domain, "train"], splits[domain, split] = pool.select(~held), pool.select(held)
        return splits

    def _usable(self, found: FoundPairs, splits: "SplitsOfDomains", what: str) -> "_Usable":
        """The pairs that can be used: every image and every mask is decoded."""
        from plora.streams.row_count import RowCount

        kept: SplitsOfDomains = {}
        pixels: dict[bytes, NDArray[np.int64]] = {}
        lost, blank = list(found.alone), 0
        unknown: Counter[int] = Counter()
        examples: dict[int, str] = {}
        hidden: list[tuple[str, SplitName, int]] = []
        total = len(lost) + sum(map(len, splits.values()))
        for (domain, split), pairs in splits.items():
            checked = pairs.checked()
            for index, pair in enumerate(checked):
                unknown.update(pair.unknown)
                for one in pair.unknown:
                    examples.setdefault(one, pairs.mask_name(index))
                pixels[pairs.digests[index].tobytes()] = pair.pixels
            lost += [pair.unusable for pair in checked if pair.unusable]
            counts = np.array([bool(pair.pixels.any() or pair.judged) for pair in checked], np.bool_)
            empty = sum(not pair.unusable for pair in checked) - int(counts.sum())
            if empty == len(checked):
                hidden.append((domain, split, empty))
            blank += empty
            kept[domain, split] = pairs.select(counts)
        if lost and self.unusable == "refuse":
            others = "" if len(lost) == 1 else f" (and {_some(lost[1:])})"
            raise DataError(
                f"{what}: {len(lost)} of {total} cannot be used: {lost[0]}{others}; mend them, take them out, or set "
                "unusable: skip"
            )
        if unknown:
            raise DataError(self._unknown(found, unknown, examples))
        if hidden:
            domain, split, number = hidden[0]
            raise DataError(
                f"task '{domain}': every pixel of the {number} {split} masks is ignored; the masks of public test sets "
                "are often hidden: name images whose masks are known"
            )
        reasons = {"without a partner": len(found.alone), "damaged, or of two sizes": len(lost) - len(found.alone)}
        left_out = Counter(found.left_out) + Counter({"of which every pixel is ignored": blank})
        rows = RowCount(total + found.left_out.total(), left_out, reasons)
        notes = {f"{what} left out as unusable": f"{len(lost)}: {_some(lost)}"} if lost else {}
        return _Usable(kept, pixels, rows, notes)

    def _unknown(self, found: FoundPairs, unknown: Mapping[int, int], examples: Mapping[int, str]) -> str:
        what = "colours" if found.classes.coloured else "ids"
        shown = [
            f"{found.classes.shown(one)}: {count:,} pixels, such as in {examples[one]}"
            for one, count in sorted(unknown.items())
        ]
        more = f"; and {len(shown) - _IDS_SHOWN} more" if len(shown) > _IDS_SHOWN else ""
        return (
            f"stream '{self.name}': masks have {len(shown)} {what} that are of no class and not ignored "
            f"({'; '.join(shown[:_IDS_SHOWN])}{more}); name them under data.classes, or put them under ignore"
        )


def _never_learned(domain: str, pixels: NDArray[np.int64], names: Sequence[str]) -> dict[str, str]:
    """A note about classes of which a task has nothing to learn from."""
    missing = [name for name, count in zip(names, pixels.tolist(), strict=True) if not count]
    return {f"classes without a pixel in train of {domain}": _some(missing)} if missing else {}


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
