"""Whole runs on a tiny backbone: every method through the one loop, record, checkpoint and back."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import plora
from plora.config import RunConfig, load_config
from plora.errors import BackboneError, ConfigError, DataError, RunError, UnknownTaskError
from plora.events.console import Console
from plora.model import ContinualModel
from plora.results import ACCURACY, ClassRankings, generated_files, read_curves, read_generated, read_record
from plora.results.record.manifest import read_checkpoint
from plora.runs import evaluate, extend, load_run, predict, resume, run, verify
from plora.streams import LocalTask

Config = Callable[..., RunConfig]

PROTECTED = ("ewc", "ewc_lora", "replay", "der", "lwf", "generative_replay")
RUNS = [
    ("task", "frozen", "linear"),
    ("task", "frozen", "ridge"),
    ("task", "frozen", "ncm"),
    ("task", "full", "linear"),
    ("task", "joint", "linear"),
    ("task", "sequential", "linear"),
    ("task", "per_task", "linear"),
    ("task", "lateral", "linear"),
    ("task", "o_lora", "linear"),
    *(
        ("task", method, "linear")
        for method in ("ewc", "online_ewc", "ewc_lora", "inf_lora", "replay", "der", "lwf", "generative_replay")
    ),
    *(("class", method, "linear") for method in ("ewc", "ewc_lora", "replay", "der", "lwf", "generative_replay")),
    *(("task", f"merged_{way}", "linear") for way in ("average", "ties", "magmax")),
    *(("class", f"merged_{way}", "linear") for way in ("average", "ties", "magmax")),
    ("class", "frozen", "linear"),
    ("class", "frozen", "ridge"),
    ("class", "frozen", "ncm"),
    ("class", "full", "linear"),
    ("class", "routed", "linear"),
    *(
        (scenario, "first_session", head)
        for scenario, head in (("task", "ridge"), ("class", "ncm"), ("class", "ranpac"))
    ),
    ("class", "joint", "linear"),
    ("class", "sequential", "linear"),
    ("class", "o_lora", "linear"),
    ("class", "inf_lora", "linear"),
    ("class", "gain_lora", "linear"),
]


SETTINGS = {
    "frozen": ("training.epochs=20",),
    "full": ("training.learning_rate=0.003",),
    ("class", "ewc"): ("loss_rows=seen", "strategies=[{kind: ewc, weight: 1}]"),
    ("class", "ewc_lora"): ("loss_rows=seen", "strategies=[{kind: ewc_lora, weight: 1}]"),
    ("class", "inf_lora"): ("loss_rows=seen",),
    ("class", "o_lora"): ("loss_rows=seen",),  # under `local`, frozen old rows drown new ones on so small a stream
}


@pytest.mark.parametrize(("scenario", "method", "head"), RUNS)
def test_every_method_learns_records_and_reloads(toy_config: Config, scenario: str, method: str, head: str) -> None:
    config = toy_config(
        f"scenario={scenario}",
        f"method={method}",
        f"head={head}",
        *SETTINGS.get(method, ()),
        *SETTINGS.get((scenario, method), ()),
    )
    folder = run(config)
    record = read_record(folder)
    assert record.complete
    matrix = record.matrix
    learned = matrix[-1] if method == "joint" else np.diag(matrix[1:])
    chance = 0.5 if scenario == "task" else 1 / 6
    assert learned.mean() > chance + 0.25, matrix
    assert not np.isnan(matrix[0]).any()  # row 0 is measured before training
    assert np.isnan(matrix[1, 1:]).all()  # future tasks are not scored with evaluation.tasks=seen
    for number in [0, *(range(1, 4) if method != "joint" else [3])]:
        row = ClassRankings.read(folder / "predictions" / f"task-{number:02}.parquet").cells(record.tasks, ACCURACY)
        np.testing.assert_array_equal(row, matrix[number])
    again = evaluate(folder)
    assert again.changed == 0
    assert again.values == again.recorded


def test_new_texts_cost_a_routed_run_two_passes(toy_config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, passes = run(toy_config("scenario=class", "method=routed", "training.epochs=1")), []
    passed = ContinualModel._output
    monkeypatch.setattr(ContinualModel, "_output", lambda *inputs, **how: passes.append(1) or passed(*inputs, **how))
    predict(folder, ["the apple and the pear", "a train"])
    assert len(passes) == 2  # the two texts are one batch


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(toy_config: Config, tmp_path: Path) -> None:
    folders = [
        run(toy_config("method=o_lora", f"seed={seed}", f"output={tmp_path / name}"))
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    slots = [sorted(path.name for path in (folder / "slots").iterdir()) for folder in folders]
    assert slots[0] == slots[1]
    assert slots[0] != slots[2]
    heads = [sorted(path.name for path in (folder / "heads").iterdir()) for folder in folders]
    assert heads[0] == heads[1] != heads[2]


def test_the_stored_config_repeats_the_run(toy_config: Config, tmp_path: Path) -> None:
    first = run(toy_config("method=per_task"))
    second = run(load_config(first / "config.yaml", [f"output={tmp_path / 'again'}"]))
    np.testing.assert_array_equal(read_record(first).matrix, read_record(second).matrix)


def test_per_task_forgets_nothing_and_its_old_cells_are_not_computed_again(
    toy_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    from plora.batches.evaluate import Scorer

    computed: list[str] = []
    original = Scorer._score
    monkeypatch.setattr(
        Scorer, "_score", lambda self, task, visible: computed.append(task.name) or original(self, task, visible)
    )
    record = read_record(run(toy_config("method=per_task")))
    assert computed == ["food", "travel", "nature"] * 2  # row 0, then each task once
    assert record.metrics["forgetting"].value == 0
    assert record.metrics["backward_transfer"].value == 0


def test_recomputing_reused_cells_gives_the_same_numbers(toy_config: Config) -> None:
    parts, _, seen = load_run(run(toy_config("method=per_task")))
    scorer = parts.scorer()
    for task in parts.tasks:
        first = scorer.seen(task, seen)
        reused, computed = scorer.seen(task, seen), scorer.seen(task, seen, reuse=False)
        assert reused is first
        assert computed is not first
        np.testing.assert_array_equal(computed.ranking, first.ranking)
        np.testing.assert_array_equal(computed.probabilities, first.probabilities)


def test_sequential_does_recompute_what_may_have_changed(toy_config: Config) -> None:
    record = read_record(run(toy_config("method=sequential", "scenario=class")))
    assert record.metrics["forgetting"].value > 0.2  # nothing protects the shared slot and head


def test_evaluate_all_fills_every_cell(toy_config: Config) -> None:
    for scenario in ("task", "class"):
        record = read_record(run(toy_config("evaluation.tasks=all", f"scenario={scenario}", f"name={scenario}")))
        assert not np.isnan(record.matrix).any()
    record = read_record(run(toy_config("evaluation.tasks=all", "method=per_task")))
    np.testing.assert_array_equal(record.matrix[1, 1:], record.matrix[0, 1:])  # untouched by the first task


def test_domain_incremental_shares_one_head(toy_values: dict[str, object], toy_files: dict[str, Path]) -> None:
    first, second = toy_files["food-train"], toy_files["food-test"]
    tasks = [{"name": name, "train": str(first), "test": str(second)} for name in ("one", "two")]
    toy_values |= {"stream": {"kind": "local", "tasks": tasks}, "scenario": "domain"}
    for method in ("sequential", "o_lora", "ewc_lora", "merged_ties", "joint", "frozen"):
        folder = run(load_config(toy_values, [f"method={method}", "evaluation.tasks=all"]))
        assert read_checkpoint(folder, 2).blocks == {"one": 2}
        metrics = read_record(folder).metrics
        assert (metrics["forward_transfer"].value is None) == (method == "joint")


def test_bf16_trains_and_reloads(toy_config: Config) -> None:
    folder = run(toy_config("training.precision=bf16", "method=o_lora"))
    assert read_record(folder).matrix[-1].mean() > 0.6
    assert evaluate(folder).changed == 0


def test_activation_checkpointing_gives_the_same_run(toy_config: Config, tmp_path: Path) -> None:
    plain = run(toy_config("method=o_lora"))
    saved = run(
        toy_config("method=o_lora", "training.activation_checkpointing=true", f"output={tmp_path / 'checkpointed'}")
    )
    np.testing.assert_array_equal(read_record(plain).matrix, read_record(saved).matrix)


def test_curves_hold_every_term_of_the_loss(toy_config: Config) -> None:
    folder = run(toy_config("method=o_lora"))
    points = read_curves(folder / "curves.jsonl")
    first = [point for point in points if point.task == "food"]
    later = [point for point in points if point.task == "nature"]
    assert all(set(point.terms) == {"cross_entropy"} for point in first)
    assert all(set(point.terms) == {"cross_entropy", "orthogonality"} for point in later)
    assert all(point.loss == pytest.approx(sum(point.terms.values())) for point in points)
    assert all(0 < point.diagnostics["mean_abs_cos"] <= 1 for point in later)
    assert later[-1].terms["orthogonality"] < later[0].terms["orthogonality"]  # the penalty has a gradient


def test_environment_and_data_are_recorded(toy_config: Config) -> None:
    folder = run(toy_config())
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__.partition("+")[0] or environment["packages"]["torch"]
    assert set(environment["stream"]["splits"]["food"]) == {"train", "validation", "test"}
    data = read_record(folder).data[0]
    assert (data.classes, data.train + data.validation, data.test) == (2, 60, 20)


# ---------------------------------------------------------------------- using a run


def test_predict_labels_new_texts_with_probabilities(toy_config: Config) -> None:
    folder = run(toy_config("method=per_task"))
    (fruit, bread) = predict(folder, ["the apple and pear", "rye loaf"], task="food", top=2)
    assert fruit.labels[0] == "fruit"
    assert bread.labels[0] == "bread"
    assert sum(fruit.probabilities) == pytest.approx(1, abs=1e-5)
    assert fruit.probabilities[0] > fruit.probabilities[1]


@pytest.mark.parametrize("text", ["", "x" * 100_000, "🙂🙃 emoji", "مرحبا بالعالم", "שלום", "\x00\n\t"])
def test_predict_takes_any_text(toy_config: Config, text: str) -> None:
    folder = toy_config("method=frozen", "head=ncm", "scenario=class").folder
    run(toy_config("method=frozen", "head=ncm", "scenario=class"))
    (prediction,) = predict(folder, [text], top=6)
    assert sum(prediction.probabilities) == pytest.approx(1, abs=1e-4)


def test_predict_asks_for_the_task_and_knows_its_names(toy_config: Config) -> None:
    folder = run(toy_config("method=per_task"))
    with pytest.raises(UnknownTaskError, match="name one with --task; it has learned: food, travel, nature"):
        predict(folder, ["apple"])
    with pytest.raises(UnknownTaskError, match="no task 'foot'; did you mean 'food'"):
        predict(folder, ["apple"], task="foot")
    with pytest.raises(DataError, match="nothing to predict"):
        predict(folder, [], task="food")
    folder = run(toy_config("method=frozen", "head=ncm", "scenario=class"))
    with pytest.raises(UnknownTaskError, match="class-incremental and answers without being told the task"):
        predict(folder, ["apple"], task="food")


# ---------------------------------------------------------------------- what must be refused


def test_an_existing_run_folder_is_refused_before_anything_is_loaded(toy_config: Config) -> None:
    config = toy_config()
    config.folder.mkdir(parents=True)
    (config.folder / "precious.txt").write_text("keep me")
    with pytest.raises(RunError, match="exists already; nothing was changed"):
        run(config)
    assert [path.name for path in config.folder.iterdir()] == ["precious.txt"]


def test_a_file_is_no_run_folder(toy_config: Config, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot be made|exists already"):
        run(toy_config(f"output={tmp_path / 'file'}"))


def test_changed_files_of_a_run_are_named(toy_config: Config) -> None:
    folder = run(toy_config())
    head = next((folder / "heads").iterdir())
    data = bytearray(head.read_bytes())
    data[-1] ^= 1
    head.write_bytes(bytes(data))
    with pytest.raises(RunError, match=f"{head.name} was changed after the run wrote it"):
        evaluate(folder)
    head.unlink()
    with pytest.raises(RunError, match=f"{head.name} is missing"):
        evaluate(folder)


def test_changed_data_is_noticed(toy_config: Config, toy_files: dict[str, Path]) -> None:
    folder = run(toy_config())
    before = toy_files["food-test"].read_text()
    try:
        toy_files["food-test"].write_text(before + '\n{"text": "one more apple", "label": "fruit"}')
        with pytest.raises(RunError, match=r"the data of task 'food' have changed since the run \(test\)"):
            evaluate(folder)
    finally:
        toy_files["food-test"].write_text(before)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is not a run folder: it has no config\.yaml"):
        evaluate(tmp_path)


def test_a_pipe_gets_one_greppable_line_per_event(toy_config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run(toy_config(), Console(live=False))
    lines = [line for line in capsys.readouterr().out.splitlines() if " event=" in line]
    events = [line.split("event=")[1].split()[0] for line in lines]
    assert events.count("task_done") == 3
    assert events[:2] == ["load", "run_start"]
    assert events[-1] == "run_done"
    assert all("=" in word for line in lines for word in line.split()[1:])
    logged = (folder / "log.txt").read_text().splitlines()
    assert sum("event=task_done" in line for line in logged) == 3


def test_the_public_names_exist() -> None:
    assert all(getattr(plora, name) is not None for name in plora.__all__)
    assert set(plora.__all__) <= set(dir(plora))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = plora.nothing


def test_strategies_combine_and_each_logs_its_term(toy_config: Config) -> None:
    replay = "{kind: replay, capacity: 20, scores_weight: 0.5}"
    folder = run(toy_config("method=sequential", f"strategies=[{{kind: ewc}}, {replay}, {{kind: distillation}}]"))
    terms = {point.task: set(point.terms) for point in read_curves(folder / "curves.jsonl")}
    assert terms["food"] == {"cross_entropy"}
    assert terms["travel"] == {"cross_entropy", "distillation", "ewc", "replay", "replayed_scores"}
    record = read_record(folder)
    assert record.cost[0].strategy_bytes > 0
    kept = json.loads((folder / "checkpoints/task-03/manifest.json").read_text())["strategies"]
    assert set(kept) == {"ewc", "replay"}


def test_slots_that_are_summed_can_rehearse(toy_config: Config) -> None:
    settings = ("method=o_lora", "scenario=class", "loss_rows=seen")
    plain = read_record(run(toy_config(*settings)))
    folder = run(toy_config(*settings, "name=rehearsed", "strategies=[{kind: replay}]"))
    terms = {point.task: set(point.terms) for point in read_curves(folder / "curves.jsonl")}
    assert terms["travel"] == {"cross_entropy", "orthogonality", "replay"}
    assert read_record(folder).metrics["accuracy"].value > plain.metrics["accuracy"].value + 0.1


def test_a_network_that_trains_as_a_whole_can_rehearse(toy_config: Config) -> None:
    settings = ("method=full", "scenario=class", "loss_rows=seen", "training.learning_rate=0.003")
    plain = read_record(run(toy_config(*settings)))
    rehearsed = read_record(run(toy_config(*settings, "name=rehearsed", "strategies=[{kind: replay, capacity: 60}]")))
    assert rehearsed.metrics["forgetting"].value < plain.metrics["forgetting"].value - 0.2


def test_texts_that_stand_in_for_old_ones_are_in_the_run_folder_and_are_checked(toy_config: Config) -> None:
    folder = run(toy_config("method=generative_replay", "scenario=class", "training.epochs=1"))
    second, third = generated_files(folder)
    assert [second.name, third.name] == ["task-02.jsonl", "task-03.jsonl"]
    assert {(text.task, text.intended) for text in read_generated(third)} == {
        *((1, "bread"), (1, "fruit"), (2, "air"), (2, "rail"))
    }
    points = read_curves(folder / "curves.jsonl")
    assert all(set(point.terms) == {"cross_entropy"} for point in points if point.task == "food")
    assert all(set(point.terms) == {"cross_entropy", "generated"} for point in points if point.task != "food")
    assert {"masked_words_right", "commonest_word_right"} <= set(points[-1].diagnostics)
    assert verify(folder).problems == ()
    second.write_text("{}\n", encoding="utf-8")
    (problem,) = verify(folder).problems
    assert "task-02.jsonl is damaged: line 1 is no generated text" in problem


def test_texts_of_a_language_model_of_their_own_are_in_the_run_folder_and_its_slots_are_counted(
    toy_config: Config, tiny_writer: Path
) -> None:
    generator = f"{{kind: causal, id: '{tiny_writer}', epochs: 2}}"
    strategy = f"strategies=[{{kind: generative_replay, per_class: 8, generator: {generator}}}]"
    folder = run(toy_config("method=generative_replay", "scenario=class", "training.epochs=1", strategy))
    _, third = generated_files(folder)
    assert {(text.task, text.intended) for text in read_generated(third)} == {
        *((1, "bread"), (1, "fruit"), (2, "air"), (2, "rail"))
    }
    points = read_curves(folder / "curves.jsonl")
    assert all(set(point.terms) == {"cross_entropy", "generated"} for point in points if point.task != "food")
    slot = 4 * 8 * 2 * 4 * (32 + 32)  # float32, rank 8, two blocks, q, k, v and the output
    sizes = [cost.strategy_bytes for cost in read_record(folder).cost]
    assert [round(size / slot) for size in sizes] == [1, 2, 3]
    assert verify(folder).problems == ()


def test_a_finished_run_needs_no_writer_and_a_refused_task_leaves_it_finished(
    toy_config: Config, toy_files: dict[str, Path], tiny_writer: Path, tmp_path: Path
) -> None:
    writer = shutil.copytree(tiny_writer, tmp_path / "writer")
    generator = f"{{kind: causal, id: '{writer}', epochs: 1}}"
    strategy = f"strategies=[{{kind: generative_replay, per_class: 4, generator: {generator}}}]"
    folder = run(toy_config("method=generative_replay", "training.epochs=1", strategy))
    task = LocalTask(name="later", train=str(toy_files["food-train"]), test=str(toy_files["food-test"]))
    named = "very " * 60 + "fruit"
    (tmp_path / "long.jsonl").write_text(
        toy_files["food-train"].read_text(encoding="utf-8").replace('"fruit"', f'"{named}"'), encoding="utf-8"
    )
    with pytest.raises(BackboneError, match="has 64 positions"):
        extend(folder, LocalTask(name="long", train=str(tmp_path / "long.jsonl"), test=str(tmp_path / "long.jsonl")))
    extend(folder, task)
    shutil.rmtree(writer)
    resume(folder)
    assert verify(folder).problems == ()


def test_a_language_model_that_is_not_there_is_said_before_anything_is_written(toy_config: Config) -> None:
    strategy = "strategies=[{kind: generative_replay, generator: {kind: causal, id: /nowhere}}]"
    config = toy_config("method=generative_replay", strategy)
    with pytest.raises(BackboneError, match=r"what writes texts: .*/nowhere does not exist"):
        run(config)
    assert not config.folder.exists()


def test_a_network_that_trains_as_a_whole_writes_no_texts(toy_config: Config) -> None:
    with pytest.raises(ConfigError, match="it protects the slots that tasks share, and there are none"):
        toy_config("method=full", "strategies=[{kind: generative_replay}]")
