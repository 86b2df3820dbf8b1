"""What the samples of an array mean: their bit depth and scaling, which are declared and then checked."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from plora.errors import DataError


class SampleValues(BaseModel):
    """Samples of so many bits, as whole levels or already divided by the highest of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bits: int = Field(ge=8, le=16)
    """Bits of a sample: 8, 10, 12 or as it was recorded. Has to be said: an array of 16-bit numbers does not."""
    values: Literal["levels", "unit"] = "levels"
    """`levels`: whole numbers, 0 to 2^bits − 1; `unit`: those divided by 2^bits − 1."""

    @property
    def highest(self) -> int:
        """The highest level, 2^bits − 1."""
        return int(2**self.bits - 1)

    def bytes_of(self, samples: NDArray[np.generic], where: str) -> NDArray[np.uint8]:
        """Return samples as levels of 8 bits: ⌊255 v / highest + ½⌋.

        Args:
            samples: of any shape, whole numbers or fractions.
            where: what to call them in a message.

        Raises:
            DataError: they are not what is declared: of another bit depth, scaled already or twice, or no numbers.
        """
        if samples.dtype.kind not in "uif":
            raise DataError(f"{where} holds {samples.dtype}; expected numbers: levels, or fractions with values: unit")
        if not np.isfinite(samples).all():
            raise DataError(f"{where} holds values that are no numbers (NaN or infinite); take those blocks out")
        low, high = float(samples.min()), float(samples.max())
        if wrong := self._contradiction(samples, low, high):
            raise DataError(f"{where} holds values from {low:g} to {high:g}: {wrong}")
        scale = 255 / self.highest if self.values == "levels" else 255
        found: NDArray[np.uint8] = np.floor(samples.astype(np.float64) * scale + 0.5).astype(np.uint8)
        return found

    def _contradiction(self, samples: NDArray[np.generic], low: float, high: float) -> str | None:
        """Why samples are not what is declared, and what to do; None where they may be."""
        if low < 0:
            return "none may be below 0; add back what was subtracted, for the network's own normalisation does that"
        if self.values == "unit":
            if high > 1:
                return "values: unit is declared, which ends at 1; set values: levels, or divide them"
            if high <= 1 / self.highest:
                return f"they were divided by {self.highest} twice, or all are black; divide once"
            return None
        if high > self.highest:
            return f"bits: {self.bits} is declared, which ends at {self.highest}; set bits: {self._bits_for(high)}"
        if high <= 1:
            return "values: levels is declared, and they were divided already; set values: unit"
        if not (samples.dtype.kind in "ui" or np.array_equal(samples, np.floor(samples.astype(np.float64)))):
            return "values: levels is declared, and some are fractions; set values: unit, or write whole levels"
        if self.bits > 8 and high <= 255:
            return f"bits: {self.bits} is declared, and 8 bits hold all of them; set bits: 8"
        return None

    def _bits_for(self, high: float) -> int:
        return int(high).bit_length()
