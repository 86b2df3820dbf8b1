"""Configs as nobody would write them: refused with clear lines, never with a traceback, and nothing is executed."""

import copy
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from damage import FEW, HOSTILE_TEXT, damaged, only_clear_lines
from hypothesis import example, given
from hypothesis import strategies as st

from plora.cli import params, validate
from plora.config import RunConfig, load_config
from plora.dry_run import dry_run
from plora.errors import ConfigError

Values = dict[str, Any]

BASES: tuple[Values, ...] = (
    {"stream": {"kind": "docstring_topics"}, "scenario": "class", "method": "o_lora", "head": None},
    {
        "name": "mail",
        "stream": {
            "kind": "local",
            "distinct_labels": True,
            "tasks": [
                {"name": "a", "train": "a.csv", "text": ["x", "y"], "join": " ", "label_names": ["p", "q"]},
                {"name": "b", "train": "b", "map": {1: "p", "2": None}},
            ],
        },
        "phases": [{"train": ["head"], "epochs": 1}, {"train": ["adapter"], "learning_rate": 0.1}],
        "output": "runs",
    },
    {
        "stream": {"kind": "hub", "root": "r", "tasks": ["yelp", {"name": "n", "id": "owner/name", "config": "c"}]},
        "method": "frozen",
        "head": "ridge",
        "strategies": [{"kind": "orthogonality", "weight": 1}],
        "added": [{"name": "late", "train": "late.csv"}],
    },
)
WHOLE = load_config(BASES[0]).model_dump(mode="json")
KEYS = [*WHOLE, *(f"{key}.{inner}" for key, value in WHOLE.items() if isinstance(value, dict) for inner in value)]

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63, -(2**63), 10**400, 1e308, 0.5]),
    st.floats(),
    st.binary(max_size=4),
    st.dates(),
    HOSTILE_TEXT,
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(HOSTILE_TEXT | st.sampled_from(KEYS), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(value: object) -> Iterator[tuple[Any, Any]]:
    """Every container of a config with one of its keys or positions."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in list(inner):
        yield value, key
        yield from places(part)


@st.composite
def mutated(draw: st.DrawFn) -> Values:
    values: Values = copy.deepcopy(draw(st.sampled_from([*BASES, WHOLE])))
    for _ in range(draw(st.integers(1, 3))):
        at, key = draw(st.sampled_from(list(places(values)) or [(values, "stream")]))
        kind = draw(st.sampled_from(["replace", "misspell", "nest", "add", "delete"]))
        if kind == "replace":
            at[key] = draw(VALUES)
        elif kind == "nest":
            at[key] = draw(st.sampled_from([[at.get(key) if isinstance(at, dict) else at[key]], {"kind": at[key]}]))
        elif isinstance(at, dict):
            if kind != "add":
                at.pop(key)
            if kind != "delete":
                at[draw(HOSTILE_TEXT) if kind == "add" else f"{key}s"] = draw(VALUES)
    return values


@given(mutated())
@example(BASES[0] | {"training": {"kind": [1], "bogus": 2}})
@example(BASES[0] | {"output": "a\0b"})
@example(BASES[0] | {"a\nb": 1, "\x1b[31m": 2})
def test_values(values: Values) -> None:
    with only_clear_lines():
        config = load_config(values)
        assert load_config(yaml.safe_load(config.to_yaml())).to_yaml() == config.to_yaml()


@pytest.mark.parametrize("key", ["seed", "name", "stream", "training", "16"])
def test_integers_that_python_does_not_print(key: str) -> None:
    huge = 16**9000
    for values in ({key: huge}, {key: {huge: [huge]}}, {key: [huge], huge: 1}):
        with only_clear_lines(), pytest.raises(ConfigError):
            load_config({**BASES[0], **values})
    with only_clear_lines(), pytest.raises(ConfigError):
        load_config(BASES[0], [f"{key}=0x{'f' * 9000}", f"{key}.deeper=1"])


@given(st.lists(st.tuples(st.sampled_from(KEYS) | HOSTILE_TEXT, HOSTILE_TEXT | VALUES.map(repr)), max_size=4))
@example([("seed", "2001-99-99")])
@example([("seed", "!!bool x")])
@example([("seed", "[" * 2000)])
@example([("seed", "0x" + "f" * 9000), ("seed.deeper", "1")])
def test_overrides(pairs: list[tuple[str, str]]) -> None:
    with only_clear_lines():
        load_config(BASES[0], [f"{key}={value}" for key, value in pairs])


LAUGHS = "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12))
HOSTILE_YAML = (
    "name: !!python/object/apply:pathlib.Path.touch [MARKER]",
    "name: !!python/object/new:pathlib.PosixPath [MARKER]",
    "!!python/name:os.system",
    f"a0: &a0 [1]\n{LAUGHS}",
    "a: &a {b: *a}",
    "a: &a [*a]",
    "<<: *nowhere",
    "<<: {seed: 1}\nseed: 2\nseed: 3",
    "seed: 1\nseed: 2",
    "? [a, b]\n: 1",
    "{" * 2000,
    "- " * 3000,
    "a: " + "[" * 2000,
    "2001-99-99: 1",
    "seed: 2001-99-99",
    "seed: 1:99:99e",
    "seed: !!int x",
    "seed: !!float x",
    "seed: !!timestamp x",
    "seed: !!binary x",
    "seed: 0b_",
    f"seed: {'9' * 5000}",
    f"seed: 0x{'f' * 9000}",
    f"0x{'f' * 9000}: 1",
    "--- 1\n--- 2",
    "%YAML 9.9\n---\na: 1",
    "\ufeffseed: 1",
    "seed: \t1",
    "a: 'open",
    "null: null",
)


def config_file(folder: str, content: bytes) -> Path:
    path = Path(folder) / "config.yaml"
    path.write_bytes(content.replace(b"MARKER", str(Path(folder) / "marker").encode()))
    return path


@pytest.mark.parametrize("text", HOSTILE_YAML, ids=lambda text: repr(text[:20]))
def test_hostile_yaml(tmp_path: Path, text: str) -> None:
    for content in (text, yaml.safe_dump(BASES[0]) + text):
        with only_clear_lines("config.yaml"), pytest.raises(ValueError, match=r".") as caught:
            load_config(config_file(str(tmp_path), content.encode()))
        with only_clear_lines():
            raise caught.value
    assert not (tmp_path / "marker").exists()


@given(st.data())
def test_damaged_files(data: st.DataObject) -> None:
    text = yaml.safe_dump(data.draw(st.sampled_from([*BASES, WHOLE])))
    with tempfile.TemporaryDirectory() as folder:
        path = config_file(folder, data.draw(damaged(text.encode()) | st.binary(max_size=60)))
        with only_clear_lines():
            load_config(path)


@given(st.lists(st.tuples(st.sampled_from(KEYS), VALUES.map(repr)), max_size=2), st.booleans())
def test_validate(pairs: list[tuple[str, str]], twice: bool) -> None:
    overrides = [f"{key}={value}" for key, value in pairs]
    with only_clear_lines():
        validate.command(["quickstart/topics-o_lora"] * (1 + twice) + overrides)


@given(HOSTILE_TEXT)
def test_names_of_configs(name: str) -> None:
    with only_clear_lines(), pytest.raises((ValueError, OSError)) as caught:
        validate.command([name])
    if not isinstance(caught.value, OSError):  # a name that is too long: the command line makes the line
        with only_clear_lines():
            raise caught.value


# ---------------------------------------------------------------------- as far as a run would go


SETTINGS = {
    "method": ["sequential", "per_task", "joint", "frozen", "full", "o_lora"],
    "scenario": ["task", "class", "domain"],
    "head": ["null", "ncm", "ridge"],
    "seed": ["0", str(2**63 - 1), "-1"],
    "backbone.max_length": ["8", "32", "33", str(2**62)],
    "backbone.pooling": ["first", "mean"],
    "lora.rank": ["1", "32", "33", "1000000"],
    "lora.alpha": ["1e-30", "1e30", ".inf", ".nan"],
    "lora.dropout": ["0.999999", "1"],
    "lora.targets": ["mlp", "'('", "[]", "['']", "'.*'", "all_linear", "attention:x"],
    "training.batch_size": ["1", str(2**62)],
    "training.micro_batch_size": ["1", str(2**62)],
    "training.tokens_per_batch": ["8", str(2**62)],
    "training.learning_rate": ["1e-300", "1e30", ".inf"],
    "training.warmup": ["0.999999"],
    "training.clip_norm": ["1e-30", "null"],
    "training.precision": ["bf16"],
    "training.activation_checkpointing": ["true"],
    "training.first_task.epochs": ["3"],
    "strategies": ["[{kind: orthogonality, weight: 1e30}]", "[{kind: orthogonality, weight: .inf}]"],
    "phases": ["[{train: [head]}]", "[{train: [backbone]}]", "[{train: []}]"],
    "evaluation.tokens_per_batch": ["8", str(2**62)],
    "stream.train_per_class": ["1", str(2**62)],
    "stream.validation_fraction": ["0.999999", "1e-300"],
    "stream.distinct_labels": ["true"],
}


@pytest.fixture(scope="session")
def values(tiny_backbone: Path, toy_files: Mapping[str, Path]) -> Values:
    tasks = [{"name": name, "train": str(toy_files[f"{name}-train"])} for name in ("food", "travel")]
    return {
        "stream": {"kind": "local", "tasks": tasks, "test_per_class": 2},
        "backbone": {"id": str(tiny_backbone), "max_length": 16},
        "training": {"epochs": 1},
    }


SETTING = st.sampled_from(list(SETTINGS)).flatmap(lambda key: st.sampled_from(SETTINGS[key]).map(f"{key}={{}}".format))


@FEW
@given(overrides=st.lists(SETTING, min_size=1, max_size=3))
def test_dry_runs_and_counts(values: Values, overrides: list[str]) -> None:
    with only_clear_lines():
        config: RunConfig = load_config(values, overrides)
        dry_run(config, steps=1)
    with tempfile.TemporaryDirectory() as folder, only_clear_lines():
        params.command([str(config_file(folder, yaml.safe_dump(values).encode())), *overrides])
