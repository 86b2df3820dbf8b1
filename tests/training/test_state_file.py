"""A folder of large tensors: bounded, whole or absent, and safe to read while others delete."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from plora.batches import state_file

SHAPE = (6, 4)
SIZE = state_file.file_size(SHAPE, torch.float32)


def _rows(number: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(number)).to(dtype)


def _write(path: Path, rows: Tensor, limit: int = 10 * SIZE) -> Path:
    with state_file.writing(path, SHAPE, rows.dtype, limit) as writer:
        for piece in rows.split(4):
            writer.append(piece)
    return path


def _used_at(path: Path, when: int) -> None:
    os.utime(path, (when, when))


@pytest.mark.parametrize("dtype", list(state_file.DTYPES))
def test_what_is_written_is_read_here_and_by_safetensors(tmp_path: Path, dtype: torch.dtype) -> None:
    path, rows = tmp_path / "a.safetensors", _rows(0, dtype)
    _write(path, rows)
    found = state_file.read(path, SHAPE, dtype)
    assert found is not None
    assert torch.equal(found, rows)
    assert torch.equal(load_file(path)["states"], rows)
    assert path.stat().st_size == state_file.file_size(SHAPE, dtype)


def test_the_least_recently_used_makes_room_and_its_reader_keeps_it(tmp_path: Path) -> None:
    paths = [_write(tmp_path / f"{name}.safetensors", _rows(i)) for i, name in enumerate("abc")]
    for when, path in enumerate(paths, start=1000):
        _used_at(path, when)
    first = state_file.read(paths[0], SHAPE, torch.float32)  # used now: the second is the oldest
    second = state_file.read(paths[1], SHAPE, torch.float32)
    _used_at(paths[1], 1001)
    _write(tmp_path / "d.safetensors", _rows(3), limit=3 * SIZE)
    assert {path.name[0] for path in tmp_path.glob("*.safetensors")} == {"a", "c", "d"}
    assert first is not None
    assert second is not None
    assert torch.equal(second, _rows(1))


def test_what_a_killed_writer_left_makes_room_too(tmp_path: Path) -> None:
    left = tmp_path / ".a.safetensors.0badcafe.tmp"
    left.write_bytes(bytes(SIZE))
    _used_at(left, 1000)
    _write(tmp_path / "b.safetensors", _rows(0), limit=2 * SIZE)
    assert left.exists()
    _write(tmp_path / "c.safetensors", _rows(1), limit=2 * SIZE)
    assert not left.exists()
    assert {path.name[0] for path in tmp_path.glob("*.safetensors")} == {"b", "c"}


def test_the_room_is_taken_before_the_first_row(tmp_path: Path) -> None:
    with state_file.writing(tmp_path / "a.safetensors", SHAPE, torch.float32, 2 * SIZE) as slow:
        (unfinished,) = tmp_path.glob(".*.tmp")
        assert unfinished.stat().st_size == SIZE
        _write(tmp_path / "b.safetensors", _rows(1), limit=2 * SIZE)
        assert unfinished.exists()  # both fit
        slow.append(_rows(0))
    assert state_file.read(tmp_path / "a.safetensors", SHAPE, torch.float32) is not None


def test_a_writer_whose_file_was_deleted_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"

    def overtaken() -> None:
        with state_file.writing(path, SHAPE, torch.float32, SIZE) as slow:
            slow.append(_rows(0))
            _write(tmp_path / "b.safetensors", _rows(1), limit=SIZE)

    with pytest.raises(OSError, match=r"a\.safetensors"):
        overtaken()
    assert not path.exists()
    assert {found.name for found in tmp_path.iterdir()} == {".lock", "b.safetensors"}


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> None:
        with state_file.writing(tmp_path / "a.safetensors", SHAPE, torch.float32, SIZE) as writer:
            writer.append(_rows(0)[:2])
            raise ValueError("the network broke")

    with pytest.raises(ValueError, match="the network broke"):
        broken()
    assert {found.name for found in tmp_path.iterdir()} == {".lock"}


@pytest.mark.parametrize("damage", ["flipped", "cut", "longer", "empty", "absent", "other"])
def test_a_damaged_file_is_none(tmp_path: Path, damage: str) -> None:
    path = _write(tmp_path / "a.safetensors", _rows(0))
    content = bytearray(path.read_bytes())
    content[-7] ^= 4 if damage == "flipped" else 0
    changed = {"cut": content[:-8], "longer": content + bytes(8), "empty": b"", "other": b"no safetensors" * 99}
    path.write_bytes(changed.get(damage, content))
    if damage == "absent":
        path.unlink()
    assert state_file.read(path, SHAPE, torch.float32) is None


def test_a_file_of_another_shape_is_none(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.safetensors", _rows(0))
    assert state_file.read(path, (3, 8), torch.float32) is None
    assert state_file.read(path, SHAPE, torch.float16) is None


def test_a_folder_that_only_others_may_write_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _write(tmp_path / "a.safetensors", _rows(0))

    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "utime", refused)
    found = state_file.read(path, SHAPE, torch.float32)
    assert found is not None
    assert torch.equal(found, _rows(0))
