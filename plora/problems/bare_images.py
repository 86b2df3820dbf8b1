"""New images, of whose pixels nobody says the class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plora.streams.images import Images
from plora.streams.labelled_images import IGNORED, LabelledImage, LabelledImages


@dataclass(frozen=True)
class BareImages(LabelledImages):
    """Images whose maps are ignored as a whole.

    Args:
        images: without them.
        class_names: of the C classes.
    """

    images: Images
    class_names: tuple[str, ...]

    @property
    def slow(self) -> bool:  # type: ignore[override]  # follows from the images
        """Whether they are."""
        return self.images.slow

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: NDArray[np.int64]) -> Sequence[LabelledImage]:
        """Return some of the images."""
        return [
            LabelledImage(image, np.full(image.shape[:2], IGNORED, np.uint8)) for image in self.images.read(indices)
        ]

    def name(self, index: int) -> str:
        """Return what to call an image in a message."""
        return self.images.name(index)
