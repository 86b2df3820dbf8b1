"""What a language model costs, each against the naive and the best-tuned form of a peer, in one process, alternating.

    python -m benchmarks.language step packing decoding pretraining

`step`: LoRA (rank 4, every linear layer) against training everything, and against PEFT, at three widths.
`packing`: documents that share rows against rows of their own, in tokens that count per second.
`decoding`: 16 prompts of 16 tasks in one pass against 16 of one task, and against PEFT's `adapter_names`.
`pretraining`: a whole run of a new network against a plain PyTorch loop over the same batches.
Medians; ratios are named by what they divide. Memory is of a process of its own for each contestant.
"""

import argparse
import copy
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from pydantic import JsonValue
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks import evidence
from benchmarks.networks import DEVICE, settle, trainable
from plora.adapters import Adapters, LoRA, Route
from plora.adapters.route import side_by_side
from plora.backbones.continuing import Drawing, continued
from plora.build import build
from plora.config import load_config
from plora.configs import find_config
from plora.problems.encoded_documents import NOT_SCORED, EncodedDocuments, Layout
from plora.problems.vocabulary_loss import token_nats
from plora.results import read_record
from plora.runs import run

RANK, WORDS, LENGTH, ROWS = 4, 8192, 256, 4
WIDTHS = (256, 512, 768)
LENGTHS = (256, 512)
"""Most tokens of a row."""
DECODING = (256, 512, 1024)
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
Step = Callable[[], None]


def network(width: int, layers: int = 8) -> LlamaForCausalLM:
    """A random decoder; heads of 32, as the shipped one has."""
    torch.manual_seed(0)
    settings = LlamaConfig(
        hidden_size=width,
        intermediate_size=8 * round(width * 8 / 3 / 8),
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        max_position_embeddings=2 * LENGTH,
        vocab_size=WORDS,
        tie_word_embeddings=True,
        use_cache=False,
    )
    return LlamaForCausalLM(settings).eval().to(DEVICE)


def add_slots(base: nn.Module, slots: int) -> Adapters:
    """Slots on every linear layer but the head; the last one is open."""
    adapters = Adapters.inject(base, LINEAR)
    for number in range(slots):
        adapters.open_task(f"task{number}", LoRA(rank=RANK, alpha=1, dropout=0.0, init="gauss"))
        if number < slots - 1:
            for parameter in adapters.parameters():
                nn.init.normal_(parameter, std=0.02)
            adapters.commit()
    return adapters


def peft(base: nn.Module, slots: int, train: bool) -> nn.Module:
    """The same with PEFT: in train mode, as it comes, or in eval mode, which saves it dropout modules."""
    settings = LoraConfig(r=RANK, lora_alpha=1, target_modules=LINEAR, init_lora_weights="gaussian")
    found = get_peft_model(base, settings, adapter_name="task0")
    for number in range(1, slots):
        found.add_adapter(f"task{number}", settings)
    adapted: nn.Module = found.train(train)
    return adapted


def chunked(model: nn.Module, ids: Tensor) -> Tensor:
    """The loss as plora computes it: the scores of all words never stand whole in memory."""
    states = model.model(input_ids=ids, use_cache=False).last_hidden_state  # type: ignore[operator]
    head = model.lm_head.weight  # type: ignore[union-attr]
    return token_nats(states[:, :-1].flatten(0, 1), head, None, ids[:, 1:].flatten()).mean()  # type: ignore[arg-type]


def whole(model: nn.Module, ids: Tensor) -> Tensor:
    """The loss as `transformers` computes it."""
    loss: Tensor = model(input_ids=ids, labels=ids).loss
    return loss


def contestant(way: str, width: int) -> tuple[Step, nn.Module, torch.optim.Optimizer]:
    """One way to train, its network and its optimizer.

    Tuned are the eval mode, and of full training the faster of both losses, which `step` finds out.
    """
    model: nn.Module = network(width)
    ids = torch.randint(0, WORDS, (ROWS, LENGTH), generator=torch.Generator().manual_seed(1)).to(DEVICE)
    loss = whole
    if way == "lora_plora":
        model.requires_grad_(requires_grad=False)
        add_slots(model, 1)
        loss = chunked
    elif way.startswith("lora"):
        model = peft(model, 1, train=way.endswith("plain"))
    elif way == "full_plain":
        model.train()
    elif way == "full_chunked":
        loss = chunked
    optimizer = torch.optim.AdamW(trainable(model), lr=1e-4, fused=way not in ("full_plain", "lora_peft_plain"))

    def step() -> None:
        torch.autograd.backward(loss(model, ids))
        optimizer.step()
        optimizer.zero_grad()
        settle()

    return step, model, optimizer


def alternating(steps: Mapping[str, Step], rounds: int) -> dict[str, float]:
    """The median seconds of each, taken in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 2):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            if turn >= 2:  # the first two warm up
                seconds[name].append(time.perf_counter() - started)
    return {name: median(values) for name, values in seconds.items()}


def memory(way: str, width: int) -> dict[str, int]:
    """What training adds to a process that holds the network: at its peak, and in gradients and optimizer."""
    command = [sys.executable, "-m", "benchmarks.language", "--alone", way, str(width)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    measured: dict[str, int] = json.loads(found.stdout.splitlines()[-1])
    return measured


def alone(way: str, width: int) -> None:
    """Print what three steps add, of this process, as one JSON line."""

    def resident(name: str) -> int:
        """Bytes; of a process that was forked from a large one, `getrusage` would tell that one's peak."""
        (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
        return 1024 * int(line.split()[1])

    step, model, optimizer = contestant(way, width)
    with torch.no_grad():  # what any forward pass needs is no cost of training
        model(input_ids=torch.zeros(1, 8, dtype=torch.long, device=DEVICE))
    cuda = DEVICE.type == "cuda"
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = torch.cuda.memory_allocated() if cuda else resident("VmRSS")
    for _ in range(3):
        step()
    peak = torch.cuda.max_memory_allocated() if cuda else resident("VmHWM")
    numbers = sum(parameter.numel() for parameter in trainable(model))
    kept = sum(t.numel() for state in optimizer.state.values() for t in state.values() if isinstance(t, Tensor))
    print(json.dumps({"added": peak - before, "gradients_and_optimizer": 4 * (numbers + kept)}))


def measure_step(rounds: int) -> dict[str, JsonValue]:
    """LoRA against full fine-tuning and against PEFT."""
    rows: list[JsonValue] = []
    ways = ("full_plain", "full_tuned", "full_chunked", "lora_peft_plain", "lora_peft_tuned", "lora_plora")
    for width in WIDTHS:
        steps = {way: contestant(way, width)[0] for way in ways}
        ms = {way: 1000 * value for way, value in alternating(steps, rounds).items()}
        del steps
        added = {way: memory(way, width) for way in ("full_tuned", "full_chunked", "lora_peft_tuned", "lora_plora")}
        ours, best = added["lora_plora"], min(added["full_tuned"]["added"], added["full_chunked"]["added"])
        full = min(ms["full_tuned"], ms["full_chunked"], ms["full_plain"])
        row: dict[str, JsonValue] = {
            "width": width,
            "parameters": sum(parameter.numel() for parameter in network(width).parameters()),
            "ms": {way: round(value, 1) for way, value in ms.items()},
            "added_mib": {way: round(found["added"] / 2**20, 1) for way, found in added.items()},
            "lora_over_full": round(ms["lora_plora"] / full, 3),
            "lora_over_plain_full": round(ms["lora_plora"] / ms["full_plain"], 3),
            "peft_over_lora": round(min(ms["lora_peft_plain"], ms["lora_peft_tuned"]) / ms["lora_plora"], 3),
            "memory_over_full": round(ours["added"] / best, 3),
            "gradients_and_optimizer_over_full": round(
                ours["gradients_and_optimizer"] / added["full_tuned"]["gradients_and_optimizer"], 4
            ),
        }
        rows.append(row)
        print(row, flush=True)
    return {"rounds": rounds, "tokens": ROWS * LENGTH, "rows": rows}


def measure_packing(rounds: int) -> dict[str, JsonValue]:
    """Documents of the lengths that docstrings have, in rows of their own and in shared ones, as rows may be long."""
    rows: list[JsonValue] = []
    for length in LENGTHS:
        rows.append(packing(length, rounds))
        print(rows[-1], flush=True)
    return {"rounds": rounds, "rows": rows}


def packing(length: int, rounds: int) -> dict[str, JsonValue]:
    """Tokens that count per second where a row has at most so many tokens, and the share of tokens that count."""
    model = network(256, layers=4)
    model.requires_grad_(requires_grad=False)
    add_slots(model, 1)
    parts = build(load_config(find_config("causal_lm/base_small"), ["stream.train_bytes=600000"]))
    shared = parts.tasks[0].splits["train"]
    assert isinstance(shared, EncodedDocuments)
    layout = Layout(shared.layout.start, shared.layout.end, length, length // 2, packing=True)
    packed = replace(shared, layout=layout)
    padded = replace(shared, layout=replace(layout, packing=False))
    size, order = 8, np.random.default_rng(0).permutation(len(shared))
    by_length = np.argsort(shared.lengths, kind="stable")
    groups = [by_length[start : start + size] for start in range(0, len(by_length) - size, size)]
    alike = np.concatenate([groups[number] for number in np.random.default_rng(0).permutation(len(groups))])
    optimizer = torch.optim.AdamW(trainable(model), lr=1e-4, fused=True)

    def passes(examples: EncodedDocuments, order: np.ndarray) -> Iterator[int]:
        start = 0
        while True:
            indices = order[start : start + size]
            start = (start + size) % (len(order) - size)
            batch = examples.collate(indices, 0).to(DEVICE)
            given = {key: one for key, one in batch.inputs.items() if key != "attention_mask" or not examples.packed}
            states = model.model(**given, use_cache=False).last_hidden_state
            counted = batch.targets["labels"] != NOT_SCORED
            torch.autograd.backward(
                token_nats(states[counted], model.lm_head.weight, None, batch.targets["labels"][counted]).mean()
            )
            optimizer.step()
            optimizer.zero_grad()
            settle()
            yield int(counted.sum())

    ways = {"packed": (packed, order), "padded": (padded, order), "padded_by_length": (padded, alike)}
    going = {name: passes(*way) for name, way in ways.items()}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, steps in going.items():
            started, tokens = time.perf_counter(), 0
            for _ in range(4):
                tokens += next(steps)
            if turn:
                rates[name].append(tokens / (time.perf_counter() - started))
    per_second = {name: median(values) for name, values in rates.items()}
    return {
        "length": length,
        "counted": {name: round(_counted(*way, size), 3) for name, way in ways.items()},
        "tokens_per_second": {name: round(value) for name, value in per_second.items()},
        "packed_over_padded": round(per_second["packed"] / per_second["padded"], 2),
        "packed_over_padded_by_length": round(per_second["packed"] / per_second["padded_by_length"], 2),
    }


def _counted(examples: EncodedDocuments, order: np.ndarray, size: int) -> float:
    """The share of the tokens of the first batches that count: the others are padding, or were scored before."""
    batches = [examples.collate(order[start : start + size], 0) for start in range(0, 40 * size, size)]
    counted = sum(int((batch.targets["labels"] != NOT_SCORED).sum()) for batch in batches)
    return counted / sum(batch.inputs["input_ids"].numel() for batch in batches)


def measure_decoding(rounds: int, tasks: int = 16, tokens: int = 32) -> dict[str, JsonValue]:
    """Greedy texts after 16 prompts of 16 tokens, at several widths."""
    rows: list[JsonValue] = []
    for width in DECODING:
        seconds = alternating(decoders(width, tasks, tokens), rounds)
        row: dict[str, JsonValue] = {
            "width": width,
            "seconds": {name: round(value, 3) for name, value in seconds.items()},
            "mixed_over_one_task": round(seconds["mixed"] / seconds["one_task"], 3),
            "peft_over_mixed": round(seconds["peft_adapter_names"] / seconds["mixed"], 2),
        }
        rows.append(row)
        print(row, flush=True)
    return {"rounds": rounds, "tasks": tasks, "tokens": tokens, "rows": rows}


def decoders(width: int, tasks: int, tokens: int) -> dict[str, Step]:
    """Writing with one slot, with a slot for each prompt, and with PEFT's mixed batches."""
    base = network(width)
    base.generation_config.eos_token_id = None  # no token ends a text, so that all are as long
    prompts = torch.randint(0, WORDS - 1, (tasks, 16), generator=torch.Generator().manual_seed(1)).tolist()
    ours, theirs = copy.deepcopy(base), peft(base, tasks, train=False)
    adapters = add_slots(ours, tasks)
    peers = [parameter for name, parameter in theirs.named_parameters() if "lora_B" in name]
    for parameter in (*adapters.parameters(), *peers):
        nn.init.normal_(parameter, std=0.02)
    adapters.commit()
    mixed = side_by_side([Route((name,)) for name in adapters.names], adapters.names, DEVICE)
    ids, names = torch.tensor(prompts).to(DEVICE), [f"task{number}" for number in range(tasks)]

    def plora(route: Route) -> Step:
        def step() -> None:
            adapters.use(route)
            continued(ours, prompts, WORDS - 1, tokens, Drawing())
            settle()

        return step

    @torch.no_grad()
    def peft_mixed() -> None:
        theirs.generate(  # type: ignore[operator]
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            adapter_names=names,
            max_new_tokens=tokens,
            do_sample=False,
            use_cache=True,
        )
        settle()

    return {"one_task": plora(Route((adapters.names[0],))), "mixed": plora(mixed), "peft_adapter_names": peft_mixed}


def measure_pretraining(rounds: int, precision: str) -> dict[str, JsonValue]:
    """A new network of 8.2 million parameters on 300 KB of docstrings: the whole run, and a loop of nothing else."""
    ours, plain = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            config = load_config(
                find_config("causal_lm/base"),
                [
                    *("stream.train_bytes=300000", "stream.validation_bytes=5000", "stream.test_bytes=20000"),
                    *("training.epochs=1", f"training.precision={precision}"),
                    *(f"output={folder}", f"name=round-{number}"),
                ],
            )
            cost = read_record(run(config)).cost[0]
            assert cost.tokens is not None
            ours.append(cost.tokens / cost.seconds)
            parts = build(config)
            examples = parts.tasks[0].splits["train"]
            assert isinstance(examples, EncodedDocuments)
            plain.append(plain_rate(examples, precision, config.training.batch_size))
            print({"plora": round(ours[-1]), "plain": round(plain[-1])}, flush=True)
    return {
        "rounds": rounds,
        "precision": precision,
        "tokens_per_second": {"plora": round(median(ours)), "plain": round(median(plain))},
        "plora_over_plain": round(median(ours) / median(plain), 3),
    }


def plain_rate(examples: EncodedDocuments, precision: str, size: int) -> float:
    """Tokens per second of a loop that has its batches ready: forward, loss of `transformers`, backward, AdamW."""
    model = network(256).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    order = np.random.default_rng(0).permutation(len(examples))
    batches = [examples.collate(order[start : start + size], 0) for start in range(0, len(order), size)]
    started = time.perf_counter()
    for batch in batches:
        inputs = {name: tensor for name, tensor in batch.to(DEVICE).inputs.items() if name != "attention_mask"}
        labels = batch.targets["labels"].to(DEVICE)
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=precision == "bf16"):
            scores = model(**inputs, use_cache=False).logits
        loss = nn.functional.cross_entropy(scores.float().flatten(0, 1), labels.flatten(), ignore_index=NOT_SCORED)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    settle()
    return float(sum(examples.costs) / (time.perf_counter() - started))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="step, packing, decoding, pretraining")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of pretraining")
    parser.add_argument("--alone", nargs=2, metavar=("WAY", "WIDTH"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.alone:
        alone(given.alone[0], int(given.alone[1]))
        return
    measures: dict[str, Callable[[], dict[str, JsonValue]]] = {
        "step": lambda: measure_step(given.rounds),
        "packing": lambda: measure_packing(given.rounds),
        "decoding": lambda: measure_decoding(given.rounds),
        "pretraining": lambda: measure_pretraining(min(given.rounds, 3), given.precision),
    }
    if strange := [part for part in given.parts if part not in measures]:
        parser.error(f"'{strange[0]}' is none of {', '.join(measures)}")
    for part in given.parts or measures:
        evidence.write(f"language-{part}", measures[part](), f"python -m benchmarks.language {part}")


if __name__ == "__main__":
    main()
