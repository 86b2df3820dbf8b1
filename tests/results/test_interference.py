"""Drift, overlap and interference against references that form every ΔW; then on real runs."""

import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file

from plora.config import RunConfig
from plora.errors import RunError
from plora.results import NoUpdatesError, read_interference
from plora.results.metrics import interference
from plora.results.metrics.interference import Update, drift, subspace_overlap, update_cosine
from plora.results.pictures.interference_plots import overlap_of_tasks
from plora.runs import run

Array = NDArray[np.float64]


def made_up(T: int = 3, L: int = 2, rank: int = 2, I: int = 7, O: int = 5, seed: int = 0) -> list[list[Update]]:  # noqa: E741
    rng = np.random.default_rng(seed)
    ranks = [rank + t % 2 for t in range(T)]
    return [[Update(rng.normal(size=(r, I)), rng.normal(size=(O, r))) for _ in range(L)] for r in ranks]


def slow_overlap(one: Array, other: Array) -> float:
    """Mean squared cosine of the principal angles, through projections onto the two row spaces."""
    P, Q = (np.linalg.pinv(A) @ A for A in (one, other))
    return float(np.trace(P @ Q) / min(np.linalg.matrix_rank(one), np.linalg.matrix_rank(other)))


@given(st.integers(0, 10_000))
def test_each_measure_is_that_of_the_whole_matrices(seed: int) -> None:
    updates = made_up(seed=seed)
    whole = [[update.B @ update.A for update in task] for task in updates]
    np.testing.assert_allclose(drift(updates), [[np.sqrt((D**2).sum()) for D in task] for task in whole])
    long = [np.concatenate([D.ravel() for D in task]) for task in whole]
    expected = [[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in long] for a in long]
    np.testing.assert_allclose(update_cosine(updates), expected, atol=1e-12)
    expected = [
        [np.mean([slow_overlap(a.A, b.A) for a, b in zip(one, other, strict=True)]) for other in updates]
        for one in updates
    ]
    np.testing.assert_allclose(subspace_overlap(updates), expected, atol=1e-9)


def test_ends_of_the_scales() -> None:
    axes = np.eye(6)
    B = np.ones((4, 2))
    first, second = Update(axes[:2], B), Update(axes[2:4], B)
    same_space = Update(np.array([[1.0, 2.0], [-3.0, 1.0]]) @ axes[:2], B)
    overlap = subspace_overlap([[first], [second], [same_space]])
    np.testing.assert_allclose(overlap, [[1, 0, 1], [0, 1, 0], [1, 0, 1]], atol=1e-12)
    undone, nothing = Update(axes[:2], -B), Update(axes[:2], 0 * B)
    cosine = update_cosine([[first], [undone], [second], [nothing]])
    np.testing.assert_allclose(cosine[0], [1, -1, 0, np.nan], atol=1e-12)


def test_random_subspaces_overlap_as_chance_says() -> None:
    updates = made_up(T=40, L=3, rank=2, I=20)
    overlap = subspace_overlap(updates)
    ranks = [len(task[0].A) for task in updates]
    pairs = np.tril_indices(40, -1)
    expected = np.mean([max(ranks[i], ranks[j]) / 20 for i, j in zip(*pairs, strict=True)])
    assert overlap[pairs].mean() == pytest.approx(expected, rel=0.05)


# ---------------------------------------------------------------------- real runs


def whole_updates(folder: Path, number: int, name: str) -> dict[str, Array]:
    """s · B A of one slot of one checkpoint, every matrix formed, by layer."""
    manifests = [
        json.loads((folder / f"checkpoints/task-{n:02}/manifest.json").read_text()) for n in range(1, number + 1)
    ]
    slot = folder / "slots" / [m["slots"][name] for m in manifests if name in m["slots"]][-1]
    config = json.loads((slot / "adapter_config.json").read_text())
    tensors = load_file(slot / "adapter_model.safetensors")
    layers = [key.removesuffix(".lora_A.weight") for key in tensors if key.endswith(".lora_A.weight")]
    scale = config["lora_alpha"] / config["r"]
    return {
        layer.removeprefix("base_model.model."): scale
        * tensors[f"{layer}.lora_B.weight"].astype(float)
        @ tensors[f"{layer}.lora_A.weight"].astype(float)
        for layer in layers
    }


@pytest.mark.parametrize("method", ["per_task", "o_lora", "sequential"])
def test_a_real_run_is_measured_from_its_own_slots(method: str, toy_config: Callable[..., RunConfig]) -> None:
    folder = run(toy_config(f"method={method}", "training.epochs=1"))
    found = read_interference(folder)
    tasks = ("food", "travel", "nature")
    assert found.tasks == tasks
    assert found.shared == (method == "sequential")
    if found.shared:
        states = [whole_updates(folder, number, "shared") for number in (1, 2, 3)]
        zero = {layer: np.zeros_like(D) for layer, D in states[0].items()}
        pairs_of_states = pairwise([zero, *states])
        wholes = [{layer: now[layer] - before[layer] for layer in now} for before, now in pairs_of_states]
    else:
        wholes = [whole_updates(folder, 3, task) for task in tasks]
    expected = [[np.linalg.norm(whole[layer]) for layer in found.layers] for whole in wholes]
    np.testing.assert_allclose(found.drift, expected, rtol=1e-5)
    long = [np.concatenate([whole[layer].ravel() for layer in found.layers]) for whole in wholes]
    cosines = [[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in long] for a in long]
    np.testing.assert_allclose(found.cosine, cosines, atol=1e-6)
    pairs = found.overlap[np.tril_indices(3, -1)]
    if method == "sequential":
        assert (pairs > 0.8).all()  # one A that turns slowly
    else:
        assert (pairs < 0.8).all()


@pytest.mark.parametrize("method", ["per_task", "sequential"])
def test_of_many_tasks_some_slots_are_read(
    method: str, toy_config: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run(toy_config(f"method={method}", "training.epochs=1"))
    whole = read_interference(folder)
    opened: list[str] = []
    original = interference._read_slot
    monkeypatch.setattr(interference, "_read_slot", lambda *given: opened.append(given[2]) or original(*given))
    some = read_interference(folder, 2)
    assert (some.tasks, some.numbers, some.of) == (("food", "nature"), (1, 3), 3)
    assert len(opened) == (2 if method == "per_task" else 3)  # what the last one gained needs the one before it
    np.testing.assert_allclose(some.drift, whole.drift[[0, 2]])
    np.testing.assert_allclose(some.cosine, whole.cosine[np.ix_([0, 2], [0, 2])])
    np.testing.assert_allclose(some.overlap, whole.overlap[np.ix_([0, 2], [0, 2])])
    assert "2 of 3 tasks" in overlap_of_tasks(some).axes[0].get_title(loc="left")
    assert "of 3 tasks" not in overlap_of_tasks(whole).axes[0].get_title(loc="left")


def test_what_cannot_be_compared_is_one_clear_line(toy_config: Callable[..., RunConfig], tmp_path: Path) -> None:
    frozen = run(toy_config("method=frozen", "training.epochs=1"))
    with pytest.raises(NoUpdatesError, match="has no slots"):
        read_interference(frozen)
    joint = run(toy_config("method=joint", "training.epochs=1"))
    with pytest.raises(NoUpdatesError, match="learned all its tasks at once"):
        read_interference(joint)
    with pytest.raises(NoUpdatesError, match="has no checkpoint"):
        read_interference(tmp_path)


def test_a_changed_or_missing_slot_is_named(toy_config: Callable[..., RunConfig], tmp_path: Path) -> None:
    folder = run(toy_config("method=per_task", "training.epochs=1"))
    slot = next(folder.glob("slots/*/adapter_model.safetensors"))
    content = slot.read_bytes()
    slot.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(RunError, match=r"adapter_model\.safetensors was changed"):
        read_interference(folder)
    slot.unlink()
    with pytest.raises(RunError, match=r"adapter_model\.safetensors cannot be read"):
        read_interference(folder)
    other = shutil.copytree(folder, tmp_path / "copy")
    (other / "checkpoints/task-03/manifest.json").write_text("{}")
    with pytest.raises(RunError, match=r"manifest\.json was changed"):
        read_interference(other)
