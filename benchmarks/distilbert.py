"""DistilBERT's shape with random weights, r = 4 on q, k, v, out, batch 4 × 128: batches per second and peak memory.

Speed: alternating in one process, medians. Memory: each in a process of its own.
Its yardstick is a project's own log of such a run on a CPU: 1 to 2 batches per second and 2.4 GB.
"""

import statistics
import time

import torch
from transformers import DistilBertConfig, DistilBertModel

from benchmarks import evidence
from benchmarks.memory import Row, measure
from benchmarks.networks import DEVICE, batch, make_step, peft_network, plora_network, trainable

WAYS = ("peft_train", "peft_eval", "concatenated")
TARGETS = ["q_lin", "k_lin", "v_lin", "out_lin"]


def main() -> None:
    # Before this process grows: a child's peak is never less than what its parent held when it was started.
    memory = {way: measure(way, "distilbert", 1, 3)["peak_memory_mib"] for way in WAYS}
    torch.manual_seed(0)
    base, inputs = DistilBertModel(DistilBertConfig()).eval().to(DEVICE), batch(4, 128)
    networks = {
        "peft_train": peft_network(base, 1, TARGETS, 4, train=True),
        "peft_eval": peft_network(base, 1, TARGETS, 4, train=False),
        "concatenated": plora_network(base, 1, TARGETS, 4, folded=False),
    }
    steps = {way: make_step(network, trainable(network), inputs, 768) for way, network in networks.items()}
    seconds: dict[str, list[float]] = {way: [] for way in steps}
    for turn in range(17):
        for way, step in steps.items():
            started = time.perf_counter()
            step()
            if turn >= 2:  # the first two warm up
                seconds[way].append(time.perf_counter() - started)
    rows: list[Row] = []
    for way, values in seconds.items():
        rows.append(
            {"way": way, "batches_per_second": round(1 / statistics.median(values), 2), "peak_memory_mib": memory[way]}
        )
        print(rows[-1], flush=True)
    evidence.write("distilbert", {"rows": rows})


if __name__ == "__main__":
    main()
