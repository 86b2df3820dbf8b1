"""Run every benchmark: `python -m benchmarks` (about an hour on 2 cores)."""

import subprocess
import sys

for name in (
    "step",
    "image_step",
    "memory",
    "distilbert",
    "stream",
    "keeping",
    "report",
    "analysis",
    "fisher",
    "prefix",
    "choices",
    "sweep",
    "digits",
    "arguments",
    "large_stream",
    "ahead",
    "image_step",
    "image_stream",
):
    print(f"== {name}", flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
