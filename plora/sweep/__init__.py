"""Many runs from one YAML file: methods × seeds × orders × any settings, and settings chosen on validation data."""

from plora.sweep.findings import choice_lines
from plora.sweep.plan import SweepConfig, SweepRun, load_sweep, plan_runs
from plora.sweep.search import SearchConfig
from plora.sweep.study import Study, Trial, plan_studies
from plora.sweep.work import SweepResult, planned_lines, sweep

__all__ = [
    "SearchConfig",
    "Study",
    "SweepConfig",
    "SweepResult",
    "SweepRun",
    "Trial",
    "choice_lines",
    "load_sweep",
    "plan_runs",
    "plan_studies",
    "planned_lines",
    "sweep",
]
