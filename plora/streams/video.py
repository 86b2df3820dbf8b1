"""Videos, frame by frame (extra `video`)."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from plora.errors import DataError
from plora.streams.images import Pixels

_ENDINGS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")
_RATE = Fraction(25)
"""Frames per second where a file does not say."""


@dataclass(frozen=True)
class Frame:
    """Which frame of a video.

    Args:
        video: the file.
        number: of the frame, from 1.
        rate: frames per second of the video.
    """

    video: Path
    number: int
    rate: Fraction

    @property
    def stem(self) -> str:
        """The name of a file of its own, without an ending."""
        return f"{self.video.stem}-{self.number:06}"

    def __str__(self) -> str:
        return f"{self.video}, frame {self.number}"


def is_video(path: object) -> bool:
    """Return whether an input is the path of a video, by the ending of its name."""
    return isinstance(path, str | Path) and Path(path).suffix.lower() in _ENDINGS


def require_video() -> None:
    """Refuse where videos cannot be read.

    Raises:
        DataError: the extra is not installed.
    """
    try:
        import av  # noqa: F401
    except ImportError:
        raise DataError('videos are read by PyAV, which is not installed; run: pip install "plora[video]"') from None


def read_frames(path: Path) -> Iterator[tuple[Frame, Pixels]]:
    """Yield the frames of a video, `[H, W, 3]` uint8, in their order; one is in memory at once.

    Args:
        path: of the file.

    Raises:
        DataError: the extra is not installed, there is no such file, or it holds no frames that can be read.
    """
    require_video()
    import av

    number = 0
    try:
        with av.open(str(path)) as container:
            stream = next(iter(container.streams.video), None)
            if stream is not None:
                rate = Fraction(stream.average_rate or _RATE)
                for number, frame in enumerate(container.decode(stream), start=1):
                    yield Frame(path, number, rate), frame.to_ndarray(format="rgb24")
    except (av.error.FFmpegError, OSError) as error:
        where = f"after frame {number}" if number else "from its beginning on"
        raise DataError(f"video {path} cannot be read {where}: {error.strerror or error}") from None
    if not number:
        raise DataError(f"video {path} has no frames")


class VideoFile:
    """A video that is written frame by frame, in H.264: with losses, for people.

        with VideoFile(Path("seen.mp4"), Fraction(25)) as video:
            video.add(pixels)

    Args:
        path: of the file, which ends in .mp4.
        rate: frames per second.
    """

    def __init__(self, path: Path, rate: Fraction) -> None:
        import av

        self._container = av.open(str(path), "w")
        self._stream = self._container.add_stream("libx264", rate=rate)
        self._empty = True

    def add(self, pixels: Pixels) -> None:
        """Write a frame; the ends of odd sides are repeated, because H.264 wants them even.

        Args:
            pixels: `[H, W, 3]` uint8, all of one size.
        """
        import av

        height, width = pixels.shape[:2]
        even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._empty:
            self._stream.height, self._stream.width, self._stream.pix_fmt = *even.shape[:2], "yuv420p"
            self._empty = False
        self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and not self._empty:
            self._container.mux(self._stream.encode(None))
        self._container.close()
