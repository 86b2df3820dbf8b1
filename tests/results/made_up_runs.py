"""Made-up records: plausible numbers, no training."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from plora.results import Point, RunRecord, SlotState, StreamInfo, TaskCost, TaskData
from plora.results.record.matrix import Matrix
from plora.streams.base import Scenario

TASKS = ("library", "kind", "parameters", "match", "order")
Shape = Literal["joint", "steady", "forgets", "flat"]


def matrix(T: int, shape: Shape = "forgets", seed: int = 0, evaluate_all: bool = False) -> Matrix:
    rng = np.random.default_rng(seed)
    R = np.full((T + 1, T), np.nan)
    start = rng.uniform(0.7, 0.92, T)
    if shape == "flat":
        start -= 0.18
    for i in range(1, T + 1):
        for j in range(i):
            drop = 0.12 if shape == "forgets" else 0.0
            R[i, j] = start[j] - drop * (1 - 0.6 ** (i - j - 1)) * 4 + rng.normal(0, 0.008)
    if shape == "joint":
        R[1:-1] = np.nan
    if evaluate_all:
        R[0] = rng.uniform(0.2, 0.3, T)
        for i in range(1, T):
            R[i, i:] = rng.uniform(0.2, 0.4, T - i)
    return np.clip(R, 0, 1)


def record(
    method: str = "sequential",
    shape: Shape = "forgets",
    tasks: Sequence[str] = TASKS,
    seed: int = 0,
    scenario: Scenario = "task",
    stream: str = "docstring skills",
    warnings: tuple[str, ...] = (),
    complete: bool = True,
    evaluate_all: bool = False,
    name: str = "skills",
    R: Matrix | None = None,
) -> RunRecord:
    tasks = tuple(tasks)
    R = matrix(len(tasks), shape, seed, evaluate_all) if R is None else R
    learned = tasks if complete else tasks[:-1]
    if not complete:
        R = R.copy()
        R[-1] = np.nan
    return RunRecord(
        name=name,
        method=method,
        method_summary=f"{method}: one LoRA slot of rank 8 on query, key and value; slot and heads train",
        scenario=scenario,
        stream=StreamInfo(stream, "5f0c" * 16),
        seed=seed,
        tasks=tasks,
        matrix=R,
        status=tuple(
            "evaluated" if not np.isnan(R[i + 1]).all() else "trained" if task in learned else "pending"
            for i, task in enumerate(tasks)
        ),
        cost=tuple(
            TaskCost(task, 14.2 + i, 120, 2.0, 3840, 210_000 + i, 150_532, 602_128, 612_000_000)
            for i, task in enumerate(learned)
        ),
        data=tuple(
            TaskData(
                task,
                4,
                1920,
                200,
                480,
                0.07 * (i == 1),
                3 * (i == 2),
                {"train": "ab" * 32, "test": "cd" * 32},
            )
            for i, task in enumerate(learned)
        ),
        warnings=warnings,
        complete=complete,
    )


def gated(tasks: Sequence[str] = TASKS, pruned: Sequence[int] = (1,)) -> RunRecord:
    """A run of a gate with shares and magnitudes that dropped the slots of some tasks, by position."""
    made = record("gumbel_cl_lora", tasks=tasks)
    rng = np.random.default_rng(0)
    states, gates = [], []
    for t in range(len(tasks)):
        slots = [tasks[k] for k in range(t + 1) if k not in pruned]
        shares = rng.dirichlet(np.full(len(slots), 0.5))
        shares[shares < 0.02] = 0
        share = dict(zip(slots, (shares / shares.sum()).tolist(), strict=True))
        magnitude = dict(zip(slots, rng.uniform(0.2, 3, len(slots)).tolist(), strict=True))
        gone, active = sum(k <= t for k in pruned), int((shares > 0).sum())
        vectors = {"share": share, "magnitude": magnitude}
        states.append(SlotState(t + 1, active, gone, t in pruned, f"its share is {shares[-1]:.2f}", vectors))
        gates.append({slot: share[slot] * magnitude[slot] for slot in slots if share[slot]})
    cost = tuple(replace(of_task, kept_bytes=602_128 * (t + 1)) for t, of_task in enumerate(made.cost))
    return replace(made, slot_states=tuple(states), gates=tuple(gates), passes=1, cost=cost)


def curves(
    tasks: Sequence[str] = TASKS, steps: int = 120, terms: Sequence[str] = ("task", "orthogonality")
) -> list[Point]:
    rng = np.random.default_rng(1)
    points = []
    for task in tasks:
        for step in range(1, steps + 1, 2):
            values = {
                name: float((1.3 if k == 0 else 0.05) * (0.3 + 0.7 * np.exp(-step / 30)) * rng.uniform(0.85, 1.15))
                for k, name in enumerate(terms)
            }
            points.append(
                Point(
                    task,
                    step,
                    2 * step / steps,
                    sum(values.values()),
                    values,
                    5e-4 * (1 - step / steps),
                    21_000.0,
                    300.0,
                    step * 0.1,
                    610_000_000,
                )
            )
    return points


def unsealed(path: Path) -> pa.Table:
    """What a file of predictions holds, without the hash that would tell a change."""
    table = pq.read_table(path)
    return table.replace_schema_metadata({k: v for k, v in table.schema.metadata.items() if k != b"plora.sha256"})
