"""States of frozen blocks, kept on disk: the results are those without, whoever else reads, writes or deletes."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from killing import KILLED, in_child, quiet, snapshot
from torch import Tensor

from plora.adapters.prefix import Prefix
from plora.batches.plan import Indices
from plora.batches.prefix_cache import PrefixCache
from plora.build import build
from plora.cache import PREFIX_CACHE_GIB
from plora.config import RunConfig
from plora.dry_run import dry_run
from plora.errors import ConfigError
from plora.moment import Moment
from plora.params import count_parameters
from plora.problems import EncodedInputs
from plora.results import ClassRankings, read_curves
from plora.runs import predict, resume, run, verify
from plora.training.course import plan_course
from plora.training.stage import begin_lesson, open_stage
from plora.training.step import Backward

Config = Callable[..., RunConfig]


@pytest.fixture
def last_block(toy_config: Config, tmp_path: Path) -> Config:
    """Make a config of which only the last block is adapted, of a run in a folder of its own."""
    return lambda place, *overrides: toy_config("lora.layers=last 1", *overrides, f"output={tmp_path / place}")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PLORA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "prefix"


def _files(cache: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in cache.glob("*.safetensors")}


def _events(folder: Path, event: str) -> list[str]:
    return re.findall(rf"event={event} (.*)", (folder / "log.txt").read_text(encoding="utf-8"))


def _assert_near(left: Path, right: Path, tolerance: float) -> None:
    """The same losses and probabilities up to `tolerance`, and the same predictions."""
    for one, other in zip(*(read_curves(path / "curves.jsonl") for path in (left, right)), strict=True):
        assert one.loss == pytest.approx(other.loss, rel=tolerance, abs=tolerance)
    found = sorted(left.glob("predictions/*.parquet"))
    assert len(found) > 1
    for path in found:
        one, other = ClassRankings.read(path), ClassRankings.read(right / "predictions" / path.name)
        np.testing.assert_array_equal(one.prediction, other.prediction)
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=tolerance)


# ---------------------------------------------------------------------- whole runs


@pytest.mark.parametrize(
    ("overrides", "tolerance"),
    [
        (("method=sequential", "scenario=class", "training.early_stop=3", "lora.dropout=0.1"), 1e-5),
        (("method=per_task", "training.activation_checkpointing=true", "training.micro_batch_size=3"), 1e-5),
        (("method=o_lora", "lora.targets=all_linear"), 1e-5),
        (("method=joint",), 1e-5),
        (("method=replay", "scenario=class"), 1e-5),
        (("method=lwf",), 1e-5),
        (("method=sequential", "training.precision=bf16"), 0.05),  # 8 bits of mantissa, other batches
    ],
)
def test_results_are_those_of_the_run_that_computes_every_block(
    last_block: Config,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    overrides: tuple[str, ...],
    tolerance: float,
) -> None:
    # Rounding grows with every step; ten times smaller ones keep it below the tolerance.
    config = ("training.learning_rate=0.002", "training.epochs=2", *overrides)
    monkeypatch.setenv(PREFIX_CACHE_GIB, "0")
    computed = run(last_block("computed", *config))
    assert not _files(cache)
    monkeypatch.delenv(PREFIX_CACHE_GIB)
    kept = run(last_block("kept", *config))
    assert _files(cache)
    assert _events(kept, "prefix_cached")
    _assert_near(kept, computed, tolerance)


def test_cold_or_warm_the_bits_are_the_same_and_seeds_share_files(last_block: Config, cache: Path) -> None:
    config = ("lora.dropout=0.1", "training.epochs=2")
    cold = run(last_block("cold", *config))
    assert {line.split("source=")[1] for line in _events(cold, "prefix_cached")} == {"computed"}
    files = _files(cache)
    assert len(files) == 6  # train and test of three tasks
    warm = run(last_block("warm", *config))
    assert snapshot(warm) == snapshot(cold)
    other = run(last_block("cold", "seed=1", *config))
    another = run(last_block("another", "method=per_task", *config))
    for folder in (warm, other, another):
        assert {line.split("source=")[1] for line in _events(folder, "prefix_cached")} == {"disk"}
    assert _files(cache) == files
    assert not verify(cold).problems


def test_frozen_blocks_compute_nothing_once_their_states_are_kept(last_block: Config, cache: Path) -> None:
    parts = build(last_block("runs"))
    plan, extractor = plan_course(parts)[0], parts.learner.extractor
    open_stage(parts, plan)
    extractor.prepare(plan.stage.train)
    lesson = begin_lesson(parts, plan)
    computed = []
    first = parts.model.backbone.get_submodule("encoder.layer.0")
    first.attention.register_forward_hook(lambda *_: computed.append("first"))
    parts.model.backbone.get_submodule("encoder.layer.1").attention.register_forward_hook(
        lambda *_: computed.append("second")
    )
    Backward(parts, plan, lesson, 8).run(np.arange(24), Moment(0, 0, 1, 0), draw=0)
    extractor.features(plan.stage.tasks[0].splits["train"], None)
    assert set(computed) == {"second"}
    extractor.features(plan.stage.tasks[0].splits["test"], None)  # not prepared yet
    assert "first" in computed


@pytest.mark.parametrize(("method", "texts"), [("replay", [21, 21]), ("der", [21, 21]), ("generative_replay", [8, 16])])
def test_frozen_blocks_compute_what_is_rehearsed_once(
    last_block: Config, cache: Path, monkeypatch: pytest.MonkeyPatch, method: str, texts: list[int]
) -> None:
    """Frozen blocks compute texts that were prepared before the first step, and no others while gradients are."""
    size = "{kind: generative_replay, per_class: 4}" if method.startswith("gen") else "{kind: replay, capacity: 21}"
    inner, prepared, computed = Backward.run, [], []
    given, prepare = PrefixCache.given, PrefixCache.prepare

    def watched(self: PrefixCache, inputs: EncodedInputs, indices: Indices) -> AbstractContextManager[None]:
        computed.append(id(inputs) in self._known and self._known[id(inputs)][1] is not None)
        return given(self, inputs, indices)

    def watching(*given: object) -> dict[str, Tensor]:
        with monkeypatch.context() as patch:
            patch.setattr(PrefixCache, "given", watched)
            patch.setattr(PrefixCache, "prepare", None)  # nothing is prepared while gradients are computed
            return inner(*given)  # type: ignore[arg-type]

    def counted(self: PrefixCache, inputs: EncodedInputs) -> None:
        prepared.append(len(inputs))
        prepare(self, inputs)

    monkeypatch.setattr(Backward, "run", watching)
    monkeypatch.setattr(PrefixCache, "prepare", counted)
    run(last_block("runs", f"method={method}", "scenario=class", "training.epochs=2", f"strategies=[{size}]"))
    assert len(computed) > 20
    assert all(computed)
    assert [number for number in prepared if number in texts] == texts


def test_full_and_adapters_in_the_first_block_keep_nothing(toy_config: Config, cache: Path) -> None:
    for override in ("method=full", "method=frozen", "lora.layers=all", "lora.layers=last 2"):
        assert build(toy_config(override)).learner.extractor.prefix is None
    run(toy_config("training.epochs=1"))
    assert not cache.exists()


def test_parameters_are_counted_in_the_last_blocks_alone(toy_config: Config) -> None:
    everywhere, last = (count_parameters(toy_config(f"lora.layers={layers}")) for layers in ("all", "last 1"))
    assert 2 * last.trainable == everywhere.trainable > 0
    assert last.frozen == everywhere.frozen


def test_a_dry_run_and_a_prediction_write_no_states(last_block: Config, cache: Path) -> None:
    dry_run(last_block("runs"))
    assert not cache.exists()
    folder = run(last_block("runs", "training.epochs=1"))
    files = _files(cache)
    predict(folder, ["the apple and pear"], task="food")
    assert _files(cache) == files


def test_a_network_that_does_not_start_from_states_computes_every_block(
    last_block: Config, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ("training.epochs=1",)
    monkeypatch.setenv(PREFIX_CACHE_GIB, "0")
    computed = run(last_block("computed", *config))
    monkeypatch.delenv(PREFIX_CACHE_GIB)
    given = Prefix.given

    @contextmanager
    def other_states(self: Prefix, states: Tensor) -> Iterator[None]:
        with given(self, states + 0.1 * torch.arange(states.shape[-1])):
            yield

    monkeypatch.setattr(Prefix, "given", other_states)
    refused = run(last_block("refused", *config))
    assert [line for line in _events(refused, "warning") if "does_not_start_from_kept_states" in line]
    assert len(_events(refused, "warning")) == 1
    assert not _files(cache)
    assert snapshot(refused) == snapshot(computed)


# ---------------------------------------------------------------------- the disk


def test_a_damaged_file_is_computed_again(last_block: Config, cache: Path) -> None:
    config = ("training.epochs=1",)
    whole = run(last_block("whole", *config))
    files = _files(cache)
    flipped, cut, empty, *_ = sorted(files)
    content = bytearray(files[flipped])
    content[-5] ^= 1
    (cache / flipped).write_bytes(content)
    (cache / cut).write_bytes(files[cut][:-100])
    (cache / empty).write_bytes(b"")
    again = run(last_block("again", *config))
    assert sum("source=computed" in line for line in _events(again, "prefix_cached")) == 3
    assert _files(cache) == files
    assert snapshot(again) == snapshot(whole)


def test_a_split_that_does_not_fit_is_not_kept(
    last_block: Config, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ("training.epochs=1", "training.learning_rate=0.002")
    whole = run(last_block("whole", *config))
    sizes = sorted(len(content) for content in _files(cache).values())
    for path in cache.glob("*.safetensors"):
        path.unlink()
    limit = sizes[3] - 1  # all test splits fit, one at a time; no training split does
    monkeypatch.setenv(PREFIX_CACHE_GIB, repr(limit / 2**30))
    small = run(last_block("small", *config))
    assert len(_events(small, "prefix_not_kept")) == 3
    assert 0 < sum(len(content) for content in _files(cache).values()) <= limit
    _assert_near(small, whole, 1e-5)


def test_a_full_disk_is_no_reason_to_stop(last_block: Config, cache: Path) -> None:
    config = last_block("runs", "training.epochs=1")
    cache.parent.mkdir()
    cache.write_text("no folder can be made here")
    folder = run(config)
    assert len(_events(folder, "prefix_not_kept")) == 6
    assert (folder / "results.json").exists()


def test_killed_inside_a_task_and_resumed_it_is_the_same_run(last_block: Config, cache: Path) -> None:
    config = ("method=replay", "scenario=class", "training.epochs=1", "training.checkpoint_seconds=0")

    def start(place: str) -> RunConfig:
        return last_block(place, *config)

    assert in_child(lambda: run(start("whole"), quiet())) == 0
    whole = snapshot(start("whole").folder)
    for path in cache.glob("*.safetensors"):
        path.unlink()
    assert in_child(lambda: run(start("step"), quiet()), "step:12") == KILLED
    assert in_child(lambda: resume(start("step").folder, quiet())) == 0
    assert snapshot(start("step").folder) == whole


def test_processes_that_write_read_and_delete_at_once(
    last_block: Config, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(place: str) -> RunConfig:
        return last_block(place, "method=per_task", "training.epochs=1")

    assert in_child(lambda: run(start("alone"), quiet())) == 0
    alone = snapshot(start("alone").folder)
    sizes = [len(content) for content in _files(cache).values()]
    for path in cache.glob("*.safetensors"):
        path.unlink()
    limit = sum(sizes) // 2  # not for all at once: each deletes what others use
    monkeypatch.setenv(PREFIX_CACHE_GIB, repr(limit / 2**30))
    names = ("left", "right")
    children = []
    for name in names:
        child = os.fork()
        if child == 0:
            os._exit(in_child(lambda name=name: run(start(name), quiet())))
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    for name in names:
        assert snapshot(start(name).folder) == alone
    assert sum(path.stat().st_size for path in cache.iterdir()) <= limit


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("text", ["nan", "-1", "much", "inf"])
def test_a_limit_that_is_none(last_block: Config, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(PREFIX_CACHE_GIB, text)
    with pytest.raises(ConfigError, match=rf"{PREFIX_CACHE_GIB}: got '{text}'; expected GiB, 0 or more"):
        build(last_block("runs"))
