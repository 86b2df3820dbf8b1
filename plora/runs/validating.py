"""What is wrong with a config, as far as it can be found without a run: no weights are loaded, nothing is written."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from plora.backbones.settings import GLYPH_VIT, MINILM, SHIPPED, BackboneConfig, shipped_folder
from plora.config import RunConfig
from plora.config.made_in import named_folder
from plora.errors import ConfigError, DataError, PloraError
from plora.streams.base import Stream, StreamSource
from plora.streams.blocks import Blocks
from plora.streams.corpora import Corpora
from plora.streams.image_stream import ImageStream
from plora.streams.local import LocalStream
from plora.streams.tagged import Tagged
from plora.streams.target_tables import TargetTables
from plora.streams.text_to_text import TextToText
from plora.streams.tree import TreeStream

_IN_EVERY_BLOCK = ("attention", "attention:qkv", "mlp", "all_linear")
"""Targets that every transformer has."""
_QUANTISED = "quantization_config"


def validate(config: RunConfig) -> None:
    """Look at everything that a run of a config would stop at before it learns, and that is on this machine.

    Files are looked for; those of a stream of local files are read, and their labels compared as the scenario has it;
    where the config names layers, or asks for long texts, the network's shape is made without its weights. What is on
    the hub is not asked for.

    Args:
        config: that is right by itself, as `load_config` reads it.

    Raises:
        ConfigError: every mistake, one line each.
    """
    problems = list(_missing(config))
    if not problems:
        problems += _of_the_data(config)
    problems += _of_the_network(config)
    if problems:
        raise ConfigError(problems)


def _missing(config: RunConfig) -> Iterator[str]:
    """Files and folders that are named and not there."""
    added = ((f"added.{at}", task) for at, task in enumerate(config.added))
    for key, settings in (("problem", config.problem), ("stream", config.stream), *added):
        for place, path in _paths(settings, key):
            if not os.path.exists(path):
                yield f"{place}: {path} does not exist; correct the path, which leads from {Path.cwd()}"


def _paths(value: object, key: str) -> Iterator[tuple[str, Path]]:
    """Every path of some settings but a cache, which is made where it is missing."""
    if isinstance(value, Path):
        yield key, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            inner = getattr(value, name)
            if name == "label_names" and isinstance(inner, str):
                yield f"{key}.{name}", Path(inner)
            elif name != "cache":
                yield from _paths(inner, f"{key}.{name}")
    elif isinstance(value, tuple):
        for at, inner in enumerate(value):
            yield from _paths(inner, f"{key}.{at}")


def _of_the_data(config: RunConfig) -> Iterator[str]:
    """What local files say: rows, columns, targets, and labels beside those of other tasks."""
    source = config.stream.of if isinstance(config.stream, TextToText | TreeStream) else config.stream
    if not _of_local_files(source):
        return
    try:
        stream: Stream = config.stream.load()
        if config.order is not None:
            stream = stream.ordered(config.order)
        for source in config.added_sources():
            stream = stream.followed_by(source.load())
        config.problem.require(stream)
        if config.scenario == "domain":
            stream = stream.in_one_order()
        stream.require(config.scenario)
    except DataError as error:
        yield f"stream: {error}"


def _of_local_files(source: StreamSource) -> bool:
    """Whether all that a stream is made of lies in local files, and reading them is all that it takes."""
    if isinstance(source, Tagged):
        return all(task.hub is None for task in source.tasks)
    if isinstance(source, Corpora):
        return all(domain.path is not None for domain in source.domains)
    if isinstance(source, ImageStream | Blocks):
        return source.data.kind in ("folder", "parquet", "npz")
    return isinstance(source, LocalStream | TargetTables)


def _of_the_network(config: RunConfig) -> Iterator[str]:
    """What only the network can tell: layers that are named and not there, texts that are longer than it reads."""
    backbone = config.backbone
    here = backbone.id in (MINILM, *SHIPPED) or named_folder(backbone, Path.cwd())
    looks_like_a_folder = backbone.id.startswith((".", "/", "~"))
    if backbone.kind == "new" or not (here or looks_like_a_folder):
        return
    names_layers = bool(config.modules) or (config.lora is not None and config.lora.targets not in _IN_EVERY_BLOCK)
    said = _said(backbone)
    if here and not names_layers and backbone.max_length <= _positions(backbone, said) and not said.get(_QUANTISED):
        return
    from plora.backbones import empty_backbone, require_positions  # torch, which most configs need not wait for
    from plora.params import count_parameters

    try:
        if config.problem.in_lines:
            require_positions(backbone, empty_backbone(backbone, config.problem.writes))
    except PloraError as error:
        yield from str(error).splitlines()
        return
    try:
        count_parameters(config)
    except PloraError as error:
        yield from str(error).splitlines()


def _said(backbone: BackboneConfig) -> Mapping[str, object]:
    """What the config.json of a folder says; nothing where it cannot be read."""
    try:
        name = backbone.id
        folder = shipped_folder(name) if name in SHIPPED else Path(os.path.expanduser(name))
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, Mapping) else {}


def _positions(backbone: BackboneConfig, said: Mapping[str, Any]) -> int:
    """Positions of a network, as its config.json says; where it says none, those that every network has."""
    if backbone.id in (MINILM, GLYPH_VIT):
        return 512
    try:
        # RoBERTa's count what padding takes.
        return int(said["max_position_embeddings"]) - int(said.get("pad_token_id") or 0) - 1
    except (ValueError, LookupError, TypeError):
        return 0
