"""How an encoder that is in use divides an image: VP9's (libvpx), whose decoder says the size of every block (extra
`video`).

A superblock of 64 × 64 is divided down to 8 × 8 in four ways, NONE, HORZ, VERT and SPLIT. Sides of a frame are
multiples of 64, so that the border forces no division. An image is one key frame of fixed quantiser with grey chroma.
The decoder says sizes only where a frame has segments; complexity AQ makes some, with no change of the quantiser in a
key frame, which is checked.

What it is not: sizes below 8 × 8 are not told apart, and the costs of what was not chosen are not said.
"""

import hashlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from plora.cache import cache_folder, left_out
from plora.errors import DataError, RunError
from plora.sealed import fitted, read_sealed, write_sealed

VP9_TYPES = ("NONE", "HORZ", "VERT", "SPLIT")
"""Ways to divide a block."""
SUPERBLOCK = 64
"""Height and width of what an image is divided into first."""
HIGHEST_QUANTISER = 63
_OPTIONS: Mapping[str, str] = {
    "deadline": "good",
    "cpu-used": "2",
    "aq-mode": "2",
    "b": "0",
    "lag-in-frames": "0",
    "auto-alt-ref": "0",
    "row-mt": "0",
    "threads": "1",
}
_HEADER, _BLOCK = struct.Struct("<I4xQQ"), struct.Struct("<5i")
"""AVVideoEncParams of FFmpeg: how many blocks, where they begin, bytes of each; of a block its left, top, width, height
and change of the quantiser."""
_SIDES: TypeAdapter[tuple[tuple[int, int, int, int], ...]] = TypeAdapter(tuple[tuple[int, int, int, int], ...])


@dataclass(frozen=True)
class CodedBlock:
    """A block that is not divided further, in pixels."""

    top: int
    left: int
    height: int
    width: int


def require_encoder() -> None:
    """Refuse where images cannot be encoded.

    Raises:
        DataError: the extra is not installed, or its FFmpeg has no libvpx.
    """
    try:
        import av
    except ImportError:
        raise DataError(
            'photographs are encoded by PyAV, which is not installed; run: pip install "plora[video]"'
        ) from None
    if "libvpx-vp9" not in av.codecs_available:
        raise DataError("the FFmpeg of the installed PyAV has no libvpx-vp9; install PyAV's own wheel: pip install av")


def encoder_name() -> str:
    """Return which encoder it is, with its version: another one may divide in another way."""
    import av

    return f"libvpx-vp9 of PyAV {av.__version__}"


def coded_blocks(luma: NDArray[np.uint8], quantiser: int) -> Sequence[CodedBlock]:
    """Return the blocks into which the encoder divides an image; what was encoded once is read from the cache.

    Args:
        luma: `[H, W]`, both multiples of 64.
        quantiser: 0 (finest) to 63.

    Raises:
        DataError: the encoder or the decoder does not do what it is asked for; says which.
    """
    own = f"{encoder_name()};{sorted(_OPTIONS.items())};{quantiser};{luma.shape};".encode()
    cache = cache_folder()
    path = None if cache is None else cache / "partitions" / f"{hashlib.sha256(own + luma.tobytes()).hexdigest()}.json"
    if path is not None:
        try:
            return [CodedBlock(*sides) for sides in fitted(path, read_sealed(path).get("blocks"), _SIDES)]
        except RunError:  # missing or damaged: made anew
            pass
    found = [*_divided(luma, quantiser)]
    if path is not None:
        try:
            write_sealed(path, {"blocks": [[one.top, one.left, one.height, one.width] for one in found]})
        except OSError as error:  # costs time, and nothing else
            left_out(error)
    return found


def types_at(blocks: Sequence[CodedBlock], rows: int, columns: int, size: int) -> NDArray[np.int64]:
    """Return how each block of a size is divided, `[rows, columns]`: its place in `VP9_TYPES`, −1 inside a larger one.

    Args:
        blocks: of an image, all of it.
        rows, columns: how many blocks of the size lie below and beside each other.
        size: of a block, 16, 32 or 64.
    """
    found = np.full((rows, columns), VP9_TYPES.index("SPLIT"), np.int64)
    shapes = {(size, size): "NONE", (size // 2, size): "HORZ", (size, size // 2): "VERT"}
    for one in blocks:
        if one.height > size or one.width > size:
            inside = slice(one.top // size, (one.top + one.height) // size)
            found[inside, one.left // size : (one.left + one.width) // size] = -1
        elif (name := shapes.get((one.height, one.width))) is not None:
            found[one.top // size, one.left // size] = VP9_TYPES.index(name)
    return found


def _divided(luma: NDArray[np.uint8], quantiser: int) -> Iterator[CodedBlock]:
    import av
    from av.sidedata.sidedata import Type

    height, width = luma.shape
    grey = np.full((height // 2, width), 128, np.uint8)
    frame = av.VideoFrame.from_ndarray(np.concatenate([luma, grey]), format="yuv420p")
    frame.pts = 0
    try:
        encoder = av.CodecContext.create("libvpx-vp9", "w")
        assert isinstance(encoder, av.VideoCodecContext)
        encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width, height, "yuv420p", Fraction(1, 25)
        encoder.options = {**_OPTIONS, "crf": str(quantiser), "qmin": str(quantiser), "qmax": str(quantiser)}
        packets = [*encoder.encode(frame), *encoder.encode(None)]
        decoder = av.CodecContext.create("vp9", "r")
        assert isinstance(decoder, av.VideoCodecContext)
        decoder.options = {"export_side_data": "venc_params"}
        frames = [one for packet in [*packets, None] for one in decoder.decode(packet)]
    except av.error.FFmpegError as error:
        raise DataError(
            f"VP9 cannot encode an image of {width} × {height} pixels with quantiser {quantiser}: "
            f"{error.strerror or error}"
        ) from None
    said = [bytes(one) for one in frames[0].side_data if one.type == Type.VIDEO_ENC_PARAMS] if frames else []
    blocks = [*_read(said[0])] if said else []
    if sum(one.height * one.width for one in blocks) != height * width:
        raise DataError(
            f"{encoder_name()} does not say how it divided an image; versions that were tested stand in constraints.txt"
        )
    yield from blocks


def _read(said: bytes) -> Iterator[CodedBlock]:
    """The blocks in what a decoder says of a frame."""
    count, first, each = _HEADER.unpack_from(said)
    for number in range(count):
        left, top, width, height, change = _BLOCK.unpack_from(said, first + number * each)
        if change:
            raise DataError(f"{encoder_name()} changed the quantiser within an image, which was asked to be one")
        yield CodedBlock(top, left, height, width)
