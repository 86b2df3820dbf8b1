"""A training step with T adapters active, the last one trainable: plora against PEFT, in one process, alternating.

MiniLM, r = 8 on q, k, v, batch 16 × 64, fp32. Medians; ratios > 1 mean plora is faster.
"""

import argparse
import statistics
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import evidence
from benchmarks.networks import QKV, Step, batch, make_step, minilm, peft_network, plora_network, trainable


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="counted steps of each contestant")
    rounds = parser.parse_args().rounds
    torch.manual_seed(0)
    base, inputs = minilm(), batch(16, 64)
    rows: list[dict[str, float]] = []
    flops: dict[str, dict[str, int]] = {"concatenated": {}, "folded": {}}
    for slots in (1, 10, 20):
        networks = {
            "peft_train": peft_network(base, slots, QKV, 8, train=True),
            "peft_eval": peft_network(base, slots, QKV, 8, train=False),
            "concatenated": plora_network(base, slots, QKV, 8, folded=False),
            "folded": plora_network(base, slots, QKV, 8, folded=True),
        }
        steps = {name: make_step(net, trainable(net), inputs, 384) for name, net in networks.items()}
        for name in flops:
            flops[name][str(slots)] = count_flops(steps[name])
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        for turn in range(rounds + 2):
            for name, step in steps.items():
                started = time.perf_counter()
                step()
                if turn >= 2:  # the first two warm up
                    seconds[name].append(time.perf_counter() - started)
        ms = {name: 1000 * statistics.median(values) for name, values in seconds.items()}
        row = {"slots": slots, **{f"{name}_ms": round(value, 1) for name, value in ms.items()}}
        for ours in ("concatenated", "folded"):
            for peer in ("peft_train", "peft_eval"):
                row[f"{ours}_vs_{peer}"] = round(ms[peer] / ms[ours], 2)
        rows.append(row)
        print(row, flush=True)
    evidence.write(
        "step",
        {
            "rounds": rounds,
            "rows": [dict(row) for row in rows],
            "concatenated_20_over_1": round(rows[-1]["concatenated_ms"] / rows[0]["concatenated_ms"], 2),
            "flops": {name: dict(counts) for name, counts in flops.items()},
        },
    )


def count_flops(step: Step) -> int:
    """Floating-point operations of one step."""
    with FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())


if __name__ == "__main__":
    main()
