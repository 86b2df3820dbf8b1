"""A problem in nats per byte outside of the package: lower is better, from the loss to the report."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from token_problem import DocumentStream, TokenProblem
from transformers import GPT2Config, GPT2LMHeadModel

sys.path.append(str(Path(__file__).parents[1] / "training"))
from killing import KILLED, in_child, quiet
from together import together

from plora.build import Parts, Workspace
from plora.config import RunConfig, load_config
from plora.errors import ConfigError, DataError, RunError, TrainingError
from plora.export import export
from plora.failpoints import FAILPOINTS
from plora.model import ContinualModel
from plora.results import TokenLikelihoods, read_curves, read_record, write_report, write_table
from plora.results.record.manifest import read_checkpoint
from plora.run_folder.folder import RunFolder
from plora.runs import evaluate, extend, resume, run, verify
from plora.streams.local import LocalTask
from plora.testing import check_problem
from plora.training import phase
from plora.training.course import StagePlan
from plora.training.step import Backward

Make = Callable[..., RunConfig]


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bytes")
    torch.manual_seed(0)
    sizes = {"vocab_size": 257, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2}
    none = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    config = GPT2Config(**sizes, **none, use_cache=False, initializer_range=0.2, bos_token_id=256, eos_token_id=256)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def make(network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setenv("PLORA_TRUST_OWN_PARTS", "1")
    training = {"epochs": 3, "batch_size": 8, "learning_rate": 0.3, "log_every": 1, "weight_decay": 0}
    values = {
        "name": "bytes",
        "stream": {"kind": "token_problem:DocumentStream"},
        "problem": {"kind": "token_problem:TokenSettings"},
        "scenario": "domain",
        "backbone": {"id": str(network)},
        "lora": {"rank": 2, "alpha": 8, "targets": ".*(c_attn|c_proj|c_fc)", "dropout": 0},
        "training": training | {"optimizer": {"kind": "sgd", "momentum": 0.9}},
    }
    return lambda name, *overrides: load_config(values, [*overrides, f"output={tmp_path / name}"])


def told(folder: Path) -> dict[str, object]:
    """What a run gives again."""
    place = RunFolder(folder)
    manifests = [read_checkpoint(place.path, number) for number in place.complete()]
    rows = [TokenLikelihoods.read(path) for path in sorted(folder.glob("predictions/*"))]
    points = read_curves(folder / "curves.jsonl")
    return {
        "results": (folder / "results.json").read_bytes(),
        "slots": [(m.slots, m.parts, m.strategies) for m in manifests],
        "nll": [row.nll.tobytes() for row in rows],
        "curves": [(p.task, p.step, p.loss, p.terms, p.validation) for p in points],
    }


def test_it_conforms(network: Path) -> None:
    split = DocumentStream(documents=6).load().tasks[0].train
    for crop in (0, 5):
        check_problem(TokenProblem(crop), split, GPT2LMHeadModel.from_pretrained(network).eval())


@pytest.mark.parametrize(
    "settings",
    [
        ("method=sequential", "training.early_stop=2"),
        ("method=per_task", "scenario=task"),
        ("method=replay", "scenario=task"),
        ("method=n_lora",),
        ("method=sequential", "problem.crop=5"),
    ],
)
def test_methods_learn_it(make: Make, settings: tuple[str, ...]) -> None:
    config = make("learned", *settings)
    record = run(config, quiet(), Workspace())
    record = read_record(config.folder)
    assert record.score.name == "nats_per_byte"
    assert record.matrix[1, 0] < record.matrix[0, 0]  # nats fell
    assert record.matrix[2, 1] < record.matrix[0, 1]
    assert verify(config.folder).problems == ()
    assert evaluate(config.folder).changed == 0
    if "method=per_task" in settings:
        assert record.matrix[2, 0] == record.matrix[1, 0]


def test_forgetting_is_above_0_when_nats_rise_and_report_and_table_say_so(make: Make, tmp_path: Path) -> None:
    config = make("forgets")
    run(config, quiet(), Workspace())
    record = read_record(config.folder)
    assert record.matrix[2, 0] > record.matrix[1, 0]
    values = {metric.symbol: metric.value for metric in record.metrics.values()}
    assert values["F"] > 0 > values["BWT"]
    write_report([config.folder], tmp_path / "report.html")
    assert "nats per byte" in (tmp_path / "report.html").read_text()
    assert "nats per byte" in write_table([config.folder], "matrix", None, "markdown", False, None)[0]
    with pytest.raises(RunError, match=r"problem 'token_problem:TokenSettings' has no export"):
        export(config.folder, tmp_path / "exported")


def test_early_stopping_keeps_the_fewest_nats(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Turned round, it would keep the first epoch of the script and stop after the third."""
    script = [2.0, 1.0, 1.5, 1.25, 1.75]
    seen: dict[int, list[dict[str, torch.Tensor]]] = {}
    committed: list[dict[str, torch.Tensor]] = []

    def open_now(model: ContinualModel) -> dict[str, torch.Tensor]:
        return {name: parameter.detach().clone() for name, parameter in model.trainable().items()}

    def scripted(parts: Parts, plan: StagePlan) -> float:
        seen.setdefault(plan.position, []).append(open_now(parts.model))
        return script[len(seen[plan.position]) - 1]

    original = ContinualModel.commit

    def watched(self: ContinualModel, *given: object) -> object:
        committed.append(open_now(self))
        return original(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(phase, "validation_score", scripted)
    monkeypatch.setattr(ContinualModel, "commit", watched)
    config = make("stopped", "training.epochs=5", "training.early_stop=2")
    run(config, quiet(), Workspace())
    assert [len(epochs) for epochs in seen.values()] == [4, 4]
    for epochs, kept in zip(seen.values(), committed, strict=True):
        assert kept.keys() == epochs[1].keys()
        assert all(torch.equal(kept[name], epochs[1][name]) for name in kept)
        assert any(not torch.equal(kept[name], epochs[0][name]) for name in kept)


def test_messages_speak_of_no_texts(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object) -> object:
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate too much")

    config = make("full")
    with monkeypatch.context() as patch:
        patch.setattr(Backward, "run", no_memory)
        with pytest.raises(TrainingError, match=r"a single example; set training\.activation_checkpointing=true"):
            run(config, quiet(), Workspace())
    monkeypatch.setattr(TokenProblem, "fingerprint", lambda self: "0" * 64)
    with pytest.raises(RunError, match="preprocessing no longer makes the same inputs"):
        resume(config.folder, quiet())


def test_a_task_of_texts_cannot_extend_it(make: Make, tmp_path: Path) -> None:
    config = make("extended", "method=per_task", "scenario=task")
    run(config, quiet(), Workspace())
    before = told(config.folder)
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(f'{{"text": "{word} {i}", "label": "{word}"}}\n' for i in range(20) for word in ("a", "b")))
    with pytest.raises(DataError, match="task 'later' has no documents") as refusal:
        extend(config.folder, LocalTask(name="later", train=str(file), test=str(file)), quiet())
    assert len(str(refusal.value).splitlines()) == 1
    assert told(config.folder) == before
    assert verify(config.folder).problems == ()


def test_micro_batches_weigh_by_their_tokens(make: Make) -> None:
    one, several = make("one"), make("several", "training.micro_batch_size=3")
    for config in (one, several):
        run(config, quiet(), Workspace())
    for p, q in zip(*(read_curves(c.folder / "curves.jsonl") for c in (one, several)), strict=True):
        assert q.loss == pytest.approx(p.loss, rel=1e-4)


def test_what_reads_classes_is_refused(make: Make) -> None:
    for method in ("ewc", "lwf", "der", "frozen", "routed"):
        with pytest.raises(ConfigError, match=r"has none|answers with the network itself|no classes"):
            make("refused", f"method={method}", "scenario=task" if method != "routed" else "scenario=domain")
    with pytest.raises(ConfigError, match="has no classes that tasks could add"):
        make("refused", "scenario=class")


def test_a_step_in_which_nothing_counts_is_one_line(make: Make) -> None:
    with pytest.raises(TrainingError, match=r"step 0: nothing in the batch counts in the loss 'nats'"):
        run(make("empty", "stream.prompts_only=true"), quiet(), Workspace())


LATE = {"write": 9, "micro_batch": 40, "step": 9, "step_saved": 8, "epoch": 4, "trained": 2}
INSIDE = {"micro_batch", "step", "step_saved", "epoch", "trained"}
"""Points inside the second stage, of which steps are saved already."""
QUICK = {"step", "tensors_saved"}


@pytest.fixture(scope="module")
def whole_run() -> dict[str, object]:
    return {}


@pytest.mark.parametrize(
    "point", [pytest.param(p, marks=() if p in QUICK else pytest.mark.slow) for p in FAILPOINTS if p != "extended"]
)
def test_a_run_killed_at_any_point_ends_with_the_same_bits(
    make: Make, point: str, whole_run: dict[str, object], tmp_path: Path
) -> None:
    settings = ("method=replay", "training.checkpoint_seconds=0", "training.micro_batch_size=3")
    if not whole_run:
        whole = make("whole", *settings)
        assert in_child(lambda: run(whole, quiet(), Workspace())) == 0
        whole_run |= told(whole.folder)
    config = make("cut", *settings)
    where = f"{point}:{LATE.get(point, 2 if point not in ('created', 'untrained') else 1)}"
    assert in_child(lambda: run(config, quiet(), Workspace()), where) == KILLED, where
    begun = (config.folder / "config.yaml").exists()
    events = tmp_path / "events"
    work = (lambda: resume(config.folder, quiet(events))) if begun else (lambda: run(config, quiet(), Workspace()))
    assert in_child(work) == 0
    assert told(config.folder) == whole_run
    if point in INSIDE:
        assert "resumed" in events.read_text(encoding="utf-8").split()


@pytest.mark.slow
def test_two_processes_that_are_killed_go_on_with_the_same_bits(make: Make, tmp_path: Path) -> None:
    settings = ("method=replay", "training.checkpoint_seconds=0")
    whole, cut = make("whole", *settings), make("cut", *settings)
    assert together(2, lambda _: run(whole, quiet(), Workspace()), tmp_path / "a") == [0, 0]
    first, second = together(2, lambda _: run(cut, quiet(), Workspace()), tmp_path / "b", failpoint="step:9")
    assert first == KILLED
    assert second != 0
    events = tmp_path / "events"
    assert together(2, lambda _: resume(cut.folder, quiet(events)), tmp_path / "c") == [0, 0]
    assert "resumed" in events.read_text(encoding="utf-8").split()
    assert told(cut.folder) == told(whole.folder)


def test_two_processes_learn_what_one_learns(make: Make, tmp_path: Path) -> None:
    one, two = make("alone", "method=replay"), make("two", "method=replay")
    assert in_child(lambda: run(one, quiet(), Workspace())) == 0
    assert together(2, lambda _: run(two, quiet(), Workspace()), tmp_path / "place") == [0, 0]
    first, second = read_record(one.folder), read_record(two.folder)
    np.testing.assert_allclose(second.matrix, first.matrix, rtol=1e-3)
    assert replace(first.cost[0], seconds=0).steps == second.cost[0].steps
    assert verify(two.folder).problems == ()
