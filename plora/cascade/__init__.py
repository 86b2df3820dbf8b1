"""Cascades: a tree of tasks over one model or several, scored and used as one classifier."""

from typing import TYPE_CHECKING

from plora.lazy import names_from

if TYPE_CHECKING:
    from plora.cascade.evaluating import compared, evaluate_cascade
    from plora.cascade.exporting import export_cascade
    from plora.cascade.folder import CASCADE_FILE, RESULT_FILE, Cascade, cascade_of_runs, is_cascade, read_cascade
    from plora.cascade.labelling import Descent, descend, run_that_reads
    from plora.cascade.routing import route_cascade

__all__ = [
    "CASCADE_FILE",
    "RESULT_FILE",
    "Cascade",
    "Descent",
    "cascade_of_runs",
    "compared",
    "descend",
    "evaluate_cascade",
    "export_cascade",
    "is_cascade",
    "read_cascade",
    "route_cascade",
    "run_that_reads",
]

__getattr__, _ = names_from(
    __name__,
    {
        "evaluating": ["compared", "evaluate_cascade"],
        "exporting": ["export_cascade"],
        "folder": ["CASCADE_FILE", "RESULT_FILE", "Cascade", "cascade_of_runs", "is_cascade", "read_cascade"],
        "labelling": ["Descent", "descend", "run_that_reads"],
        "routing": ["route_cascade"],
    },
)
