"""What a stream has to say about outliers."""

from collections.abc import Sequence

import numpy as np

from plora.errors import DataError
from plora.streams.base import SplitName, Stream
from plora.streams.labelled_images import LabelledImages

OUTLIER_CLASS = "outlier"
"""What the class of outliers is called."""


def with_outlier_class(class_names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of classes, and after them that of outliers.

    Raises:
        DataError: one of them is called so already.
    """
    if OUTLIER_CLASS in class_names:
        raise DataError(
            f"the stream has a class '{OUTLIER_CLASS}', and problem.outlier_class adds one of this name; name the ids "
            "of outliers under the stream's outlier, not under its classes"
        )
    return (*class_names, OUTLIER_CLASS)


def require_outliers(stream: Stream, splits: Sequence[SplitName]) -> None:
    """Refuse tasks in whose splits no image has outliers and inliers.

    Args:
        stream: of images with maps.
        splits: which splits.

    Raises:
        DataError: one has none; says which.
    """
    for task in stream.tasks:
        for name, split in task.splits():
            assert isinstance(split, LabelledImages)
            if name in splits and not _tells_outliers(split):
                raise DataError(
                    f"task '{task.name}': no image of its {name} split has pixels that are known as outliers beside "
                    "others, so that no outlier score can be judged (those of public test sets are often hidden); name "
                    "data whose outliers are known, or leave problem.outlier out"
                )


def _tells_outliers(split: LabelledImages) -> bool:
    # Images with outliers are put behind those of the classes: from the end the first that is read tells.
    for index in reversed(range(len(split))):
        (one,) = split.read(np.array([index]))
        if one.outlier is not None and one.outlier.any() and one.inliers().any():
            return True
    return False
