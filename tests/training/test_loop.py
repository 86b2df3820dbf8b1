"""The one loop: accumulation, limits, phases, early stop, and the stops that protect a run."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from killing import KILLED, in_child, quiet

import plora
from plora.adapters import Route
from plora.batches.features import Extractor
from plora.build import Parts, build
from plora.config import RunConfig
from plora.errors import NonFiniteLossError, TrainingError
from plora.gates import AllOnes
from plora.moment import Moment
from plora.problems import Batch, base
from plora.results import ClassRankings, read_curves, read_record
from plora.run_folder.folder import RunFolder
from plora.runs import resume, run, verify
from plora.strategies import Orthogonality, OrthogonalitySettings
from plora.testing.tiny import tiny_model
from plora.training import phase, stage
from plora.training.course import plan_course
from plora.training.session import Session
from plora.training.stage import begin_lesson, open_stage
from plora.training.step import Backward

Config = Callable[..., RunConfig]


def _gradients(parts: Parts, micro: int, tokens: int = 8192) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    plan = plan_course(parts)[0]
    open_stage(parts, plan)
    lesson = begin_lesson(parts, plan)
    parts.model.train()
    terms = Backward(parts, plan, lesson, micro).run(np.arange(24), Moment(0, 0, 1, 0), draw=0)
    return terms, {name: p.grad.clone() for name, p in parts.model.trainable().items() if p.grad is not None}


def test_micro_batches_change_memory_not_the_gradient(toy_config: Config) -> None:
    config = toy_config("lora.dropout=0")
    whole_terms, whole = _gradients(build(config), 24)
    for micro in (1, 5, 8):
        terms, parts = _gradients(build(config), micro)
        assert terms["cross_entropy"].item() == pytest.approx(whole_terms["cross_entropy"].item(), rel=1e-5)
        for name, gradient in whole.items():
            torch.testing.assert_close(parts[name], gradient, rtol=1e-4, atol=1e-7)


def test_a_penalty_counts_once_however_many_micro_batches(toy_config: Config) -> None:
    totals = []
    for micro in (24, 3):
        parts = build(toy_config("method=o_lora", "lora.dropout=0"))
        first, second, _ = plan_course(parts)
        open_stage(parts, first)
        parts.model.commit()
        open_stage(parts, second)
        now = Moment(1, 0, 1, 0)
        terms = Backward(parts, second, begin_lesson(parts, second), micro).run(np.arange(24), now, draw=0)
        totals.append(terms["orthogonality"].item())
        bank = next(iter(parts.model.adapters.banks.values()))
        term = Orthogonality(OrthogonalitySettings()).penalty(parts.model, now)["orthogonality"]
        alone = torch.autograd.grad(term, bank.A)[0]
        torch.testing.assert_close(bank.A.grad, alone, rtol=1e-4, atol=1e-5)  # B = 0: cross-entropy gives A nothing
    assert totals[0] == totals[1]


def test_o_lora_trains_with_its_old_slots_folded(toy_config: Config) -> None:
    parts = build(toy_config("method=o_lora"))
    first, second, _ = plan_course(parts)
    open_stage(parts, first)
    for parameter in parts.model.adapters.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    parts.model.commit()
    open_stage(parts, second)
    assert parts.model.route("travel").folded
    parts.model.eval()
    inputs = second.stage.train.collate(np.arange(8)).inputs
    folded = parts.model(inputs, "travel")
    parts.model.folded = False
    torch.testing.assert_close(parts.model(inputs, "travel"), folded, rtol=1e-4, atol=1e-5)
    parts.model.folded = True
    parts.model.commit()
    assert not parts.model.route("travel").folded
    assert all(layer.folded_weight is None for layer in parts.model.adapters.layers)


@pytest.mark.parametrize("message", ["DefaultCPUAllocator: not enough memory: you tried", "CUDA out of memory"])
def test_a_full_memory_halves_the_micro_batch_and_keeps_the_result(
    toy_config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, message: str
) -> None:
    undisturbed = run(toy_config("lora.dropout=0", f"output={tmp_path / 'a'}"))
    original = base.masked_cross_entropy

    def small_memory(logits: torch.Tensor, rows: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
        if len(rows) > 3:
            raise RuntimeError(message)
        return original(logits, rows, visible)

    monkeypatch.setattr(base, "masked_cross_entropy", small_memory)
    folder = run(toy_config("lora.dropout=0", f"output={tmp_path / 'b'}"))
    assert re.search(r"event=memory_full task=food step=0 micro_batch_size=2", (folder / "log.txt").read_text())
    first, second = (read_curves(path / "curves.jsonl") for path in (undisturbed, folder))
    early = slice(0, 10)  # later on, rounding has grown
    assert [p.loss for p in second[early]] == pytest.approx([p.loss for p in first[early]], rel=1e-3)


def test_other_runtime_errors_are_not_taken_for_a_full_memory(
    toy_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(base, "masked_cross_entropy", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        run(toy_config())


def test_a_loss_that_is_not_finite_stops_before_the_step(toy_config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    original = base.masked_cross_entropy
    calls = []

    def poisoned(*args: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return original(*args) * (float("nan") if len(calls) == 3 else 1.0)

    monkeypatch.setattr(base, "masked_cross_entropy", poisoned)
    kept: dict[str, torch.Tensor] = {}
    steps = torch.optim.AdamW.step

    def watched(optimizer: torch.optim.AdamW, *args: object, **kwargs: object) -> object:
        result = steps(optimizer, *args, **kwargs)
        kept.update({str(i): p.detach().clone() for i, p in enumerate(optimizer.param_groups[0]["params"])})
        return result

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    with pytest.raises(NonFiniteLossError, match=r"task 'food', step 2: the loss is not finite \(cross_entropy nan"):
        run(toy_config())
    assert kept
    assert all(torch.isfinite(tensor).all() for tensor in kept.values())


def test_early_stop_goes_back_to_the_best_epoch(toy_config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.5, 0.9, 0.4, 0.3, 0.2] * 3)
    states: list[torch.Tensor] = []
    parts_seen: list[Parts] = []

    def scripted(parts: Parts, *_: object) -> float:
        parts_seen.append(parts)
        states.append(next(iter(parts.model.adapters.banks.values())).A.detach().clone())
        return next(scores)

    monkeypatch.setattr(phase, "validation_score", scripted)
    folder = run(toy_config("training.epochs=5", "training.early_stop=2", "method=per_task"))
    log = (folder / "log.txt").read_text()
    assert log.count("event=early_stop") == 3
    assert "event=early_stop task=food epoch=4 best=0.9" in log
    (told,) = [line for line in log.splitlines() if "event=epoch_done task=food epoch=2/5" in line]
    assert "validation_accuracy=0.9" in told
    bank = next(iter(parts_seen[0].model.adapters.banks.values()))
    assert torch.equal(bank.rows("food")[0], states[1])  # the second epoch was the best
    assert not torch.equal(bank.rows("food")[0], states[3])


def test_validation_is_scored_without_test(toy_config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    scored = []
    original = phase.measure
    monkeypatch.setattr(
        phase,
        "measure",
        lambda extractor, task, split, *rest: (
            scored.append(task.splits[split]) or original(extractor, task, split, *rest)
        ),
    )
    parts: list[Parts] = []
    real = stage.open_stage
    monkeypatch.setattr(stage, "open_stage", lambda p, *rest: parts.append(p) or real(p, *rest))
    run(toy_config("training.early_stop=1", "training.epochs=2"))
    tests = [task.splits["test"] for task in parts[0].tasks]
    assert scored
    assert not any(split is test for split in scored for test in tests)


def test_validations_are_on_the_curve_and_change_nothing(toy_config: Config) -> None:
    plain = run(toy_config("name=plain", "lora.dropout=0.1", "training.batch_size=8", "training.epochs=2"))
    looked = run(
        toy_config(
            "name=looked",
            "lora.dropout=0.1",
            "training.batch_size=8",
            "training.epochs=2",
            "evaluation.validations=4",
        )
    )
    points = [point for point in read_curves(looked / "curves.jsonl") if point.task == "food"]
    total = points[-1].step
    assert [p.step for p in points if p.validation is not None] == [-(-total * k // 4) for k in (1, 2, 3, 4)]
    np.testing.assert_array_equal(read_record(looked).matrix, read_record(plain).matrix)
    for file in ("task-01.parquet", "task-03.parquet"):
        one, other = (ClassRankings.read(folder / "predictions" / file) for folder in (plain, looked))
        np.testing.assert_array_equal(one.probabilities, other.probabilities)


def test_a_run_scored_on_validation_never_reads_test(toy_config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[object] = []
    real = Extractor.features
    monkeypatch.setattr(
        Extractor, "features", lambda self, split, *rest, **more: read.append(split) or real(self, split, *rest, **more)
    )
    parts: list[Parts] = []
    opened = stage.open_stage
    monkeypatch.setattr(stage, "open_stage", lambda p, *rest: parts.append(p) or opened(p, *rest))
    folder = run(toy_config("evaluation.split=validation", "evaluation.tasks=all"))
    tests = [task.splits["test"] for task in parts[0].tasks]
    assert read
    assert not any(split is test for split in read for test in tests)
    record = read_record(folder)
    assert record.split == "validation"
    scored = ClassRankings.read(folder / "predictions" / "task-03.parquet")
    assert len(scored) == sum(record.sizes or []) == sum(data.validation for data in record.data)
    assert verify(folder).problems == ()


def test_the_next_likeliest_classes_are_kept(toy_config: Config) -> None:
    folder = run(toy_config("scenario=class"))
    kept = ClassRankings.read(folder / "predictions" / "task-03.parquet")
    classes = len(kept.class_names)
    assert classes >= 5
    assert (np.diff(kept.probabilities, axis=1) <= 0).all()
    assert all(len(set(row.tolist())) == 5 for row in kept.ranking)
    early = ClassRankings.read(folder / "predictions" / "task-01.parquet")  # the classes of the first task alone
    competing = len(set(early.label.tolist()))
    assert (early.ranking[:, :competing] >= 0).all()
    assert (early.ranking[:, competing:] == -1).all()
    np.testing.assert_allclose(early.probabilities.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("logit", [0.0, 200.0])
def test_only_visible_classes_are_among_the_likeliest(logit: float) -> None:
    """With a logit of 200 the others have probability 0 in float32, as classes that do not compete have."""
    visible = np.array([False, True, False, True, True])
    scores = torch.tensor([[0.0, 0.0, 0.0, logit, 0.0]])
    batch = Batch({}, {"rows": torch.tensor([3])})
    found = tiny_model(AllOnes()).problem.measure({"scores": scores}, batch, visible)
    expected = [3, 1, 4, -1, -1] if logit else [1, 3, 4, -1, -1]  # of equals the lowest first
    assert found["ranking"].tolist() == [expected]
    assert found["probabilities"][0, 3:].tolist() == [0, 0]


def test_the_first_task_may_differ(toy_config: Config) -> None:
    record = read_record(run(toy_config("training.first_task.epochs=5", "training.epochs=2")))
    assert [cost.epochs for cost in record.cost] == [5, 2, 2]


def test_phases_train_what_they_say(toy_config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[set[str]] = []
    original = phase.make_optimizer

    def watched(parameters: dict[str, torch.nn.Parameter], *rest: object) -> torch.optim.Optimizer:
        trained.append({"head" if name.startswith("head.") else "adapter" for name in parameters})
        return original(parameters, *rest)

    monkeypatch.setattr(phase, "make_optimizer", watched)
    record = read_record(
        run(toy_config("phases=[{train: [head], epochs: 1}, {train: [adapter, head], epochs: 2, learning_rate: 0.01}]"))
    )
    assert trained == [{"head"}, {"adapter", "head"}] * 3
    assert [cost.epochs for cost in record.cost] == [3, 3, 3]


def test_a_lesson_names_the_highest_rate_of_its_phases(toy_config: Config) -> None:
    phases = "phases=[{train: [head], learning_rate: 0.01}, {train: [adapter], learning_rate: 0.05}, {train: [head]}]"

    def rates(*settings: str) -> list[float]:
        parts = build(toy_config(phases, *settings))
        found = []
        for plan in plan_course(parts)[:2]:
            open_stage(parts, plan)
            found.append(begin_lesson(parts, plan).learning_rate)
            parts.model.commit()
        return found

    assert rates("training.learning_rate=0.02") == [0.05, 0.05]
    assert rates("training.learning_rate=0.1", "training.first_task={learning_rate: 0.003}") == [0.003, 0.1]


def test_every_trainable_tensor_is_in_the_optimizer_once_and_moves(toy_config: Config) -> None:
    parts = build(toy_config("method=per_task"))
    plan = plan_course(parts)[0]
    open_stage(parts, plan)
    trainable = parts.model.trainable()
    layers = 2 * 4
    assert len(trainable) == 2 * layers + 2  # A and B of each adapted layer, the head's weight and bias
    before = {name: p.detach().clone() for name, p in trainable.items()}
    phase.step_seconds(parts, plan, begin_lesson(parts, plan), 2)
    assert all(not torch.equal(before[name], p) for name, p in trainable.items())


def test_a_frozen_tensor_that_moves_is_noticed(toy_config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    original = stage.train_phase

    def vandal(session: Session, *rest: object) -> None:
        original(session, *rest)
        with torch.no_grad():
            session.parts.model.backbone.get_submodule("embeddings.word_embeddings").weight[0, 0] += 1

    monkeypatch.setattr(stage, "train_phase", vandal)
    with pytest.raises(TrainingError, match="declared frozen changed"):
        run(toy_config())


def test_the_frozen_backbone_stays_in_eval_mode_and_old_slots_do_not_move(toy_config: Config) -> None:
    parts = build(toy_config("method=o_lora", "training.weight_decay=0.5"))
    parts.model.train()
    assert not any(module.training for name, module in parts.model.backbone.named_modules() if "banks" not in name)
    first, second, _ = plan_course(parts)
    open_stage(parts, first)
    phase.step_seconds(parts, first, begin_lesson(parts, first), 2)
    parts.model.commit()
    kept = {name: tensor.clone() for name, tensor in parts.model.adapters["food"].A.items()}
    open_stage(parts, second)
    phase.step_seconds(parts, second, begin_lesson(parts, second), 3)
    assert all(torch.equal(kept[name], tensor) for name, tensor in parts.model.adapters["food"].A.items())


def test_full_trains_the_backbone_and_keeps_it(toy_config: Config) -> None:
    folder = run(toy_config("method=full", "training.learning_rate=0.003"))
    assert (folder / "checkpoints/task-03/backbone.safetensors").exists()
    assert read_record(folder).cost[0].trainable_parameters > 10_000


def test_gradients_and_steps_happen_in_the_loop_alone() -> None:
    package = Path(plora.__file__).parent
    elsewhere = [
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if re.search(r"(?<!def )\bbackward\(|\.step\(", path.read_text(encoding="utf-8"))
    ]
    assert sorted(elsewhere) == ["training/phase.py", "training/step.py"]


def test_a_record_says_how_much_each_slot_contributed(toy_config: Config) -> None:
    expected = {
        "per_task": ({"food": 1.0}, {"travel": 1.0}, {"nature": 1.0}),
        "o_lora": ({"food": 1.0}, {"food": 1.0, "travel": 1.0}, {"food": 1.0, "travel": 1.0, "nature": 1.0}),
        "sequential": ({"shared": 1.0},) * 3,
        "joint": ({"shared": 1.0},),
        "frozen": ({}, {}, {}),
    }
    for method, gates in expected.items():
        folder = run(toy_config(f"method={method}", "training.epochs=1"))
        record = read_record(folder)
        assert record.gates == gates
    assert [sum((data.train_by_class or {}).values()) for data in record.data] == [data.train for data in record.data]
    assert list(record.data[0].train_by_class or {}) == ["bread", "fruit"]
    food = record.data[0].overlaps
    assert food is not None
    assert f"test_duplicates={food.test.same} test_near_duplicates={food.test.near}" in (folder / "log.txt").read_text()


def test_coefficients_are_means_over_layers_and_none_where_samples_decide() -> None:
    class Weighted(AllOnes):
        def __init__(self, route: Route) -> None:
            super().__init__()
            self.given = route

        def route(self, slots: Sequence[str], task: str | None, at: Moment | None = None) -> Route:
            return self.given

    names = ("first", "second")
    layers = torch.stack([torch.tensor([0.5, 1.0]), torch.tensor([0.0, 0.5])])
    for route, found in (
        (Route(names, torch.tensor([0.25, 0.75])), {"first": 0.25, "second": 0.75}),
        (Route(names, layers, "layer"), {"first": 0.25, "second": 0.75}),
        (Route(names, torch.ones(8, 2), "sample"), {}),
        (Route(names), {"first": 1.0, "second": 1.0}),
    ):
        assert tiny_model(Weighted(route)).coefficients(None) == found


@pytest.mark.parametrize(
    ("precision", "knows", "warned"), [("bf16", {}, True), ("bf16", {"amx_bf16": True}, False), ("fp32", {}, False)]
)
def test_bf16_on_a_cpu_without_it_is_said_to_be_slow(
    toy_config: Config, monkeypatch: pytest.MonkeyPatch, precision: str, knows: dict[str, bool], warned: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "x86_64", **knows}, raising=False)
    folder = run(toy_config(f"training.precision={precision}", "training.epochs=1", "method=per_task"))
    assert ("no_instructions_for_bf16" in (folder / "log.txt").read_text(encoding="utf-8")) == warned


@pytest.mark.parametrize(("knows", "taken"), [({}, "fp32"), ({"amx_bf16": True}, "bf16")])
def test_the_precision_is_decided_when_a_run_begins_and_stays(
    toy_config: Config, monkeypatch: pytest.MonkeyPatch, knows: dict[str, bool], taken: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "x86_64", **knows}, raising=False)
    begun = toy_config("training.precision=auto", "training.epochs=1", "method=per_task")
    assert in_child(lambda: run(begun, quiet()), "recorded") == KILLED
    other = {} if knows else {"amx_bf16": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "x86_64", **other}, raising=False)
    folder = resume(begun.folder, quiet())
    assert RunFolder(folder).read_config().training.precision == taken
    assert build(begun).config.training.precision == ("bf16" if taken == "fp32" else "fp32")
