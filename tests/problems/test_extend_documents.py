"""A domain that arrives later, one that has to go, and a kill in between, for language models."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "training"))
from killing import KILLED, in_child, quiet
from tiny_writers import write
from typer.testing import CliRunner

from plora.build import Workspace
from plora.cli import app
from plora.config import RunConfig, load_config, load_domain
from plora.errors import ConfigError, DataError, RunError, UnknownTaskError
from plora.results import read_record
from plora.runs import evaluate, extend, forget, generate, read_task, resume, run, verify
from plora.streams.domains import Domain
from plora.streams.local import LocalTask

Make = Callable[..., RunConfig]
WORDS = {"cats": "the cat sat on a mat", "french": "un deux trois quatre cinq", "greek": "alpha beta gamma delta"}


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("gpt2"))


@pytest.fixture
def texts(tmp_path: Path) -> dict[str, Path]:
    """A file of paragraphs for each domain; no two are the same."""
    paths = {}
    for number, (name, words) in enumerate(WORDS.items()):
        rng, path = np.random.default_rng(number), tmp_path / f"{name}.txt"
        paths[name] = path
        path.write_text("\n\n".join(" ".join([*rng.choice(words.split(), 6), str(at)]) for at in range(24)))
    return paths


@pytest.fixture
def make(gpt2: Path, texts: dict[str, Path], tmp_path: Path) -> Make:
    """A config of the first two domains, or of those that are named."""

    def made(*overrides: str, domains: tuple[str, ...] = ("cats", "french")) -> RunConfig:
        values = {
            "name": "-".join(domains),
            "stream": {
                "kind": "corpora",
                "domains": [{"name": name, "path": str(texts[name]), "paragraphs": True} for name in domains],
                "validation_fraction": 0.25,
                "test_fraction": 0.25,
            },
            "problem": {"kind": "causal_lm"},
            "scenario": "domain",
            "backbone": {"id": str(gpt2), "max_length": 32},
            "lora": {"rank": 2, "alpha": 4, "dropout": 0},
            "training": {"epochs": 1, "batch_size": 8, "learning_rate": 0.01},
            "output": str(tmp_path / "runs"),
        }
        return load_config(values, overrides)

    return made


SELF = ("method=generative_replay", "strategies=[{kind: generative_replay, generator: {kind: self}, per_class: 8}]")


@pytest.mark.parametrize(
    "settings",
    [
        ("method=per_task", "scenario=task"),
        pytest.param(SELF, marks=pytest.mark.slow),
        pytest.param(("method=replay",), marks=pytest.mark.slow),
        pytest.param(("method=routed", "gate={kind: likelihood}"), marks=pytest.mark.slow),
    ],
    ids=lambda settings: settings[0].removeprefix("method="),
)
def test_a_later_domain_is_learned_as_if_it_had_always_been_there(
    make: Make, texts: dict[str, Path], settings: tuple[str, ...]
) -> None:
    whole, short = make(*settings, domains=("cats", "french", "greek")), make(*settings)
    for config in (whole, short):
        run(config, quiet(), Workspace())
    assert read_task(short.folder, texts["greek"], ["paragraphs=true"]) == third(texts)
    extend(short.folder, third(texts), quiet())
    expected, found = read_record(whole.folder), read_record(short.folder)
    assert found.tasks == expected.tasks == ("cats", "french", "greek")
    np.testing.assert_array_equal(found.matrix, expected.matrix)
    assert evaluate(short.folder).changed == 0
    assert verify(short.folder).problems == ()


def third(texts: dict[str, Path]) -> Domain:
    return load_domain(texts["greek"], ["paragraphs=true"])


def test_a_domain_is_a_file_a_package_or_a_mistake(texts: dict[str, Path]) -> None:
    assert load_domain(texts["greek"], ["name=g"]) == Domain(name="g", path=texts["greek"])
    assert load_domain(Path("numpy"), ["docstrings=numpy"]) == Domain(name="numpy", docstrings="numpy")
    with pytest.raises(ConfigError, match=r"label: unknown key"):
        load_domain(texts["greek"], ["label=x"])


def test_what_was_forgotten_is_gone_and_what_stays_is_as_it_was(make: Make, texts: dict[str, Path]) -> None:
    config = make("method=per_task", "scenario=task")
    run(config, quiet(), Workspace())
    before = generate(config.folder, ["un"], "french", tokens=6)
    forget(config.folder, "cats")
    assert verify(config.folder).problems == ()
    assert generate(config.folder, ["un"], "french", tokens=6) == before
    with pytest.raises(UnknownTaskError, match="no task 'cats'"):
        generate(config.folder, ["the"], "cats", tokens=6)
    assert evaluate(config.folder).tasks == ["french"]
    extend(config.folder, third(texts), quiet())
    assert evaluate(config.folder).changed == 0
    shared = make("method=sequential")
    run(shared, quiet(), Workspace())
    with pytest.raises(RunError, match="'cats' cannot be forgotten: method 'sequential' has one slot"):
        forget(shared.folder, "cats")


@pytest.mark.slow
@pytest.mark.parametrize("point", ["extended", "step:2", "tensors_saved"])
def test_extending_survives_a_kill(make: Make, texts: dict[str, Path], point: str) -> None:
    settings = (*SELF, "training.checkpoint_seconds=0")
    whole, short = make(*settings, domains=("cats", "french", "greek")), make(*settings)
    for config in (whole, short):
        run(config, quiet(), Workspace())
    assert in_child(lambda: extend(short.folder, third(texts), quiet()), point) == KILLED
    resume(short.folder, quiet())
    np.testing.assert_array_equal(read_record(short.folder).matrix, read_record(whole.folder).matrix)
    written = "generated/task-03.jsonl"
    assert (short.folder / written).read_bytes() == (whole.folder / written).read_bytes()
    assert verify(short.folder).problems == ()


def test_what_does_not_fit_is_said_in_one_line(make: Make, texts: dict[str, Path]) -> None:
    config = make("method=o_lora")
    run(config, quiet(), Workspace())
    before = (config.folder / "config.yaml").read_bytes()
    for task, message in (
        (load_domain(texts["cats"], ["paragraphs=true"]), "task name 'cats'"),
        (load_domain(texts["greek"], []), "no document is left for"),
        (LocalTask(name="table", train=texts["greek"]), r"greek\.txt"),
    ):
        with pytest.raises(DataError, match=message):
            extend(config.folder, task, quiet())
    found = CliRunner().invoke(app, ["extend", str(config.folder), str(texts["greek"]), "label=x"])
    assert isinstance(found.exception, ConfigError)
    assert "label: unknown key (keys here: name, docstrings, path, hub" in str(found.exception)
    assert (config.folder / "config.yaml").read_bytes() == before
