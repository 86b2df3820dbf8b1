"""Entity F1, slowly: sentence by sentence and word by word, after the published definition of seqeval 1.2.2.

Default mode is its `get_entities` with `start_of_chunk` and `end_of_chunk`, which follow conlleval; strict mode its
`Tokens.entities` with the patterns of the scheme IOB2. F1 is its micro average.
"""

from collections.abc import Sequence

Sentences = Sequence[Sequence[str]]


def default_entities(sentences: Sentences) -> set[tuple[str, int, int]]:
    """Type, first and last word of each entity, sentences one after the other with an O between them."""
    tags = [tag for sentence in sentences for tag in [*sentence, "O"]]
    prev_tag, prev_type, begin, chunks = "O", "", 0, set()
    for i, chunk in enumerate([*tags, "O"]):
        tag = chunk[0]
        type_ = chunk[1:].split("-", maxsplit=1)[-1] or "_"
        if _end_of_chunk(prev_tag, tag, prev_type, type_):
            chunks.add((prev_type, begin, i - 1))
        if _start_of_chunk(prev_tag, tag, prev_type, type_):
            begin = i
        prev_tag, prev_type = tag, type_
    return chunks


def _end_of_chunk(prev_tag: str, tag: str, prev_type: str, type_: str) -> bool:
    if (prev_tag, tag) in {("B", "B"), ("B", "O"), ("I", "B"), ("I", "O")}:
        return True
    return prev_tag != "O" and prev_type != type_


def _start_of_chunk(prev_tag: str, tag: str, prev_type: str, type_: str) -> bool:
    if tag == "B" or (prev_tag, tag) == ("O", "I"):
        return True
    return tag != "O" and prev_type != type_


_END = {
    ("I", "O", "any"),
    ("I", "I", "diff"),
    ("I", "B", "any"),
    ("B", "O", "any"),
    ("B", "I", "diff"),
    ("B", "B", "any"),
}


def strict_entities(sentences: Sentences) -> set[tuple[str, int, int, int]]:
    """Type, sentence, first word and the one after the last of each entity that the scheme IOB2 knows."""
    found = set()
    for number, sentence in enumerate(sentences):
        tags = [*sentence, "O"]
        i = 0
        while i < len(tags):
            if tags[i][0] != "B":  # start pattern: any, B, any
                i += 1
                continue
            end = i + 1
            while end < len(tags) and tags[end][0] == "I" and tags[end][2:] == tags[end - 1][2:]:  # B or I, I, same
                end += 1
            if end < len(tags):
                same = "any" if tags[end][0] != "I" else ("same" if tags[end][2:] == tags[end - 1][2:] else "diff")
                if (tags[end - 1][0], tags[end][0], same) in _END:
                    found.add((tags[i][2:], number, i, end))
            i = end
    return found


def f1(true: Sentences, predicted: Sentences, strict: bool) -> float:
    """2 TP / (true + predicted), 0 where there is nothing."""
    find = strict_entities if strict else default_entities
    a, b = find(true), find(predicted)
    return 2 * len(a & b) / (len(a) + len(b)) if a or b else 0.0
