"""Many runs from one YAML file: methods × seeds × orders × any settings."""

from plora.sweep.plan import SweepConfig, SweepRun, load_sweep, plan_runs
from plora.sweep.work import SweepResult, sweep

__all__ = ["SweepConfig", "SweepResult", "SweepRun", "load_sweep", "plan_runs", "sweep"]
