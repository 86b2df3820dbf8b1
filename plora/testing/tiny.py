"""A world of a few words: random networks and texts that the checks run on, the same each time."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from torch import Tensor
from transformers import DistilBertConfig, DistilBertModel, DistilBertTokenizerFast, PreTrainedModel

from plora.adapters import Adapters, LoRA
from plora.backbones import Backbone
from plora.batches.features import Extractor, FeatureCache
from plora.build import Learner, Parts, make_accelerator
from plora.config import RunConfig
from plora.events.console import Console
from plora.gates import Gate
from plora.heads import LinearHead
from plora.lesson import Lesson
from plora.model import ContinualModel
from plora.problems import Batch, Examples, TextClassification
from plora.processes import Processes
from plora.streams.base import Stream, Task, Texts
from plora.streams.incremental import LabelSpace
from plora.training.practice import practise

TASKS = ("first", "second", "third")
WIDTH = 16
_WORDS = ("ant", "bee", "cow", "dog", "elk", "fox", "gnu", "hen", "jay", "kid", "owl", "pig")
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@contextmanager
def own_random_numbers(seed: int = 0) -> Iterator[None]:
    """Draw from `seed` inside the `with` block or function; the caller's random numbers go on as if undisturbed."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def tiny_tokenizer() -> DistilBertTokenizerFast:
    """Return a tokenizer that knows a few animals."""
    return DistilBertTokenizerFast(vocab={word: number for number, word in enumerate((*_SPECIAL, *_WORDS))})


def tiny_texts(number: int, shift: int = 0) -> list[tuple[str, int]]:
    """Return `number` texts of one to five words, each with one of two labels that its words decide."""
    half = len(_WORDS) // 2
    rows = []
    for i in range(number):
        label = i % 2
        words = [_WORDS[half * label + (i + shift + 3 * k) % half] for k in range(1 + (i // 2 + shift) % 5)]
        rows.append((" ".join(words), label))
    return rows


def tiny_stream() -> Stream:
    """Return three tasks of two classes each."""
    tasks = []
    for number, name in enumerate(TASKS):
        rows = tiny_texts(12, shift=number)
        split = Texts(tuple(text for text, _ in rows), np.array([label for _, label in rows]))
        names = (f"class {2 * number}", f"class {2 * number + 1}")
        tasks.append(Task(name, names, train=split, validation=split, test=split))
    return Stream("tiny", tuple(tasks))


def tiny_network() -> PreTrainedModel:
    """Return a DistilBERT of two layers with random weights."""
    config = DistilBertConfig(
        vocab_size=len(_SPECIAL) + len(_WORDS),
        dim=WIDTH,
        n_layers=2,
        n_heads=2,
        hidden_dim=2 * WIDTH,
        max_position_embeddings=16,
    )
    with own_random_numbers():
        return DistilBertModel(config).eval()


def tiny_model(gate: Gate, layers: str = "all") -> ContinualModel:
    """Return a model without slots and head rows, in eval mode; `layers` as in `LoRA`."""
    network = tiny_network()
    adapters = Adapters.inject(network, "attention", layers)
    problem = TextClassification(tiny_tokenizer(), 16, "mean")
    return ContinualModel(network, problem, LinearHead(WIDTH), adapters, gate).eval()


def open_filled(model: ContinualModel, task: str) -> None:
    """Open a slot and two head rows for a task, as if they had been trained for a while: A and B are random."""
    assert model.adapters is not None
    with own_random_numbers(len(model.adapters)):
        slot = model.adapters.open_task(task, LoRA(rank=2, alpha=2))
        for matrix in (*slot.A.values(), *slot.B.values()):
            torch.nn.init.normal_(matrix, std=0.3)
        model.head.open(task, 2, torch.Generator().manual_seed(len(model.adapters)))


def tiny_lesson(
    model: ContinualModel, texts: int = 12, position: int = 0, seed: int = 0, first_row: int = 0, shift: int = 0
) -> Lesson:
    """Return a task of texts of five lengths, whose labels are the two rows of the head from `first_row` on.

    All rows compete, and all before `first_row` are those of older tasks.
    """
    assert isinstance(model.problem, TextClassification)
    rows = tiny_texts(texts, shift)
    labels = np.array([label for _, label in rows])
    split = model.problem.encode(Texts(tuple(text for text, _ in rows), labels), first_row)
    competing = torch.ones(model.head.rows, model.head.rows, dtype=torch.bool)

    def teacher(batch: Batch) -> dict[str, Tensor]:
        training = model.training
        model.eval()
        with torch.no_grad():
            found = {"scores": model(batch.inputs)}
        model.train(training)
        return found

    def scores(examples: Examples) -> Tensor:
        return teacher(examples.collate(np.arange(len(examples))))["scores"]

    return Lesson(
        position=position,
        task=None,
        train=split,
        validation=split,
        names=tuple(f"class {row}" for row in range(model.head.rows)),
        competing=competing,
        losses=lambda outputs, batch: model.problem.losses(outputs, batch, competing),
        old=(slice(0, first_row),) if first_row else (),
        scores=scores,
        teacher=teacher,
        autocast=nullcontext,
        practise=lambda practice, lesson: practise(tiny_parts(model), Console(silent=True), practice, lesson),
        learning_rate=0.01,
        seed=seed,
    )


def tiny_parts(model: ContinualModel) -> Parts:
    """Return what a run of the tiny stream would be made of, before it has tasks and stages."""
    stream, processes = tiny_stream(), Processes()
    files = [{"name": task.name, "train": "train.jsonl", "test": "test.jsonl"} for task in stream.tasks]
    return Parts(
        config=RunConfig.model_validate({"stream": {"kind": "local", "tasks": files}}),
        stream=stream,
        space=LabelSpace.of(stream, "task"),
        learner=Learner(
            backbone=Backbone(model.backbone, WIDTH, "", "tiny"),
            model=model,
            extractor=Extractor(model, "", "fp32", 2048, FeatureCache(), processes),
            accelerator=make_accelerator(),
            processes=processes,
        ),
        strategies=(),
        tasks=[],
        stages=[],
    )


def tiny_inputs(model: ContinualModel, shift: int = 0) -> Mapping[str, Tensor]:
    """Return one padded batch of eight texts; others for another `shift`."""
    assert isinstance(model.problem, TextClassification)
    texts = [text for text, _ in tiny_texts(8, shift)]
    inputs: Mapping[str, Tensor] = model.problem.tokenizer(texts, padding=True, return_tensors="pt")
    return inputs
