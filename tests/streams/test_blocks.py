"""Streams of blocks: from photographs, arrays and parquet; classes, tasks, quantisers and costs."""

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from numpy.typing import NDArray

from plora.errors import DataError
from plora.streams.base import Stream
from plora.streams.blocks import BlockArray, Blocks, excess_cost
from plora.streams.partitions import PARTITIONS

SHARED = Path(__file__).parents[3] / "shared" / "data" / "blocks"
TYPES = ("NONE", "HORZ", "VERT", "SPLIT")


def arrays(apiece: int = 12) -> dict[str, NDArray[np.generic]]:
    """Blocks of 8 × 8 of four types and two quantisers, each with pixels of its own; 10 bits."""
    labels = np.repeat(np.arange(4), apiece)
    blocks = np.random.default_rng(0).integers(0, 1024, (len(labels), 8, 8)).astype(np.uint16)
    costs = np.full((len(labels), 4), 10.0)
    costs[np.arange(len(labels)), labels] = 4.0
    costs[:, 3] += 1
    return {
        "blocks": blocks,
        "label": labels,
        "q": np.tile([20, 40], 2 * apiece),
        "content": np.tile(["photo", "sketch", "photo"], 4 * apiece // 3),
        "J": costs,
    }


def stream(folder: Path, given: dict[str, NDArray[np.generic]] | None = None, **settings: object) -> Stream:
    np.savez(folder / "blocks.npz", **(arrays() if given is None else given))
    data = {
        "kind": "npz",
        "train": folder / "blocks.npz",
        "bits": 10,
        "label_names": TYPES,
        "quantiser": "q",
        "domain": "content",
        "costs": "J",
    }
    own = settings.pop("data", {})
    assert isinstance(own, dict)
    return Blocks.model_validate({"data": data | own, **settings}).load()


def blocks_of(found: Stream) -> list[BlockArray]:
    splits = [split for task in found.tasks for _, split in task.splits()]
    assert all(isinstance(split, BlockArray) for split in splits)
    return splits  # type: ignore[return-value]  # as is asserted


def test_arrays_become_levels_of_eight_bits_and_splits_that_share_no_block(tmp_path: Path) -> None:
    found = stream(tmp_path)
    (task,) = found.tasks
    assert (task.name, task.label_names, found.scenarios) == ("blocks", TYPES, ("task", "class"))
    given = arrays()
    expected = {
        np.floor(block * (255 / 1023) + 0.5).astype(np.uint8).tobytes(): n for n, block in enumerate(given["blocks"])
    }
    seen: list[int] = []
    for split in blocks_of(found):
        for block, label, costs in zip(split.pixels, split.labels.tolist(), split.costs, strict=True):
            number = expected[block.tobytes()]
            assert (label, costs.tolist()) == (given["label"][number], given["J"][number].tolist())
            seen.append(number)
    assert sorted(seen) == list(range(48))
    assert [len(split) for split in blocks_of(found)] == [36, 4, 8]


def test_fractions_and_levels_are_the_same_blocks(tmp_path: Path) -> None:
    whole = stream(tmp_path)
    shares = arrays() | {"blocks": arrays()["blocks"] / np.float64(1023)}
    fractions = stream(tmp_path, shares, data={"values": "unit"})
    assert fractions.fingerprint() == whole.fingerprint()


def test_types_become_classes_and_a_class_costs_what_its_cheapest_type_does(tmp_path: Path) -> None:
    found = stream(tmp_path, data={"map": {"NONE": None, "HORZ": "RECT", "VERT": "RECT", "SPLIT": "SPLIT"}})
    (task,) = found.tasks
    assert task.label_names == ("RECT", "SPLIT")
    for split in blocks_of(found):
        assert split.costs is not None
        assert split.costs.tolist() == [[4.0, 11.0] if label == 0 else [10.0, 5.0] for label in split.labels]
    assert found.rows["blocks"].reasons() == {"dropped by map": 12}


def test_tasks_are_domains_or_quantisers(tmp_path: Path) -> None:
    domains = stream(tmp_path, by="domains")
    assert [task.name for task in domains.tasks] == ["photo", "sketch"]
    assert [sum(len(split) for _, split in task.splits()) for task in domains.tasks] == [32, 16]
    quantisers = stream(tmp_path, by="quantisers")
    assert [task.name for task in quantisers.tasks] == ["q-20", "q-40"]
    assert quantisers.scenarios == ("task", "domain")
    (only,) = stream(tmp_path, by="quantisers", data={"quantisers": [40]}).tasks
    assert only.fingerprints() == quantisers.tasks[1].fingerprints()


def test_the_quantiser_is_a_second_channel(tmp_path: Path) -> None:
    plain, found = stream(tmp_path, by="quantisers"), stream(tmp_path, by="quantisers", quantiser_channel=80)
    for without, split in zip(blocks_of(plain), blocks_of(found), strict=True):
        assert split.pixels.shape[1:] == (8, 8, 2)
        assert np.array_equal(split.pixels[..., 0], without.pixels)
    levels = [np.unique(split.pixels[..., 1]).tolist() for split in blocks_of(found)]
    assert levels == [[64]] * 3 + [[128]] * 3


def test_parquet_holds_the_bytes_of_blocks(tmp_path: Path) -> None:
    given = arrays()
    table = {
        "luma": [block.astype("<u2").tobytes() for block in given["blocks"]],
        "label": given["label"].tolist(),
        "split": ["train", "train", "validation", "test"] * 12,
    }
    pyarrow.parquet.write_table(pa.table(table), tmp_path / "blocks.parquet")
    data = {"kind": "parquet", "train": tmp_path / "blocks.parquet", "size": 8, "bits": 10, "split": "split"}
    (task,) = Blocks.model_validate({"data": data | {"label_names": TYPES}}).load().tasks
    assert {name: len(split) for name, split in task.splits()} == {"train": 24, "validation": 12, "test": 12}
    assert isinstance(task.test, BlockArray)
    assert task.test.pixels[0].tolist() == np.floor(given["blocks"][3] * (255 / 1023) + 0.5).tolist()


def test_photographs_are_labelled_by_what_costs_least_and_no_pixel_is_in_two_splits() -> None:
    data = {"kind": "photographs", "photographs": ["flower"], "size": 32, "quantisers": [16], "map": None}
    whole = Blocks.model_validate({"data": data | {"map": {name: "A" if name < "S" else "B" for name in PARTITIONS}}})
    (task,) = whole.load().tasks
    assert isinstance(task.train, BlockArray)
    for split in blocks_of(whole.load()):
        assert split.costs is not None
        assert np.array_equal(split.costs.argmin(axis=1), split.labels)
    pixels = [{block.tobytes() for block in split.pixels} for _, split in task.splits()]
    assert all(not one & other for one, other in itertools.combinations(pixels, 2))
    assert sum(len(split) for _, split in task.splits()) == 13 * 19


def test_what_answers_cost_beyond_the_best_is_a_share_of_that() -> None:
    costs = np.array([[2.0, 3.0], [8.0, 4.0], [4.0, 6.0]])
    assert excess_cost(costs, np.array([0, 1, 0])) == 0
    assert excess_cost(costs, np.array([1, 1, 1])) == pytest.approx(30)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets are not here")
def test_blocks_of_a_real_encoder_are_read() -> None:
    data = {
        "kind": "parquet",
        "train": SHARED / "p16_balanced.parquet",
        "label_names": str(SHARED / "partition_types.txt"),
        "split": "split",
        "domain": "domain",
        "quantiser": "cq_level",
        "bits": 8,
    }
    found = Blocks.model_validate({"data": data, "by": "domains"}).load()
    assert [task.name for task in found.tasks] == ["art_painting", "camvid", "cartoon", "photo", "sketch"]
    assert found.tasks[0].label_names == tuple(PARTITIONS)
    assert found.rows["blocks"].used == 12480


def test_a_class_that_no_training_block_has_is_refused(tmp_path: Path) -> None:
    given = {name: array[:36] for name, array in arrays().items()}
    with pytest.raises(DataError, match="class 'SPLIT' has no training blocks; leave it out of label_names or map"):
        stream(tmp_path, given)


def test_a_block_that_is_held_out_of_one_quantiser_is_learned_under_none(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    blocks = np.repeat(rng.integers(0, 1024, (200, 8, 8)).astype(np.uint16), 2, axis=0)
    given = {
        "blocks": blocks,
        "label": rng.integers(0, 4, 400),  # another type under another quantiser
        "q": np.tile([20, 40], 200),
        "content": np.full(400, "photo"),
        "J": np.ones((400, 4)),
    }
    found = stream(tmp_path, given, by="quantisers", test_per_class=5, train_per_class=30)
    seen: dict[str, set[bytes]] = {name: set() for name in ("train", "validation", "test")}
    for task in found.tasks:
        for name, split in task.splits():
            assert isinstance(split, BlockArray)
            seen[name] |= {block.tobytes() for block in split.pixels}
    assert all(seen.values())
    assert not seen["train"] & (seen["validation"] | seen["test"])


def test_blocks_of_train_do_not_stand_in_for_a_split_that_others_have(tmp_path: Path) -> None:
    given = arrays()
    given["part"] = np.where(given["q"] == 20, "train", np.tile(["train", "test", "validation"], 16))
    with pytest.raises(DataError, match="there are no validation blocks of 'q-20', and there are some of other tasks"):
        stream(tmp_path, given, data={"split": "part"}, by="quantisers")


def test_types_with_blanks_around_their_names_have_their_costs(tmp_path: Path) -> None:
    named = stream(tmp_path, data={"label_names": ["NONE ", "HORZ", "VERT", "SPLIT"]})
    assert named.tasks[0].label_names == TYPES
    (plain, *_), (blank, *_) = blocks_of(stream(tmp_path)), blocks_of(named)
    np.testing.assert_array_equal(plain.costs, blank.costs)
    joined = stream(tmp_path, data={"map": {"NONE": "no ", "HORZ": "yes", "VERT": "yes", "SPLIT": "yes "}})
    assert joined.tasks[0].label_names == ("no", "yes")
    assert blocks_of(joined)[0].costs is not None


def test_costs_below_zero_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="array 'J' holds values that are no numbers of 0 or more"):
        stream(tmp_path, arrays() | {"J": arrays()["J"] - 100})
