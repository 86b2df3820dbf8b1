"""Any metric of a run by name, those too that need the files of its folder."""

from collections.abc import Mapping
from pathlib import Path

from plora.errors import RunError
from plora.results.metrics.further import FURTHER, Needs
from plora.results.record.curves import read_curves
from plora.results.record.found_runs import CURVES_FILE, predictions_file
from plora.results.record.matrix_metrics import Metric
from plora.results.record.predictions import read_predictions
from plora.results.record.run_record import RunRecord


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
        self._known: dict[int, tuple[RunRecord, dict[str, Metric]]] = {}

    def __call__(self, record: RunRecord, name: str) -> Metric:
        """Return one metric of one run; it carries the reason where it has no value.

        Args:
            record: the run.
            name: of a metric of `METRICS` or `FURTHER`.

        Raises:
            KeyError: there is no such metric.
        """
        if id(record) not in self._known:
            self._known[id(record)] = record, record.metrics
        known = self._known[id(record)][1]
        if name not in known:
            known |= self._further(record, next((f.needs for f in FURTHER if f.name == name), None))
        return known[name]

    def _further(self, record: RunRecord, needs: Needs | None) -> dict[str, Metric]:
        """Return every metric that needs the same: what was read for one does for all."""
        alike = [further for further in FURTHER if further.needs == needs]
        try:
            given = self._given(record, needs)
        except RunError as error:
            return {further.name: further.missing(str(error)) for further in alike}
        return {further.name: further.metric(record.matrix, given) for further in alike}

    def _given(self, record: RunRecord, needs: Needs | None) -> object:
        """Return what a metric needs, None where the run does not have it."""
        folder = self._folders.get(id(record))
        if needs == "sizes":
            return record.sizes
        if needs == "predictions" and folder is not None:
            file = predictions_file(folder, record)
            return file and read_predictions(file)
        if needs == "curves" and folder is not None and (folder / CURVES_FILE).exists():
            return read_curves(folder / CURVES_FILE)
        return None
