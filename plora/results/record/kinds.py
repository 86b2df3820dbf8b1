"""The kinds of records per example, by name."""

from collections.abc import Mapping
from pathlib import Path

from plora.errors import RunError, did_you_mean
from plora.results.record.class_rankings import ClassRankings
from plora.results.record.columns import KIND_KEY, read_metadata
from plora.results.record.label_scores import LabelScores
from plora.results.record.measurements import Measurements
from plora.results.record.pixel_counts import PixelCounts
from plora.results.record.predicted_numbers import PredictedNumbers
from plora.results.record.token_likelihoods import TokenLikelihoods
from plora.results.record.word_tags import WordTags

MEASUREMENTS: Mapping[str, type[Measurements]] = {
    kind.kind: kind for kind in (ClassRankings, TokenLikelihoods, PixelCounts, WordTags, LabelScores, PredictedNumbers)
}
"""`plora.kind` of a file → its class."""


def read_measurements(path: Path, kinds: Mapping[str, type[Measurements]] = MEASUREMENTS) -> Measurements:
    """Read a record per example of any kind; a file that says none holds class rankings.

    Args:
        path: of the parquet file.
        kinds: those that may be met.

    Raises:
        RunError: it is missing or damaged, or its kind is not among `kinds`.
    """
    kind = read_metadata(path).get(KIND_KEY, ClassRankings.kind.encode()).decode(errors="replace")
    if kind not in kinds:
        raise RunError(f"{path} is a record of '{kind}'{did_you_mean(kind, kinds)} (kinds: {', '.join(kinds)})")
    return kinds[kind].read(path)
