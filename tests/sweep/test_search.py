"""A search chooses on validation, goes on from the run folders alone, and leaves test to the chosen settings."""

import math
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import plora.sweep.work as work
from plora.build import Workspace
from plora.config import RunConfig
from plora.errors import ConfigError, RunError
from plora.results import SCORES, ClassRankings, RunRecord, StreamInfo, TaskCost, read_record, write_record
from plora.run_folder.folder import RunFolder
from plora.sealed import read_sealed
from plora.sweep import (
    Study,
    SweepConfig,
    SweepRun,
    choice_lines,
    load_sweep,
    plan_runs,
    plan_studies,
    planned_lines,
    sweep,
)
from plora.sweep.findings import findings, trials_table
from plora.sweep.sampler import ask

optuna = pytest.importorskip("optuna", reason="the extra 'sweep' is not installed")

SPACE = {
    "training.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
    "lora.rank": [2, 4],
    "training.epochs": {"low": 1, "high": 3},
}
Score = Callable[[RunConfig], float | None]


def near(config: RunConfig) -> float:
    """A score that is best at a learning rate of 0.01 and rank 4."""
    return 0.9 - 0.2 * abs(math.log10(config.training.learning_rate) + 2) - 0.1 * (config.lora.rank != 4)


@pytest.fixture
def tuned(toy_values: dict[str, object]) -> SweepConfig:
    return SweepConfig.model_validate(
        {
            "name": "tuned",
            "config": toy_values,
            "grid": {"method": ["sequential", "o_lora"], "seed": [0, 1]},
            "runs": [{"method": "frozen", "head": "ridge"}],
            "search": {"trials": 9, "at_once": 2, "space": SPACE},
            "output": str(toy_values["output"]),
        }
    )


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> Callable[[Score], list[SweepRun]]:
    """Replace learning: a run has the score that a function gives its config, or fails; returns the runs in order."""

    def replace(score: Score) -> list[SweepRun]:
        learned: list[SweepRun] = []

        def learn(one: SweepRun, _: Workspace) -> str:
            learned.append(one)
            value = score(one.config)
            if value is None:
                return "the loss is not finite"
            folder = RunFolder.create(one.folder)
            folder.write_config(one.config)
            write_record(folder.path, record(one.config, value))
            return ""

        monkeypatch.setattr(work, "learn", learn)
        monkeypatch.setattr(work, "write_report", lambda *_: None)  # seconds, and tested elsewhere
        return learned

    return replace


def record(config: RunConfig, value: float) -> RunRecord:
    return RunRecord(
        run=config.identity,
        name=config.name,
        method=config.label,
        method_summary="",
        scenario=config.scenario,
        stream=StreamInfo("toy", "0"),
        seed=config.seed,
        tasks=("food",),
        matrix=np.array([[np.nan], [value]]),
        status=("evaluated",),
        cost=(),
        data=(),
        warnings=(),
        complete=True,
        split=config.evaluation.split,
    )


def asked(studies: "list[Study] | tuple[Study, ...]") -> list[list[tuple[object, float | None, str]]]:
    return [[(dict(trial.settings), trial.value, trial.failure) for trial in study.trials] for study in studies]


def changed(config: SweepConfig, **search: object) -> SweepConfig:
    values = config.model_dump(mode="json")
    return SweepConfig.model_validate(values | {"search": values["search"] | search})


def test_the_best_trial_on_validation_gives_every_seed_its_settings(
    tuned: SweepConfig, scored: Callable[[Score], list[SweepRun]], capsys: pytest.CaptureFixture[str]
) -> None:
    learned = scored(near)
    result = sweep(tuned)
    assert (result.done, result.skipped, result.failures) == (2 * 9 + 5, 0, {})
    assert [study.label for study in result.studies] == ["method=sequential", "method=o_lora"]
    trials, finals = learned[:18], learned[18:]
    assert {one.config.evaluation.split for one in trials} == {"validation"}
    assert {one.config.evaluation.split for one in finals} == {"test"}
    assert [one.label for one in finals[-1:]] == ["method=frozen head=ridge"]  # nothing of it could be chosen
    for study in result.studies:
        values = [trial.value or 0 for trial in study.trials]
        assert study.chosen is not None
        assert study.chosen.value == max(values)
        best = study.chosen.progress.run.config
        own = [one.config for one in finals if study.label == f"method={one.config.method}"]
        assert [config.seed for config in own] == [0, 1]
        assert {config.training for config in own} == {best.training}
        assert {config.lora.rank for config in own} == {best.lora.rank}
        for number, trial in enumerate(study.trials):
            epochs, rate = (trial.settings[f"training.{key}"] for key in ("epochs", "learning_rate"))
            assert isinstance(epochs, int)
            assert float(f"{rate:.4g}") == rate
            assert trial.progress.run.folder.parts[-3:] == (f"trial-{number:02}", best.method, "seed-0")
    said = capsys.readouterr().out
    assert "event=run_done run=search_method=o_lora_trial=8 validation_accuracy=" in said
    assert "18 of 18 trials, 5 of 5 runs" in said
    again = sweep(tuned)
    assert (again.done, again.skipped) == (0, 23)


def test_what_was_found_is_written_and_said(
    tuned: SweepConfig, scored: Callable[[Score], list[SweepRun]], toy_values: dict[str, object]
) -> None:
    scored(lambda config: None if config.training.learning_rate > 0.02 else near(config))
    result = sweep(tuned)
    study = result.studies[0]
    assert study.chosen is not None
    found = read_sealed(result.folder / "search/method-sequential.json")
    assert found["chosen"] == study.chosen.number
    trials = found["trials"]
    assert isinstance(trials, list)
    assert [trial["value"] for trial in trials] == [trial.value for trial in study.trials]
    failed = [trial["number"] for trial in trials if trial["failure"]]
    assert failed
    assert all(f"search method=sequential trial={number}" in result.failures for number in failed)
    table = (result.folder / "search/method-sequential.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("|")]
    assert rows[2][:2] == ["| **chosen**", str(study.chosen.number)]
    assert [row[-1] for row in rows[-len(failed) :]] == ["failed |"] * len(failed)
    assert f"- Trial {failed[0]} failed: the loss is not finite" in table
    assert "search anew: remove `" in table
    assert (result.folder / "search/method-sequential.png").stat().st_size > 1000
    said = "\n".join(choice_lines(study))
    assert f"by trial {study.chosen.number}, the best of {9 - len(failed)} (median {100 * study.median:.1f}" in said
    # What failed is not tried again: later trials were chosen knowing of it.
    again = sweep(tuned)
    assert (again.done, again.failures) == (0, result.failures)
    assert asked(list(again.studies)) == asked(list(result.studies))


@pytest.mark.slow
def test_a_sweep_that_is_killed_goes_on_as_if_nothing_had_happened(
    tuned: SweepConfig, scored: Callable[[Score], list[SweepRun]], tmp_path: Path
) -> None:
    def score(config: RunConfig) -> float | None:
        return None if config.training.learning_rate > 0.02 else near(config)

    scored(score)
    uncut = sweep(tuned.model_copy(update={"output": tmp_path / "uncut"}))
    for killed_at in (1, 8, 19):
        here = tuned.model_copy(update={"output": tmp_path / f"cut-{killed_at}"})
        left = iter(range(killed_at))

        def dies(config: RunConfig, left: "object" = left) -> float | None:
            next(left)  # type: ignore[call-overload]
            return score(config)

        scored(dies)
        with pytest.raises(StopIteration):
            sweep(here)
        scored(score)
        assert asked(list(sweep(here).studies)) == asked(list(uncut.studies))


@pytest.mark.slow
def test_the_first_trials_are_every_studys_and_later_ones_follow_what_was_reached(
    tuned: SweepConfig, scored: Callable[[Score], list[SweepRun]], tmp_path: Path
) -> None:
    scored(lambda config: 1 - near(config) if config.method == "o_lora" else near(config))
    many = changed(tuned, trials=14)
    one, other = (asked([study]) for study in sweep(many).studies)
    settings, others = ([trial[0] for trial in study[0]] for study in (one, other))
    assert settings[:6] == others[:6]
    assert settings != others
    # Fewer trials are the first of more; another seed has others.
    scored(near)
    few = sweep(changed(tuned, trials=5).model_copy(update={"output": tmp_path / "few"})).studies[0]
    assert [trial.settings for trial in few.trials] == settings[:5]
    turned = changed(tuned, trials=5, space=dict(reversed(SPACE.items())))
    turned = turned.model_copy(update={"output": tmp_path / "turned"})
    assert [trial.settings for trial in sweep(turned).studies[0].trials] == settings[:5]
    seed = sweep(changed(tuned, trials=5, seed=1).model_copy(update={"output": tmp_path / "seed"})).studies[0]
    assert seed.trials[0].settings != few.trials[0].settings
    assert seed.trials[0].progress.run.config.seed == 1


def test_of_equal_trials_the_earliest_is_chosen_and_the_lowest_where_low_is_good(
    tuned: SweepConfig, scored: Callable[[Score], list[SweepRun]]
) -> None:
    scored(lambda config: 0.5)
    (study, _) = sweep(tuned).studies
    assert study.chosen is study.trials[0]
    low = Study(study.label, study.folder, study.search.model_copy(update={"metric": "forgetting"}), study.runs)
    low.trials = study.trials
    low.trials[4].value = 0.25
    assert low.chosen is low.trials[4]


def test_a_space_that_ends_is_tried_once_each(tuned: SweepConfig, scored: Callable[[Score], list[SweepRun]]) -> None:
    scored(near)
    space = {"lora.rank": [2, 4, 8], "lora.targets": ["attention", ["query", "value"]]}
    small = changed(tuned, trials=20, space=space)
    assert "search    method=o_lora: 6 trials in 3 rounds, 0 done" in planned_lines(small)[1]
    for study in sweep(small).studies:
        pairs = [(trial.settings["lora.rank"], str(trial.settings["lora.targets"])) for trial in study.trials]
        assert len(pairs) == len(set(pairs)) == 6
        assert study.chosen is not None
        assert study.chosen.settings["lora.rank"] == 4


def test_keys_of_one_method_are_searched_for_it_alone(
    tuned: SweepConfig, scored: Callable[[Score], list[SweepRun]]
) -> None:
    weights = [[{"kind": "orthogonality", "weight": weight}] for weight in (0.1, 1.0)]
    scored(lambda config: 0.9 if str(config.resolved_strategies()).count("weight=1.0") else 0.5)
    own = changed(tuned, trials=9, space={"lora.rank": [2, 4]}, methods={"o_lora": {"strategies": weights}})
    studies = {study.label: study for study in sweep(own).studies}
    assert {label: len(study.trials) for label, study in studies.items()} == {
        "method=sequential": 2,
        "method=o_lora": 4,
    }
    assert studies["method=o_lora"].chosen.settings["strategies"] == weights[1]
    assert set(studies["method=sequential"].chosen.settings) == {"lora.rank"}


def test_where_every_trial_fails_no_run_is_made_and_the_others_are(
    tuned: SweepConfig, scored: Callable[[Score], list[SweepRun]]
) -> None:
    scored(lambda config: None if config.method == "o_lora" else near(config))
    result = sweep(tuned)
    assert result.done == 9 + 2 + 1
    assert len(result.failures) == 9 + 2
    reason = result.failures["method=o_lora seed=1"]
    assert reason.startswith("not made, because every trial of its search failed (the first: the loss is not finite)")
    assert "nothing chosen" in choice_lines(result.studies[1])[0]
    assert sum(line.startswith("failed ") for line in planned_lines(tuned)) == 2
    # A metric without a value is a failure with its reason.
    other = changed(tuned, metric="backward_transfer").model_copy(update={"name": "other"})
    scored(near)
    assert "BWT has no value: it compares tasks" in sweep(other).failures["search method=sequential trial=0"]


def test_a_trial_that_another_process_does_has_not_failed(
    tuned: SweepConfig, scored: Callable[[Score], list[SweepRun]], monkeypatch: pytest.MonkeyPatch
) -> None:
    scored(near)
    uncut = sweep(tuned.model_copy(update={"name": "uncut"})).studies

    def learn(one: SweepRun, workspace: Workspace) -> str:
        folder = RunFolder.create(one.folder)
        folder.write_config(one.config)
        stack.enter_context(folder.lock())
        return "is being written by another process"

    with ExitStack() as stack, monkeypatch.context() as patch:
        patch.setattr(work, "learn", learn)
        with pytest.raises(RunError, match=r"trial-00.* is being written by another process; wait for it, or stop it"):
            sweep(tuned)
    for folder in tuned.output.glob("tuned/search/.trials/*/trial-0*"):
        shutil.rmtree(folder)  # the toy cannot go on with a run that was cut
    assert asked(list(sweep(tuned).studies)) == asked(list(uncut))


def test_trials_of_another_search_are_refused(tuned: SweepConfig, scored: Callable[[Score], list[SweepRun]]) -> None:
    scored(lambda config: None if config.training.learning_rate > 0.02 else near(config))
    sweep(tuned)
    with pytest.raises(RunError, match=r"trial-02\S* \w+ .*of other settings.*; give the sweep another name"):
        sweep(changed(tuned, at_once=3))
    with pytest.raises(RunError, match="other settings"):
        planned_lines(tuned.model_copy(update={"settings": {"training.batch_size": 4}}))
    # More trials may choose other settings, which must not score test a second time.
    better = scored(lambda config: 0.99)
    result = sweep(changed(tuned, trials=12))
    assert len(better) == 6
    assert "holds a run of other settings" in result.failures["method=sequential seed=0"]


def test_one_order_chooses_for_all(toy_values: dict[str, object], scored: Callable[[Score], list[SweepRun]]) -> None:
    orders = [["travel", "food", "nature"], ["food", "travel", "nature"]]
    config = SweepConfig.model_validate(
        {
            "name": "orders",
            "config": toy_values,
            "grid": {"order": orders, "seed": [3, 4]},
            "search": {"trials": 3, "space": SPACE},
            "output": str(toy_values["output"]),
        }
    )
    learned = scored(near)
    (study,) = sweep(config).studies
    assert study.label == "config"
    assert [one.config.order for one in learned] == [tuple(orders[0])] * 3 + [tuple(o) for o in orders for _ in "ab"]
    assert len({one.config.training for one in learned[3:]}) == 1


def test_orders_of_classes_are_one_study() -> None:
    config = SweepConfig.model_validate(
        {
            "name": "orders",
            "config": "image_classification/cifar100",
            "grid": {"method": ["full", "sequential"], "stream.class_seed": [1993, 7], "seed": [0, 1]},
            "settings": {"head": "linear"},
            "search": {"trials": 3, "space": SPACE},
        }
    )
    assert {run.study for run in plan_runs(config)} == {"method=full", "method=sequential"}


def test_trials_read_no_test_data(tuned: SweepConfig) -> None:
    """Real runs: what trials predicted is the validation split, and what runs predicted is the test split."""
    config = changed(tuned, trials=2, space={"training.learning_rate": [1e-3, 2e-2]})
    config = config.model_copy(
        update={"settings": {"training.epochs": 1}, "grid": {"method": ["sequential"], "seed": [0]}, "runs": []}
    )
    result = sweep(config)
    assert (result.done, result.failures) == (3, {})
    (study,) = result.studies
    for trial in study.trials:
        folder = trial.progress.run.folder
        found = read_record(folder)
        assert found.split == "validation"
        assert found.sizes == [data.validation for data in found.data]
        predicted = ClassRankings.read(RunFolder(folder).predictions(3))
        assert len(predicted) == sum(data.validation for data in found.data) != sum(data.test for data in found.data)
        assert trial.value == found.metrics["accuracy"].value
    (final,) = plan_runs(config)
    assert read_record(final.folder).split == "test"
    assert study.chosen is not None
    assert (
        RunFolder(final.folder).read_config().training.learning_rate == study.chosen.settings["training.learning_rate"]
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_two_workers_do_the_same_trials(tuned: SweepConfig, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra 'sweep' is not installed")
    few = changed(tuned, trials=4).model_copy(update={"grid": {"method": ["o_lora"], "seed": [0]}})
    two = sweep(few, workers=2)
    one = sweep(few.model_copy(update={"output": tmp_path / "one"}))
    assert (two.done, two.failures) == (one.done, one.failures) == (6, {})
    assert asked(list(two.studies)) == asked(list(one.studies))


def test_trials_alone_have_the_settings_of_the_search(
    tuned: SweepConfig, scored: Callable[[Score], list[SweepRun]], tmp_path: Path
) -> None:
    learned = scored(near)
    short = changed(tuned, trials=2, settings={"training.batch_size": 3, "stream.validation_per_class": 1})
    result = sweep(short)
    of_trials = [one for one in learned if one.config.evaluation.split == "validation"]
    others = [one for one in learned if one not in of_trials]
    assert {one.config.training.batch_size for one in of_trials} == {3}
    assert {one.config.training.batch_size for one in others} == {8}
    page = next((result.folder / "search").glob("*.md")).read_text(encoding="utf-8")
    assert "Trials had `training.batch_size=3 stream.validation_per_class=1`, the runs have not." in page


def test_what_trials_cannot_have_is_named(tuned: SweepConfig) -> None:
    settings = {"seed": 3, "training.epochs": 1, "evaluation.split": "test", "lora.rnk": 3}
    with pytest.raises(ConfigError) as caught:
        plan_runs(changed(tuned, settings=settings))
    for part in (
        "search.settings: 'seed' cannot be set: search.seed is of every trial",
        "search.settings: 'evaluation.split' cannot be set: trials score validation",
        "search.settings: 'training.epochs' is searched, in 'training.epochs'; a setting is either given or searched",
        "lora.rnk: unknown key",
    ):
        assert part in str(caught.value)


def test_every_mistake_is_named_at_once(tuned: SweepConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    space: dict[str, object] = {
        "training.learning_rat": {"low": 0.1, "high": 0.2},
        "training.epochs": {"low": 0.5, "high": 4},
        "training.weight_decay": {"low": 0, "high": 0.1, "log": True},
        "training.warmup": {"low": 0.5, "high": 0.5},
        "lora.rank": [0, "x"],
        "lora.alpha": [8, 8],
        "lora.dropout": [],
        "seed": [0, 1],
        "stream.train_per_task": [1, 2],
        "evaluation.tasks": ["all"],
    }
    methods = {"owc": {"lora.alpha": [1]}, "o_lora": {"lora.alpha": [2, 2]}}
    bad = changed(tuned, metric="acuracy", space=space, methods=methods).model_copy(
        update={
            "settings": {"evaluation.split": "test"},
            "grid": {"method": ["o_lora"], "lora": [{"rank": 4}]},
            "runs": [{"training.epochs": 2}],
        }
    )
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(ConfigError) as caught:
        plan_runs(bad)
    for part in (
        "search.metric: unknown metric 'acuracy'; did you mean 'accuracy'? (metrics: accuracy, average",
        "search.space: training.learning_rat: unknown key; did you mean 'learning_rate'?",
        "search.space: training.epochs: got 0.5; ",
        "search.space.training.weight_decay: got low 0 with log: true; a logarithm needs a low above 0",
        "search.space.training.warmup: got low 0.5 and high 0.5; low must be smaller",
        "search.space: lora.rank: got 0; ",
        "search.space: lora.rank: got 'x'; ",
        "search.space.lora.alpha: got 8 twice; list it once",
        "search.methods: unknown method 'owc'; did you mean 'ewc'",
        "search.methods.o_lora.lora.alpha: got 2 twice; list it once",
        "search.space.lora.dropout: got no values",
        "search.space.seed: cannot be searched: seeds are repetitions",
        "search.space.stream.train_per_task: cannot be searched: scores on other data",
        "search.space.evaluation.tasks: cannot be searched",
        "search.space.lora.rank: 'lora' is set in the grid too; a setting is either given or searched",
        "search.space.training.epochs: 'training.epochs' is set in runs too",
        "evaluation.split: the search scores validation, and the final runs test; leave the key out",
        'search: needs Optuna, which is not installed: pip install "plora[sweep]"',
    ):
        assert part in str(caught.value)
    with pytest.raises(ConfigError, match=r"search\.space: is empty; list at least one key"):
        plan_studies(changed(tuned, space={}))
    base = tuned.model_copy(update={"config": {**tuned.config, "evaluation": {"split": "validation"}}})  # type: ignore[dict-item]
    with pytest.raises(ConfigError, match=r"evaluation\.split: the search scores validation"):
        plan_runs(base)


def test_a_key_that_one_method_cannot_have_is_told_with_its_study(tuned: SweepConfig) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_runs(changed(tuned, space={"strategies": [[], [{"kind": "orthogonality"}]]}))
    (problem,) = caught.value.problems
    assert problem.startswith(
        "search.space, method=sequential: strategies: 'orthogonality' does not fit method 'sequential'"
    )


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"lora.rank": 4}, r"search\.space\.lora\.rank: give \{low: …, high: …\}, or a list"),
        ({"lora.rank": {"low": 4}}, r"search\.space\.lora\.rank\.high: Field required"),
        ({"lora.rank": {"low": True, "high": "eight"}}, r"rank\.low: got True; expected a number\n.*high: got 'eight'"),
    ],
)
def test_the_form_of_a_space_is_checked(tmp_path: Path, space: object, said: str) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump({"name": "a", "config": "x", "search": {"space": space}}))
    with pytest.raises(ConfigError, match=said):
        load_sweep(path)


def test_a_space_is_changed_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump({"name": "a", "config": "x", "search": {"space": SPACE}}))
    keys = ["search.space.lora.rank=[8]", "search.space.training.learning_rate={low: 1e-3, high: 1e-2}"]
    search = load_sweep(path, keys).search
    assert search is not None
    assert search.space["lora.rank"].values() == [8]
    assert search.space["training.learning_rate"].model_dump() == {"low": 1e-3, "high": 1e-2, "log": False}
    assert set(search.space) == set(SPACE)


@pytest.mark.parametrize("score", ["nats_per_byte", "mean_iou"])
def test_the_score_of_the_runs_says_which_trial_is_best(
    score: str, tuned: SweepConfig, scored: Callable[[Score], list[SweepRun]], monkeypatch: pytest.MonkeyPatch
) -> None:
    lower = score == "nats_per_byte"
    made = record

    def other(config: RunConfig, value: float) -> RunRecord:
        blank = made(config, 0.5)
        return replace(blank, matrix=np.array([[np.nan], [value]]), score=SCORES[score])

    monkeypatch.setattr(sys.modules[__name__], "record", other)
    scored((lambda config: 3 - near(config)) if lower else near)
    study = sweep(tuned).studies[0]
    values = [trial.value for trial in study.trials if trial.value is not None]
    assert study.chosen is not None
    assert study.chosen.value == (min(values) if lower else max(values))
    assert study.ranked[-1].value == (max(values) if lower else min(values))
    text = trials_table(study)
    assert ("(lowest is best" in text) == lower
    assert ("last, nats per byte on validation" in text) == lower
    assert ("last % on validation" in text) != lower
    assert findings(study)["best"] == ("lowest" if lower else "highest")


def test_what_a_run_cost_can_be_optimised(
    tuned: SweepConfig, scored: Callable[[Score], list[SweepRun]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = record

    def costly(config: RunConfig, value: float) -> RunRecord:
        return replace(made(config, 0.5), cost=(TaskCost("food", 100 * value, 1, 1.0, 1, None, 1, 1),))

    monkeypatch.setattr(sys.modules[__name__], "record", costly)
    scored(near)
    study = sweep(changed(tuned, metric="seconds")).studies[0]
    assert study.chosen is not None
    assert study.chosen.value == min(trial.value for trial in study.trials if trial.value is not None)
    assert "seconds, seconds on validation" not in trials_table(study)


def test_later_rounds_go_the_way_that_is_better(tuned: SweepConfig) -> None:
    assert tuned.search is not None
    search = tuned.search.of("o_lora").model_copy(update={"trials": 40})
    finished: list[tuple[Mapping[str, object], float | None]] = []
    for _ in range(4):
        finished += [(new, float(len(finished) + k)) for k, new in enumerate(ask(search, finished))]  # type: ignore[arg-type]
    negated = [(settings, None if value is None else -value) for settings, value in finished]
    assert ask(search, finished, "lower") == ask(search, negated, "higher")  # type: ignore[arg-type]


def test_metrics_that_no_trial_can_have_are_refused(tuned: SweepConfig) -> None:
    for metric, said in (
        ("intransigence", "'intransigence' compares with another run, which no trial has"),
        ("perplexty", "unknown metric 'perplexty'; did you mean 'perplexity'?"),
    ):
        with pytest.raises(ConfigError, match=said.replace("?", r"\?")):
            plan_runs(changed(tuned, metric=metric))
