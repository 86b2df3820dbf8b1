"""Settings of EoMT with LoRA inside Lightning (`use_lora`, `lora_rank`, …), as configs of plora.

translation = translate_eomt({"model": {"use_lora": True, "lora_rank": 16}, "epochs": 50})
translation.lines   # lora_rank: 16 → lora.rank: 16
"""

from collections.abc import Mapping

from plora.config.peer_json import Translation, Translator
from plora.configs import shipped_configs
from plora.plain_yaml import parse_yaml

SHIPPED = "segmentation/cityscapes"
"""The config whose settings hold for all that is not said."""
_TELLING = ("use_lora", "lora_rank", "lora_alpha", "lora_dropout")
_MOVED = {
    "lora_rank": "lora.rank",
    "lora_alpha": "lora.alpha",
    "lora_dropout": "lora.dropout",
    "lr": "training.learning_rate",
    "epochs": "training.epochs",
    "batch_size": "training.batch_size",
    "weight_decay": "training.weight_decay",
    "seed": "seed",
}
_ATTENTION = {"qkv", "q_proj", "k_proj", "v_proj", "proj", "o_proj", "out_proj"}
_LEVELS = ("model", "init_args", "data", "trainer", "lora")


def is_eomt(values: Mapping[str, object]) -> bool:
    """Return whether a mapping has their keys, by themselves or below `model`."""
    return bool(_flat(values).keys() & set(_TELLING)) and not {"stream", "method"} & values.keys()


def translate_eomt(values: Mapping[str, object]) -> Translation:
    """Return their settings in our words; keys without a home are named.

    Args:
        values: as their YAML has them, or their flags by name.
    """
    found = Translator(_flat(values))
    shipped = parse_yaml(shipped_configs()[SHIPPED].read_text(encoding="utf-8"))
    assert isinstance(shipped, dict)
    found.config.update({**shipped, "name": "segmentation"})
    for key in ("_target_", "class_path"):
        found.said(key, "problem.kind: semantic_segmentation")
    found.nothing(["num_classes"], "the classes are those of the stream; rows that the network has are taken by name")
    size = found.values.get("img_size")
    square = isinstance(size, list) and len(size) == 2 and size[0] == size[1]
    found.moved("img_size", "backbone.image.size", size[0] if square and isinstance(size, list) else None)
    for theirs, ours in _MOVED.items():
        found.moved(theirs, ours)
    _targets(found)
    if found.values.get("use_lora", True):
        found.said("use_lora", "lora: its section")
    else:
        for key in ("lora", "modules"):
            found.config.pop(key)
        found.put("method", "full")
        found.said("use_lora", "method: full, without lora and modules")
        found.nothing(["lora_rank", "lora_alpha", "lora_dropout", "target_modules"], "use_lora is false")
    found.unsaid.append(f"(not said) → all else: as in the shipped config `{SHIPPED}` (data, backbone, schedule)")
    return found.translation()


def _targets(found: Translator) -> None:
    """Names of layers, by structure where they are those of attention."""
    given = found.values.get("target_modules")
    names = set(map(str, given)) if isinstance(given, list) else set()
    if not names or not names <= _ATTENTION:
        found.moved(
            "target_modules", "lora.targets", note="names of layers; `plora params` refuses those it does not find"
        )
    elif names == {"q_proj", "v_proj"}:
        found.moved("target_modules", "lora.targets", "attention:qv", "of every block, whatever they are called")
    elif names & {"proj", "o_proj", "out_proj"}:
        note = "q, k, v and the output of every block; the name `proj` alone would be the patch embedding's too"
        found.moved("target_modules", "lora.targets", "attention", note)
    else:
        found.moved("target_modules", "lora.targets", "attention:qkv", "of every block, whatever they are called")


def _flat(values: Mapping[str, object]) -> dict[str, object]:
    """Their keys without the levels that Lightning and Hydra put them on."""
    found: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(key, str):  # none of theirs is anything else
            found |= _flat(value) if key in _LEVELS and isinstance(value, Mapping) else {key: value}
    return found
