"""Batches made ahead: in order, a few at a time, errors as they are, no thread left; and the same bits as without."""

import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Literal

import numpy as np
import pytest
import torch
from killing import quiet, snapshot
from PIL import Image
from torch import Tensor

from plora.batches import ahead as ahead_module
from plora.batches.ahead import Ahead, Job
from plora.build import Workspace
from plora.config import RunConfig, load_config
from plora.errors import DataError
from plora.problems import Batch, Examples
from plora.problems.base import Indices, LabelledExamples
from plora.problems.image_classification import EncodedImages, Preparation
from plora.runs import run
from plora.streams.base import Split, Stream, StreamSource, Task
from plora.streams.image_reading import ImageReading
from plora.streams.images import ImageArray, ImageFiles, Images, Pixels
from plora.training.step import Backward

PATIENCE = 30
"""Seconds after which a thread that waits for another one gives up, so that a mistake is a failure and no hang."""


@pytest.fixture(autouse=True)
def _three_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have as many on any machine, none when a test is over, and no others of torch: they wait long for a busy core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(ahead_module, "THREADS", 3)
    yield
    torch.set_num_threads(before)
    assert threads() == []


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("plora-ahead")]


class Numbers(Examples):
    """Examples that are numbers; a batch may wait for a later one to be begun, or not be there."""

    def __init__(self, number: int, slow: bool = True, waits: bool = False, broken: int | None = None) -> None:
        self.slow, self.waits, self.broken = slow, waits, broken
        self.rows = np.zeros(number, np.int64)
        self.begun = [threading.Event() for _ in range(number)]
        self.error = DataError("number 2 cannot be read")

    @property
    def costs(self) -> Indices:
        return np.ones(len(self.rows), np.int64)

    def collate(self, indices: Indices, draw: int | None = None) -> Batch:
        first = int(indices[0])
        self.begun[first].set()
        if self.waits and first % 3 < 2 and first + 1 < len(self.begun):
            assert self.begun[first + 1].wait(PATIENCE)
        if first == self.broken:
            raise self.error
        return Batch({"numbers": torch.from_numpy(indices) + 100 * (draw or 0)}, indices=indices)

    def subset(self, indices: Indices) -> "Numbers":
        raise NotImplementedError

    def followed_by(self, others: "Sequence[Numbers]") -> "Numbers":
        raise NotImplementedError

    def tensors(self) -> dict[str, Tensor]:
        raise NotImplementedError


def jobs(*numbers: int, draw: int | None = None) -> list[Job]:
    return [(np.array([number]), draw) for number in numbers]


def found(batch: Batch) -> list[int]:
    return batch.inputs["numbers"].tolist()


# ---------------------------------------------------------------------- the threads


def test_batches_come_in_their_order_whichever_is_made_first() -> None:
    asked = jobs(*range(12), draw=7)
    with Ahead(Numbers(12, waits=True), asked) as ahead:  # two of three are done only after the next has begun
        assert [found(ahead.collate(*job)) for job in asked] == [[700 + number] for number in range(12)]


def test_no_more_than_a_few_are_begun_before_they_are_asked_for() -> None:
    examples, asked, announced = Numbers(12), jobs(*range(12)), []

    def announce() -> Iterator[Job]:
        for job in asked:
            announced.append(job)
            yield job

    with Ahead(examples, announce()) as ahead:
        for taken, job in enumerate(asked):
            assert len(announced) == min(12, taken + 3)
            assert not any(event.is_set() for event in examples.begun[taken + 3 :])
            ahead.collate(*job)


def test_an_error_is_raised_as_itself_where_its_batch_is_asked_for() -> None:
    examples = Numbers(12, broken=2)
    with Ahead(examples, jobs(*range(12))) as ahead:
        assert [found(ahead.collate(*job)) for job in jobs(0, 1)] == [[0], [1]]
        assert examples.begun[2].wait(PATIENCE)
        with pytest.raises(DataError) as raised:
            ahead.collate(*jobs(2)[0])
        assert raised.value is examples.error
        assert found(ahead.collate(*jobs(3)[0])) == [3]


def test_no_thread_is_left_when_the_block_ends_early() -> None:
    examples = Numbers(12)

    def some() -> None:
        with Ahead(examples, jobs(*range(12))) as ahead:
            ahead.collate(*jobs(0)[0])
            assert threads() != []
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        some()
    assert threads() == []
    assert not any(event.is_set() for event in examples.begun[4:])


def test_what_was_made_ahead_is_thrown_away_when_other_batches_are_announced() -> None:
    with Ahead(Numbers(12), jobs(*range(12))) as ahead:
        ahead.collate(*jobs(0)[0])
        ahead.expect(jobs(1, 5, draw=2))
        assert [found(ahead.collate(*job)) for job in jobs(1, 5, draw=2)] == [[201], [205]]


@pytest.mark.parametrize("other", [jobs(1)[0], jobs(0, draw=1)[0]], ids=["examples", "draw"])
def test_another_batch_than_was_announced_is_a_mistake(other: Job) -> None:
    with Ahead(Numbers(12), jobs(*range(12))) as ahead, pytest.raises(AssertionError, match="than w"):
        ahead.collate(*other)


def test_examples_that_are_fast_start_no_thread_and_announce_nothing() -> None:
    announced = iter(jobs(0, 1))
    with Ahead(Numbers(12, slow=False), announced) as ahead:
        assert found(ahead.collate(*jobs(5)[0])) == [5]
        assert threads() == []
    assert len([*announced]) == 2


# ---------------------------------------------------------------------- who is slow


def test_images_are_slow_where_they_are_in_files() -> None:
    def examples(split: Images) -> LabelledExamples:
        inputs = EncodedImages(((split, np.arange(len(split))),), Preparation((8, 8), (0.5,), (0.5,)))
        return LabelledExamples(inputs, split.labels)

    files = examples(ImageFiles((Path("a.png"),), np.zeros(1, np.int64)))
    array = examples(ImageArray(np.zeros((2, 8, 8), np.uint8), np.zeros(2, np.int64)))
    assert (files.slow, array.slow) == (True, False)
    assert array.followed_by([files]).slow
    assert not array.followed_by([array]).slow


def test_texts_start_no_thread(toy_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401
    def none(*_: object, **__: object) -> None:
        raise AssertionError("a thread")

    monkeypatch.setattr(ahead_module, "ThreadPoolExecutor", none)
    run(toy_config("training.epochs=1"), quiet(), Workspace())


# ---------------------------------------------------------------------- whole runs


class Pictures(StreamSource):
    """Two tasks of images in files, dark or bright."""

    kind: Literal["test_ahead:Pictures"] = "test_ahead:Pictures"
    root: Path
    """Folder of all files."""

    SIZES: ClassVar[dict[str, int]] = {"train": 24, "validation": 6, "test": 6}

    def load(self) -> Stream:
        """Write the files that are not there."""
        return Stream("pictures", tuple(self._task(name) for name in ("left", "right")), ("task", "class"))

    def _task(self, name: str) -> Task:
        splits: list[Split] = []
        for split, number in self.SIZES.items():
            paths = tuple(self.root / f"{name}-{split}-{index}.{('png', 'jpg')[index % 2]}" for index in range(number))
            rng = np.random.default_rng([len(name), number])
            for index, path in enumerate(paths):
                if not path.exists():
                    low = 120 * (index % 2)
                    Image.fromarray(rng.integers(low, low + 130, (11, 14, 3)).astype(np.uint8)).save(path)
            splits.append(ImageFiles(paths, np.arange(number, dtype=np.int64) % 2))
        return Task(name, (f"{name} dark", f"{name} bright"), *splits)


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    monkeypatch.setenv("PLORA_TRUST_OWN_PARTS", "1")
    (tmp_path / "pictures").mkdir()
    return load_config(
        {
            "name": "pictures",
            "problem": {"kind": "image_classification"},
            "stream": {"kind": "test_ahead:Pictures", "root": str(tmp_path / "pictures")},
            "scenario": "class",
            "method": "replay",
            "backbone": {
                "kind": "new",
                "network": {
                    "model_type": "resnet",
                    "num_channels": 3,
                    "embedding_size": 4,
                    "hidden_sizes": [4, 8],
                    "depths": [1, 1],
                    "layer_type": "basic",
                },
                "image": {"size": 16, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
            },
            "lora": {"targets": "all_conv", "rank": 2},
            "training": {
                "epochs": 3,
                "batch_size": 4,
                "micro_batch_size": 3,
                "early_stop": 2,
                "log_every": 1,
                "learning_rate": 0.02,
            },
            "evaluation": {"tokens_per_batch": 8},
            "output": str(tmp_path / "runs"),
        }
    )


def test_images_that_are_decoded_ahead_give_the_same_bits(pictures: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    decode, readers, runs = ImageReading.pixels, set(), []

    def watched(reading: ImageReading, file: Path | BinaryIO, where: str) -> Pixels:
        readers.add(threading.current_thread().name.partition("_")[0])
        return decode(reading, file, where)

    monkeypatch.setattr(ImageReading, "pixels", watched)
    for name, slow in (("plora-ahead", True), ("MainThread", False)):
        monkeypatch.setattr(ImageFiles, "slow", slow)
        readers.clear()
        config = pictures.model_copy(update={"output": pictures.output / name})
        runs.append(snapshot(run(config, quiet(), Workspace())))
        assert name in readers
        assert ("plora-ahead" in readers) == slow
    assert runs[0] == runs[1]


def test_a_file_that_is_damaged_inside_an_epoch_is_named_in_one_line(
    pictures: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    backward, steps = Backward.run, 0

    def damaging(self: Backward, *given: Any) -> dict[str, Tensor]:  # noqa: ANN401
        nonlocal steps
        if steps == 1:
            for path in self.parts.config.stream.root.glob("left-train-*"):  # type: ignore[union-attr]
                path.write_bytes(path.read_bytes()[:100])
        terms = backward(self, *given)
        steps += 1
        return terms

    monkeypatch.setattr(Backward, "run", damaging)
    with pytest.raises(DataError) as raised:
        run(pictures, quiet(), Workspace())
    assert re.fullmatch(r"\S*/left-train-\d+\.(png|jpg) cannot be read as an image: [^\n]+", str(raised.value))
    assert 1 <= steps < 4  # after what was decoded before it, and no later
    assert threads() == []
