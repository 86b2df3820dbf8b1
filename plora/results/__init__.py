"""What is concluded from a run: pure functions of its record, without torch."""

from plora.results.confusion import confusion, confusion_counts
from plora.results.cost_plots import cost_against_accuracy
from plora.results.curves import Point, read_curves
from plora.results.doubts import group_doubts, run_doubts
from plora.results.figure import to_pdf, to_png, to_svg
from plora.results.forgetting_plots import forgetting_of_methods, forgetting_of_tasks
from plora.results.gallery import group_pictures, run_pictures, write_figures
from plora.results.html import write_report
from plora.results.interference import Interference, NoUpdatesError, read_interference
from plora.results.interference_plots import interference_of_tasks, layer_drift, overlap_of_tasks
from plora.results.metrics import (
    METRICS,
    Metric,
    MetricError,
    accuracy,
    average_incremental_accuracy,
    backward_transfer,
    forgetting,
    forgetting_per_task,
    forward_transfer,
    learning_accuracy,
    seen_accuracy,
    summary,
)
from plora.results.plots import accuracy_matrix, compare_methods, learning_curves, tasks_over_time
from plora.results.predictions import Predictions, accuracy_row, read_predictions, write_predictions
from plora.results.record import (
    RunRecord,
    StreamInfo,
    TaskCost,
    TaskData,
    TaskStatus,
    read_record,
    write_record,
)
from plora.results.runs import FoundRuns, find_runs, group_runs, require_comparable, series
from plora.results.tables import matrix_table, summary_table

__all__ = [
    "group_doubts",
    "run_doubts",
    "write_report",
    "matrix_table",
    "summary_table",
    "Point",
    "read_curves",
    "confusion",
    "confusion_counts",
    "cost_against_accuracy",
    "forgetting_of_methods",
    "forgetting_of_tasks",
    "group_pictures",
    "run_pictures",
    "write_figures",
    "Interference",
    "NoUpdatesError",
    "read_interference",
    "layer_drift",
    "overlap_of_tasks",
    "interference_of_tasks",
    "to_pdf",
    "to_png",
    "to_svg",
    "METRICS",
    "Metric",
    "MetricError",
    "accuracy",
    "average_incremental_accuracy",
    "backward_transfer",
    "forgetting",
    "forgetting_per_task",
    "forward_transfer",
    "learning_accuracy",
    "seen_accuracy",
    "summary",
    "accuracy_matrix",
    "compare_methods",
    "learning_curves",
    "tasks_over_time",
    "Predictions",
    "accuracy_row",
    "read_predictions",
    "write_predictions",
    "RunRecord",
    "StreamInfo",
    "TaskCost",
    "TaskData",
    "TaskStatus",
    "read_record",
    "write_record",
    "FoundRuns",
    "find_runs",
    "group_runs",
    "require_comparable",
    "series",
]
