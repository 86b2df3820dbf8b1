import json
import math
from pathlib import Path

import pytest

from plora.atomic import atomic_folder, atomic_path, remove_leftovers, write_bytes, write_json, write_text


def test_writes_whole_files_into_folders_that_it_makes(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a" / "b" / "data.bin", b"\x00\xff")
    assert (tmp_path / "a" / "b" / "data.bin").read_bytes() == b"\x00\xff"
    write_text(tmp_path / "text.txt", "é\r\nend")
    assert (tmp_path / "text.txt").read_bytes() == "é\r\nend".encode()  # line ends untouched
    assert [path.name for path in tmp_path.iterdir()] in (
        ["a", "text.txt"],
        ["text.txt", "a"],
    )  # no leftovers


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_text(path, "old")

    def write_half_of_it() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half of the n")
            raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="disk on fire"):
        write_half_of_it()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_stays_until_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent  # a rename across file systems would not be atomic
    assert path.read_text() == "new"


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "file"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_writer_do_not_look_like_the_file(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "task-03.parquet") as temporary:
        temporary.write_bytes(b"")
        assert list(tmp_path.glob("*.parquet")) == []
        assert temporary.name.startswith(".")


def test_leftovers_of_all_writers_go_and_nothing_else(tmp_path: Path) -> None:
    inner = tmp_path / "checkpoints" / "step"
    inner.mkdir(parents=True)
    kept = [inner / "state-1.safetensors", tmp_path / ".tmp", tmp_path / ".tmp-notes", tmp_path / "a.tmp"]
    for path in (*kept, inner / ".state-2.safetensors.0badcafe.tmp", inner / ".tmp967TMc"):  # the last: safetensors'
        path.write_bytes(b"x")
    for folder in (tmp_path, inner):
        remove_leftovers(folder)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)


def test_data_and_folder_are_flushed_in_this_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    monkeypatch.setattr("plora.atomic._sync", lambda path: events.append(f"sync {path.is_dir()}"))
    monkeypatch.setattr("plora.atomic.os.replace", lambda a, b: events.append("rename"))
    write_bytes(tmp_path / "file", b"x")
    assert events == ["sync False", "rename", "sync True"]


def test_json_is_strict(tmp_path: Path) -> None:
    for number in (math.nan, math.inf):
        with pytest.raises(ValueError, match="JSON"):
            write_json(tmp_path / "a.json", {"loss": number})
    assert list(tmp_path.iterdir()) == []


def test_json_keeps_any_text(tmp_path: Path) -> None:
    for text in ("naïve 🐍 עברית", "lone \ud800 surrogate", 'quotes " and \n lines'):
        write_json(tmp_path / "a.json", {"b": text, "a": [None, True, 1.5]})
        content = json.loads((tmp_path / "a.json").read_bytes())
        assert content == {"b": text, "a": [None, True, 1.5]}
        assert list(content) == ["b", "a"]


def test_files_of_private_writers_get_the_usual_permissions(tmp_path: Path) -> None:
    write_text(tmp_path / "usual", "")
    with atomic_path(tmp_path / "private") as temporary:
        temporary.touch(mode=0o600)
    with atomic_folder(tmp_path / "folder") as folder:
        (folder / "private").touch(mode=0o600)
    modes = {(tmp_path / name).stat().st_mode for name in ("usual", "private", "folder/private")}
    assert len(modes) == 1
