"""What a checkpoint promises: it was read back before it counts, and nobody can change it unseen."""

import json
import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from plora.config import RunConfig
from plora.errors import PloraError, RunError
from plora.gates import Router
from plora.heads import LinearHead
from plora.problems import Examples
from plora.results.record.manifest import read_checkpoint
from plora.run_folder.folder import RunFolder
from plora.runs import evaluate, load_learner, predict, run, verify
from plora.sealed import open_sealed, read_sealed, write_sealed

Config = Callable[..., RunConfig]
TEXTS = ["a loaf of rye", "old wave and tide", "new runway"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {}


@pytest.fixture
def folder(
    toy_config: Config, finished: dict[str, Path], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A copy of a finished run."""
    if "run" not in finished:
        output = tmp_path_factory.mktemp("finished")
        finished["run"] = run(toy_config("method=o_lora", "training.epochs=2", f"output={output}"))
    copy = tmp_path / "copy"
    shutil.copytree(finished["run"], copy)
    return copy


def test_a_sound_run_is_verified(folder: Path) -> None:
    result = verify(folder)
    assert result.problems == ()
    assert result.checkpoints == 3
    assert result.examples == 60
    assert result.files == 2 * 3 + 3  # two files a slot, one a head block


def test_a_checkpoint_that_reads_back_differently_does_not_count(
    toy_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    restore = LinearHead.restore

    def faulty(self: LinearHead, blocks: dict[str, int], tensors: dict[str, torch.Tensor]) -> None:
        restore(self, blocks, {name: tensor * 1.0000001 + 1e-7 for name, tensor in tensors.items()})

    monkeypatch.setattr(LinearHead, "restore", faulty)
    config = toy_config("method=o_lora", "training.epochs=1")
    with pytest.raises(RunError, match="gives other scores"):
        run(config)
    assert not list(config.folder.rglob("manifest.json"))


def test_a_router_that_reads_back_differently_does_not_count(
    toy_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    restore = Router.restore

    def faulty(self: Router, state: Mapping[str, torch.Tensor]) -> None:
        restore(self, {**state, "owners": state["owners"].max() - state["owners"]} if state else {})

    monkeypatch.setattr(Router, "restore", faulty)
    config = toy_config("method=routed", "scenario=class", "training.epochs=1")
    with pytest.raises(RunError, match="gives other scores"):
        run(config)
    assert [path.parent.name for path in config.folder.rglob("manifest.json")] == ["task-01"]  # of one slot no choice


@pytest.mark.parametrize("method", ["per_task", "sequential"])
def test_slots_and_head_parts_are_stored_once(toy_config: Config, method: str) -> None:
    config = toy_config(f"method={method}", "training.epochs=1")
    run(config)
    folder = RunFolder(config.folder)
    assert len(list(config.folder.glob("slots/*"))) == 3
    assert len(list(config.folder.glob("heads/*"))) == 3  # blocks of earlier tasks are not written again
    sizes = [read_checkpoint(folder.path, number).cost.stored_bytes for number in (1, 2, 3)]
    assert max(sizes) - min(sizes) < 300  # linear in the slots
    assert len(list(config.folder.glob("checkpoints/task-*/*"))) == 3  # manifests alone
    assert not folder.step.exists() or not any(folder.step.iterdir())


@pytest.mark.parametrize("damage", ["flip", "cut", "insert"])
def test_every_file_of_a_checkpoint_is_guarded(folder: Path, damage: str) -> None:
    files = [folder / "config.yaml", folder / "checkpoints/task-03/manifest.json"]
    files += [*sorted(folder.glob("slots/*/*")), *sorted(folder.glob("heads/*"))]
    rng = random.Random(damage)
    for file in files:
        whole = file.read_bytes()
        for position in [0, len(whole) // 2, len(whole) - 2, *(rng.randrange(len(whole) - 1) for _ in range(4))]:
            file.write_bytes(_damaged(whole, damage, position))
            with pytest.raises(PloraError) as refused:
                load_learner(folder)
            named = file.parent.name if file.parent.parent.name == "slots" else file.name
            assert named in str(refused.value), (file, position)
            assert "\n" not in str(refused.value)
        if file.name != "manifest.json":  # without one a checkpoint is not complete, and the one before it counts
            file.unlink()
            with pytest.raises(PloraError):
                load_learner(folder)
        file.write_bytes(whole)
    load_learner(folder)


@pytest.mark.parametrize("damage", ["flip", "cut", "insert"])
def test_no_damage_to_any_file_is_a_traceback_or_a_silent_change(folder: Path, damage: str) -> None:
    rng = random.Random(damage)
    expected, refusals = predict(folder, TEXTS, "food"), []
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in (".lock", "log.txt")):
        whole = file.read_bytes()
        for _ in range(2):
            file.write_bytes(_damaged(whole, damage, rng.randrange(max(1, len(whole) - 1))))
            try:
                found = predict(folder, TEXTS, "food")
            except PloraError as error:
                refusals.append(str(error))
            else:
                assert found == expected  # a file that predicting does not need
        file.write_bytes(whole)
    assert not [line for line in refusals if "\n" in line]


@pytest.mark.parametrize("name", ["results.json", "costs.json", "environment.json", "predictions/task-02.parquet"])
@pytest.mark.parametrize("damage", ["flip", "cut", "insert"])
def test_verify_notices_a_changed_record(folder: Path, name: str, damage: str) -> None:
    file = folder / name
    whole = file.read_bytes()
    file.write_bytes(_damaged(whole, damage, len(whole) // 2))
    try:
        problems = "\n".join(verify(folder).problems)
    except RunError as error:
        problems = str(error)
    assert Path(name).name in problems


def test_verify_notices_a_damaged_curve(folder: Path) -> None:
    curves = folder / "curves.jsonl"
    whole = curves.read_text(encoding="utf-8")
    curves.write_text("{bad\n" + whole, encoding="utf-8")
    (problem,) = verify(folder).problems
    curves.write_text(whole, encoding="utf-8")
    assert "curves.jsonl, line 1 is damaged" in problem


def test_swapped_slots_are_refused(folder: Path) -> None:
    first, second = sorted(folder.glob("slots/*"))[:2]
    first.rename(folder / "aside")
    second.rename(first)
    (folder / "aside").rename(second)
    with pytest.raises(RunError, match=r"slots/[0-9a-f]{64}/\S+ was changed"):
        load_learner(folder)


@pytest.mark.parametrize("name", ["../../outside.safetensors", "/etc/hostname", "slots/../../outside"])
def test_a_manifest_cannot_name_files_outside(folder: Path, name: str) -> None:
    path = folder / "checkpoints/task-03/manifest.json"
    content = read_sealed(path)
    content["files"][name] = "0" * 64
    write_sealed(path, content, open_sealed(path).of)
    with pytest.raises(RunError, match="outside of the run folder"):
        load_learner(folder)


def test_hashes_in_a_manifest_cannot_be_paths(folder: Path) -> None:
    path = folder / "checkpoints/task-03/manifest.json"
    content = read_sealed(path)
    content["slots"]["nature"] = "../../elsewhere"
    write_sealed(path, content, open_sealed(path).of)
    with pytest.raises(RunError, match=r"manifest\.json is damaged: slots\.nature"):
        load_learner(folder)


def test_a_newer_schema_is_named(folder: Path) -> None:
    path = folder / "checkpoints/task-03/manifest.json"
    write_sealed(path, {**read_sealed(path), "schema": 99}, open_sealed(path).of)
    with pytest.raises(RunError, match="has schema 99"):
        load_learner(folder)


def test_another_backbone_or_tokenizer_is_refused(folder: Path) -> None:
    path = folder / "checkpoints/task-03/manifest.json"
    content = read_sealed(path)
    for key, words in (("backbone", "another backbone"), ("preprocessing", "inputs prepared in another way")):
        write_sealed(path, {**content, key: "0" * 64}, open_sealed(path).of)
        with pytest.raises(RunError, match=words):
            load_learner(folder)


def test_environment_holds_the_first_batch(folder: Path) -> None:
    environment = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    mean, deviation = environment["preprocessing"]["first_batch"]["input_ids"]
    assert mean > 1
    assert deviation > 1


@pytest.mark.parametrize(("factor", "refused"), [(1 + 1e-13, False), (1 + 1e-6, True)])
def test_more_threads_sum_a_first_batch_otherwise_and_are_no_other_preprocessing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, factor: float, refused: bool
) -> None:
    original = Examples.first_batch

    def summed(self: Examples) -> dict[str, list[float]]:
        return {name: [factor * value for value in values] for name, values in original(self).items()}

    monkeypatch.setattr(Examples, "first_batch", summed)
    if not refused:
        assert evaluate(folder).changed == 0
        return
    with pytest.raises(RunError, match="preprocessing no longer makes the same inputs"):
        evaluate(folder)


@pytest.mark.parametrize("stored", [[], [1.0], [1.0] * 9])
def test_first_batch_of_another_length_is_another_preprocessing(folder: Path, stored: list[float]) -> None:
    path = folder / "environment.json"
    sealed = open_sealed(path)
    content = json.loads(json.dumps(sealed.content))
    content["preprocessing"]["first_batch"]["input_ids"] = stored
    write_sealed(path, content, sealed.of)
    with pytest.raises(RunError):
        evaluate(folder)


def _damaged(whole: bytes, damage: str, position: int) -> bytes:
    if damage == "flip":
        return whole[:position] + bytes([whole[position] ^ 0b101]) + whole[position + 1 :]
    if damage == "cut":
        return whole[:position]
    return whole[:position] + b"\x07x" + whole[position:]
