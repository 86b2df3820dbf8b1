"""The schema of a run: every mistake at once, each with its key and what to do."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from plora.config import RunConfig, load_config
from plora.configs import find_config, header, shipped_configs
from plora.errors import ConfigError
from plora.methods import METHODS
from plora.strategies import STRATEGIES, EWCSettings, OrthogonalitySettings, ReplaySettings, StrategySettings

TOPICS = {"stream": {"kind": "docstring_topics"}, "scenario": "class"}


def test_defaults_then_file_then_overrides(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(TOPICS | {"training": {"epochs": 5, "batch_size": 4}}))
    config = load_config(path, ["training.epochs=7", "lora.targets=[query, value]", "training.first_task.epochs=9"])
    assert (config.training.epochs, config.training.batch_size, config.training.clip_norm) == (7, 4, 1.0)
    assert config.lora.targets == ("query", "value")
    assert config.training.first_task.epochs == 9


def test_json_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(TOPICS))
    assert load_config(path).scenario == "class"


def test_a_config_survives_being_written_and_read(tmp_path: Path) -> None:
    config = load_config(TOPICS, ["method=o_lora", "strategies=[{kind: orthogonality, weight: 5}]", "seed=3"])
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    assert load_config(tmp_path / "config.yaml") == config


def test_every_mistake_is_reported_at_once_with_its_key() -> None:
    values = {
        "stream": {"kind": "docstring_topics", "train_per_clas": 3},
        "scenario": "clas",
        "method": "o_lra",
        "training": {"epoch": 3, "learning_rate": -1, "batch_size": "x"},
        "lora": {"rnk": 3},
        "strategies": [{"kind": "orthogonalty"}],
    }
    with pytest.raises(ConfigError) as caught:
        load_config(values, ["no-equals", "seed.deep=3"])
    lines = {problem.partition(":")[0]: problem for problem in caught.value.problems}
    assert len(caught.value.problems) == 10
    assert "did you mean 'train_per_class'?" in lines["stream.train_per_clas"]
    assert "min_words" in lines["stream.train_per_clas"]
    assert "root" not in lines["stream.train_per_clas"]  # keys of the chosen kind alone
    assert "did you mean 'o_lora'?" in lines["method"]
    assert "did you mean 'epochs'?" in lines["training.epoch"]
    assert "greater than 0" in lines["training.learning_rate"]
    assert "got 'x'" in lines["training.batch_size"]
    assert "did you mean 'rank'?" in lines["lora.rnk"]
    assert "did you mean 'orthogonality'?" in lines["strategies.0"]
    assert "expected key=value" in lines["'no-equals'"]
    assert "'task', 'class' or 'domain'" in lines["scenario"]
    assert all("\n" not in problem for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["method=per_task"], "per_task' has no meaning in the class-incremental scenario: it keeps one slot per task"),
        (["method=replay", "head=ridge"], "head: 'ridge' does not fit method 'replay'"),
        (["method=full", "head=klda"], "head: 'klda' does not fit method 'full' (heads: linear, cosine)"),
        (
            ["method=o_lora", "head=ncm", "loss_rows=seen"],
            "loss_rows: the head 'ncm' is solved, and the one that stands",
        ),
        (
            ["method=o_lora", "head=ncm", "strategies=[{kind: replay}]"],
            "'replay' does not fit method 'o_lora': it needs",
        ),
        (["method=sequential", "head=ncm", "strategies=[{kind: distillation}]"], "it needs rows of older tasks in"),
        (["method=first_session", "strategies=[{kind: sparsity}]"], "the head 'ranpac' is solved, not trained step by"),
        (["method=o_lora", "drift=linear"], "drift: the head 'linear' is trained step by step and keeps no sums"),
        (["method=routed", "head=ncm", "drift=linear"], "drift: with method 'routed' the features of a task do not"),
        (["method=frozen", "head=ncm", "drift=linear"], "drift: with method 'frozen' the features of a task do not"),
        (["method=o_lora", "head=ncm", "drift=affine"], "drift: got 'affine'; input should be 'none' or 'linear'"),
        (
            ["method=o_lora", "head=ncm", "phases=[{train: [head]}]"],
            "phases: method 'o_lora' without a phase that trains the adapter is method 'frozen'; use that",
        ),
        (["method=frozen", "head=ridg"], "did you mean 'ridge'"),
        (["method=frozen", "phases=[{train: [adapter]}]"], "has no adapter to train; it can train: head"),
        (
            ["method=sequential", "strategies=[{kind: orthogonality}]"],
            "it compares a task's slot with older ones",
        ),
        (["method=o_lora", "strategies=[{kind: ewc}]"], "'ewc' does not fit method 'o_lora': it holds the slot that"),
        (["method=per_task", "strategies=[{kind: replay}]"], "each task trains a slot of its own alone"),
        (["method=per_task", "strategies=[{kind: orthogonality}]"], "each task trains a slot of its own alone"),
        (["method=merged_ties", "strategies=[{kind: ewc_lora}]"], "each task trains a slot of its own alone"),
        (["method=merged_ties", "strategies=[{kind: inf_lora}]"], "each task trains a slot of its own alone"),
        (["strategies=[{kind: inf_lora}]"], "a task's new slot out of what older tasks' inputs span, and there is one"),
        (["strategies=[{kind: ewc_lora}]"], "a task's new slot back where older ones mattered, and there is one"),
        (["merging.keep=0"], "merging.keep: got 0"),
        (["merging.ranks=8"], "did you mean 'rank'?"),
        (["method=merged_average", "merging.keep=0.5"], "merging.keep: method 'merged_average' keeps every entry"),
        (["method=frozen", "strategies=[{kind: replay}]", "loss_rows=local"], "each task trains head rows of its own"),
        (["method=frozen", "strategies=[{kind: distillation}]"], "each task trains head rows of its own"),
        (["method=routed", "strategies=[{kind: sparsity}]"], "each task trains a slot of its own alone"),
        (["scenario=domain", "loss_rows=all"], "loss_rows: it decides nothing in the domain-incremental scenario"),
        (
            ["method=o_lora", "head=ncm", "loss_rows=all"],
            "loss_rows: the head 'ncm' is solved, and the one that stands",
        ),
        (["scenario=task", "loss_rows=seen"], "loss_rows: it decides nothing in the task-incremental scenario"),
        (["strategies=[{kind: replay}, {kind: replay, weight: 2}]"], "strategies: 'replay' is listed 2 times"),
        (["strategies=[{kind: ewc, decay: 0.9, anchors: multi}]"], "decay is 0.9, and anchors=multi"),
        (["method=online_ewc", "strategies=[{kind: ewc, anchors: multi}]"], "decay is 0.95, and anchors=multi"),
        (["method=frozen", "strategies=[{kind: ewc}]"], "it holds the slot that all tasks train, and there is none"),
        (["method=frozen", "head=ranpac", "strategies=[{kind: replay}]"], "the head 'ranpac' is solved, not trained"),
        (["method=joint", "strategies=[{kind: distillation}]"], "it learns all tasks at once, so nothing is old"),
        (["method=full", "strategies=[{kind: sparsity}]"], "it keeps updates of adapters sparse, and there are none"),
        (["strategies=[{kind: ewc, decay: 0}]"], "decay: got 0"),
        (["strategies=[{kind: replay, capacity: 0}]"], "capacity: got 0"),
        (["stream={}"], "needs a 'kind' key; kinds: docstring_topics"),
        (["stream.kind=docstring_topic"], "unknown stream kind 'docstring_topic'; did you mean 'docstring_topics'?"),
        (["seed=-1"], "seed: got -1"),
        (["name=../up"], "name: got '../up'"),
        (["name=.."], "name: got '..'"),
        (["name=/etc"], "name: got '/etc'"),
        (["name=a/b"], "name: got 'a/b'"),
        (["name='a\\b'"], "name: got 'a\\\\b'"),
        (['name="a\\0b"'], "name: got 'a\\x00b'; no name, path or text of a config has a NUL character"),
        (['output="a\\0b"'], "output: got 'a\\x00b'"),
        ([f"name={'x' * 201}"], "a folder has this name, so it has at most 200 bytes"),
        ([f"name={'é' * 101}"], "a folder has this name, so it has at most 200 bytes"),
        (["head=../../up"], "head: '../../up' does not fit method"),
        (["method=../../up"], "unknown method '../../up'"),
        (["seed=9223372036854775808"], "seed: got an integer of 64 bits; at most 63 are possible"),
        (["seed=../1"], "seed: got '../1'"),
        (["training.learning_rate=.inf"], "training.learning_rate: got inf"),
        (["lora.alpha=.nan"], "lora.alpha: got nan"),
        (["lora.layers=last"], "lora.layers: got 'last'; expected 'all', or 'last N' with N of 1 or more"),
        (["lora.layers=last 0"], "lora.layers: got 'last 0'; expected 'all', or 'last N' with N of 1 or more"),
        (["lora.layers=3"], "lora.layers: got 3; input should be a valid string"),
        (["training={epochs: 1, epochs: 2}"], "is not YAML"),
        (["training.epochs={"], "is not YAML"),
        (["seed=0", "seed.x=1"], "'seed' is 0, it has no keys of its own"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(TOPICS, overrides)
    assert message in str(caught.value)


def test_a_missing_stream_is_said_so() -> None:
    with pytest.raises(ConfigError, match="stream: missing"):
        load_config({})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- a list", "must be a mapping"),
        ("a: [", "is not YAML"),
        (None, "does not exist"),
        ("seed: 1\nname: x\nseed: 2", "is not YAML: line 3: the key 'seed' is written twice"),
        ("name: !!python/object/apply:os.getcwd []", "is not YAML: could not determine a constructor for the tag"),
        ("seed: 2001-99-99", "is not YAML: a value does not fit its type: month must be in 1..12"),
        ("a: &a [*a]", "is not YAML: an alias stands inside the value that it names"),
    ],
)
def test_a_file_that_is_no_config(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "config.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_config(path)


@given(st.text(max_size=40))
def test_no_override_makes_a_traceback(text: str) -> None:
    with contextlib.suppress(ConfigError):  # anything else fails the test
        load_config(TOPICS, [text])


def test_aliases_may_be_used(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("training: {epochs: &n 3, log_every: *n}\nstream: {kind: docstring_topics}\nscenario: class")
    assert load_config(path).training.log_every == 3


def test_overrides_never_change_the_callers_mapping() -> None:
    values = {"stream": {"kind": "docstring_topics"}, "training": {"epochs": 2}, "scenario": "class"}
    load_config(values, ["training.epochs=4"])
    assert values["training"] == {"epochs": 2}


@pytest.mark.parametrize(
    ("method", "given", "expected"),
    [
        ("der", ReplaySettings(capacity=500), ReplaySettings(weight=0.5, scores_weight=0.5, capacity=500)),
        ("der", ReplaySettings(scores_weight=0.0), ReplaySettings(weight=0.5, scores_weight=0.0)),
        ("online_ewc", EWCSettings(weight=7), EWCSettings(weight=7, decay=0.95)),
        ("online_ewc", EWCSettings(decay=1.0), EWCSettings(decay=1.0)),
        ("replay", ReplaySettings(capacity=500), ReplaySettings(capacity=500)),
        ("sequential", ReplaySettings(capacity=500), ReplaySettings(capacity=500)),
    ],
)
def test_what_is_not_set_of_a_strategy_stays_as_the_method_has_it(
    method: str, given: StrategySettings, expected: StrategySettings, tmp_path: Path
) -> None:
    """Also when the resolved config is read again, as a resumed run does."""
    strategies = [{"kind": given.kind, **given.model_dump(exclude_unset=True)}]
    config = load_config(TOPICS, [f"method={method}", f"strategies={json.dumps(strategies)}"])
    (tmp_path / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    for again in (config, load_config(tmp_path / "config.yaml")):
        (strategy,) = again.resolved_strategies()
        assert strategy.model_dump() == expected.model_dump()


def test_replay_makes_old_and_new_classes_compete() -> None:
    assert load_config(TOPICS, ["method=lwf"]).resolved_loss_rows() == "local"
    assert load_config(TOPICS, ["method=lwf", "strategies=[{kind: replay}]"]).resolved_loss_rows() == "seen"
    assert (
        load_config(TOPICS, ["method=o_lora", "strategies=[{kind: generative_replay}]"]).resolved_loss_rows() == "seen"
    )
    local = load_config(TOPICS, ["method=lwf", "strategies=[{kind: replay}]", "loss_rows=local"])
    assert local.resolved_loss_rows() == "local"


@pytest.mark.parametrize("kind", [kind for kind, made in STRATEGIES.items() if "weight" in made.model_fields])
def test_no_weight_is_infinite(kind: str) -> None:
    with pytest.raises(ConfigError, match="weight: got inf"):
        load_config(TOPICS, [f"strategies=[{{kind: {kind}, weight: .inf}}]"])


def test_a_strategys_settings_replace_the_methods_own() -> None:
    config = load_config(TOPICS, ["method=o_lora", "strategies=[{kind: orthogonality, weight: 5, penalty_form: sq}]"])
    (strategy,) = config.resolved_strategies()
    assert isinstance(strategy, OrthogonalitySettings)
    assert (strategy.weight, strategy.penalty_form) == (5, "sq")
    (default,) = load_config(TOPICS, ["method=o_lora"]).resolved_strategies()
    assert isinstance(default, OrthogonalitySettings)
    assert default.weight == 0.5


@pytest.mark.parametrize("name", METHODS)
def test_rows_of_the_method_table_are_sound(name: str) -> None:
    method = METHODS[name]
    assert method.name == name
    assert (method.gate is None) == (method.slots == "none")
    trains = {part for phase in method.phases for part in phase.train}
    assert ("adapter" in trains) == (method.slots != "none")


@pytest.mark.parametrize("name", shipped_configs())
def test_every_shipped_config_is_valid_and_says_what_it_is(name: str) -> None:
    path = find_config(name)
    config = load_config(path)
    assert isinstance(config, RunConfig)
    lines = header(path)
    assert len(lines) >= 4, "a header: what it is, what it needs, the command, what to expect"
    verb = "pretrain" if config.backbone.kind == "new" or name.endswith("_pretrain") else "run"
    assert any(f"plora {verb} {name}" in line for line in lines)


def test_an_unknown_config_name_gets_a_hint() -> None:
    known = next(iter(shipped_configs()))
    with pytest.raises(ConfigError, match=f"did you mean '{known}'"):
        find_config(known + "x")


def test_configs_of_equal_content_are_equal(toy_config: Callable[..., RunConfig]) -> None:
    assert toy_config("seed=2") == toy_config("seed=2") != toy_config("seed=3")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"method": "o_lora", "merging": {"keep": 0.5}}, "merging: method 'o_lora' merges nothing; use merged_average"),
        (
            {"method": "first_session", "phases": [{"train": ["head"]}]},
            "phases: method 'first_session' without a phase that trains the adapter is method 'frozen'; use that",
        ),
    ],
)
def test_settings_that_would_do_nothing_are_refused(more: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config({"stream": {"kind": "docstring_topics"}, "scenario": "class", **more})
    assert says in str(caught.value)
