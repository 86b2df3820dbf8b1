"""Classes that users name in a config: found where they are said to be, or refused in one line."""

import sys
from pathlib import Path

import pytest
from pydantic import Field

from plora.config import load_config
from plora.errors import ConfigError, RunError
from plora.optimizers import SGD
from plora.run_folder.folder import TRUST_OWN_PARTS, RunFolder
from plora.settings import named
from plora.strategies import Strategy, StrategySettings

TOPICS = {"stream": {"kind": "docstring_topics"}, "scenario": "class"}
MODULE = """
from plora.optimizers import SGD
from plora.strategies import Strategy, StrategySettings

class Quiet(StrategySettings):
    weight: float = 0.5
    part = "own_parts:QuietStrategy"

class QuietStrategy(Strategy):
    pass

class Heavy(SGD):
    kind: str = "heavy"
    momentum: float = 0.99

number = 3
"""


@pytest.fixture
def own_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_parts.py").write_text(MODULE)
    (tmp_path / "broken_parts.py").write_text("import no_such_package")
    (tmp_path / "raising_parts.py").write_text("raise KeyError('x')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_parts", raising=False)
    return tmp_path


def test_a_config_names_a_strategy_and_an_optimizer_of_the_users(own_parts: Path, tmp_path: Path) -> None:
    values = TOPICS | {"strategies": [{"kind": "own_parts:Quiet", "weight": 2}]}
    config = load_config(values, ["training.optimizer={kind: own_parts:Heavy}"])
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    assert load_config(tmp_path / "config.yaml") == config
    (settings,) = config.resolved_strategies()
    assert settings.model_dump() == {"kind": "own_parts:Quiet", "weight": 2.0}
    assert type(named(settings.part, Strategy)(settings)).__name__ == "QuietStrategy"
    assert isinstance(config.training.optimizer, SGD)
    assert config.training.optimizer.momentum == 0.99


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("no_such_module:X", "'no_such_module:X': there is no module 'no_such_module'; install it, or name its folder"),
        ("broken_parts:X", "there is no module 'no_such_package', which 'broken_parts' imports; install it"),
        ("raising_parts:X", "'raising_parts:X' cannot be imported: KeyError: 'x'"),
        ("own_parts:Quite", "'own_parts:Quite': module 'own_parts' has no 'Quite'"),
        ("own_parts:Heavy", "'own_parts:Heavy' is not derived from plora.strategies.settings.StrategySettings"),
        ("own_parts:number", "'own_parts:number' is not derived from plora.strategies.settings.StrategySettings"),
        (":", "':' cannot be imported: ValueError: Empty module name"),
    ],
)
def test_a_class_that_is_not_there_is_refused_with_the_reason(own_parts: Path, kind: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(TOPICS | {"strategies": [{"kind": kind}]})
    (problem,) = caught.value.problems
    assert problem.startswith("strategies.0: ")
    assert says in problem


def test_an_unknown_key_of_a_users_class_is_told_its_own_keys(own_parts: Path) -> None:
    with pytest.raises(ConfigError, match=r"wight: unknown key; did you mean 'weight'\? \(keys here: kind, weight\)"):
        load_config(TOPICS | {"strategies": [{"kind": "own_parts:Quiet", "wight": 1}]})


def test_a_class_itself_is_named_too() -> None:
    class Mine(StrategySettings):
        part = Strategy
        weight: float = Field(default=1.0, ge=0)

    assert named(Mine.part, Strategy) is Strategy


def test_a_run_folder_cannot_decide_that_code_runs(
    own_parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder.create(tmp_path / "run")
    folder.write_config(load_config(TOPICS, ["training.optimizer={kind: own_parts:Heavy}"]))
    monkeypatch.delitem(sys.modules, "own_parts")
    with pytest.raises(RunError, match=f"asks to run Python code of 'own_parts:Heavy'.*set {TRUST_OWN_PARTS}=1"):
        folder.read_config()
    assert "own_parts" not in sys.modules
    monkeypatch.setenv(TRUST_OWN_PARTS, "1")
    assert folder.read_config().training.optimizer.kind == "own_parts:Heavy"
