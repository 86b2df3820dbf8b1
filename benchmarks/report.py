"""How long a report of many runs takes to write, how large it is, and how soon a browser has it open.

Made-up records: ten methods, 20 tasks, a seed each until there are `--runs`. The page counts as open when every chart
of the comparison is drawn and the browser has painted twice after that. Each opening is a new browser without a cache.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

from benchmarks import evidence
from plora.results import RunRecord, StreamInfo, TaskCost, TaskData, write_record, write_report

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking")
METHODS = ("joint", "frozen-ridge", "sequential", "per_task", "o_lora", "ewc", "lwf", "replay", "der", "sd_lora")
OPENED = """() => new Promise((done) => {
  const ready = () => document.querySelectorAll(".interactive.drawn[data-group] svg[viewBox][role=group]").length >= 3;
  const look = () => ready() ? requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now())))
    : setTimeout(look, 5);
  look();
})"""


def made_up(method: str, seed: int, tasks: int) -> RunRecord:
    """A plausible record: every task starts somewhere and falls, less for some methods; joint has its last row only."""
    rng = np.random.default_rng([METHODS.index(method), seed])
    start, drop = rng.uniform(0.7, 0.92, tasks), 0.04 * METHODS.index(method)
    ages = np.arange(tasks)[:, None] - np.arange(tasks)
    R = np.full((tasks + 1, tasks), np.nan)
    learned = start - drop * (1 - 0.8 ** np.maximum(ages, 0)) + rng.normal(0, 0.008, ages.shape)
    R[1:] = np.where(ages >= 0, np.clip(learned, 0, 1), np.nan)
    if method == "joint":
        R[1:-1] = np.nan
    names = tuple(f"task {number}" for number in range(1, tasks + 1))
    return RunRecord(
        name="made-up",
        method=method,
        method_summary=f"{method}, made up",
        scenario="task",
        stream=StreamInfo("made-up stream", "5f0c" * 16),
        seed=seed,
        tasks=names,
        matrix=R,
        status=tuple("trained" if np.isnan(row).all() else "evaluated" for row in R[1:]),
        cost=tuple(TaskCost(name, 14.2, 120, 2.0, 3840, 210_000, 150_532, 602_128, 612_000_000) for name in names),
        data=tuple(TaskData(name, 4, 1920, 200, 480, 0.0, 0, {"train": "ab" * 32}) for name in names),
        warnings=(),
        complete=True,
    )


def open_seconds(page: Path) -> dict[str, float]:
    """Open `page` in a new browser; seconds until its charts are painted, seen from outside and by the page."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(FLAGS))
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        started = time.perf_counter()
        tab.goto(page.as_uri(), wait_until="commit")
        inside = tab.evaluate(OPENED)
        outside = time.perf_counter() - started
        browser.close()
    return {"open_seconds": outside, "open_seconds_by_the_page": float(inside) / 1000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(options.runs):
            seed, method = divmod(number, len(METHODS))
            run = made_up(METHODS[method], seed, options.tasks)
            write_record(folder / "runs" / run.method / f"seed-{seed}", run)
        page = folder / "report.html"
        write_report([folder / "runs"], page)  # the first call finds fonts
        started = time.perf_counter()
        write_report([folder / "runs"], page)
        written = time.perf_counter() - started
        opened = [open_seconds(page) for _ in range(options.repeats)]
        size = page.stat().st_size
    numbers = {key: round(sorted(one[key] for one in opened)[len(opened) // 2], 2) for key in opened[0]}
    slowest = max(one["open_seconds"] for one in opened)
    print(numbers, f"slowest {slowest:.2f} s, {size / 1e6:.2f} MB, written in {written:.1f} s", flush=True)
    evidence.write(
        "report",
        {
            "runs": options.runs,
            "tasks": options.tasks,
            "repeats": options.repeats,
            "megabytes": round(size / 1e6, 2),
            "write_seconds": round(written, 1),
            "slowest_open_seconds": round(slowest, 2),
            **numbers,
        },
    )


if __name__ == "__main__":
    main()
