"""Blocks that VP9 divides: what coded blocks say of each size, what the encoder does, and the stream of it."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from plora.cache import CACHE
from plora.errors import DataError
from plora.streams.base import Stream
from plora.streams.blocks import BlockArray, Blocks
from plora.streams.photographs import luma_of
from plora.streams.vp9_partitions import VP9_TYPES, CodedBlock, coded_blocks, types_at

av = pytest.importorskip("av", reason="the extra `video` is not installed")

SIDE = 128


def image(seed: int) -> NDArray[np.uint8]:
    """Stripes across above and along below, with noise: all four types are there."""
    down, across = np.mgrid[:SIDE, : SIDE + 20]
    luma = np.where(across // 8 % 2 == 0, 40, 200)
    luma[SIDE // 2 :] = np.where(down // 8 % 2 == 0, 60, 180)[SIDE // 2 :]
    luma[:, :16] = 100
    noisy = luma + np.random.default_rng(seed).normal(0, 6, luma.shape)
    return np.repeat(np.clip(noisy, 0, 255).astype(np.uint8)[..., None], 3, axis=-1)


def photographs(folder: Path, number: int = 4) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(number):
        Image.fromarray(image(seed)).save(folder / f"photo-{seed}.png")
    return folder


def stream(root: Path, by: str | None = None, **data: object) -> Stream:
    own = {"kind": "encoded", "root": root, "quantisers": [20, 30], **data}
    return Blocks.model_validate({"data": own, "quantiser_channel": 63, "by": by}).load()


def types_of_each(blocks: list[CodedBlock], side: int, size: int) -> list[list[int]]:
    """The same as `types_at`, block by block: which coded blocks lie in each, and do they fill it?"""
    found = []
    for top in range(0, side, size):
        row = []
        for left in range(0, side, size):
            inside = [
                (one.height, one.width)
                for one in blocks
                if top <= one.top < top + size and left <= one.left < left + size
            ]
            if not inside or max(max(sides) for sides in inside) > size:
                row.append(-1)
            elif inside == [(size, size)]:
                row.append(0)
            elif inside == [(size // 2, size)] * 2:
                row.append(1)
            else:
                row.append(2 if inside == [(size, size // 2)] * 2 else 3)
        found.append(row)
    return found


def test_a_block_has_the_type_that_its_coded_blocks_make_of_it() -> None:
    blocks = [
        *(CodedBlock(0, 0, 32, 32), CodedBlock(0, 32, 16, 32), CodedBlock(16, 32, 16, 32)),
        *(CodedBlock(32, 0, 32, 16), CodedBlock(32, 16, 32, 16)),
        *(CodedBlock(32, 32, 16, 16), CodedBlock(32, 48, 8, 16), CodedBlock(40, 48, 8, 16)),
        *(CodedBlock(48, 32, 16, 8), CodedBlock(48, 40, 16, 8)),
        *(CodedBlock(48 + top, 48 + left, 8, 8) for top in (0, 8) for left in (0, 8)),
    ]
    assert types_at(blocks, 1, 1, 64).tolist() == [[3]]
    assert types_at(blocks, 2, 2, 32).tolist() == [[0, 1], [2, 3]]
    inside = [-1] * 4
    assert types_at(blocks, 4, 4, 16).tolist() == [inside, inside, [-1, -1, 0, 1], [-1, -1, 2, 3]]


@pytest.mark.parametrize("quantiser", [0, 30, 63])
def test_the_encoder_divides_all_of_an_image_into_blocks_that_make_types(quantiser: int) -> None:
    blocks = [*coded_blocks(luma_of(image(0))[:SIDE, :SIDE], quantiser)]
    covered = np.zeros((SIDE, SIDE), int)
    for one in blocks:
        covered[one.top : one.top + one.height, one.left : one.left + one.width] += 1
    assert (covered == 1).all()
    for size in (16, 32, 64):
        assert types_at(blocks, SIDE // size, SIDE // size, size).tolist() == types_of_each(blocks, SIDE, size)


def test_the_encoder_divides_what_there_is_to_see_and_nothing_else() -> None:
    flat = np.full((SIDE, SIDE), 90, np.uint8)
    assert min(one.height for one in coded_blocks(flat, 30)) >= 32
    flat[:64, :64] = luma_of(image(0))[:64, :64]
    blocks = coded_blocks(flat, 30)
    smallest = {
        (top, left): min(one.height * one.width for one in blocks if (one.top // 64, one.left // 64) == (top, left))
        for top in (0, 1)
        for left in (0, 1)
    }
    assert smallest[0, 0] <= 128
    assert min(area for place, area in smallest.items() if place != (0, 0)) >= 32 * 32
    assert VP9_TYPES[types_at(blocks, 2, 2, 64)[0, 0]] == "SPLIT"


def test_a_damaged_cache_is_made_anew_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE, str(tmp_path))
    luma = luma_of(image(1))[:SIDE, :SIDE]
    found = [*coded_blocks(luma, 20)]
    (file,) = (tmp_path / "partitions").iterdir()
    kept = file.read_text(encoding="utf-8")
    assert [*coded_blocks(luma, 20)] == found
    file.write_text(kept.replace("[[0,", "[[8,").replace("8", "16"), encoding="utf-8")
    assert [*coded_blocks(luma, 20)] == found
    assert file.read_text(encoding="utf-8") == kept
    assert [*coded_blocks(luma, 21)] != found


def test_each_photograph_is_in_one_split_and_its_blocks_have_their_types(tmp_path: Path) -> None:
    found = stream(photographs(tmp_path / "photos"))
    (task,) = found.tasks
    assert task.label_names == VP9_TYPES
    expected: dict[tuple[bytes, int], tuple[int, int]] = {}
    larger = 0
    for seed in range(4):
        luma = luma_of(image(seed))[:SIDE, :SIDE]
        cut = luma.reshape(8, 16, 8, 16).swapaxes(1, 2)
        for quantiser in (20, 30):
            types = types_at(coded_blocks(luma, quantiser), 8, 8, 16)
            larger += int((types < 0).sum())
            for row, column in zip(*np.nonzero(types >= 0), strict=True):
                expected[cut[row, column].tobytes(), quantiser] = (seed, int(types[row, column]))
    seen: dict[str, set[int]] = {}
    for name, split in task.splits():
        assert isinstance(split, BlockArray)
        for pixels, label in zip(split.pixels, split.labels.tolist(), strict=True):
            quantiser = 20 if pixels[0, 0, 1] == round(255 * 20 / 63) else 30
            seed, type_ = expected[pixels[..., 0].tobytes(), quantiser]
            assert label == type_
            seen.setdefault(name, set()).add(seed)
    assert sorted(len(one) for one in seen.values()) == [1, 1, 2]
    assert set.union(*seen.values()) == {0, 1, 2, 3}
    assert larger > 0
    assert dict(found.rows["blocks"].left_out) == {"inside a larger block, which is not divided there": larger}
    assert "libvpx" in found.provenance["encoder"]


def test_folders_are_domains_and_quantisers_are_tasks(tmp_path: Path) -> None:
    for domain in ("streets", "faces"):
        photographs(tmp_path / domain, 3)
    for file in (tmp_path / "faces").iterdir():
        Image.fromarray(255 - np.asarray(Image.open(file))).save(file)
    divided = {type_: "NONE" if type_ == "NONE" else "PARTITION" for type_ in VP9_TYPES}
    found = stream(tmp_path, by="domains", domains=True, map=divided)
    assert found.tasks[0].label_names == ("NONE", "PARTITION")
    assert sorted(task.name for task in found.tasks) == ["faces", "streets"]
    found = stream(tmp_path, by="quantisers", domains=True, map=divided)
    assert [task.name for task in found.tasks] == ["q-20", "q-30"]


def test_every_split_has_photographs_whatever_the_shares(tmp_path: Path) -> None:
    root = photographs(tmp_path / "photos")
    found = stream(root, test_share=0.4, validation_share=0.4)
    assert {name for name, _ in found.tasks[0].splits()} == {"train", "validation", "test"}


def test_photographs_without_a_block_of_the_size_do_not_lend_them(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    for grey in (60, 90, 120, 150):
        Image.fromarray(np.full((SIDE, SIDE, 3), grey, np.uint8)).save(root / f"{grey}.png")
    with pytest.raises(DataError, match="the photographs for train have no block of 16 pixels"):
        stream(root)


def test_what_cannot_be_labelled_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        stream(tmp_path / "photos")
    root = photographs(tmp_path / "photos", 2)
    with pytest.raises(DataError, match="has 2 different photographs; at least 3 are needed"):
        stream(root)
    (root / "copy.png").write_bytes((root / "photo-0.png").read_bytes())
    with pytest.raises(DataError, match="has 2 different photographs"):
        stream(root)
    with pytest.raises(DataError, match=r"'.*copy\.png' is no folder; with domains: true"):
        stream(root, domains=True)
    Image.fromarray(image(5)[:40]).save(root / "small.png")
    with pytest.raises(DataError, match=r"small\.png' has 148 × 40 pixels; expected at least 64 each way"):
        stream(root)
    (root / "notes.png").write_text("no image", encoding="utf-8")
    with pytest.raises(DataError, match=r"notes\.png' cannot be read as an image"):
        stream(root)
