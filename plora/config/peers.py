"""Other code bases whose configs are translated."""

from collections.abc import Callable, Mapping

from plora.config.peer_eomt import is_eomt, translate_eomt
from plora.config.peer_json import Translation, is_peer, translate

_PEERS: Mapping[str, tuple[Callable[[Mapping[str, object]], bool], Callable[[Mapping[str, object]], Translation]]] = {
    "PyCIL, PILOT or SD-LoRA": (is_peer, translate),
    "EoMT with LoRA in Lightning": (is_eomt, translate_eomt),
}


def peer_of(values: Mapping[str, object]) -> tuple[str, Callable[[Mapping[str, object]], Translation]] | None:
    """Return which code base a config is of, and what translates it; None of one of ours.

    Args:
        values: keys of a config.
    """
    return next((((name, turn)) for name, (knows, turn) in _PEERS.items() if knows(values)), None)
