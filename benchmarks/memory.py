"""Peak memory of a process that trains with 1, 10 and 50 slots (MiniLM, r = 8 on q, k, v, batch 16 × 64)."""

import json
import subprocess
import sys

from benchmarks import evidence
from plora.atomic import JsonValue

Row = dict[str, JsonValue]


def measure(way: str, shape: str, slots: int, steps: int) -> dict[str, float]:
    """Run `benchmarks.isolated` and return what it measured."""
    command = [sys.executable, "-m", "benchmarks.isolated", way, shape, str(slots), str(steps)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    measured: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
    return measured


def main() -> None:
    rows: list[Row] = []
    for slots in (1, 10, 50):
        row: Row = {"slots": slots}
        for way in ("peft_train", "peft_eval", "concatenated", "folded"):
            row[f"{way}_mib"] = measure(way, "minilm", slots, 3)["peak_memory_mib"]
        rows.append(row)
        print(row, flush=True)
    evidence.write("memory", {"rows": rows})


if __name__ == "__main__":
    main()
