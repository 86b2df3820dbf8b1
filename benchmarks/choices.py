"""Three choices and what they rest on: the price of orthogonality, `torch.compile`, several runs in one pass.

MiniLM, r = 8 on q, k, v, fp32; contestants take turns, medians. The parts can be measured one by one (`--only`):
those that are not measured keep their numbers. On a GPU, where there is one, the numbers stand beside those of the CPU.
"""

import argparse
import copy
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._dynamo.utils import counters

from benchmarks import evidence
from benchmarks.networks import DEVICE, QKV, Step, batch, make_step, minilm, plora_network, settle, trainable
from plora.adapters import Adapters, LoRA, Route
from plora.atomic import JsonValue
from plora.build import build
from plora.config import load_config
from plora.configs import find_config
from plora.moment import Moment
from plora.optimizers import AdamW, make_optimizer
from plora.problems import LabelledExamples
from plora.problems.text_classification import TokenizedTexts
from plora.strategies import Orthogonality
from plora.training.course import plan_course
from plora.training.stage import begin_lesson, open_stage
from plora.training.step import Backward

WIDTH, RANK, BATCH = 384, 8, 16
Numbers = dict[str, JsonValue]


def in_turns(contestants: Mapping[str, Callable[[], object]], rounds: int, warm: int = 2) -> dict[str, list[float]]:
    """Return the seconds of each counted call; what disturbs the machine disturbs all contestants."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + warm):
        for name, step in contestants.items():
            started = time.perf_counter()
            step()
            settle()
            if turn >= warm:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def ms(values: list[float]) -> float:
    return round(1000 * statistics.median(values), 2)


def ratio(over: list[float], under: list[float]) -> float:
    """The median of the ratios of neighbours in time."""
    return round(statistics.median(a / b for a, b in zip(over, under, strict=True)), 3)


# ---------------------------------------------------------------------- orthogonality


def orthogonality(rounds: int = 24, slots: int = 20, length: int = 64) -> Numbers:
    """A step of `o_lora` as the loop makes it, with the term and without, and what the term takes by itself."""
    parts = build(load_config(find_config("quickstart/topics-o_lora"), ["training.precision=fp32"]))
    adapters, settings = parts.model.adapters, parts.config.training
    assert adapters is not None
    torch.manual_seed(0)
    for number in range(slots):
        adapters.open_task(f"old {number}", LoRA(rank=RANK, dropout=0.0))
        for parameter in adapters.parameters():
            nn.init.normal_(parameter, std=0.02)
        adapters.commit()
    first = plan_course(parts)[0]
    ids = np.random.default_rng(0).integers(1000, 30000, BATCH * length, dtype=np.int32)
    texts = TokenizedTexts(
        ids, np.zeros(0, np.int8), np.full(BATCH, length, np.int64), np.zeros(BATCH, np.bool_), pad=0
    )
    train = LabelledExamples(texts, first.stage.train.rows[:BATCH])
    plan = replace(first, stage=replace(first.stage, train=train))
    open_stage(parts, plan)
    lesson = begin_lesson(parts, plan)
    parameters = parts.model.trainable()
    optimizer = make_optimizer(
        parameters, dict.fromkeys(parameters, "adapter"), AdamW(), (), settings.learning_rate, settings.weight_decay
    )
    (strategy,) = parts.strategies
    assert isinstance(strategy, Orthogonality)
    now, indices = Moment(slots, 0, 1, 0), np.arange(BATCH)
    parts.model.train()

    def step(with_term: bool) -> None:
        mine = parts if with_term else replace(parts, strategies=())
        terms = Backward(mine, plan, lesson, BATCH).run(indices, now, draw=0)
        norm = parts.learner.accelerator.clip_grad_norm_(list(parameters.values()), settings.clip_norm or float("inf"))
        if not np.isfinite([*torch.stack([*terms.values()]).tolist(), float(norm)]).all():
            raise ValueError("the loss is not finite")
        optimizer.step()
        optimizer.zero_grad()

    def term() -> None:
        torch.autograd.backward(strategy.penalty(parts.model, now)["orthogonality"])
        optimizer.zero_grad()

    seconds = in_turns(
        {
            "with": lambda: step(True),
            "without": lambda: step(False),
            "term": term,
            "diagnostics": lambda: strategy.diagnostics(parts.model),
        },
        rounds,
    )
    alone = statistics.median(seconds["term"]) + statistics.median(seconds["diagnostics"]) / settings.log_every
    return {
        "slots": slots,
        "length": length,
        "log_every": settings.log_every,
        **{f"{name}_ms": ms(values) for name, values in seconds.items()},
        "more": round(ratio(seconds["with"], seconds["without"]) - 1, 4),
        "alone": round(alone / statistics.median(seconds["without"]), 4),
    }


# ---------------------------------------------------------------------- torch.compile


def compiling(kind: str, rounds: int = 4, slots: int = 5) -> Numbers:
    """A training step or a scoring pass with and without `torch.compile`, on batches of several lengths."""
    torch._dynamo.reset()
    torch._inductor.config.force_disable_caches = True  # what an earlier call compiled counts, too
    lengths = [48, 24, 40, 32]
    torch.manual_seed(0)
    given = [batch(BATCH, length) for length in lengths]
    padded = [pad(inputs, 16) for inputs in given]
    first = plora_network(minilm(), slots, QKV, RANK, folded=True)
    networks = {name: copy.deepcopy(first) for name in ("eager", "dynamic", "padded")}
    ways: dict[str, tuple[nn.Module, list[dict[str, Tensor]]]] = {
        "eager": (networks["eager"], given),
        "dynamic": (compiled(networks["dynamic"], dynamic=True), given),
        "padded": (compiled(networks["padded"], dynamic=False), padded),
    }
    steps: dict[str, Step] = {}
    first_round: dict[str, float] = {}
    for name, (network, batches) in ways.items():
        passes = [_pass(kind, network, networks[name], inputs) for inputs in batches]
        steps[name] = partial(_each, passes)
        if kind == "score":
            steps[name] = torch.no_grad()(steps[name])
        started = time.perf_counter()
        steps[name]()  # compiles what has to be
        first_round[name] = time.perf_counter() - started
        print(name, round(first_round[name], 1), flush=True)
    seconds = in_turns(steps, rounds, warm=1)
    numbers: Numbers = {"slots": slots, "lengths": list(lengths)}
    for name in ways:
        median = statistics.median(seconds[name])
        numbers[name] = {
            "ms": round(1000 * median / len(lengths), 1),
            "faster": ratio(seconds["eager"], seconds[name]),
            "compile_seconds": 0.0 if name == "eager" else round(first_round[name] - median, 1),
        }
    if kind == "score":
        with torch.no_grad():
            expected = networks["eager"](**given[0]).last_hidden_state
            found = ways["dynamic"][0](**given[0]).last_hidden_state
        numbers["difference"] = float((expected - found).abs().max() / expected.abs().max())
    return numbers


def compiled(network: nn.Module, dynamic: bool) -> nn.Module:
    made = torch.compile(network, dynamic=dynamic)
    assert isinstance(made, nn.Module)
    return made


def pad(inputs: dict[str, Tensor], multiple: int) -> dict[str, Tensor]:
    """Fill the texts of a batch up to the next multiple."""
    more = -inputs["input_ids"].shape[1] % multiple
    return {name: F.pad(tensor, (0, more)) for name, tensor in inputs.items()}


def _pass(kind: str, network: nn.Module, bare: nn.Module, inputs: dict[str, Tensor]) -> Step:
    return make_step(network, trainable(bare), inputs, WIDTH) if kind == "train" else lambda: network(**inputs)


def _each(passes: list[Step]) -> None:
    for one in passes:
        one()


def graphs(tasks: int = 10) -> Numbers:
    """Count what the tracer compiles (it needs no compiler for that) when slots, route and lengths change."""
    torch._dynamo.reset()
    network = minilm()
    adapters = Adapters.inject(network, QKV)
    run = torch.compile(network, dynamic=True, backend="eager")
    inputs, other = batch(BATCH, 32), batch(BATCH, 48)

    def new(change: Callable[[], object], given: dict[str, Tensor]) -> int:
        change()
        before = counters["stats"]["unique_graphs"]
        run(**given).last_hidden_state.sum()
        return int(counters["stats"]["unique_graphs"] - before)

    def nothing() -> None:
        return None

    def next_task(number: int) -> None:
        if number:
            adapters.commit()
        adapters.open_task(f"task {number}", LoRA(rank=RANK, dropout=0.0))

    counters.clear()
    found = [new(partial(next_task, number), inputs) for number in range(tasks)]
    breaks = sum(counters["graph_break"].values())
    limit = torch._dynamo.config.recompile_limit
    torch._dynamo.reset()
    new(nothing, inputs)
    another_length = new(nothing, other)
    another_route = new(lambda: adapters.use("task 0"), inputs)
    the_same_route = new(lambda: adapters.use("task 0"), inputs)
    third_route = new(lambda: adapters.use("task 1"), inputs)
    return {
        "tasks": tasks,
        "per_task": list(found),
        "breaks": breaks,
        "limit": limit,
        "another_length": another_length,
        "another_route": another_route,
        "third_route": third_route,
        "same_route_again": the_same_route,
    }


# ---------------------------------------------------------------------- K runs in one pass


class Together:
    """One step of K runs: K · B texts in one pass, each text's run chosen by its coefficients; every slot learns."""

    def __init__(self, base: nn.Module, inputs: list[dict[str, Tensor]], labels: list[Tensor]) -> None:
        runs = len(inputs)
        self.network = copy.deepcopy(base)
        self.adapters = Adapters.inject(self.network, QKV)
        for run in range(runs):
            self.adapters.open_task(f"run {run}", LoRA(rank=RANK, alpha=8, dropout=0.0))
            self.adapters.commit()
        self.learned: list[Tensor] = []
        for bank in self.adapters.banks.values():  # committed slots stand for K open ones: their rows get gradients
            for rows in (bank.A_old, bank.B_old):
                self.learned.append(rows.requires_grad_(True))
        self.heads = [nn.Linear(WIDTH, 4).to(DEVICE) for _ in range(runs)]
        self.inputs = {name: torch.cat([given[name] for given in inputs]) for name in inputs[0]}
        self.labels = labels
        owners = torch.arange(runs, device=DEVICE).repeat_interleave(BATCH)
        self.adapters.use(Route(tuple(self.adapters.names), F.one_hot(owners, runs).float(), "sample"))
        mine = [parameter for head in self.heads for parameter in head.parameters()]
        self.optimizer = torch.optim.AdamW([*self.learned, *mine], lr=1e-4, fused=True)

    def gradients(self) -> None:
        features = self.network(**self.inputs).last_hidden_state.mean(1).split(BATCH)
        losses = [
            F.cross_entropy(head(part), labels)
            for head, part, labels in zip(self.heads, features, self.labels, strict=True)
        ]
        torch.autograd.backward(torch.stack(losses).sum())

    def step(self) -> None:
        self.gradients()
        self.optimizer.step()
        self.optimizer.zero_grad()


class Alone:
    """One step of one run."""

    def __init__(self, base: nn.Module, inputs: dict[str, Tensor], labels: Tensor) -> None:
        self.network = plora_network(base, 1, QKV, RANK, folded=False)
        self.adapters = Adapters.of(self.network)
        self.head, self.inputs, self.labels = nn.Linear(WIDTH, 4).to(DEVICE), inputs, labels
        learned = [*self.adapters.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.AdamW(learned, lr=1e-4, fused=True)

    def gradients(self) -> None:
        features = self.network(**self.inputs).last_hidden_state.mean(1)
        torch.autograd.backward(F.cross_entropy(self.head(features), self.labels))

    def step(self) -> None:
        self.gradients()
        self.optimizer.step()
        self.optimizer.zero_grad()


def difference(together: Together, alone: list[Alone]) -> float:
    """Largest difference between the gradients of K runs in one pass and one by one, relative to the largest."""
    with torch.no_grad():
        for run, other in enumerate(alone):
            together.heads[run].load_state_dict(other.head.state_dict())
            for path, bank in together.adapters.banks.items():
                its = other.adapters.banks[path]
                assert its.A is not None
                assert its.B is not None
                nn.init.normal_(its.B, std=0.02)
                rows = slice(run * RANK, (run + 1) * RANK)
                bank.A_old[rows], bank.B_old[rows] = its.A, its.B
    together.gradients()
    for other in alone:
        other.gradients()
    worst = 0.0
    for path, bank in together.adapters.banks.items():
        banks = [other.adapters.banks[path] for other in alone]
        for found, parts in ((bank.A_old, [b.A for b in banks]), (bank.B_old, [b.B for b in banks])):
            expected = torch.cat([part.grad for part in parts if part is not None and part.grad is not None])
            assert found.grad is not None
            worst = max(worst, float((found.grad - expected).abs().max() / expected.abs().max()))
    return worst


def at_once(runs: int, length: int, steps: int = 100) -> list[float]:
    """K processes that share the device, as those of a sweep do: the seconds in which each makes one step."""
    context = multiprocessing.get_context("spawn")
    ready, seconds = context.Barrier(runs), context.Queue()
    arguments = (length, steps, ready, seconds)
    workers = [context.Process(target=_worker, args=arguments, daemon=True) for _ in range(runs)]
    for worker in workers:
        worker.start()
    found = [seconds.get(timeout=300) for _ in workers]
    for worker in workers:
        worker.join()
    return [max(found) / steps]


def _worker(length: int, steps: int, ready: Barrier, seconds: "Queue[float]") -> None:
    alone = Alone(minilm(), batch(BATCH, length), torch.randint(0, 4, (BATCH,)).to(DEVICE))
    for _ in range(5):  # warm up
        alone.step()
    settle()
    ready.wait(timeout=200)
    started = time.perf_counter()
    for _ in range(steps):
        alone.step()
    settle()
    seconds.put(time.perf_counter() - started)


def one_pass(rounds: int = 8) -> Numbers:
    """K separate steps of B texts against one step of K · B, for texts of two lengths."""
    base, rows = minilm(), list[JsonValue]()
    for length in (16, 64):  # short texts, where a step's overhead is largest, and those of the other measurements
        for runs in (1, 2, 3, 4):
            torch.manual_seed(0)
            inputs = [batch(BATCH, length) for _ in range(runs)]
            labels = [torch.randint(0, 4, (BATCH,)).to(DEVICE) for _ in range(runs)]
            alone = [Alone(base, mine, given) for mine, given in zip(inputs, labels, strict=True)]
            together = Together(base, inputs, labels)
            unequal = difference(together, alone)

            def separate(alone: list[Alone] = alone) -> None:
                for one in alone:
                    one.step()

            counted = rounds if length == 16 else -(-rounds // 2)
            seconds = in_turns({"alone": separate, "together": together.step}, counted, warm=1)
            if DEVICE.type == "cuda" and runs == 4:
                seconds["processes"] = at_once(runs, length)
            row: Numbers = {
                "length": length,
                "runs": runs,
                **{f"{name}_ms": ms(values) for name, values in seconds.items()},
                "faster": ratio(seconds["alone"], seconds["together"]),
                "difference": unequal,
            }
            print(row, flush=True)
            rows.append(row)
    return {"rows": rows}


PARTS: dict[str, Callable[[], Numbers]] = {
    "orthogonality": orthogonality,
    "compile_train": partial(compiling, "train"),
    "compile_score": partial(compiling, "score"),
    "graphs": graphs,
    "one_pass": one_pass,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PARTS, help="measure this part, keep the numbers of the others")
    options = parser.parse_args()
    path = evidence.path("choices")
    kept: Numbers = json.loads(path.read_text(encoding="utf-8")) if options.only and path.exists() else {}
    measured: Numbers = {name: kept[name] for name in PARTS if name in kept}
    for name, measure in PARTS.items():
        if options.only in (None, name):
            print(f"-- {name}", flush=True)
            measured[name] = measure()
            print(measured[name], flush=True)
    evidence.write("choices", measured, "python -m benchmarks.choices")


if __name__ == "__main__":
    main()
