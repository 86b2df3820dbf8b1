"""Make a backbone: train a new network, and keep it as an ordinary `transformers` folder by what it was made from."""

import hashlib
import importlib.metadata
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from plora import atomic
from plora.backbones import MADE, BackboneConfig, find_backbone, made_by
from plora.build import Workspace
from plora.cache import CACHE
from plora.config import RunConfig, load_config
from plora.configs import find_config
from plora.errors import ConfigError, RunError
from plora.events.console import Console
from plora.results import RESULTS_FILE
from plora.run_folder.folder import RunFolder
from plora.runs.learning import resume, run
from plora.runs.loading import load_learner
from plora.tensor_file import library_writes

_KEPT = ("torch", "transformers", "plora")
"""Packages whose versions decide what comes out."""


def pretrain(config: RunConfig, name: str, console: Console | None = None) -> Path:
    """Train the network of a config through the one loop, and return the folder that it is kept in.

    It is a new one, or one that was pretrained here before: per pixel first, say, and then with queries. The folder is
    named by the content of the config, by what it begins with, and by the versions of torch, transformers and plora;
    where it is there already, nothing is trained. Versions, not code: in a clone whose code was changed, or with a
    class of your own that was, delete the folder. A training that was cut goes on from its last checkpoint.

    Args:
        config: with a new backbone or one that is `pretrained:…`, and a method that trains it as a whole.
        name: by which runs name it, `backbone.id=pretrained:NAME`.
        console: where progress is shown; None is stdout.

    Raises:
        ConfigError: the backbone is another's or its own, there are several tasks, or the method does not train it.
        RunError: the cache, where it is kept, cannot be written.
    """
    if config.backbone.kind != "new" and not config.backbone.id.startswith(MADE):
        raise ConfigError(
            [
                "backbone.kind: pretraining starts from a new network; set kind=new, and network, or begin with what "
                f"was pretrained here, id={MADE}CONFIG"
            ]
        )
    if config.backbone.id == f"{MADE}{name}":
        raise ConfigError([f"backbone.id: '{name}' cannot begin with what it makes; name another config"])
    if not config.row.trains_backbone:
        raise ConfigError([f"method: '{config.method}' does not train the backbone; set method=full"])
    versions = {package: importlib.metadata.version(package) for package in _KEPT}
    content = config.model_dump(mode="json", exclude={"output", "name", "trackers"})
    make_missing([config])
    begun = [] if config.backbone.kind == "new" else [find_backbone(config.backbone).name]  # what it was made from
    key = hashlib.sha256(json.dumps([content, versions, *begun], sort_keys=True).encode()).hexdigest()[:32]
    home = made_by(name).parent
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"{home} is where pretrained backbones are kept, and it cannot be made ({error.strerror}); set {CACHE} to "
            "a folder that can be written"
        ) from None
    folder, training = home / key, home / "runs"
    if not (folder / "config.json").is_file():
        own, workspace = config.model_copy(update={"output": training, "name": key}), Workspace()
        if len(tasks := workspace.stream(config.stream).tasks) > 1:
            raise ConfigError([f"stream: pretraining learns one task, and this stream has {len(tasks)}; merge them"])
        if (own.folder / "config.yaml").is_file():
            resume(own.folder, console, workspace)
        else:
            run(own, console, workspace)
        _keep(own.folder, folder, config.backbone)
    shutil.rmtree(training / key, ignore_errors=True)
    atomic.write_json(made_by(name), {"folder": key})
    return folder


def _keep(run_folder: Path, folder: Path, begun: BackboneConfig) -> None:
    """Write the network of a finished run, stored as what it began with is, and what it measured."""
    learner, _, _ = load_learner(run_folder)
    if begun.kind != "new":  # it is loaded in fp32, whatever it is stored in
        said = json.loads((find_backbone(begun) / "config.json").read_text(encoding="utf-8")).get("dtype")
        configuration: Any = learner.backbone.network.config  # transformers has no types
        configuration.dtype = None if said is None else getattr(torch, said)
    with atomic.atomic_folder(folder) as place, library_writes(folder):
        learner.model.problem.save(learner.backbone, place)
        for file in (RESULTS_FILE, "costs.json", RunFolder(run_folder).config.name):
            shutil.copy(run_folder / file, place / f"pretraining-{file}")


def make_missing(configs: Iterable[RunConfig]) -> None:
    """Pretrain the backbones that some configs name and that are not made yet."""
    for name in dict.fromkeys(config.backbone.id for config in configs if config.backbone.id.startswith(MADE)):
        own = name.removeprefix(MADE)
        if not made_by(own).is_file():
            pretrain(load_config(find_config(own)), own)
