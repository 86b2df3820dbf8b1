"""A training step of SD-LoRA with T slots, the last one open and all magnitudes training, against a loop over slots.

ViT-B/16 of random weights, r = 10 on q and v, batch 8, fp32 unless told; contestants alternate in one process. Medians;
a ratio > 1 means that plora is faster than the loop.
"""

import argparse
import copy
import statistics
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import ViTConfig, ViTModel

from benchmarks import evidence
from benchmarks.networks import DEVICE, Step, make_step, trainable
from plora.adapters import Adapters, LoRA
from plora.gates import Magnitudes

RANK, TARGETS = 10, "attention:qv"
SLOTS = (1, 10, 20)
BATCH = 8


class Stacked(nn.Module):
    """A network with T slots and the gate of SD-LoRA, whose route is made in every step."""

    def __init__(self, base: nn.Module, slots: int) -> None:
        super().__init__()
        self.network, self.gate = _copied(base), Magnitudes()
        self.adapters = Adapters.inject(self.network, TARGETS)
        counts = self.adapters.counts()
        self.gate.begin(counts["layer"], counts["site"])
        for slot in range(slots):
            self.adapters.open_task(f"slot{slot}", LoRA(rank=RANK, alpha=RANK, dropout=0.0))
            self.gate.opened(f"slot{slot}")
            for parameter in self.adapters.parameters():
                nn.init.normal_(parameter, std=0.02)
            if slot < slots - 1:
                self.adapters.commit()
        self.gate.to(DEVICE)

    def forward(self, **inputs: Tensor) -> object:
        """Run the network under the gate's route."""
        with self.adapters.switch.using(self.gate.route(self.adapters.names, None)):
            found: object = self.network(**inputs)
        return found


class LoopedLinear(nn.Module):
    """y = W x + Σ_k a_k s_k B_k (A_k x), slot after slot."""

    def __init__(self, base: nn.Module, slots: list[tuple[Tensor, Tensor, float]], a: list[nn.Parameter]) -> None:
        super().__init__()
        self.base, self.slots, self.a = base, slots, nn.ParameterList(a)
        self.open = nn.ParameterList(slots[-1][:2])

    def forward(self, x: Tensor) -> Tensor:
        """Map `[…, I]` to `[…, O]`."""
        y: Tensor = self.base(x)
        for (A, B, s), a in zip([*self.slots[:-1], (*self.open, self.slots[-1][2])], self.a, strict=True):
            y = y + a * s * F.linear(F.linear(x, A), B)
        return y


def looped(stacked: Stacked, base: nn.Module) -> nn.Module:
    """The same slots and magnitudes, one after the other."""
    network = _copied(base)
    a = [nn.Parameter(number.detach().clone()) for number in stacked.gate.magnitudes.values()]
    for layer in stacked.adapters.layers:
        bank = layer.all_banks[0]
        slots = []
        for name in stacked.adapters.names:
            A, B = (matrix.detach().clone() for matrix in bank.rows(name))
            slots.append((A, B.T.contiguous(), bank.shape(name).scale))
        slots[-1] = (nn.Parameter(slots[-1][0]), nn.Parameter(slots[-1][1]), slots[-1][2])
        parent, _, own = layer.path.rpartition(".")
        setattr(network.get_submodule(parent), own, LoopedLinear(network.get_submodule(layer.path), slots, a))
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=15, help="counted steps of each contestant")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="bf16: under autocast")
    given = parser.parse_args()
    counted, half = given.steps, given.precision == "bf16"
    torch.manual_seed(0)
    base = ViTModel(ViTConfig(), add_pooling_layer=False).eval().requires_grad_(False).to(DEVICE)
    inputs = {"pixel_values": torch.randn(BATCH, 3, 224, 224).to(DEVICE)}
    steps: dict[str, Step] = {}
    for slots in SLOTS:
        network = Stacked(base, slots)
        steps[f"stacked_{slots}"] = make_step(network, trainable(network), inputs, 768)
        if slots > 1:
            loop = looped(network, base)
            _require_alike(network, loop, inputs)
            steps[f"looped_{slots}"] = make_step(loop, trainable(loop), inputs, 768)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(counted + 1):
        for name, step in steps.items():
            started = time.perf_counter()
            with torch.autocast(DEVICE.type, torch.bfloat16, enabled=half):
                step()
            if turn:  # the first one warms up
                seconds[name].append(time.perf_counter() - started)
    ms = {name: 1000 * statistics.median(values) for name, values in seconds.items()}
    found = {
        "steps": counted,
        "precision": given.precision,
        **{f"{name}_ms": round(value, 1) for name, value in ms.items()},
        **{f"images_per_second_{slots}": round(BATCH * 1000 / ms[f"stacked_{slots}"], 2) for slots in SLOTS},
        **{f"stacked_{slots}_over_1": round(ms[f"stacked_{slots}"] / ms["stacked_1"], 3) for slots in SLOTS[1:]},
        **{f"vs_loop_{slots}": round(ms[f"looped_{slots}"] / ms[f"stacked_{slots}"], 2) for slots in SLOTS[1:]},
    }
    print(found, flush=True)
    evidence.write("image_step", found)


def _copied(base: nn.Module) -> nn.Module:
    """The network with modules of its own and the same weights, which are frozen."""
    return copy.deepcopy(base, {id(tensor): tensor for tensor in base.parameters()})


@torch.no_grad()
def _require_alike(stacked: nn.Module, loop: nn.Module, inputs: dict[str, Tensor]) -> None:
    """Refuse to compare two networks that do not compute the same."""
    one, two = (network(**inputs).last_hidden_state for network in (stacked, loop))
    torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-3)


if __name__ == "__main__":
    main()
