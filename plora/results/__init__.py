"""What is concluded from a run: pure functions of its record, without torch."""

from plora.results.curves import Point, read_curves
from plora.results.doubts import group_doubts, run_doubts
from plora.results.figure import to_png, to_svg
from plora.results.html import write_report
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
from plora.results.runs import FoundRuns, find_runs, group_runs, require_comparable, require_poolable, series
from plora.results.statistics import Comparison, Estimate, compare, estimates, pooled
from plora.results.tables import (
    comparison_table,
    differences_table,
    latex_text,
    matrix_table,
    summary_table,
    write_table,
)

__all__ = [
    "group_doubts",
    "run_doubts",
    "write_report",
    "matrix_table",
    "summary_table",
    "comparison_table",
    "differences_table",
    "write_table",
    "latex_text",
    "Point",
    "read_curves",
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
    "require_poolable",
    "series",
    "Comparison",
    "Estimate",
    "compare",
    "estimates",
    "pooled",
]
