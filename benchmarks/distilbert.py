"""DistilBERT's shape with random weights, r = 4 on q, k, v, out, batch 4 × 128: batches per second and peak memory.

Its yardstick is a project's own log of such a run on a CPU: 1 to 2 batches per second and 2.4 GB.
"""

from benchmarks import evidence
from benchmarks.memory import Row, measure


def main() -> None:
    rows: list[Row] = []
    for way in ("peft_train", "peft_eval", "concatenated"):
        rows.append({"way": way, **measure(way, "distilbert", 1, 15)})
        print(rows[-1], flush=True)
    evidence.write("distilbert", {"rows": rows})


if __name__ == "__main__":
    main()
