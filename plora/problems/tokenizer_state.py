"""What a tokenizer makes of texts, as text: for fingerprints of problems whose inputs it encodes."""

import json

from transformers import PreTrainedTokenizerBase


def tokenizer_state(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the whole state of a fast tokenizer as JSON, less truncation and padding, which every call sets anew."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    for transient in ("truncation", "padding"):
        state.pop(transient, None)
    return json.dumps(state, sort_keys=True)
