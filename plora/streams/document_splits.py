"""Which document is in which task and split: by the hash of its letters, so that nothing else decides."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from plora.errors import DataError
from plora.streams.base import SPLITS, SplitName
from plora.streams.documents import Document, content
from plora.streams.domains import DomainTexts
from plora.streams.hashing import text_key, unit
from plora.streams.row_count import RowCount
from plora.streams.word_runs import known_shares, letters

MOST_KNOWN = 0.5
"""Largest share of the runs of words of a held-out document that may stand in training documents."""

_TWICE = "the same letters as another document"
_KNOWN = "held out, and mostly in training documents"
_ELSEWHERE = "in another part"
_CAPPED = "above the caps"


@dataclass(frozen=True)
class Shares:
    """How documents are dealt out.

    Args:
        base: names of the domains that a base is pretrained on.
        base_fraction: of their documents that the base learns.
        validation_fraction, test_fraction: of all documents.
    """

    base: tuple[str, ...]
    base_fraction: float
    validation_fraction: float
    test_fraction: float


@dataclass(frozen=True)
class _Document:
    domain: str
    split: SplitName
    cut: bool  # by us, and not the split of whoever made the data set
    of_base: bool
    key: int
    letters: str  # of a dialogue all of it, to the letter: many of them share a prompt, or differ in a number
    text: Document


def place_documents(
    found: Mapping[str, DomainTexts],
    shares: Shares,
    task_of: Callable[[str, bool], str | None],
    wanted: Sequence[str],
    caps: tuple[int | None, int | None, int | None],
) -> tuple[dict[str, dict[SplitName, tuple[Document, ...]]], dict[str, RowCount]]:
    """Return the documents of each task and split, in the order of their hash, and what became of those of each domain.

    Args:
        found: what was read of each domain.
        shares: how documents are dealt out.
        task_of: the task of a document, by its domain and whether it is of the part that a base learns.
        wanted: names of the tasks.
        caps: bytes of each task in train, validation and test; None for all.

    Raises:
        DataError: a split of a task has no document, or less text than is asked for.
    """
    lost: dict[str, Counter[str]] = {name: Counter(texts.left_out) for name, texts in found.items()}
    own: dict[str, Counter[str]] = {name: Counter() for name in found}
    documents = _without_known(_once(shares, found, lost), lost)
    by_task: dict[str, dict[SplitName, list[_Document]]] = defaultdict(lambda: {split: [] for split in SPLITS})
    for document in documents:
        task = task_of(document.domain, document.of_base)
        if task is not None and task in wanted:
            by_task[task][document.split].append(document)
        else:
            own[document.domain][_ELSEWHERE] += 1
    most = dict(zip(SPLITS, caps, strict=True))
    splits: dict[str, dict[SplitName, tuple[Document, ...]]] = {}
    for task in wanted:
        splits[task] = {}
        for split, members in by_task[task].items():
            ordered = sorted(members, key=lambda one: one.key)
            taken = _capped(task, split, ordered, most[split])
            for document in ordered[len(taken) :]:
                own[document.domain][_CAPPED] += 1
            splits[task][split] = tuple(document.text for document in taken)
    rows = {}
    for name, texts in found.items():
        read = sum(map(len, texts.texts.values())) + sum(texts.left_out.values())
        count = RowCount(read, dict(lost[name]), dict(own[name]))
        if count.used:  # a domain that another config learns says nothing of this one
            rows[name] = count
    return splits, rows


def _once(shares: Shares, found: Mapping[str, DomainTexts], lost: Mapping[str, Counter[str]]) -> list[_Document]:
    """Each document once, with its split: of a base first, and of splits that were given before those that are cut."""
    ordered = sorted(found, key=lambda name: name not in shares.base)
    seen: set[int] = set()
    documents: list[_Document] = []
    for split in reversed(SPLITS):
        for name in ordered:
            given = found[name].texts
            for text in given.get(split, ()):
                plain = letters(text) if isinstance(text, str) else content(text)
                key = text_key(plain)
                if key in seen:
                    lost[name][_TWICE] += 1
                    continue
                seen.add(key)
                placed = _place(shares, key, given) if split == "train" else split
                # An order of its own: the splits have the first one.
                of_base = name in shares.base and unit(text_key(plain, salt="base")) < shares.base_fraction
                documents.append(_Document(name, placed, placed not in given, of_base, key, plain, text))
    return documents


def _place(shares: Shares, key: int, given: Mapping[SplitName, list[Document]]) -> SplitName:
    """The split of a document that was given for training; only those that are missing are cut."""
    position = unit(key)
    if position < shares.test_fraction:
        return "train" if "test" in given else "test"
    if position < shares.test_fraction + shares.validation_fraction:
        return "train" if "validation" in given else "validation"
    return "train"


def _without_known(documents: list[_Document], lost: Mapping[str, Counter[str]]) -> list[_Document]:
    """All but those that were cut for validation and test and stand in training documents, in other words or not."""
    texts = [document for document in documents if isinstance(document.text, str)]
    held = [document for document in texts if document.cut]
    train = [document.letters for document in texts if document.split == "train"]
    shares = known_shares([document.letters for document in held], train)
    known = {document.key for document, share in zip(held, shares.tolist(), strict=True) if share > MOST_KNOWN}
    for document in held:
        if document.key in known:
            lost[document.domain][_KNOWN] += 1
    return [document for document in documents if document.key not in known]


def _capped(task: str, split: SplitName, documents: list[_Document], cap: int | None) -> list[_Document]:
    """As many of the first documents as a cap has bytes for, and at least one."""
    if not documents:
        raise DataError(
            f"task '{task}': no document is left for {split}; a document goes into one split as a whole, so give more, "
            f"set paragraphs: true, or another {split}_fraction"
        )
    sizes = [len(content(document.text).encode("utf-8", "surrogatepass")) for document in documents]
    if cap is None:
        return documents
    if (total := sum(sizes)) < cap:
        raise DataError(
            f"task '{task}': {split}_bytes asks for {cap:,} bytes, and there are {total:,} of {split} text; set "
            f"{split}_bytes={total} or less, or give more text"
        )
    taken, bytes_taken = 0, 0
    for size in sizes:
        if bytes_taken + size > cap and taken:
            break
        taken, bytes_taken = taken + 1, bytes_taken + size
    return documents[:taken]
