"""The table of attention layers: what `targets: attention` adapts in each text network of `transformers`.

`python -m benchmarks.attention` writes `docs/attention-layers.md`; `--check` fails when the page is not what plora
finds now. Networks are made on the meta device, so that their size does not matter; those that need packages which are
not here are left out.
"""

import re
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import torch
import transformers
from torch import nn
from transformers import CONFIG_MAPPING, AutoModel
from transformers.models.auto import modeling_auto
from transformers.utils import logging

from benchmarks.render import table
from plora.adapters import find_targets
from plora.errors import AdapterError

PAGE = Path(__file__).parent.parent / "docs" / "attention-layers.md"
_TASKS = ("MASKED_LM", "CAUSAL_LM", "SEQUENCE_CLASSIFICATION", "SEQ_TO_SEQ_CAUSAL_LM")
_SMALL = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "emb_dim", "dim", "embedding_size"), 32),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("intermediate_size", "d_ff", "dff", "hidden_dim", "encoder_ffn_dim", "decoder_ffn_dim"), 64),
    **dict.fromkeys(("num_key_value_heads", "num_decoder_layers", "num_encoder_layers"), 2),
    **dict.fromkeys(("head_dim", "d_kv"), 8),
    "vocab_size": 60,
    "block_sizes": [1, 1],
}
_INTRODUCTION = """\
What `targets: attention`, which is the default, adapts in each text network that the `transformers` named here can
make: `N` stands for the number of a block or of a part of it, `[q, k, v]` for a fused projection that is cut into
three. Beside a fused projection without them stands one bank for all of it: its queries, keys and values differ in
width, or lie head by head. *Refused* and *instead* are what plora says when a network has no attention that it knows.
`make check` compares this page with what is found (`python -m benchmarks.attention --check`)."""


def kinds() -> list[str]:
    """Return the kinds of networks that read texts, by the name in their configuration."""
    found = {kind for task in _TASKS for kind in getattr(modeling_auto, f"MODEL_FOR_{task}_MAPPING_NAMES")}
    return sorted(found & set(modeling_auto.MODEL_MAPPING_NAMES))


def network(kind: str) -> nn.Module | None:
    """Return a network of a kind without memory: small, or of the size that it has by default; None where neither can
    be made here.
    """
    for small in (True, False):
        try:
            settings = CONFIG_MAPPING[kind]()
            if small:
                known = {name: value for name, value in _SMALL.items() if hasattr(settings, name)}
                if kind == "funnel":  # its layers follow from its blocks
                    known.pop("num_hidden_layers")
                settings = CONFIG_MAPPING[kind](**known)
            known_as = modeling_auto.MODEL_MAPPING_NAMES[kind]
            settings.architectures = [known_as] if isinstance(known_as, str) else list(known_as[:1])
            with torch.device("meta"):
                made: nn.Module = AutoModel.from_config(settings)
        except Exception:  # each refuses settings, and packages that are not here, in its own way
            continue
        return made
    return None


def found_in(model: nn.Module) -> tuple[list[str], list[str]]:
    """Return the shapes of the layers that are adapted, or why none is, and what is said of roles that are missing."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            targets = find_targets(model, "attention")
        except AdapterError as error:
            return [f"refused: {str(error).partition(';')[0]}"], []
    said = [str(one.message) for one in caught]
    missing = [part[1] for text in said if (part := re.match(r"no (.*) projection recognised in any block", text))]
    cut = {target.path: "" if "whole" in target.sites else f"[{', '.join(target.sites)}]" for target in targets}
    layers = list(dict.fromkeys(re.sub(r"(?<![A-Za-z_])\d+(?=\.|$)", "N", path) + sites for path, sites in cut.items()))
    if any(text.startswith("no attention projections recognised in") for text in said):
        return [f"instead: all {len(layers)} kinds of linear layers"], []
    return layers, missing


def rows() -> Iterator[tuple[str, str, str]]:
    """Yield kind, layers (or why there are none) and missing roles of each network that can be made."""
    for kind in kinds():
        if (model := network(kind)) is not None:
            layers, missing = found_in(model)
            shown = layers if ": " in layers[0] else [f"`{layer}`" for layer in layers]
            yield kind, ", ".join(shown), ", ".join(missing)


def page() -> str:
    """Return the page: networks that are alike stand in one line."""
    logging.set_verbosity_error()
    alike: dict[tuple[str, str], list[str]] = defaultdict(list)
    for kind, layers, missing in rows():
        alike[layers, missing].append(kind)
    shown = [
        [", ".join(f"`{kind}`" for kind in of), layers, missing]
        for (layers, missing), of in sorted(alike.items(), key=lambda one: (-len(one[1]), one[1]))
    ]
    return "\n".join(
        [
            "# Attention layers",
            "",
            *_INTRODUCTION.splitlines(),
            "",
            f"transformers {transformers.__version__}",
            "",
            table(["networks", "layers", "not recognised"], shown, left=3),
            "",
        ]
    )


def main() -> None:
    text = page()
    if "--check" in sys.argv:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
            sys.exit(f"docs/{PAGE.name} is not what plora finds; run: make results")
        return
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
