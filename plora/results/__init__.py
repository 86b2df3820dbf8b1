"""What is concluded from a run: pure functions of its record, without torch. Names are loaded when first used."""

from typing import TYPE_CHECKING

from plora.lazy import names_from

if TYPE_CHECKING:
    from plora.results.comparison.comparable import group_runs, require_comparable, require_poolable, series
    from plora.results.comparison.doubts import group_doubts, prediction_doubts, run_doubts, undecided_doubts
    from plora.results.comparison.paired_examples import PairedExamples, against_best, mcnemar_p
    from plora.results.comparison.sampling import mean_interval, size_interval, wilson
    from plora.results.comparison.statistics import (
        Comparison,
        Estimate,
        compare,
        estimates,
        intervals,
        pooled,
        seen_intervals,
    )
    from plora.results.metrics.chance import Chance, chance_of
    from plora.results.metrics.class_steps import ClassStep, class_steps
    from plora.results.metrics.classification import (
        ClassScore,
        class_scores,
        expected_calibration_error,
        macro_f1,
        task_accuracy,
    )
    from plora.results.metrics.further import COSTS, FURTHER, Further, further_metrics
    from plora.results.metrics.interference import Interference, NoUpdatesError, read_interference
    from plora.results.metrics.named import METRIC_NAMES, definitions
    from plora.results.metrics.pooled import pooled_accuracy, pooled_average_incremental_accuracy, pooled_seen_accuracy
    from plora.results.metrics.references import forward_transfer_of_learning, intransigence, intransigence_per_task
    from plora.results.metrics.run_cost import RunCost, run_cost
    from plora.results.metrics.run_metrics import RunMetrics
    from plora.results.metrics.variants import VARIANTS, Variant, variants
    from plora.results.pictures.confusion import confusion, confusion_counts, confusion_of_pixels
    from plora.results.pictures.cost_plots import cost_against_accuracy
    from plora.results.pictures.figure import to_pdf, to_png, to_svg
    from plora.results.pictures.forgetting_plots import forgetting_of_methods, forgetting_of_tasks
    from plora.results.pictures.gallery import group_pictures, run_pictures, write_figures
    from plora.results.pictures.gate_plots import gate_coefficients, gate_vector
    from plora.results.pictures.interference_plots import interference_of_tasks, layer_drift, overlap_of_tasks
    from plora.results.pictures.plots import accuracy_matrix, compare_methods, learning_curves, tasks_over_time
    from plora.results.pictures.slot_plots import active_slots, similarity_against_vector, vector_over_tasks
    from plora.results.record.class_rankings import RANKS, ClassRankings
    from plora.results.record.curves import Point, read_curves
    from plora.results.record.found_runs import FoundRuns, find_runs
    from plora.results.record.generated import GeneratedText, generated_files, read_generated, to_lines
    from plora.results.record.kinds import MEASUREMENTS, read_measurements
    from plora.results.record.label_scores import LabelScores
    from plora.results.record.matrix import MetricError
    from plora.results.record.matrix_file import MatrixFile, read_matrix
    from plora.results.record.matrix_metrics import (
        METRICS,
        MatrixMetric,
        Metric,
        accuracy,
        average_incremental_accuracy,
        backward_transfer,
        forgetting,
        forgetting_per_task,
        forward_transfer,
        learning_accuracy,
        matrix_metrics,
        seen_accuracy,
        summary,
    )
    from plora.results.record.measurements import Measurements
    from plora.results.record.pixel_counts import PixelCounts
    from plora.results.record.predicted_numbers import PredictedNumbers
    from plora.results.record.rouge import ROUGE, rouge
    from plora.results.record.run_record import (
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
    from plora.results.record.score import ACCURACY, SCORES, Better, Score
    from plora.results.record.slot_state import SlotState
    from plora.results.record.token_likelihoods import TokenLikelihoods
    from plora.results.record.word_tags import WordTags
    from plora.results.report.html import write_report
    from plora.results.tables.all_metrics import AllMetrics, metrics_of_matrix, metrics_of_path
    from plora.results.tables.class_step_table import class_steps_table
    from plora.results.tables.cost_table import costs_table
    from plora.results.tables.latex import latex_text
    from plora.results.tables.slot_table import slots_table
    from plora.results.tables.tables import (
        comparison_table,
        differences_table,
        matrix_table,
        summary_table,
        write_table,
    )

__all__ = [
    "RANKS",
    "ClassRankings",
    "Point",
    "read_curves",
    "FoundRuns",
    "find_runs",
    "GeneratedText",
    "generated_files",
    "read_generated",
    "to_lines",
    "MEASUREMENTS",
    "read_measurements",
    "MetricError",
    "MatrixFile",
    "read_matrix",
    "METRICS",
    "MatrixMetric",
    "Metric",
    "accuracy",
    "average_incremental_accuracy",
    "backward_transfer",
    "forgetting",
    "forgetting_per_task",
    "forward_transfer",
    "learning_accuracy",
    "matrix_metrics",
    "seen_accuracy",
    "summary",
    "Measurements",
    "LabelScores",
    "PixelCounts",
    "ROUGE",
    "rouge",
    "PredictedNumbers",
    "RESULTS_FILE",
    "RunRecord",
    "ScoredSplit",
    "StreamInfo",
    "TaskCost",
    "TaskData",
    "TaskStatus",
    "read_record",
    "write_record",
    "ACCURACY",
    "SCORES",
    "Better",
    "Score",
    "SlotState",
    "TokenLikelihoods",
    "WordTags",
    "ClassScore",
    "class_scores",
    "expected_calibration_error",
    "macro_f1",
    "task_accuracy",
    "COSTS",
    "FURTHER",
    "Further",
    "further_metrics",
    "Interference",
    "NoUpdatesError",
    "read_interference",
    "METRIC_NAMES",
    "definitions",
    "pooled_accuracy",
    "pooled_average_incremental_accuracy",
    "pooled_seen_accuracy",
    "forward_transfer_of_learning",
    "intransigence",
    "intransigence_per_task",
    "RunCost",
    "run_cost",
    "RunMetrics",
    "ClassStep",
    "class_steps",
    "VARIANTS",
    "Variant",
    "variants",
    "group_runs",
    "require_comparable",
    "require_poolable",
    "series",
    "group_doubts",
    "prediction_doubts",
    "run_doubts",
    "undecided_doubts",
    "PairedExamples",
    "against_best",
    "mcnemar_p",
    "mean_interval",
    "size_interval",
    "wilson",
    "Chance",
    "chance_of",
    "Comparison",
    "Estimate",
    "compare",
    "estimates",
    "intervals",
    "pooled",
    "seen_intervals",
    "AllMetrics",
    "metrics_of_matrix",
    "metrics_of_path",
    "class_steps_table",
    "costs_table",
    "latex_text",
    "slots_table",
    "comparison_table",
    "differences_table",
    "matrix_table",
    "summary_table",
    "write_table",
    "confusion",
    "confusion_counts",
    "confusion_of_pixels",
    "cost_against_accuracy",
    "to_pdf",
    "to_png",
    "to_svg",
    "forgetting_of_methods",
    "forgetting_of_tasks",
    "group_pictures",
    "run_pictures",
    "write_figures",
    "gate_coefficients",
    "gate_vector",
    "interference_of_tasks",
    "layer_drift",
    "overlap_of_tasks",
    "active_slots",
    "similarity_against_vector",
    "vector_over_tasks",
    "accuracy_matrix",
    "compare_methods",
    "learning_curves",
    "tasks_over_time",
    "write_report",
]

__getattr__, _ = names_from(
    __name__,
    {
        "record.class_rankings": [
            "RANKS",
            "ClassRankings",
        ],
        "record.curves": [
            "Point",
            "read_curves",
        ],
        "record.found_runs": [
            "FoundRuns",
            "find_runs",
        ],
        "record.generated": [
            "GeneratedText",
            "generated_files",
            "read_generated",
            "to_lines",
        ],
        "record.kinds": [
            "MEASUREMENTS",
            "read_measurements",
        ],
        "record.matrix": [
            "MetricError",
        ],
        "record.matrix_file": [
            "MatrixFile",
            "read_matrix",
        ],
        "record.matrix_metrics": [
            "METRICS",
            "MatrixMetric",
            "Metric",
            "accuracy",
            "average_incremental_accuracy",
            "backward_transfer",
            "forgetting",
            "forgetting_per_task",
            "forward_transfer",
            "learning_accuracy",
            "matrix_metrics",
            "seen_accuracy",
            "summary",
        ],
        "record.measurements": [
            "Measurements",
        ],
        "record.label_scores": [
            "LabelScores",
        ],
        "record.pixel_counts": [
            "PixelCounts",
        ],
        "record.rouge": [
            "ROUGE",
            "rouge",
        ],
        "record.predicted_numbers": [
            "PredictedNumbers",
        ],
        "record.run_record": [
            "RESULTS_FILE",
            "RunRecord",
            "ScoredSplit",
            "StreamInfo",
            "TaskCost",
            "TaskData",
            "TaskStatus",
            "read_record",
            "write_record",
        ],
        "record.score": [
            "ACCURACY",
            "SCORES",
            "Better",
            "Score",
        ],
        "record.slot_state": [
            "SlotState",
        ],
        "record.token_likelihoods": [
            "TokenLikelihoods",
        ],
        "record.word_tags": [
            "WordTags",
        ],
        "metrics.class_steps": [
            "ClassStep",
            "class_steps",
        ],
        "metrics.classification": [
            "ClassScore",
            "class_scores",
            "expected_calibration_error",
            "macro_f1",
            "task_accuracy",
        ],
        "metrics.chance": [
            "Chance",
            "chance_of",
        ],
        "metrics.further": [
            "COSTS",
            "FURTHER",
            "Further",
            "further_metrics",
        ],
        "metrics.interference": [
            "Interference",
            "NoUpdatesError",
            "read_interference",
        ],
        "metrics.named": [
            "METRIC_NAMES",
            "definitions",
        ],
        "metrics.pooled": [
            "pooled_accuracy",
            "pooled_average_incremental_accuracy",
            "pooled_seen_accuracy",
        ],
        "metrics.references": [
            "forward_transfer_of_learning",
            "intransigence",
            "intransigence_per_task",
        ],
        "metrics.run_cost": [
            "RunCost",
            "run_cost",
        ],
        "metrics.run_metrics": [
            "RunMetrics",
        ],
        "metrics.variants": [
            "VARIANTS",
            "Variant",
            "variants",
        ],
        "comparison.comparable": [
            "group_runs",
            "require_comparable",
            "require_poolable",
            "series",
        ],
        "comparison.doubts": [
            "group_doubts",
            "prediction_doubts",
            "run_doubts",
            "undecided_doubts",
        ],
        "comparison.paired_examples": [
            "PairedExamples",
            "against_best",
            "mcnemar_p",
        ],
        "comparison.sampling": [
            "mean_interval",
            "size_interval",
            "wilson",
        ],
        "comparison.statistics": [
            "Comparison",
            "Estimate",
            "compare",
            "estimates",
            "intervals",
            "pooled",
            "seen_intervals",
        ],
        "tables.all_metrics": [
            "AllMetrics",
            "metrics_of_matrix",
            "metrics_of_path",
        ],
        "tables.class_step_table": [
            "class_steps_table",
        ],
        "tables.cost_table": [
            "costs_table",
        ],
        "tables.latex": [
            "latex_text",
        ],
        "tables.slot_table": [
            "slots_table",
        ],
        "tables.tables": [
            "comparison_table",
            "differences_table",
            "matrix_table",
            "summary_table",
            "write_table",
        ],
        "pictures.confusion": [
            "confusion",
            "confusion_counts",
            "confusion_of_pixels",
        ],
        "pictures.cost_plots": [
            "cost_against_accuracy",
        ],
        "pictures.figure": [
            "to_pdf",
            "to_png",
            "to_svg",
        ],
        "pictures.forgetting_plots": [
            "forgetting_of_methods",
            "forgetting_of_tasks",
        ],
        "pictures.gallery": [
            "group_pictures",
            "run_pictures",
            "write_figures",
        ],
        "pictures.gate_plots": [
            "gate_coefficients",
            "gate_vector",
        ],
        "pictures.slot_plots": [
            "active_slots",
            "similarity_against_vector",
            "vector_over_tasks",
        ],
        "pictures.interference_plots": [
            "interference_of_tasks",
            "layer_drift",
            "overlap_of_tasks",
        ],
        "pictures.plots": [
            "accuracy_matrix",
            "compare_methods",
            "learning_curves",
            "tasks_over_time",
        ],
        "report.html": [
            "write_report",
        ],
    },
)
