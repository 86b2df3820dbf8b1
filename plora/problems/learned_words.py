"""The words of a new network that reads texts: learned from the training texts of its stream."""

import hashlib
import json

import tokenizers
from transformers import PreTrainedTokenizerBase

from plora.backbones import BackboneConfig
from plora.backbones.byte_pairs import learn_byte_pairs, read_byte_pairs
from plora.cache import cache_folder, left_out
from plora.errors import BackboneError, DataError, RunError
from plora.sealed import read_sealed, write_sealed
from plora.streams.base import Stream
from plora.streams.documents import Documents


def words_of(stream: Stream, config: BackboneConfig, ended: bool = False) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a new network; see `learn_byte_pairs`.

    Args:
        stream: of documents.
        config: of the network, with the number of words.
        ended: it writes the token that ends a text after each, as encoder-decoders read and learn them.

    Raises:
        BackboneError: there is no `backbone.vocabulary`.
        DataError: the stream has no documents to learn words from.
    """
    if config.vocabulary is None:
        raise BackboneError(
            "backbone.kind=new: a new network that reads texts needs words; set backbone.vocabulary to their "
            "number, such as 8192"
        )
    return read_byte_pairs(_learned(stream, config.vocabulary), config.max_length, ended)


def _learned(stream: Stream, size: int) -> str:
    """The words that are learned from a stream's training texts; kept by the content of these."""
    splits = []
    for task in stream.tasks:
        if not isinstance(task.train, Documents):
            raise DataError(
                f"words of a new network are learned from documents, and task '{task.name}' has "
                f"{type(task.train).__name__.lower()}; set stream to one of documents, such as 'corpora'"
            )
        splits.append(task.train)
    content = [tokenizers.__version__, size, *(split.fingerprint() for split in splits)]
    key = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    folder = cache_folder()
    path = None if folder is None else folder / "vocabularies" / f"{key}.json"
    if path is not None:
        try:
            return str(read_sealed(path)["words"])
        except (RunError, KeyError):  # none, or damaged: it is learned again
            pass
    said = learn_byte_pairs((text for split in splits for text in split.words()), size)
    if path is not None:
        try:
            write_sealed(path, {"words": said})
        except OSError as error:
            left_out(error)
    return said
