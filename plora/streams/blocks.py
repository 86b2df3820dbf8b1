"""Square blocks of luma with the partition type that an encoder chose for each."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from plora.errors import DataError
from plora.streams.base import SPLITS, SplitName, Stream, StreamSource, Task
from plora.streams.block_data import BlockTable, BlockTables, NpzBlocks, ParquetBlocks, PhotographBlocks
from plora.streams.columns import TableTask
from plora.streams.encoded_blocks import EncodedBlocks
from plora.streams.images import ImageArray


@dataclass(frozen=True)
class BlockArray(ImageArray):
    """Blocks in memory.

    Args:
        pixels: `[N, H, W]` uint8, or `[N, H, W, 2]` with the quantiser of each in every place of the second channel.
        labels: `[N]` int64.
        costs: `[N, classes]` what each answer would cost; None where nobody says it.
    """

    costs: NDArray[np.float64] | None = None

    def fingerprint(self) -> str:
        """Return the sha256 (hex) of pixels, labels and costs."""
        own = super().fingerprint()
        return own if self.costs is None else hashlib.sha256(own.encode() + self.costs.tobytes()).hexdigest()

    def keys(self, seed: int) -> NDArray[np.uint64]:
        """Return a number per block, `[N]`, that its luma and a seed decide; a block has one for all quantisers."""
        salt, luma = f"{seed};".encode(), self.pixels if self.pixels.ndim == 3 else self.pixels[..., 0]
        found = [hashlib.sha256(salt + block.tobytes()).digest()[:8] for block in luma]
        return np.frombuffer(b"".join(found), ">u8").astype(np.uint64)

    def select(self, chosen: NDArray[np.bool_]) -> Self:
        """Return the blocks that are marked in `[N]`."""
        costs = None if self.costs is None else self.costs[chosen]
        return replace(self, pixels=self.pixels[chosen], labels=self.labels[chosen], costs=costs)


class Blocks(StreamSource):
    """Square blocks of luma with a partition type each: of photographs, plora's own or yours, of arrays or of parquet.

    One task has all of them, or each kind of content is a task, or each quantiser.
    """

    kind: Literal["blocks"] = "blocks"

    name: str = Field(default="blocks", min_length=1)
    """Name of the stream, shown in reports."""

    data: Annotated[PhotographBlocks | EncodedBlocks | NpzBlocks | ParquetBlocks, Field(discriminator="kind")] = (
        PhotographBlocks()
    )
    """Where the blocks are: `kind: photographs`, `encoded`, `npz` or `parquet`, and its own keys."""

    by: Literal["domains", "quantisers"] | None = None
    """`domains`: each task is a kind of content; `quantisers`: each task is one of them; the classes are the same in
    all. None: one task has all blocks."""

    quantiser_channel: float | None = Field(default=None, gt=0)
    """Each block gets a second channel, in every place its quantiser: 255 is this number (63 for libaom's `cq_level`),
    0 is 0. The backbone takes two channels then, such as a new network of `num_channels: 2`. None: no such channel."""

    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of the training blocks of each class (of train_per_class, where that is less) that becomes validation,
    where neither validation data nor validation_per_class is given."""

    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of the blocks of each class that becomes test, where neither test data nor test_per_class is given."""

    split_seed: int = Field(default=0, ge=0)
    """Decides, with the pixels of each block, which ones are cut for validation and test, and kept by a cap."""

    train_per_class: int | None = Field(default=None, ge=1)
    """At most so many training blocks per class of each task (validation is cut beside them); None: all."""

    validation_per_class: int | None = Field(default=None, ge=1)
    """At most so many validation blocks per class (cut from train: at most half of a class); None: all, or the
    fraction."""

    test_per_class: int | None = Field(default=None, ge=1)
    """At most so many test blocks per class (cut from train: at most half of a class); None: all, or the fraction."""

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        if self.by == "domains" and not self.data.has_domains:
            raise ValueError("by: domains needs data.domain, the column that says of which content a block is")
        if self.by == "quantisers" and not self.data.has_quantisers:
            raise ValueError("by: quantisers needs data.quantiser, the column with the quantiser of a block")
        if self.quantiser_channel is not None and not self.data.has_quantisers:
            raise ValueError("quantiser_channel needs data.quantiser, the column with the quantiser of a block")
        return self

    def load(self) -> Stream:
        """Read or search the blocks, cut the splits that are missing, and make the tasks.

        Raises:
            DataError: samples, sizes, labels or columns that are not what is declared; says which.
        """
        from plora.streams.held_out import splits_of_tasks
        from plora.streams.label_text import alike_note
        from plora.streams.row_count import RowCount, row_notes

        found = self.data.read()
        names, tasks, dropped = self._tasks(found)
        before = _total(tasks)
        every = before + sum(dropped.values())
        tasks = splits_of_tasks(tasks, self)
        self._require_every_class(names, tasks)
        lost = sum((Counter(table.source.left_out) for table in found.tables.values()), Counter[str]())
        own = {**dropped, "caps": before - _total(tasks)}
        rows = {"blocks": RowCount(every + lost.total(), lost, own)}
        samples = [table.pixels for table in found.tables.values()]
        low, high = min(int(one.min()) for one in samples), max(int(one.max()) for one in samples)
        notes = {"luma": f"levels {low} to {high} of 255, in 8 bits", **row_notes(rows), **alike_note(names)}
        scenarios: tuple[Literal["task", "class", "domain"], ...] = ("task", "class")
        if self.by is not None:
            scenarios = ("task", "domain")
        made = tuple(Task(task, names, **splits) for task, splits in tasks.items())
        return Stream(self.name, made, scenarios, found.provenance, notes, rows)

    def _tasks(
        self, found: BlockTables
    ) -> tuple[tuple[str, ...], dict[str, dict[SplitName, BlockArray]], dict[str, int]]:
        """The names of the classes, the blocks of each task by split, and how many are left out, by reason."""
        from plora.streams.labels import label_ids, label_values

        sources = [table.source for table in found.tables.values()]
        values = [label_values(source, found.labels) for source in sources]
        names, labels = label_ids(self.name, found.labels, sources, values)
        task_names, task_of = self._task_of(found)
        tasks: dict[str, dict[SplitName, BlockArray]] = {task: {} for task in task_names}
        left_out = {"of other quantisers": 0, "dropped by map": 0}
        said: set[SplitName] = set()
        for place, (given, table) in enumerate(found.tables.items()):
            costs = _class_costs(table, found.labels, names)
            blocks = BlockArray(self._with_quantiser(table, found.quantiser), labels[place], costs)
            split_of = _split_of(table, found.split if given == "train" else None, given)
            said |= {split for split in SPLITS if (split_of == split).any()}
            asked = self._of_quantisers(table, found.quantiser)
            kept = asked & (labels[place] >= 0)
            left_out["of other quantisers"] += int((~asked).sum())
            left_out["dropped by map"] += int((asked & ~kept).sum())
            for number, task in enumerate(task_names):
                for split in SPLITS:
                    chosen = (task_of[place] == number) & (split_of == split) & kept
                    if chosen.any():
                        if split in tasks[task]:
                            raise DataError(f"the {split} blocks are given twice: by data.{split} and by data.split")
                        tasks[task][split] = blocks.select(chosen)
        tasks = {task: splits for task, splits in tasks.items() if splits}
        self._require_every_split(said, tasks)
        return names, tasks, left_out

    def _of_quantisers(self, table: BlockTable, column: str | None) -> NDArray[np.bool_]:
        """Which blocks of a table are of the quantisers that are asked for, `[N]`.

        Raises:
            DataError: none is of one of them.
        """
        wanted = self.data.quantisers
        if wanted is None or column is None:
            return np.ones(len(table.pixels), np.bool_)
        steps = _numbers(table, column)
        if absent := sorted(set(wanted) - set(steps.tolist())):
            known = ", ".join(f"{step:g}" for step in np.unique(steps))
            raise DataError(f"{table.source.where}: no block has the quantiser {absent[0]:g}; there are {known}")
        return np.isin(steps, wanted)

    def _task_of(self, found: BlockTables) -> tuple[tuple[str, ...], list[NDArray[np.int64]]]:
        """The names of the tasks, and of which task each block of each table is, `[N]`."""
        from plora.streams.labels import label_ids, label_values

        if self.by == "domains":
            assert found.domain is not None
            columns = TableTask(label=found.domain)
            sources = [table.source for table in found.tables.values()]
            return label_ids(self.name, columns, sources, [label_values(source, columns) for source in sources])
        if self.by == "quantisers":
            assert found.quantiser is not None
            steps = [_numbers(table, found.quantiser) for table in found.tables.values()]
            every = np.unique(np.concatenate(steps))
            return tuple(f"q-{step:g}" for step in every), [np.searchsorted(every, own) for own in steps]
        return (self.name,), [np.zeros(len(table.pixels), np.int64) for table in found.tables.values()]

    def _with_quantiser(self, table: BlockTable, column: str | None) -> NDArray[np.uint8]:
        """The pixels of a table, with the channel of the quantiser where there is one."""
        if self.quantiser_channel is None:
            return table.pixels
        assert column is not None
        steps = _numbers(table, column)
        if steps.min() < 0 or steps.max() > self.quantiser_channel:
            raise DataError(
                f"{table.source.where}: column '{column}' holds {steps.min():g} to {steps.max():g}, and "
                f"quantiser_channel is {self.quantiser_channel:g}; set it to the highest quantiser that there can be"
            )
        levels = np.floor(255 * steps / self.quantiser_channel + 0.5).astype(np.uint8)
        plane = np.broadcast_to(levels[:, None, None], table.pixels.shape)
        return np.stack([table.pixels, plane], axis=-1)

    def _require_every_split(self, said: Set[SplitName], tasks: Mapping[str, Mapping[SplitName, BlockArray]]) -> None:
        """Refuse a task without blocks of a split that others have, or of train, which must not stand in for it."""
        for task, own in tasks.items():
            for split in SPLITS:
                if split not in own and (split in said or split == "train"):
                    raise DataError(
                        f"stream '{self.name}': there are no {split} blocks of '{task}'"
                        f"{'' if split not in said else ', and there are some of other tasks, or map drops them'}; "
                        "every task needs some"
                    )

    def _require_every_class(self, names: Sequence[str], tasks: Mapping[str, Mapping[SplitName, BlockArray]]) -> None:
        """Refuse a class that no training block has."""
        present = np.unique(np.concatenate([splits["train"].labels for splits in tasks.values()]))
        if lacking := [name for number, name in enumerate(names) if number not in present]:
            raise DataError(
                f"stream '{self.name}': class '{lacking[0]}' has no training blocks"
                f"{f' (nor have {len(lacking) - 1} others)' if len(lacking) > 1 else ''}; leave it out of label_names "
                "or map, or add some"
            )


def excess_cost(costs: NDArray[np.float64], answers: NDArray[np.int64]) -> float:
    """Return what answers cost beyond the best ones, in percent of these: 100 (Σ J(answer) − Σ min J) / Σ min J.

    Args:
        costs: `[N, classes]`, J of each answer.
        answers: `[N]` class ids.
    """
    best = costs.min(axis=1).sum()
    return float(100 * (costs[np.arange(len(costs)), answers].sum() - best) / best)


def _class_costs(table: BlockTable, labels: TableTask, names: Sequence[str]) -> NDArray[np.float64] | None:
    """What each class costs, `[N, classes]`: the cheapest of its types."""
    from plora.streams.label_text import clean_label

    if table.costs is None:
        return None
    wanted = {clean_label(str(key)): value for key, value in (labels.map or {}).items()}
    class_of = []
    for number, name in enumerate(map(clean_label, table.cost_names)):
        found = name if labels.map is None else wanted.get(name, wanted.get(str(number)))
        class_of.append(None if found is None else clean_label(str(found)))
    return np.stack([table.costs[:, [own == name for own in class_of]].min(axis=1) for name in names], axis=1)


def _numbers(table: BlockTable, column: str) -> NDArray[np.float64]:
    """A column of numbers, `[N]`."""
    from plora.streams.source import column_of

    cells = column_of(table.source, column).to_pylist()
    for row, cell in enumerate(cells):
        if isinstance(cell, bool) or not isinstance(cell, int | float) or not np.isfinite(cell):
            raise DataError(
                f"{table.source.where}, row {row + 1}: column '{column}' says {cell!r}; expected a quantiser, a number"
            )
    return np.array(cells, np.float64)


def _split_of(table: BlockTable, column: str | None, given: SplitName) -> NDArray[np.str_]:
    """For which split each block of a table is, `[N]`."""
    from plora.streams.image_data import split_of_rows

    if column is None:
        return np.full(len(table.pixels), given)
    return np.array(split_of_rows(table.source, column))


def _total(tasks: Mapping[str, Mapping[SplitName, BlockArray]]) -> int:
    return sum(len(blocks) for splits in tasks.values() for blocks in splits.values())
