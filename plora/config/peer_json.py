"""Configs of PyCIL, PILOT and what is built on them (SD-LoRA, Gumbel CL-LoRA), as configs of plora.

    translation = translate({"model_name": "sdlora", "dataset": "cifar224", "init_cls": 10, …})
    translation.lines   # init_cls: 10 → stream.init_cls: 10
    translation.yaml    # the whole, for `plora run`; of several seeds for `plora sweep`

Where their code does other than their configs say, a line says which of the two was taken.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import yaml

from plora.atomic import JsonValue
from plora.configs import shipped_configs
from plora.plain_yaml import parse_yaml

DATASETS = {
    "cifar224": "cifar100",
    "cifar100": "cifar100",
    "imagenetr": "imagenet_r",
    "imageneta": "imagenet_a",
    "cub": "cub200",
}
"""Their name of a data set → the shipped config whose stream it is."""
BACKBONES = {
    "vit_base_patch16_224": "google/vit-base-patch16-224",
    "pretrained_vit_b16_224": "google/vit-base-patch16-224",
    "vit_base_patch16_224_in21k": "google/vit-base-patch16-224-in21k",
    "pretrained_vit_b16_224_in21k": "google/vit-base-patch16-224-in21k",
}
"""Their name of a network → its id on the hub."""
NETWORK_KEYS = ("backbone_type", "convnet_type", "net_type")
METHODS_OF = {
    "seqlora": ("sequential", None),
    "olora": ("o_lora", None),
    "finetune": ("full", None),
    "ewc": ("ewc", None),
    "lwf": ("lwf", None),
    "replay": ("replay", None),
    "simplecil": ("frozen", "ncm"),
    "ranpac": ("frozen", "ranpac"),
}
"""Their name of a method → ours, with its head; `sdlora` is one of two."""
GATE_KEYS = ("gumbel_tau_init", "gumbel_tau_final", "gumbel_anneal_rate", "lambda_sparsity", "growth_threshold")
_SCHEDULES = {"cosine": "cosine", "constant": "constant"}
_NAME = re.compile(r"[^\w.-]+")


@dataclass(frozen=True)
class Translation:
    """A config of theirs in our words.

    Args:
        lines: each of their keys with its new home, in the order of their file, then what they do not say.
        config: ours; of several seeds, that of the first.
        seeds: all of them.
    """

    lines: tuple[str, ...]
    config: Mapping[str, JsonValue]
    seeds: tuple[int, ...]

    @property
    def yaml(self) -> str:
        """The whole as a file: a config, or of several seeds a sweep."""
        content: dict[str, JsonValue] = dict(self.config)
        if len(self.seeds) > 1:
            runs: list[JsonValue] = [{"seed": seed, "stream.class_seed": seed} for seed in self.seeds]
            content = {"name": content["name"], "config": content, "runs": runs}
        return yaml.safe_dump(content, sort_keys=False, width=100)


def is_peer(values: Mapping[str, object]) -> bool:
    """Return whether a mapping is a config of theirs."""
    theirs = isinstance(values.get("model_name"), str) and isinstance(values.get("dataset"), str)
    return theirs and not {"stream", "method"} & values.keys()


def translate(values: Mapping[str, object]) -> Translation:
    """Return a config of theirs in our words; keys without a home are named.

    Args:
        values: as their JSON has them.
    """
    found = Translator(values)
    for step in (_run, _data, _method, _network, _training, _gate, _memory):
        step(found)
    return found.translation()


class Translator:
    """What was translated so far.

    Args:
        values: keys of theirs, without levels.
    """

    def __init__(self, values: Mapping[str, object]) -> None:
        self.values = values
        self.config: dict[str, JsonValue] = {}
        self.lines: dict[str, str] = {}
        self.unsaid: list[str] = []
        self.seeds: tuple[int, ...] = ()

    def number(self, key: str) -> float | None:
        """A number of theirs; 8e-3 is a text in YAML."""
        value = self.values.get(key)
        try:
            return None if isinstance(value, bool) else float(value)  # type: ignore[arg-type]  # refused below
        except (TypeError, ValueError):
            return None

    def whole(self, key: str) -> JsonValue:
        """A value of theirs as it is, a number as a number."""
        value, number = self.values.get(key), self.number(key)
        if number is not None:
            return int(number) if number.is_integer() and "e" not in str(value) and "." not in str(value) else number
        return value  # type: ignore[return-value]  # read from JSON

    def put(self, path: str, value: JsonValue) -> None:
        """Set a key of ours."""
        *parents, last = path.split(".")
        place = self.config
        for parent in parents:
            inner = place.setdefault(parent, {})
            assert isinstance(inner, dict)
            place = inner
        place[last] = value

    def moved(self, key: str, path: str, value: JsonValue = None, note: str = "") -> None:
        """Give a key of theirs its home, where they have it."""
        if key in self.values:
            value = self.whole(key) if value is None else value
            self.put(path, value)
            self.said(key, f"{path}: {told(value)}", note)

    def said(self, key: str, home: str, note: str = "") -> None:
        """Say where a key of theirs went."""
        if key in self.values:
            self.lines[key] = f"{key}: {told(self.values[key])} → {home}" + (f" ({note})" if note else "")

    def nothing(self, keys: Iterable[str], why: str) -> None:
        """Say why keys of theirs, where they have them, have no home."""
        for key in keys:
            self.said(key, f"nothing: {why}")

    def translation(self) -> Translation:
        """Return all of it; keys without a home are named."""
        unknown = {key: f"{key}: no key of plora is known for it; left out" for key in self.values}
        lines = [({**unknown, **self.lines})[key] for key in self.values]
        return Translation((*lines, *self.unsaid), self.config, self.seeds)


def _run(found: Translator) -> None:
    name = _NAME.sub("-", str(found.values.get("prefix", ""))).strip("-.") or "run"
    found.put("name", name)
    found.said("prefix", f"name: {name}")
    seeds = found.values.get("seed")
    listed = seeds if isinstance(seeds, list) else [seeds]
    found.seeds = tuple(seed for seed in listed if isinstance(seed, int) and not isinstance(seed, bool))
    if found.seeds:
        found.put("seed", found.seeds[0])
        each = "seed and stream.class_seed: " + ", ".join(map(str, found.seeds))
        several = "a run each: the file is a sweep, for `plora sweep`" if len(found.seeds) > 1 else ""
        found.said("seed", each, several or "theirs decides the order of the classes too")
    if isinstance(folder := found.values.get("filepath"), str):
        found.moved("filepath", "output", folder.rstrip("/") or ".")
    device = found.values.get("device")
    devices = [str(one) for one in device] if isinstance(device, list) else [str(device)]
    how = f"CUDA_VISIBLE_DEVICES={','.join(devices)} before the command"
    several = "; several: `torchrun --nproc_per_node " + f"{len(devices)} -m plora run …`" if len(devices) > 1 else ""
    found.said("device", f"no key: {how}{several}")
    found.nothing(["num_workers"], "images are read ahead in threads by themselves")


def _data(found: Translator) -> None:
    found.put("problem", {"kind": "image_classification"})
    name = str(found.values.get("dataset"))
    if name in DATASETS:
        shipped = f"image_classification/{DATASETS[name]}"
        stream = parse_yaml(shipped_configs()[shipped].read_text(encoding="utf-8"))
        assert isinstance(stream, dict)
        found.put("stream", {**stream["stream"]})
        found.said("dataset", f"stream: that of `{shipped}` ({stream['stream']['name']})")
    else:
        found.put("stream", {"kind": "images", "name": name, "data": {"kind": "folder", "root": name}})
        known = ", ".join(DATASETS)
        found.said("dataset", f"stream.data: folder '{name}'", f"put its images there; known are {known}")
    shuffled = found.values.get("shuffle", True) is not False
    found.put("stream.class_order", "seed" if shuffled else "natural")
    found.said("shuffle", f"stream.class_order: {'seed' if shuffled else 'natural'}")
    if found.seeds:
        found.put("stream.class_seed", found.seeds[0])
    found.moved("init_cls", "stream.init_cls")
    found.moved("increment", "stream.increment")
    found.put("scenario", "class")
    found.unsaid.append(
        "(not said) → scenario: class (they classify among all classes seen, and are not told the task)"
    )


def _method(found: Translator) -> None:
    name = str(found.values.get("model_name")).lower().replace("-", "_")
    gated = any(key in found.values for key in GATE_KEYS)
    if name.replace("_", "") == "sdlora":
        method = "gumbel_cl_lora" if gated else "sd_lora"
        found.put("method", method)
        why = "with keys of the Gumbel gate" if gated else "without keys of the Gumbel gate"
        found.said("model_name", f"method: {method}", why)
        return
    method, head = METHODS_OF.get(name, (name, None))
    found.put("method", method)
    if head is not None:
        found.put("head", head)
    note = "" if name in METHODS_OF else "plora may have none of this name: `plora ls` lists its own"
    found.said("model_name", f"method: {method}" + (f", head: {head}" if head else ""), note)


def _network(found: Translator) -> None:
    for key in NETWORK_KEYS:
        if key in found.values:
            name = str(found.values[key])
            known = "" if name in BACKBONES else "not known here: name a folder or an id on the hub"
            found.moved(key, "backbone.id", BACKBONES.get(name, name), known)
    if found.config.get("method") in ("sd_lora", "gumbel_cl_lora", "sequential", "o_lora"):
        lora: dict[str, JsonValue] = {"rank": 10, "alpha": 10, "dropout": 0.0, "targets": ["query", "value"]}
        found.put("lora", lora)
        for key in ("lora_rank", "rank"):
            found.moved(key, "lora.rank")
            found.moved(key, "lora.alpha", note="s = alpha / rank = 1")
        if not {"lora_rank", "rank"} & found.values.keys():
            found.unsaid.append("(not said) → lora: rank 10, alpha 10, on query and value (as their code has it)")


def _training(found: Translator) -> None:
    found.moved("init_epoch", "training.first_task.epochs")
    found.moved("epochs", "training.epochs")
    found.moved("tuned_epoch", "training.epochs")
    found.moved("init_lr", "training.first_task.learning_rate")
    found.moved("lrate", "training.learning_rate")
    found.moved("batch_size", "training.batch_size")
    _schedule(found)
    _optimizer(found)


def _schedule(found: Translator) -> None:
    name = str(found.values.get("scheduler", "constant"))
    schedule = _SCHEDULES.get(name, "constant")
    found.put("training.schedule", schedule)
    found.put("training.warmup", 0.0)
    stepped = "" if name in _SCHEDULES else "plora has no schedule of steps"
    found.said("scheduler", f"training.schedule: {schedule}, training.warmup: 0", stepped)
    if "scheduler" not in found.values:
        found.unsaid.append("(not said) → training.schedule: constant, training.warmup: 0")
    steps = ("init_milestones", "init_lr_decay", "milestones", "lrate_decay")
    found.nothing(steps, "plora has no schedule of steps; training.schedule is linear, cosine, polynomial or constant")
    lowest, rate = found.number("min_lr"), found.number("lrate") or found.number("init_lr")
    if lowest is None:
        return
    if schedule != "cosine":
        found.nothing(["min_lr"], "the rate of a constant schedule does not fall")
    elif rate is None or not 0 <= lowest <= rate:
        found.nothing(["min_lr"], f"it must be from 0 to lrate, which is {told(found.values.get('lrate'))}")
    else:
        floor = round(lowest / rate, 12)
        found.moved("min_lr", "training.schedule_floor", floor, f"a share of the peak: {lowest:g} / {rate:g}")


def _optimizer(found: Translator) -> None:
    name = str(found.values.get("optimizer", "sgd")).lower()
    adam = name in ("adam", "adamw")
    kind: dict[str, JsonValue] = {"kind": "adamw"} if adam else {"kind": "sgd", "momentum": 0.9}
    found.put("training.optimizer", kind)
    other = "" if name in ("sgd", "adamw") else "plora's nearest; `plora ls` and docs list them"
    found.said("optimizer", f"training.optimizer: {told(kind)}", other)
    if "optimizer" not in found.values:
        found.unsaid.append("(not said) → training.optimizer: SGD, momentum 0.9 (as their code has it)")
    if "weight_decay" in found.values:
        found.moved("weight_decay", "training.weight_decay")
    else:
        found.put("training.weight_decay", 0.0)
        found.unsaid.append("(not said) → training.weight_decay: 0 (as their code has it)")
    if found.values.get("init_weight_decay") == found.values.get("weight_decay"):
        found.said("init_weight_decay", "training.weight_decay")
    found.nothing(
        [key for key in ("init_weight_decay",) if key not in found.lines],
        "the first task has the weight decay of the others",
    )


def _gate(found: Translator) -> None:
    if found.config.get("method") != "gumbel_cl_lora":
        found.nothing(GATE_KEYS, f"method '{found.config['method']}' has no such gate")
        return
    found.put("gate.kind", "gumbel_sparsemax")
    first, last = found.number("gumbel_tau_init"), found.number("gumbel_tau_final")
    if first is not None or last is not None:
        pair: list[JsonValue] = [5.0 if first is None else first, 0.5 if last is None else last]
        found.moved("gumbel_tau_init", "gate.temperature", pair)
        found.moved("gumbel_tau_final", "gate.temperature", pair)
    found.moved("gumbel_anneal_rate", "gate.rho", note="per step; `auto` reaches the last temperature, whatever it is")
    found.moved("lambda_sparsity", "gate.sparsity", note=_of_zero(found))
    if "growth_threshold" in found.values:
        found.put("gate.growth", "absolute")
        found.moved("growth_threshold", "gate.threshold", note="gate.growth: absolute")


def _of_zero(found: Translator) -> str:
    if found.number("lambda_sparsity") != 0:
        return ""
    return (
        "NOT plain SD-LoRA: shares, noise and pruning stay; for the baseline set `method: sd_lora` without `gate`, or "
        "`gate: {kind: all_ones}`"
    )


def _memory(found: Translator) -> None:
    keys = ("memory_size", "memory_per_class", "fixed_memory")
    if found.config.get("method") != "replay":
        found.nothing(keys, f"method '{found.config['method']}' keeps no old images")
        return
    if "memory_size" in found.values and not found.values.get("fixed_memory"):
        capacity = found.whole("memory_size")
        found.put("strategies", [{"kind": "replay", "capacity": capacity}])
        found.said("memory_size", f"strategies: replay, capacity: {told(capacity)}", "of all tasks together")
        found.nothing(["memory_per_class", "fixed_memory"], "the capacity is that of all tasks together")
    else:
        found.nothing(keys, "set `strategies: [{kind: replay, capacity: N}]`, N images of all tasks together")


def told(value: object) -> str:
    """Return a value on one line, as YAML has it in a flow."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000).strip()
    return text.removesuffix("...").strip()
