"""Peak memory of one way to train, in a process of its own: prints one JSON line.

python -m benchmarks.isolated {plora,folded,peft_train,peft_eval} {minilm,distilbert} SLOTS STEPS
"""

import json
import resource
import sys

import torch
from transformers import DistilBertConfig, DistilBertModel

from benchmarks.networks import DEVICE, QKV, batch, make_step, minilm, peft_network, plora_network, trainable


def main() -> None:
    way, shape, slots, steps = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    torch.manual_seed(0)
    if shape == "minilm":
        base, inputs, targets, rank, width = minilm(), batch(16, 64), QKV, 8, 384
    else:
        base = DistilBertModel(DistilBertConfig()).eval().to(DEVICE)
        inputs, targets, rank, width = batch(4, 128), ["q_lin", "k_lin", "v_lin", "out_lin"], 4, 768
    if way.startswith("peft"):
        network = peft_network(base, slots, targets, rank, train=way == "peft_train")
    else:
        network = plora_network(base, slots, targets, rank, folded=way == "folded")
    del base
    step = make_step(network, trainable(network), inputs, width)
    for _ in range(steps):
        step()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"peak_memory_mib": round(peak / 2**20)}))


if __name__ == "__main__":
    main()
