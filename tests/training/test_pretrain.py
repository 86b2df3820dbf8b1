"""Backbones that plora makes: trained once, whatever happens on the way, and ordinary `transformers` folders."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from killing import KILLED, in_child, quiet
from transformers import AutoModel

from plora.backbones import BackboneConfig, load_image_backbone, made_by
from plora.config import RunConfig, load_config
from plora.errors import BackboneError, ConfigError
from plora.runs import pretraining, run
from plora.runs.pretraining import make_missing, pretrain

Config = Callable[..., RunConfig]

TINY = {
    "name": "tiny",
    "problem": {"kind": "image_classification"},
    "stream": {"kind": "digits", "part": "pretraining", "held_back": 0.05},
    "method": "full",
    "backbone": {
        "kind": "new",
        "network": {
            "model_type": "resnet",
            "num_channels": 1,
            "embedding_size": 4,
            "hidden_sizes": [4, 8],
            "depths": [1, 1],
            "layer_type": "basic",
        },
        "image": {"size": 12},
    },
    "training": {"epochs": 2, "batch_size": 16, "checkpoint_seconds": 0},
}
ON_IT = {
    **TINY,
    "stream": {"kind": "digits", "held_back": 0.9, "per_task": 5, "validation_fraction": 0.2},
    "scenario": "class",
    "method": "frozen",
    "head": "ncm",
    "backbone": {"id": "pretrained:tiny"},
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLORA_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def config() -> Config:
    return lambda *overrides: load_config(TINY, overrides)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_a_second_call_trains_nothing(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    first = pretrain(config(), "tiny", quiet())
    assert json.loads(made_by("tiny").read_text())["folder"] == first.name
    before = weights(first)

    def trains(*_: object) -> Path:
        raise AssertionError("trained again")

    monkeypatch.setattr(pretraining, "run", trains)
    assert pretrain(config(), "tiny", quiet()) == first
    assert pretrain(config("name=other"), "other", quiet()) == first  # what it is made from counts, not its name
    assert weights(first) == before
    with pytest.raises(AssertionError, match="trained again"):
        pretrain(config("seed=1"), "tiny", quiet())


def test_what_comes_out_is_an_ordinary_folder(config: Config) -> None:
    folder = pretrain(config(), "tiny", quiet())
    ours = load_image_backbone(BackboneConfig(id="pretrained:tiny"))
    prepared = ours.preparation
    assert (prepared.size, prepared.mean, prepared.std) == ((12, 12), (0.5,), (0.5,))
    theirs = AutoModel.from_pretrained(folder).eval()
    pixels = torch.randn(3, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(theirs(pixel_values=pixels).pooler_output, ours.network(pixel_values=pixels).pooler_output)
    untrained = load_image_backbone(config().backbone).network.state_dict()
    assert any(not torch.equal(tensor, untrained[name]) for name, tensor in theirs.state_dict().items())
    assert {path.name for path in folder.iterdir()} >= {"pretraining-results.json", "pretraining-config.yaml"}
    assert not any((folder.parent / "runs").iterdir())  # the training is over, and its folder gone


@pytest.mark.parametrize("point", ["step_saved:3", "created", "recorded", "write:1"])
def test_a_training_that_was_killed_goes_on_to_the_same_weights(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    assert in_child(lambda: pretrain(config(), "tiny", quiet()), point) == KILLED
    assert not made_by("tiny").exists()
    events = tmp_path / "events.txt"
    assert in_child(lambda: pretrain(config(), "tiny", quiet(events))) == 0
    assert ("resumed" in events.read_text().split()) == (point == "step_saved:3")
    cut = weights(made_by("tiny").parent / json.loads(made_by("tiny").read_text())["folder"])
    monkeypatch.setenv("PLORA_CACHE", str(tmp_path / "another"))
    assert in_child(lambda: pretrain(config(), "tiny", quiet())) == 0
    assert weights(made_by("tiny").parent / json.loads(made_by("tiny").read_text())["folder"]) == cut


def test_a_kill_before_the_name_is_written_trains_nothing_again(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pretrain(config(), "tiny", quiet())
    made_by("tiny").unlink()
    monkeypatch.setattr(pretraining, "run", lambda *_: pytest.fail("trained again"))
    assert pretrain(config(), "tiny", quiet()) == folder
    assert made_by("tiny").is_file()


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (("backbone={id: minilm}",), "backbone.kind: pretraining starts from a new network; set kind=new, and network"),
        (("method=joint",), "method: 'joint' does not train the backbone; set method=full"),
        (("stream={kind: digits}",), "stream: pretraining learns one task, and this stream has 5"),
    ],
)
def test_what_cannot_be_pretrained_is_one_line(config: Config, overrides: tuple[str, ...], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        pretrain(config(*overrides), "tiny", quiet())
    assert str(refused.value).startswith(says)
    assert len(str(refused.value).splitlines()) == 1
    assert not made_by("tiny").exists()


def test_a_backbone_that_is_not_made_yet_says_what_to_do(config: Config) -> None:
    says = "^backbone 'pretrained:tiny' is not made yet; `plora pretrain tiny` makes it$"
    with pytest.raises(BackboneError, match=says):
        run(load_config(ON_IT), quiet())
    folder = pretrain(config(), "tiny", quiet())
    shutil.rmtree(folder)  # a cache may be emptied in part
    with pytest.raises(BackboneError, match=says):
        run(load_config(ON_IT), quiet())


def test_a_run_calls_for_a_config_by_name_and_reads_what_was_made(tmp_path: Path) -> None:
    (tmp_path / "tiny").write_text(json.dumps(TINY), encoding="utf-8")  # JSON is YAML
    make_missing([load_config(ON_IT), load_config(ON_IT, ["head=ridge"])])
    assert made_by("tiny").is_file()
    assert (run(load_config(ON_IT), quiet()) / "results.json").is_file()
    with pytest.raises(ConfigError):
        make_missing([load_config(ON_IT, ["backbone.id=pretrained:nowhere"])])
