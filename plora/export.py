"""A run for those who do not have plora: as PEFT adapters, or as one plain `transformers` network.

Either way the folder holds a short `inference.py` and a model card. Where the run labels its inputs, there are the
heads as linear maps (`heads.safetensors`, `heads.json`), and the script gives the labels and probabilities of
`plora predict`. Where the network answers by itself, `adapters.json` says which adapter is whose, and the script writes
what `plora generate` writes. What turns an input into tensors (a tokenizer, the size of images) is written by the run's
problem: its `ExportPart`.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import torch
from huggingface_hub import HfApi
from torch import Tensor
from transformers import PreTrainedModel

from plora import atomic
from plora.adapters import merge_lora, save_route
from plora.backbones import MADE, SHIPPED, BackboneConfig, find_backbone, no_progress_bar
from plora.build import Learner, Workspace, assemble
from plora.config import RunConfig
from plora.config.made_in import seen_from
from plora.errors import RunError, UnknownTaskError, did_you_mean
from plora.heads import ClosedFormHead, CosineHead, Head, InUnits, LinearHead, NCMHead, RanPACHead, RidgeHead
from plora.model import ContinualModel
from plora.problems.export_part import ExportPart
from plora.results import RunRecord
from plora.results.record.found_runs import root_hash
from plora.results.report.model_card import model_card
from plora.run_folder.agreement import read_agreed
from plora.run_folder.checkpoint import load_checkpoint
from plora.run_folder.folder import RunFolder
from plora.settings import named
from plora.shown import markdown_cell, markdown_code, shell_word
from plora.streams.incremental import LabelSpace
from plora.tensor_file import library_writes, save_tensors

HEADS_FILE, TENSOR_FILE, SCRIPT_FILE = "heads.json", "heads.safetensors", "inference.py"
ADAPTERS_FILE = "adapters.json"
ONE_HEAD = "all"
"""Name of the head, or of the adapter, that all tasks share, where the task is not given."""
_LONGEST_FOLDER = 200
"""Characters of a task's name as a folder; most disks take 255."""


def export(run: Path, folder: Path, task: str | None = None, merged: bool = False, push: str | None = None) -> Path:
    """Write the model of a run's last checkpoint as a folder that is used without plora, in fp32.

    z = W φ(f) + b per head, f from the pretrained network with the adapters beside its weights, or merged into them.

    Args:
        run: the run folder.
        folder: to write; must be new.
        task: the task whose adapter and head to write; None writes all. Where slots are not summed but chosen by the
            task, a merged network holds one of them, so `merged` needs it.
        merged: one plain network with the slots added to its weights, instead of adapters for PEFT: one folder with
            the sum of all slots, or one for each task.
        push: name of a repository on the hub to upload the folder to; made private when it is new.

    Returns:
        The folder.

    Raises:
        RunError: the folder exists, another process is writing it, the run's problem has no export, there are no slots
            to write as adapters, the run is damaged, or the hub refused.
        AdapterError: the slots are of a kind that PEFT, or a plain network, cannot hold.
        UnknownTaskError: the task is missing or unknown.
        OSError: the folder cannot be written; nothing is left of it.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} exists already; nothing was changed. Choose another folder with --out")
    source = RunFolder.existing(run)
    agreed = read_agreed(source, to_answer=True)
    config, record, root = agreed.config, agreed.require_recorded(source), root_hash(run)
    refuse(config, task, merged, push)
    # In bf16 a run holds its frozen weights rounded; a reader of the folder should get them as they were published.
    fp32 = config.training.model_copy(update={"precision": "fp32"})
    config = seen_from(config, source.made_in)
    learner = assemble(config.model_copy(update={"training": fp32}), Workspace())
    learned = agreed.require_learned(source)
    load_checkpoint(source, learned, learner)
    tasks = _wanted(task, list(learned.tasks), config, merged)
    heads = {}
    if config.problem.has_head:
        heads = _heads(learner.model.head, LabelSpace.lay_out(learned.labels, config.scenario), tasks)
    names = [*heads] or (tasks if _by_task(learner.model) else [ONE_HEAD])
    part = _part(config)(learner.backbone, config.backbone, learner.model.problem)
    base_model = _base_model(config.backbone, learner.backbone.source, merged)
    with atomic.atomic_folder(folder) as place, library_writes(folder):
        if merged:
            _write_merged(learner, part, task, heads, place)
            adapters = dict.fromkeys(names)
        else:
            adapters = _write_adapters(learner, names, base_model, part.task_type, place)
        part.save(place)
        described = {
            "scenario": config.scenario,
            "backbone": base_model,
            "revision": config.backbone.revision or "main",
            **part.settings(),
        }
        if heads:
            _write_heads(learner, described, heads, adapters, place)
        else:
            atomic.write_json(place / ADAPTERS_FILE, {**described, "adapters": adapters})
        atomic.write_text(place / SCRIPT_FILE, part.inference(merged))
        labels = {name: learned.labels[name] for name in tasks}
        atomic.write_text(place / "README.md", _card(record, config, part, labels, base_model, adapters, merged, root))
    if push is not None:
        _push(folder, push)
    return folder


# ---------------------------------------------------------------------- what cannot be


def refuse(config: RunConfig, task: str | None, merged: bool, push: str | None) -> None:
    """Refuse, before anything is loaded, what the config alone rules out."""
    _part(config)
    if config.row.slots == "none" and not merged:
        raise RunError(
            f"method '{config.method}' has no slots to write as adapters; add --merged for the whole network"
        )
    if config.backbone.kind == "new" and not merged:
        raise RunError(
            "the adapters belong to a new network, which is nowhere but in this run; add --merged for the whole network"
        )
    gate = config.resolved_gate()
    if gate is not None and (gate.reads or gate.asks_each):
        does = "weighs its slots anew"
        if gate.chooses or gate.asks_each:
            does = "chooses one of its slots" if gate.chooses else "asks each of its slots"
        raise RunError(
            f"method '{config.method}' {does} for each input, which no PEFT adapter and no merged "
            "network does; label inputs with `plora predict`, or learn with method 'per_task' or 'first_session'"
        )
    if task is not None and config.scenario != "task":
        raise RunError(f"this run is {config.scenario}-incremental: all tasks share one head; leave --task out")
    if push is not None and not merged and not _on_hub(config.backbone):
        raise RunError(
            f"the adapters belong to {config.backbone.id}, a folder of this machine, and nobody else could use them "
            "from the hub; add --merged, or export without --push"
        )


def _part(config: RunConfig) -> type[ExportPart]:
    """The problem's own part of an export."""
    if config.problem.export is None:
        raise RunError(
            f"problem '{config.problem.kind}' has no export: its settings name nothing that writes what is about its "
            "inputs; use the run with `plora predict`, and its slots with plora.load_lora"
        )
    return named(config.problem.export, ExportPart)


def _wanted(task: str | None, learned: list[str], config: RunConfig, merged: bool) -> list[str]:
    """Names of the tasks to write."""
    known = f"the run has learned: {', '.join(learned)}"
    if task is not None and task not in learned:
        raise UnknownTaskError(f"no task '{task}'{did_you_mean(task, learned)}; {known}")
    gate = config.resolved_gate()
    if merged and task is None and gate is not None and gate.needs_task:
        raise UnknownTaskError(
            f"method '{config.method}' has a slot per task, and one merged network holds one of them: name it with "
            f"--task, or leave --merged out; {known}"
        )
    return learned if task is None else [task]


# ---------------------------------------------------------------------- the heads


@dataclass(frozen=True)
class _LinearHead:
    """z = W φ + b: label names, W `[rows, d]` and b `[rows]`; fp64 where the head was solved in it."""

    labels: tuple[str, ...]
    weight: Tensor
    bias: Tensor


def _heads(head: Head, space: LabelSpace, tasks: Sequence[str]) -> dict[str, _LinearHead]:
    """The head of each task, or the one head of all of them."""
    blocks = dict.fromkeys(space.blocks[task] for task in tasks)
    parts = {block: _LinearHead(space.names[space.rows_of(block)], *_linear_form(head, block)) for block in blocks}
    if space.scenario == "task":
        return parts
    return {
        ONE_HEAD: _LinearHead(
            tuple(label for part in parts.values() for label in part.labels),
            torch.cat([part.weight for part in parts.values()]),
            torch.cat([part.bias for part in parts.values()]),
        )
    }


def _linear_form(head: Head, block: str) -> tuple[Tensor, Tensor]:
    """W and b of one block, temperature and units included; φ is the feature, normalised for NCM and cosine heads and
    projected for RanPAC."""
    if isinstance(head, InUnits):
        scale, shift, threshold = head.units[block]
        weight, bias = _plain_form(head, type(head).__bases__[1], block)
        return scale[:, None] * weight.double(), scale * bias.double() + shift - threshold
    return _plain_form(head, type(head), block)


def _plain_form(head: Head, kind: type[Head], block: str) -> tuple[Tensor, Tensor]:
    tensors, part = head.tensors(), list(head.blocks).index(block)
    if kind is LinearHead:  # a subclass may be another function
        return tensors[f"{part}:weight"], tensors[f"{part}:bias"]
    if kind is CosineHead:
        weight = CosineHead.linear_form({name: tensors[f"{part}:{name}"] for name in ("weight", "scale")})
        return weight, weight.new_zeros(len(weight))
    if kind not in (NCMHead, RidgeHead, RanPACHead):
        raise RunError(f"a head of type {kind.__name__} is another function of the features than an export knows")
    assert isinstance(head, ClosedFormHead)
    group, rows = (0, head.slice_of(block)) if head.pooled else (part, slice(None))
    weight = (tensors[f"{group}:weight"] / tensors[f"{group}:temperature"])[rows]
    if kind is RidgeHead:  # φ = (f, 1)
        return weight[:, :-1], weight[:, -1]
    return weight, weight.new_zeros(len(weight))


def _write_heads(
    learner: Learner,
    described: Mapping[str, atomic.JsonValue],
    heads: Mapping[str, _LinearHead],
    adapters: Mapping[str, str | None],
    place: Path,
) -> None:
    """Write the heads, and all else that turns features into probabilities."""
    tensors = {
        f"{name}.{key}": tensor.cpu().contiguous()
        for name, head in heads.items()
        for key, tensor in (("weight", head.weight), ("bias", head.bias))
    }
    if isinstance(learner.model.head, RanPACHead):  # φ = relu(P f)
        tensors["projection"] = learner.model.head.projection.to(next(iter(tensors.values())).dtype).contiguous()
    save_tensors(place / TENSOR_FILE, tensors)
    atomic.write_json(
        place / HEADS_FILE,
        {
            **described,
            "normalize": isinstance(learner.model.head, NCMHead | CosineHead),
            "heads": {name: {"labels": head.labels, "adapter": adapters[name]} for name, head in heads.items()},
        },
    )


# ---------------------------------------------------------------------- the network


def _by_task(model: ContinualModel) -> bool:
    """Whether each task has slots of its own."""
    return model.adapters is not None and model.gate is not None and model.gate.needs_task


def _write_adapters(
    learner: Learner, names: Sequence[str], base_model: str, task_type: str | None, place: Path
) -> dict[str, str | None]:
    """Write the slots as PEFT adapters; returns the adapter's folder of each head, or task."""
    model = learner.model
    assert model.adapters is not None
    if not _by_task(model):
        save_route(model.adapters, model.route(None), place, base_model, task_type)
        return dict.fromkeys(names, ".")
    folders: dict[str, str | None] = {task: _folder_name(task, names) for task in names}
    for task, folder in folders.items():
        save_route(model.adapters, model.route(task), place / str(folder), base_model, task_type)
    return folders


def _folder_name(task: str, tasks: Iterable[str]) -> str:
    """The task's name where that can name a folder: no separator, no dot (so no `..`, and none of our own files).

    Shortened where it is too long for one, and told apart from another task's that differs in capitals alone, which
    many disks take for the same.
    """
    folder = quote(task, safe="").replace(".", "%2E")
    alike = [other for other in tasks if other.casefold() == task.casefold()]
    if len(folder) <= _LONGEST_FOLDER and len(alike) == 1:
        return folder
    return f"{folder[:_LONGEST_FOLDER]}-{hashlib.sha256(task.encode()).hexdigest()[:16]}"


def _write_merged(
    learner: Learner, part: ExportPart, task: str | None, heads: Mapping[str, _LinearHead], place: Path
) -> None:
    """Write one network without adapters, as a classifier where `transformers` has one for its only head."""
    model, network = learner.model, learner.backbone.network
    assert isinstance(network, PreTrainedModel)
    if model.adapters is not None:
        model.adapters.use(model.route(task))
        network = merge_lora(network, copy=False)
    classifier = None
    if len(heads) == 1 and not isinstance(model.head, NCMHead | RanPACHead | CosineHead):
        (head,) = heads.values()
        classifier = part.classifier(network, head.labels, head.weight, head.bias)
    if classifier is None and heads:
        network.config.id2label, network.config.label2id = (
            {},
            {},
        )  # a classifier made of it has no rows, not random ones
    with no_progress_bar():
        (classifier or network).save_pretrained(place)


def _base_model(config: BackboneConfig, source: str, merged: bool) -> str:
    """What `from_pretrained` finds the pretrained network by: a hub id, or the absolute path of a folder.

    A merged network needs it no more, and says its name alone: paths of this machine are nobody's business.
    """
    if config.network is not None:
        return f"new {config.network['model_type']}"
    if _on_hub(config) or (merged and config.id.startswith(MADE)):
        return source
    folder = find_backbone(config).resolve()
    return folder.name if merged else str(folder)


def _on_hub(config: BackboneConfig) -> bool:
    """Whether others have the pretrained network too."""
    local = config.kind == "new" or config.id in SHIPPED or config.id.startswith(MADE)
    return not local and not Path(config.id).expanduser().is_dir()


# ---------------------------------------------------------------------- for people, and the hub


def _card(
    record: RunRecord,
    config: RunConfig,
    part: ExportPart,
    labels: Mapping[str, Sequence[str]],
    base_model: str,
    adapters: Mapping[str, str | None],
    merged: bool,
    root: str,
) -> str:
    """The model card: what the record says, and how this folder is used."""
    words = part.words
    heads = f", `{TENSOR_FILE}` holds the heads" if config.problem.has_head else ""
    prints = words.prints or f"a label's probability for each {words.noun}"
    option = f"--task {shell_word(next(iter(adapters)))} " if len(adapters) > 1 else ""
    usage = f"""```sh
pip install {" ".join(("torch", "transformers", *(() if merged else ("peft",)), *words.packages))}
python {SCRIPT_FILE} {option}{words.example}
```

`{SCRIPT_FILE}` prints {prints}; it is short, and shows all that is done.
{words.note} `{words.described_in}` says how {words.one} is prepared{heads}.
"""
    if not merged:
        network = markdown_code(base_model)
        places = ", ".join(
            f"`{folder}` ({markdown_cell(name)})" if folder != "." else "this folder"
            for name, folder in adapters.items()
        )
        usage += f"""
The adapters alone load with `peft.PeftModel.from_pretrained(network, FOLDER)` on `{network}`, from: {places}.
Where that network cannot be had, `python {SCRIPT_FILE} --backbone FOLDER` takes it from a folder with its files.
"""
    library = "transformers" if merged else "peft"
    return model_card(record, labels, base_model, _on_hub(config.backbone), library, words, usage, root)


def _push(folder: Path, repository: str) -> None:
    """Upload the folder."""
    api = HfApi()
    try:
        api.create_repo(repository, private=True, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder)
    except Exception as error:  # of the hub's client and of several libraries below it; the folder is whole in any case
        said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise RunError(
            f"{folder} is written, but the hub did not take it as '{repository}' ({said}). On a machine with network, "
            f"logged in with `hf auth login`: hf upload {repository} {folder}"
        ) from None
