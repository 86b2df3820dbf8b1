"""Handwritten digits: real, offline, and the part to pretrain on apart from the stream."""

import numpy as np
import pytest

from plora.config import load_config
from plora.errors import ConfigError, DataError
from plora.streams import Digits
from plora.streams.base import Stream
from plora.streams.digits import NAMES
from plora.streams.images import ImageArray

EVERYTHING = 1797


def images(stream: Stream) -> list[bytes]:
    return [image for task in stream.tasks for _, split in task.splits() for image in split.identities() or ()]


def test_five_tasks_of_two_classes_in_the_order_of_the_digits() -> None:
    stream = Digits().load()
    assert [task.name for task in stream.tasks] == ["zero-one", "two-three", "four-five", "six-seven", "eight-nine"]
    assert [name for task in stream.tasks for name in task.label_names] == list(NAMES)
    assert stream.scenarios == ("task", "class")
    for task in stream.tasks:
        train, validation, test = (len(split) for _, split in task.splits())
        assert train > test > validation > 0
        for _, split in task.splits():
            assert split.labels is not None
            assert set(split.labels.tolist()) == {0, 1}


def test_every_image_is_in_one_split_of_one_part() -> None:
    stream, held_back = Digits().load(), Digits(part="pretraining").load()
    assert len(images(stream)) + len(images(held_back)) == EVERYTHING
    assert len(images(held_back)) == round(EVERYTHING * 0.3)
    assert not set(images(stream)) & set(images(held_back))
    (task,) = held_back.tasks
    assert task.label_names == NAMES


def test_pixels_are_those_of_scikit_learn_stretched_to_bytes() -> None:
    from sklearn.datasets import load_digits

    found = load_digits()
    first = Digits(part="pretraining").load().tasks[0].train
    assert isinstance(first, ImageArray)
    assert first.pixels.dtype == np.uint8
    assert first.pixels.shape[1:] == (8, 8)
    assert np.abs(first.pixels[0] / 255 * 16 - found.images[0]).max() < 0.05
    assert first.pixels.max() == 255


def test_the_fingerprint_is_the_same_each_time_and_another_for_other_splits() -> None:
    usual = Digits().load().fingerprint()
    assert Digits().load().fingerprint() == usual
    others = [Digits(part="pretraining"), Digits(per_task=5), Digits(held_back=0.5), Digits(test_fraction=0.3)]
    assert len({usual, *(other.load().fingerprint() for other in others)}) == 1 + len(others)


@pytest.mark.parametrize(("per_task", "sizes"), [(5, [5, 5]), (10, [10]), (4, [4, 4, 2]), (3, [3, 3, 3])])
def test_a_class_that_is_left_alone_makes_no_task(per_task: int, sizes: list[int]) -> None:
    assert [len(task.label_names) for task in Digits(per_task=per_task).load().tasks] == sizes


@pytest.mark.parametrize("setting", ["per_task=1", "per_task=11", "held_back=0", "part=all", "test_fraction=0.5"])
def test_a_setting_out_of_range_is_one_line(setting: str) -> None:
    with pytest.raises(ConfigError, match=f"^[^\n]*stream.{setting.split('=')[0]}[^\n]*$"):
        load_config({"stream": {"kind": "digits"}}, [f"stream.{setting}"])


def test_digits_have_no_domains() -> None:
    with pytest.raises(DataError, match=r"^stream 'digits' has no domain-incremental form[^\n]*$"):
        Digits().load().require("domain")


def test_a_share_that_leaves_a_split_empty_is_one_line() -> None:
    with pytest.raises(DataError, match=r"^task 'zero-one': the validation split is empty[^\n]*$"):
        Digits(validation_fraction=0.001).load()
