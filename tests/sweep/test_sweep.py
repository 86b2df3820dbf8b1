"""A sweep skips, resumes, isolates and reports."""

from collections.abc import Callable
from pathlib import Path

import pytest

import plora.sweep.one_run as one_run
from plora.build import Workspace
from plora.config import RunConfig, load_config
from plora.errors import DataError, RunError
from plora.problems import TextClassification
from plora.results import ClassRankings, read_record
from plora.results.record.manifest import read_checkpoint
from plora.run_folder.folder import RunFolder
from plora.runs import run
from plora.sweep import SweepConfig, plan_runs, sweep

Config = Callable[..., RunConfig]


@pytest.fixture
def config(toy_values: dict[str, object]) -> SweepConfig:
    return SweepConfig.model_validate(
        {
            "name": "small",
            "config": toy_values,
            "settings": {"training.epochs": 1},
            "grid": {"method": ["frozen", "o_lora"], "seed": [0, 1]},
            "planned": ["ewc"],
            "output": str(toy_values["output"]),
        }
    )


def weights(folder: Path) -> object:
    manifest = read_checkpoint(folder, 3)
    return manifest.slots, manifest.parts, ClassRankings.read(RunFolder(folder).predictions(3)).probabilities.tobytes()


def test_runs_are_done_once_and_are_those_of_plora_run(
    config: SweepConfig, toy_values: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = sweep(config)
    assert (result.done, result.skipped, result.failures) == (4, 0, {})
    said = capsys.readouterr().out
    assert "event=run_done run=method=o_lora_seed=1 accuracy=" in said
    assert "not there yet" in said
    page = (result.folder / "report.html").read_text(encoding="utf-8")
    assert "o_lora" in page
    again = sweep(config)
    assert (again.done, again.skipped) == (0, 4)
    # Sharing a loaded backbone changes no bit: the third run of the sweep is the first of a process of its own.
    one = plan_runs(config)[3]
    alone = load_config(one.config.model_dump(mode="json") | {"output": str(tmp_path / "alone")})
    assert weights(run(alone)) == weights(one.folder)


@pytest.mark.slow
def test_a_failing_run_stops_nobody_and_a_cut_one_goes_on(config: SweepConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = one_run.run

    def fragile(config: RunConfig, *arguments: object) -> Path:
        if config.method == "o_lora" and config.seed == 0:
            raise LookupError("a bug of ours\nin two lines")
        if config.method == "frozen" and config.seed == 1:
            raise RunError("a mistake of the user")
        return begun(config, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(one_run, "run", fragile)
        result = sweep(config)
    assert result.done == 2
    assert result.failures["method=frozen seed=1"] == "a mistake of the user"
    assert result.failures["method=o_lora seed=0"].startswith("LookupError: a bug of ours in two lines (traceback in")
    assert (result.folder / "base/o_lora/seed-0-error.txt").read_text(encoding="utf-8").startswith("Traceback")
    assert (result.folder / "report.html").is_file()
    cut = plan_runs(config)[3]
    (cut.folder / "results.json").unlink()
    (cut.folder / "checkpoints/task-03/manifest.json").unlink()
    assert cut.state() == "cut"
    mended = sweep(config)
    assert (mended.done, mended.skipped, mended.failures) == (3, 1, {})
    assert read_record(cut.folder).complete


def test_a_backbone_is_loaded_once_for_each_precision_and_never_shared_with_full(
    toy_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    load = TextClassification.load
    monkeypatch.setattr(TextClassification, "load", lambda *given: loaded.append(1) or load(*given))
    workspace = Workspace()
    first, second = (workspace.backbone(toy_config(f"method={method}")) for method in ("o_lora", "per_task"))
    assert len(loaded) == 1
    assert first.network is not second.network
    shared = {id(p) for p in first.network.parameters()} & {id(p) for p in second.network.parameters()}
    assert len(shared) == len(list(first.network.parameters()))
    workspace.backbone(toy_config("training.precision=bf16"))
    assert len(loaded) == 2
    own = workspace.backbone(toy_config("method=full"))
    assert len(loaded) == 3
    assert not shared & {id(p) for p in own.network.parameters()}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_ray_workers_do_the_same_runs(config: SweepConfig, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra 'sweep' is not installed")
    failing = config.model_copy(update={"runs": [{"method": "o_lora", "training.learning_rate": 1e30}]})
    result = sweep(failing, workers=2)
    assert result.done == 4
    (failure,) = result.failures.values()
    assert "the loss is not finite" in failure
    other = config.model_copy(update={"output": tmp_path / "alone"})
    sweep(other)
    for there, here in zip(plan_runs(config), plan_runs(other), strict=True):
        assert weights(there.folder) == weights(here.folder)


def test_several_workers_without_ray_are_refused_in_one_line(
    config: SweepConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(RunError, match=r'which is not installed: pip install "plora\[sweep\]"'):
        sweep(config, workers=2)


def test_the_order_of_tasks(toy_config: Config) -> None:
    folder = run(toy_config("order=[nature,food,travel]", "training.epochs=1"))
    assert read_record(folder).tasks == ("nature", "food", "travel")
    with pytest.raises(DataError, match="order: got food; expected each task of stream 'toy' once: food, travel"):
        run(toy_config("order=[food]", "name=other"))
