"""What is concluded from a run: pure functions of its record, without torch."""

from plora.results.all_metrics import AllMetrics, metrics_of_matrix, metrics_of_path
from plora.results.classification import (
    ClassScore,
    class_scores,
    expected_calibration_error,
    macro_f1,
    task_accuracy,
)
from plora.results.confusion import confusion, confusion_counts
from plora.results.cost_plots import cost_against_accuracy
from plora.results.curves import Point, read_curves
from plora.results.doubts import group_doubts, run_doubts
from plora.results.figure import to_pdf, to_png, to_svg
from plora.results.forgetting_plots import forgetting_of_methods, forgetting_of_tasks
from plora.results.further import FURTHER, Further
from plora.results.gallery import group_pictures, run_pictures, write_figures
from plora.results.gate_plots import gate_coefficients
from plora.results.generated import GeneratedText, generated_files, read_generated, to_lines
from plora.results.html import write_report
from plora.results.interference import Interference, NoUpdatesError, read_interference
from plora.results.interference_plots import interference_of_tasks, layer_drift, overlap_of_tasks
from plora.results.matrix_file import MatrixFile, read_matrix
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
from plora.results.pooled import pooled_accuracy, pooled_average_incremental_accuracy, pooled_seen_accuracy
from plora.results.predictions import RANKS, Predictions, accuracy_row, read_predictions, write_predictions
from plora.results.record import (
    RESULTS_FILE,
    RunRecord,
    ScoredSplit,
    StreamInfo,
    TaskCost,
    TaskData,
    TaskStatus,
    read_record,
    write_record,
)
from plora.results.references import forward_transfer_of_learning, intransigence, intransigence_per_task
from plora.results.run_cost import RunCost, run_cost
from plora.results.run_metrics import RunMetrics
from plora.results.runs import FoundRuns, find_runs, group_runs, require_comparable, require_poolable, series
from plora.results.statistics import Comparison, Estimate, compare, estimates, intervals, pooled, seen_intervals
from plora.results.tables import (
    comparison_table,
    differences_table,
    latex_text,
    matrix_table,
    summary_table,
    write_table,
)
from plora.results.variants import VARIANTS, Variant, variants

__all__ = [
    "GeneratedText",
    "generated_files",
    "read_generated",
    "to_lines",
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
    "confusion",
    "confusion_counts",
    "cost_against_accuracy",
    "forgetting_of_methods",
    "forgetting_of_tasks",
    "gate_coefficients",
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
    "FURTHER",
    "Further",
    "RunCost",
    "run_cost",
    "RunMetrics",
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
    "task_accuracy",
    "AllMetrics",
    "metrics_of_matrix",
    "metrics_of_path",
    "MatrixFile",
    "read_matrix",
    "pooled_accuracy",
    "pooled_average_incremental_accuracy",
    "pooled_seen_accuracy",
    "forward_transfer_of_learning",
    "intransigence",
    "intransigence_per_task",
    "ClassScore",
    "class_scores",
    "expected_calibration_error",
    "macro_f1",
    "VARIANTS",
    "Variant",
    "variants",
    "accuracy_matrix",
    "compare_methods",
    "learning_curves",
    "tasks_over_time",
    "RANKS",
    "Predictions",
    "accuracy_row",
    "read_predictions",
    "write_predictions",
    "RESULTS_FILE",
    "RunRecord",
    "ScoredSplit",
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
    "intervals",
    "pooled",
    "seen_intervals",
]
