"""Which runs a sweep has."""

from pathlib import Path

import pytest
import yaml

from plora.config import RunConfig
from plora.configs import shipped_sweeps
from plora.errors import ConfigError, RunError
from plora.runs import run
from plora.sweep import SweepConfig, load_sweep, plan_runs


def planned(toy_values: dict[str, object], **sweep: object) -> list[tuple[str, RunConfig]]:
    config = SweepConfig.model_validate(
        {"name": "s", "config": toy_values, "output": str(toy_values["output"])} | sweep
    )
    return [(one.label, one.config) for one in plan_runs(config)]


def test_every_combination_and_the_runs_beside_it(toy_values: dict[str, object]) -> None:
    runs = planned(
        toy_values,
        settings={"training.epochs": 2},
        grid={"method": ["sequential", "o_lora"], "seed": [0, 1], "lora.rank": [2, 4]},
        runs=[{"method": "frozen", "head": "ncm"}],
    )
    assert len(runs) == 2 * 2 * 2 + 1
    assert runs[0][0] == "method=sequential seed=0 lora.rank=2"
    assert {config.training.epochs for _, config in runs} == {2}
    assert len({config.folder for _, config in runs}) == len(runs)
    assert runs[1][1].folder == Path(str(toy_values["output"])) / "s/lora.rank-4/sequential/seed-0"
    assert runs[-1][1].folder == Path(str(toy_values["output"])) / "s/base/frozen-ncm/seed-0"
    assert toy_values["training"] == {"epochs": 4, "batch_size": 8, "learning_rate": 0.02, "log_every": 2}


def test_a_long_name_stays_a_name_and_differs(toy_values: dict[str, object]) -> None:
    orders = [["food", "travel", "nature"], ["nature", "travel", "food"]]
    runs = planned(toy_values, grid={"order": orders, "lora.targets": ["attention", "all_linear"]})
    names = {config.name for _, config in runs}
    assert len(names) == 4
    assert all(len(name) <= 48 for name in names)
    assert runs[0][1].order == ("food", "travel", "nature")


def test_a_label_says_settings_as_a_command_line_does(toy_values: dict[str, object]) -> None:
    gate = {"kind": "all_ones"}
    sweep = SweepConfig.model_validate(
        {"name": "gates", "config": toy_values, "runs": [{"method": "gumbel_cl_lora", "gate": gate}]}
    )
    (run,) = plan_runs(sweep)
    assert run.label == "method=gumbel_cl_lora gate={kind: all_ones}"
    assert run.folder.parts[-3] == "gate--kind-all_ones"


def test_every_mistake_of_every_run_is_named(toy_values: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        planned(toy_values, grid={"method": ["sequential", "olora"], "training.epoch": [1]}, runs=[{"lora.rank": "x"}])
    problems = str(caught.value)
    assert "method=sequential training.epoch=1: training.epoch: unknown key; did you mean 'epochs'" in problems
    assert "method=olora training.epoch=1: method: unknown method 'olora'; did you mean 'o_lora'" in problems
    assert "lora.rank=x: lora.rank: got 'x'" in problems
    with pytest.raises(ConfigError, match="are the same run; list it once"):
        planned(toy_values, grid={"seed": [0, 1]}, runs=[{"seed": 1}])
    with pytest.raises(ConfigError, match="has no runs"):
        planned(toy_values)


def test_the_file_of_a_sweep_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump({"name": "a b", "config": "x", "grid": {"seed": []}, "seeds": [1]}))
    with pytest.raises(ConfigError) as caught:
        load_sweep(path)
    for part in ("name: String should match", "grid: 'seed' has no values", "seeds: Extra inputs"):
        assert part in str(caught.value)
    path.write_text(yaml.safe_dump({"name": "a", "config": "quickstart/nothing", "grid": {"seed": [0, 1, 2]}}))
    assert load_sweep(path, ["grid.seed=[7]"]).grid == {"seed": [7]}
    with pytest.raises(ConfigError, match="neither a file nor a shipped config"):
        plan_runs(load_sweep(path))


@pytest.mark.parametrize("name", shipped_sweeps())
def test_shipped_sweeps_are_valid(name: str) -> None:
    assert plan_runs(load_sweep(shipped_sweeps()[name]))


def test_what_is_on_disk(toy_values: dict[str, object]) -> None:
    config = SweepConfig.model_validate(
        {"name": "s", "config": toy_values, "grid": {"method": ["frozen"]}, "output": str(toy_values["output"])}
    )
    (one,) = plan_runs(config)
    assert one.state() == "new"
    run(one.config)
    assert one.state() == "complete"
    (other,) = plan_runs(config.model_copy(update={"settings": {"training.epochs": 1}}))
    with pytest.raises(RunError, match=r"holds a run of other settings \(training\); give the sweep another name"):
        other.state()
