"""Any metric of a run by name, those too that need the files of its folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from plora.errors import RunError
from plora.results.metrics.chance import Chance, chance_of
from plora.results.metrics.further import Further, Needs
from plora.results.metrics.named import definitions
from plora.results.metrics.run_cost import run_cost
from plora.results.record.class_rankings import ClassRankings
from plora.results.record.curves import read_curves
from plora.results.record.found_runs import curves_file, predictions_file
from plora.results.record.kinds import MEASUREMENTS, read_measurements
from plora.results.record.matrix_metrics import Metric
from plora.results.record.measurements import Measurements
from plora.results.record.pixel_counts import PixelCounts
from plora.results.record.run_record import RunRecord
from plora.results.record.score import ACCURACY


class RunMetrics:
    """The metrics of some runs: `RunMetrics(runs)(record, "macro_f1")`.

    A record alone has its matrix and test sizes. Its predictions and its curve are read once each, when the first
    metric that needs them is asked for. References are named in `plora metrics` alone; here the metrics that need one
    carry that reason.

    Args:
        runs: the runs by their folders; a record that is not among them has no predictions and no curve.
    """

    def __init__(self, runs: Mapping[Path, RunRecord] | None = None) -> None:
        # A record has no hash, so its id is the key; records are kept, so that no other can have the id of one.
        self._runs = dict(runs or {})
        self._folders = {id(record): folder for folder, record in self._runs.items()}
        self._measured: dict[Path, Measurements] = {}
        self._known: dict[int, tuple[RunRecord, dict[str, Metric]]] = {}

    def __call__(self, record: RunRecord, name: str) -> Metric:
        """Return one metric of one run; it carries the reason where it has no value.

        Args:
            record: the run.
            name: of a metric, see `METRIC_NAMES`.

        Raises:
            KeyError: there is no such metric.
        """
        if id(record) not in self._known:
            self._known[id(record)] = record, record.metrics
        known = self._known[id(record)][1]
        if name not in known:
            known |= self._further(record, name)
        return known[name]

    def chance(self, records: Sequence[RunRecord]) -> Chance | None:
        """Return chance of runs that were scored on the same examples, from the first that has its predictions.

        Args:
            records: comparable runs.

        Returns:
            None of another score than accuracy, or where no run has predictions of every task that can be read.
        """
        for record in records if records[0].score == ACCURACY else ():
            measured = self.predictions(record)
            chance = None if measured is None else chance_of(measured, record.tasks, record.scenario)
            if chance is not None:
                return chance
        return None

    def damage(self, records: Sequence[RunRecord]) -> str:
        """Return why the first predictions that cannot be read cannot; empty where there are none of that kind."""
        for record in records if records[0].score == ACCURACY else ():
            try:
                self._given(record, "class_rankings")
            except RunError as error:
                return str(error)
        return ""

    def predictions(self, record: RunRecord) -> ClassRankings | None:
        """Return what a run took its test examples for after its last task; None where that is not known."""
        try:
            measured = self._given(record, "class_rankings")
        except RunError:  # said by the metrics that need them
            return None
        return measured if isinstance(measured, ClassRankings) and len(measured) else None

    def pixels(self, record: RunRecord) -> PixelCounts | None:
        """Return which pixels a run took for which class after its last task; None where that is not known."""
        try:
            measured = self._given(record, "pixel_counts")
        except RunError:  # said by the metrics that need them
            return None
        return measured if isinstance(measured, PixelCounts) and len(measured) else None

    def _further(self, record: RunRecord, name: str) -> dict[str, Metric]:
        """Return every metric that needs the same as one: what was read for it does for all."""
        further = {name: found for name, found in definitions(record.score).items() if isinstance(found, Further)}
        needs = further[name].needs
        alike = [found for found in further.values() if found.needs == needs]
        if needs == "sizes" and record.score != ACCURACY:
            return {
                found.name: found.missing(f"pools accuracies, and this run has {record.score.title}") for found in alike
            }
        try:
            given = self._given(record, needs)
        except RunError as error:
            return {found.name: found.missing(str(error)) for found in alike}
        return {found.name: found.metric(record.matrix, given, record.score) for found in alike}

    def _given(self, record: RunRecord, needs: Needs) -> object:
        """Return what a metric needs, None where the run does not have it."""
        folder = self._folders.get(id(record))
        if needs == "sizes":
            return record.sizes
        if needs == "cost":
            return run_cost(record) if record.cost else None
        if needs in MEASUREMENTS and folder is not None:
            file = predictions_file(folder, record)
            if file is not None and file not in self._measured:
                self._measured = {file: read_measurements(file)}  # of the last run alone: they may be large
            return file and self._measured[file]
        if needs == "curves" and folder is not None and (curves := curves_file(folder)) is not None:
            return read_curves(curves)
        return None
