"""The words of a new network that reads texts: a byte-level BPE, learned from texts."""

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

END = "<|end|>"
"""Begins and ends a text, and stands where nothing does."""


def learn_byte_pairs(texts: Iterable[str], size: int) -> str:
    """Return, as JSON, a byte-level BPE that was learned from texts: any text has tokens, and is made of them again.

    The same texts give the same words, whatever the number of threads.

    Args:
        texts: in any order.
        size: most words; 256 bytes and the end of a text are among them.
    """
    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learned.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=[END], initial_alphabet=alphabet, show_progress=False)
    learned.train_from_iterator(texts, trainer)
    said: str = learned.to_str()
    return said


def read_byte_pairs(said: str, longest: int, ended: bool = False) -> PreTrainedTokenizerBase:
    """Return the tokenizer that `learn_byte_pairs` described.

    Args:
        said: JSON.
        longest: most tokens of a text, which is said to whoever loads it.
        ended: the token that ends a text is written after each.
    """
    words = Tokenizer.from_str(said)
    if ended:
        known = [(END, words.token_to_id(END))]
        words.post_processor = processors.TemplateProcessing(
            single=f"$A {END}", pair=f"$A $B {END}", special_tokens=known
        )
    tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token=END,
        eos_token=END,
        pad_token=END,
        model_max_length=longest,
        clean_up_tokenization_spaces=False,
    )
    return tokenizer
