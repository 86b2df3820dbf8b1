"""How a check ends: silently, or in one line that names what was tested, the promise, what was seen and expected."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from plora.errors import ConformanceError


@dataclass(frozen=True)
class Promises:
    """The promises of one thing that is tested.

    Args:
        of: what it is, such as `gate OneHot`.
    """

    of: str

    def keep(self, kept: bool, promise: str, got: object, expected: object) -> None:
        """Go on when the promise is kept.

        Raises:
            ConformanceError: it is broken.
        """
        if not kept:
            raise ConformanceError(f"{self.of}: {promise}: got {got}, expected {expected}")

    @contextmanager
    def no_error(self, promise: str) -> Iterator[None]:
        """Promise that the code inside the `with` block raises nothing.

        Raises:
            ConformanceError: it did; the error itself is its cause.
        """
        try:
            yield
        except ConformanceError:
            raise
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            raise ConformanceError(
                f"{self.of}: {promise}: got {type(error).__name__} ({lines[0]}), expected no error"
            ) from error
