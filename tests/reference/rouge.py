"""ROUGE F1, slowly: after the published code of rouge_score 0.1.2 with `use_stemmer=False`."""

import re
from collections import Counter
from collections.abc import Sequence


def _tokens(text: str) -> list[str]:
    text = re.sub(r"[^a-z0-9]+", " ", text.lower())
    return [token for token in re.split(r"\s+", text) if re.match(r"^[a-z0-9]+$", token)]


def _fmeasure(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def _ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def _score_ngrams(target: Counter[tuple[str, ...]], prediction: Counter[tuple[str, ...]]) -> float:
    overlap = sum(min(count, prediction[ngram]) for ngram, count in target.items())
    precision = overlap / max(sum(prediction.values()), 1)
    recall = overlap / max(sum(target.values()), 1)
    return _fmeasure(precision, recall)


def _lcs_table(ref: Sequence[str], can: Sequence[str]) -> list[list[int]]:
    table = [[0] * (len(can) + 1) for _ in range(len(ref) + 1)]
    for i in range(1, len(ref) + 1):
        for j in range(1, len(can) + 1):
            if ref[i - 1] == can[j - 1]:
                table[i][j] = table[i - 1][j - 1] + 1
            else:
                table[i][j] = max(table[i - 1][j], table[i][j - 1])
    return table


def rouge(target: str, prediction: str) -> tuple[float, float, float]:
    """ROUGE-1, ROUGE-2 and ROUGE-L."""
    a, b = _tokens(target), _tokens(prediction)
    longest = 0.0
    if a and b:
        length = _lcs_table(a, b)[-1][-1]
        longest = _fmeasure(length / len(b), length / len(a))
    return (*(_score_ngrams(_ngrams(a, n), _ngrams(b, n)) for n in (1, 2)), longest)
