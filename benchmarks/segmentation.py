"""LoRA against training all of a segmentation network, and what holds old classes.

    python -m benchmarks.segmentation step scenes camvid steps

`step` times a training step on the shapes of EoMT-B (random weights, 320 × 320, batch 2) and counts what it holds. The
others are shipped sweeps (`steps` is `scene-steps`): one that was cut goes on, and one that is done is read. CamVid
needs the folder in which the command is called to hold `camvid`, or `--data FOLDER`. `--quick` does the same with a
tiny network, few images and one seed: it shows that all of it runs, and its numbers, which say nothing else, go to the
folder of the runs.
"""

import argparse
import math
import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from pydantic import JsonValue
from torch import Tensor
from transformers import EomtConfig

from benchmarks import evidence
from benchmarks.networks import DEVICE, Step, settle, trainable
from plora import atomic
from plora.adapters import Adapters, LoRA
from plora.backbones.eomt import AutoSegmenter, Masks, Segmenter
from plora.config import RunConfig
from plora.configs import find_sweep
from plora.problems.mask_annealing import shares_masked
from plora.problems.mask_loss import MaskLoss
from plora.problems.settings import SemanticSegmentationSettings
from plora.results import class_steps, read_record
from plora.results.tables.all_metrics import metrics_of_path
from plora.run_folder.folder import RunFolder
from plora.runs.pretraining import make_missing
from plora.sweep import SweepConfig, SweepRun, load_sweep, plan_runs, plan_studies, sweep

PARTS = ("step", "scenes", "camvid", "steps")
ANSWERING = ("query", "class_predictor", "mask_head", "upscale_block")
SIDE, BATCH, CLASSES, MASKS = 320, 2, 19, 6
BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "num_blocks": 3, "num_queries": 100}
TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_blocks": 2,
    "num_queries": 8,
    "train_num_points": 64,
}
TINY_NETWORK: dict[str, JsonValue] = {"model_type": "eomt", "image_size": 96, "patch_size": 16, "mlp_ratio": 2, **TINY}
TINY_IMAGE: dict[str, JsonValue] = {"size": 96, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
QUICK: dict[str, JsonValue] = {
    "backbone": {"kind": "new", "network": TINY_NETWORK, "image": TINY_IMAGE},
    "training.epochs": 1,
}
QUICK_SCENES: dict[str, dict[str, JsonValue]] = {
    "scenes": {"stream.train": 4, "stream.validation": 2, "stream.test": 2},
    "scene-steps": {"stream.train": 20, "stream.validation": 12, "stream.test": 12},  # each step shows its classes
}


def arm(config: RunConfig) -> str:
    """What trains in a run."""
    if config.method == "full":
        return "full"
    if config.lora is not None:
        return "lora"
    assert isinstance(config.problem, SemanticSegmentationSettings)
    return "linear" if config.problem.answer == "patches" else "frozen"


def row(run: SweepRun) -> dict[str, JsonValue]:
    """What one run of a sweep is."""
    record, config = read_record(run.folder), RunFolder(run.folder).read_config()
    metrics = {metric.name: metric.value for metric in metrics_of_path(run.folder).metrics}
    peaks = [cost.peak_memory_bytes for cost in record.cost if cost.peak_memory_bytes is not None]
    return {
        "arm": arm(config),
        "seed": record.seed,
        "tasks": list(record.tasks),
        "train_images": sum(task.train for task in record.data),
        "test_images": sum(task.test for task in record.data),
        "learning_rate": config.training.learning_rate,
        "mean_iou": metrics["accuracy"],
        "forgetting": metrics["forgetting"],
        "last_row": list(record.matrix[-1]),
        "trainable": max(cost.trainable_parameters for cost in record.cost),
        "seconds": round(sum(cost.seconds for cost in record.cost), 1),
        "peak_memory_bytes": max(peaks) if peaks else None,
        "kept_bytes": record.cost[-1].kept_bytes,
    }


def row_of_steps(run: SweepRun) -> dict[str, JsonValue]:
    """What one run over classes that arrive is; of all classes at once, what was learned in the end."""
    record, config = read_record(run.folder), RunFolder(run.folder).read_config()
    metrics = {metric.name: metric.value for metric in metrics_of_path(run.folder).metrics}
    steps = class_steps(run.folder, record) if record.scenario == "class" else []
    return {
        "method": record.method if steps else "joint",
        "by_class": config.gate is not None and config.gate.by_class,
        "lora": config.lora is not None,
        "steps": [{name: _known(getattr(step, name)) for name in ("old", "new", "all")} for step in steps],
        "foreground_iou": steps[-1].all if steps else metrics["accuracy"],
        "train_images": sum(task.train for task in record.data),
        "test_images": sum(task.test for task in record.data),
        "trainable": max(cost.trainable_parameters for cost in record.cost),
        "seconds": round(sum(cost.seconds for cost in record.cost), 1),
        "passes": record.passes,
        "kept_bytes": record.cost[-1].kept_bytes,
    }


def _known(value: float) -> float | None:
    """A number, or None: before the second step no class is old."""
    return None if math.isnan(value) else value


def quick(config: SweepConfig) -> SweepConfig:
    """The same sweep, small: a tiny network of random weights, one seed, nothing searched."""
    settings = {**config.settings, **QUICK, **QUICK_SCENES.get(config.name, {})}
    return with_seeds(config, 1).model_copy(
        update={"name": f"{config.name}-quick", "settings": settings, "search": None}
    )


def with_seeds(config: SweepConfig, seeds: int) -> SweepConfig:
    """The same sweep, of its first seeds."""
    return config.model_copy(update={"runs": [run for run in config.runs if int(str(run.get("seed", 0))) < seeds]})


def measure(config: SweepConfig, workers: int) -> dict[str, JsonValue]:
    """Make the base and run what is missing of a sweep, and read all of it."""
    started = time.perf_counter()
    planned = plan_runs(config)
    make_missing(one.config for one in planned)
    made = time.perf_counter()
    result = sweep(config, workers, live=False)
    assert not result.failures, result.failures
    chosen: dict[str, JsonValue] = {}
    searched: dict[str, JsonValue] = {}
    if config.search is not None:
        chosen = {study.label: dict(study.chosen.settings) for study in plan_studies(config) if study.chosen}
        searched = {key: [*(setting.values() or ())] for key, setting in config.search.space.items()}
    return {
        "runs": [row_of_steps(one) if config.name.startswith("scene-steps") else row(one) for one in planned],
        "chosen_on_validation": chosen,
        "searched": searched,
        "seconds_to_make_the_base": round(made - started),
        "seconds_of_this_call": round(time.perf_counter() - started),
        "workers": workers,
    }


def network(shape: Mapping[str, int], lora: bool) -> Segmenter:
    """EoMT with random weights: all of it trains, or a slot of rank 16 on queries and values, and what answers."""
    torch.manual_seed(0)
    labels = {number: f"class {number}" for number in range(CLASSES)}
    config = EomtConfig(**shape, image_size=SIDE, patch_size=16, id2label=labels)
    made: Segmenter = AutoSegmenter.from_config(config).train()
    if lora:
        adapters = Adapters.inject(made, "attention:qv", modules=ANSWERING)
        adapters.open_task("slot", LoRA(rank=16, alpha=32, dropout=0.05))
    made.to(DEVICE)
    return made


def loss_of(found: Masks, loss: MaskLoss, truth: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """The loss of all supervised outputs, in the middle of the training."""
    sums = [
        one
        for masks, classes in zip(found.masks, found.classes, strict=True)
        for image in range(BATCH)
        for one in loss.losses(masks[image], classes[image], truth[image], labels, generator).values()
    ]
    return torch.stack(sums).sum()


def contestant(shape: Mapping[str, int], lora: bool, precision: str) -> tuple[Step, Callable[[], dict[str, JsonValue]]]:
    """One training step, and what it holds: bytes of activations, of gradients and of the optimizer's state."""
    made = network(shape, lora)
    learned = trainable(made)
    optimizer = torch.optim.AdamW(learned, lr=1e-4)
    loss, generator = MaskLoss.of(made.config), torch.Generator(DEVICE).manual_seed(0)
    pixels = torch.randn(BATCH, 3, SIDE, SIDE, device=DEVICE)
    truth = (torch.rand(BATCH, MASKS, SIDE // 16, SIDE // 16, device=DEVICE) > 0.5).float()
    labels = torch.arange(MASKS, device=DEVICE)
    chances = torch.rand(BATCH, made.config.num_blocks, made.config.num_queries, device=DEVICE)
    shares = shares_masked(0.5, made.config.num_blocks)

    def forward() -> Tensor:
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=precision == "bf16"):
            return loss_of(made(pixels, shares, chances), loss, truth, labels, generator)

    def step() -> None:
        torch.autograd.backward(forward())
        optimizer.step()
        optimizer.zero_grad()
        settle()

    def held() -> dict[str, JsonValue]:
        own = {one.untyped_storage().data_ptr() for one in [*made.parameters(), *made.buffers()]}
        saved: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            found = forward()
        torch.autograd.backward(found)
        gradients = sum(one.grad.nbytes for one in learned if one.grad is not None)
        optimizer.zero_grad()
        state = sum(one.nbytes for kept in optimizer.state.values() for one in kept.values())
        return {
            "trainable": sum(one.numel() for one in learned),
            "activation_bytes": sum(saved.values()),
            "gradient_bytes": gradients,
            "optimizer_bytes": state,
        }

    return step, held


def measure_steps(shape: Mapping[str, int], counted: int, precision: str) -> dict[str, JsonValue]:
    """Time steps that alternate, and count what each holds."""
    ways = {name: contestant(shape, name == "lora", precision) for name in ("full", "lora")}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(counted + 1):
        for name, (step, _) in ways.items():
            started = time.perf_counter()
            step()
            took = time.perf_counter() - started
            print(f"step {turn} of {counted}: {name} {took:.2f} s", flush=True)
            if turn:  # the first one warms up
                seconds[name].append(took)
    found = {name: held() for name, (_, held) in ways.items()}
    parts = ("activation_bytes", "gradient_bytes", "optimizer_bytes")
    total = {name: sum(int(str(one[part])) for part in parts) for name, one in found.items()}
    ms = {name: 1000 * statistics.median(values) for name, values in seconds.items()}
    pairs = [lora / full for full, lora in zip(seconds["full"], seconds["lora"], strict=True)]
    return {
        "steps": counted,
        "precision": precision,
        "parameters": sum(one.numel() for one in network(shape, lora=False).parameters()),
        "ways": {name: {"ms": round(ms[name], 1), **found[name], "bytes": total[name]} for name in ways},
        "time_lora_over_full": round(ms["lora"] / ms["full"], 3),
        "neighbouring_steps_lora_over_full": round(statistics.median(pairs), 3),
        "memory_lora_over_full": round(total["lora"] / total["full"], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("runs"))
    parser.add_argument("--seeds", type=int, default=3, help="of the sweeps")
    parser.add_argument("--data", type=Path, default=Path(), help="folder that holds camvid")
    parser.add_argument("--steps", type=int, default=11, help="counted steps of each contestant")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of a step; bf16: under autocast")
    parser.add_argument("--quick", action="store_true", help="everything small")
    given = parser.parse_args()
    if strange := [part for part in given.parts if part not in PARTS]:
        parser.error(f"'{strange[0]}' is none of {', '.join(PARTS)}")
    output = given.output.absolute()
    os.chdir(given.data)
    for part in given.parts:
        if part == "step":
            counted, shape = (1, TINY) if given.quick else (given.steps, BASE)
            numbers, options = measure_steps(shape, counted, given.precision), ""
            if (counted, given.precision) != (11, "fp32"):
                options = f" --steps {counted} --precision {given.precision}"
        else:
            shipped = "scene-steps" if part == "steps" else part
            config = load_sweep(find_sweep(f"sweeps/{shipped}"), [f"output={output}"])
            whole = with_seeds(config, given.seeds)
            numbers = measure(quick(config) if given.quick else whole, given.workers)
            options = f" --workers {given.workers}" if given.workers > 1 else ""
            options += f" --seeds {given.seeds}" if given.seeds != parser.get_default("seeds") else ""
        if given.quick:
            file = output / f"segmentation-{part}-quick.json"
            atomic.write_json(file, numbers)
            print(f"wrote {file}", flush=True)
            continue
        evidence.write(f"segmentation-{part}", numbers, f"python -m benchmarks.segmentation {part}{options}")


if __name__ == "__main__":
    main()
