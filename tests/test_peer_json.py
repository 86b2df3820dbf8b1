"""Configs of PyCIL, PILOT and SD-LoRA: each key has a home, and the whole is a config of ours."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from plora.cli import app
from plora.config import RunConfig, load_config
from plora.config.peer_json import is_peer, translate
from plora.errors import ConfigError
from plora.methods import METHODS
from plora.plain_yaml import parse_yaml
from plora.sweep.plan import load_sweep

SDLORA = """{
    "prefix": "test",
    "dataset": "cifar224",
    "init_cls": 10,
    "increment": 10,
    "model_name": "sdlora",
    "backbone_type": "vit_base_patch16_224",
    "device": ["0"],
    "seed": [1993],
    "filepath": "./CF100_test/",
    "init_epoch": 2,
    "epochs": 2,
    "batch_size": 32,
    "init_lr": 8e-3,
    "lrate": 8e-3,
    "scheduler": "cosine",
    "min_lr": 5e-3,

    "gumbel_tau_init": 5.0,
    "gumbel_tau_final": 0.5,
    "gumbel_anneal_rate": 0.999,
    "lambda_sparsity": 0.01,
    "growth_threshold": 0.1
}"""
"""As the guide of Gumbel CL-LoRA has it; 8e-3 is no number in YAML."""
BASELINE = json.dumps({**json.loads(SDLORA), "lambda_sparsity": 0.0, "filepath": "./CF100_baseline/"}, indent=4)
"""And the one that it calls the original SD-LoRA."""


def values_of(text: str, **changes: object) -> dict[str, object]:
    values = parse_yaml(text)
    assert isinstance(values, dict)
    return {key: value for key, value in {**values, **changes}.items() if value is not None}


def ours(text: str = SDLORA, **changes: object) -> tuple[RunConfig, str]:
    """Their config as ours, through YAML and the loader, and what is said of the keys."""
    found = translate(values_of(text, **changes))
    values = parse_yaml(found.yaml)
    assert isinstance(values, dict)
    return load_config(values), "\n".join(found.lines)


@pytest.mark.parametrize("text", [SDLORA, BASELINE])
def test_a_whole_config_is_answered_key_by_key_and_its_yaml_is_valid(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("exps").mkdir()
    Path("exps/sdlora_c100.json").write_text(text)
    for verb in ("validate", "run"):
        done = CliRunner().invoke(app, [verb, "exps/sdlora_c100.json"])
        assert done.exit_code == 2
        said = done.stderr.splitlines()
        assert all(line.startswith("plora: ") for line in said)
        keys = [line.removeprefix("plora: ").partition(":")[0] for line in said if " → " in line]
        assert keys[: len(json.loads(text))] == [*json.loads(text)]
        Path("new.yaml").write_text(done.stdout)
        config = load_config(Path("new.yaml"))
        assert config.method == "gumbel_cl_lora"
        assert not Path("runs").exists()
    assert CliRunner().invoke(app, ["validate", "new.yaml"]).output.startswith("new.yaml: valid (gumbel_cl_lora, class")


def test_from_python_one_line_says_what_it_is_and_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"one of PyCIL, PILOT or SD-LoRA.*plora validate FILE > new\.yaml"):
        load_config(values_of(SDLORA))
    assert not is_peer({"model_name": "sdlora"})
    assert not is_peer({"model_name": "x", "dataset": "y", "stream": {"kind": "digits"}})


def test_run_name_seed_folder_and_device() -> None:
    config, said = ours(device=["0", "1"])
    assert (config.name, config.seed, str(config.output)) == ("test", 1993, "CF100_test")
    assert "CUDA_VISIBLE_DEVICES=0,1 before the command; several: `torchrun --nproc_per_node 2" in said
    assert ours(prefix="a b/../c")[0].name == "a-b-..-c"


def test_several_seeds_are_a_sweep(tmp_path: Path) -> None:
    found = translate(values_of(SDLORA, seed=[1993, 1994]))
    assert "a run each: the file is a sweep" in "\n".join(found.lines)
    (tmp_path / "sweep.yaml").write_text(found.yaml)
    sweep = load_sweep(tmp_path / "sweep.yaml")
    assert isinstance(sweep.config, dict)
    assert sweep.runs == [{"seed": seed, "stream.class_seed": seed} for seed in (1993, 1994)]
    assert load_config(sweep.config).seed == 1993


def test_data_classes_and_their_order() -> None:
    stream = ours(shuffle=True)[0].stream.model_dump()
    assert (stream["name"], stream["init_cls"], stream["increment"]) == ("CIFAR-100", 10, 10)
    assert (stream["class_order"], stream["class_seed"]) == ("seed", 1993)
    assert ours(shuffle=False)[0].stream.model_dump()["class_order"] == "natural"
    assert ours(dataset="imagenetr")[0].stream.model_dump()["name"] == "ImageNet-R"
    config, said = ours(dataset="my_set")
    assert config.stream.model_dump(mode="json")["data"]["root"] == "my_set"
    assert "put its images there; known are cifar224" in said


def test_the_method_is_told_by_the_keys_of_the_gate() -> None:
    keys = ("gumbel_tau_init", "gumbel_tau_final", "gumbel_anneal_rate", "lambda_sparsity", "growth_threshold")
    plain = translate(values_of(SDLORA, **dict.fromkeys(keys)))
    assert plain.config["method"] == "sd_lora"
    assert "gate" not in plain.config
    if "sd_lora" in METHODS:
        assert load_config(plain.config).method == "sd_lora"
    assert ours(model_name="simplecil", **dict.fromkeys(keys))[0].head == "ncm"
    other = translate(values_of(SDLORA, model_name="podnet"))
    assert "plora may have none of this name" in "\n".join(other.lines)
    with pytest.raises(ConfigError, match="unknown method 'podnet'"):
        load_config(other.config)


@pytest.mark.parametrize("key", ["backbone_type", "convnet_type", "net_type"])
def test_the_network(key: str) -> None:
    config, said = ours(**{"backbone_type": None, key: "vit_base_patch16_224_in21k"})
    assert config.backbone.id == "google/vit-base-patch16-224-in21k"
    assert config.lora is not None
    assert (config.lora.rank, config.lora.alpha, config.lora.targets) == (10, 10.0, ("query", "value"))
    assert "(not said) → lora: rank 10" in said
    assert "name a folder or an id on the hub" in ours(**{"backbone_type": None, key: "resnet32"})[1]


def test_epochs_batches_and_rates_of_the_first_task() -> None:
    training = ours(init_epoch=20, init_lr=0.01)[0].training
    assert (training.first_task.epochs, training.epochs, training.batch_size) == (20, 2, 32)
    assert (training.first_task.learning_rate, training.learning_rate) == (0.01, 0.008)


def test_the_schedule_and_its_floor() -> None:
    config, said = ours()
    assert (config.training.schedule, config.training.schedule_floor, config.training.warmup) == ("cosine", 0.625, 0)
    assert "min_lr: 5e-3 → training.schedule_floor: 0.625 (a share of the peak: 0.005 / 0.008)" in said
    assert "it must be from 0 to lrate" in ours(min_lr=1.0)[1]
    config, said = ours(scheduler="steplr", milestones=[60], lrate_decay=0.1, init_milestones=[60], init_lr_decay=0.1)
    assert config.training.schedule == "constant"
    for key in ("milestones", "lrate_decay", "init_milestones", "init_lr_decay"):
        assert any(line.startswith(f"{key}: ") and "no schedule of steps" in line for line in said.splitlines())


def test_the_optimizer_and_its_decay() -> None:
    config, said = ours()
    assert (config.training.optimizer.kind, config.training.weight_decay) == ("sgd", 0)
    assert "(not said) → training.optimizer: SGD, momentum 0.9 (as their code has it)" in said
    config, said = ours(optimizer="adam", weight_decay=5e-4, init_weight_decay=1e-3)
    assert (config.training.optimizer.kind, config.training.weight_decay) == ("adamw", 5e-4)
    assert "init_weight_decay: 0.001 → nothing: the first task has the weight decay of the others" in said


def test_the_gate() -> None:
    config, said = ours()
    gate = config.resolved_gate()
    assert gate is not None
    assert gate.model_dump(include={"temperature", "rho", "sparsity", "growth", "threshold"}) == {
        "temperature": (5.0, 0.5),
        "rho": 0.999,
        "sparsity": 0.01,
        "growth": "absolute",
        "threshold": 0.1,
    }
    assert "NOT plain SD-LoRA" not in said
    baseline, said = ours(BASELINE)
    assert baseline.method == "gumbel_cl_lora"
    assert "lambda_sparsity: 0.0 → gate.sparsity: 0.0 (NOT plain SD-LoRA: shares, noise and pruning stay" in said


def test_memory_belongs_to_replay() -> None:
    memory = {"memory_size": 2000, "memory_per_class": 20, "fixed_memory": False}
    assert ours(**memory)[1].count("method 'gumbel_cl_lora' keeps no old images") == 3
    config, said = ours(model_name="replay", **memory)
    assert config.resolved_strategies()[0].model_dump()["capacity"] == 2000
    assert "memory_size: 2000 → strategies: replay, capacity: 2000 (of all tasks together)" in said


def test_keys_that_nobody_knows_are_named_and_workers_have_no_key() -> None:
    said = ours(num_workers=8, swag=True)[1]
    assert "swag: no key of plora is known for it; left out" in said
    assert "num_workers: 8 → nothing: images are read ahead" in said


def test_values_that_are_nonsense_are_our_loaders_to_refuse() -> None:
    for changes in ({"epochs": "many"}, {"memory_size": ".inf", "model_name": "replay"}, {"min_lr": []}, {"seed": {}}):
        found = translate(values_of(SDLORA, **changes))
        assert isinstance(parse_yaml(found.yaml), dict)
        assert len(found.lines) >= len(json.loads(SDLORA))
    with pytest.raises(ConfigError, match=r"training\.epochs"):
        load_config(translate(values_of(SDLORA, epochs="many")).config)
