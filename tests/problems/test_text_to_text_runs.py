"""Runs that answer prompts: the standard benchmark in the hub's layout; answers are exact where `generate` is."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from test_answers import CHATS
from tiny_writers import write

from plora.config import load_config
from plora.configs import find_config, find_sweep
from plora.export import export
from plora.results import TokenLikelihoods, metrics_of_path, read_record, write_table
from plora.runs import evaluate, generate, run, verify
from plora.sweep.plan import load_sweep, plan_runs

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set:UserWarning"),
]
COLOURS = {"sky": ("blue", "grey"), "sea": ("green", "black")}


def local(folder: Path) -> dict[str, object]:
    """Two tasks whose class is said in the text; every third test row says another class than it has."""
    tasks = []
    for task, classes in COLOURS.items():
        paths = {}
        for split, count in (("train", 12), ("validation", 4), ("test", 9)):
            rows = []
            for number in range(count):
                said, label = classes[number % 2], classes[(number + (split == "test" and number % 3 == 0)) % 2]
                rows.append({"text": f"{split[:2]} {number} {said}", "label": label})
            paths[split] = folder / f"{task}-{split}.jsonl"
            paths[split].write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        tasks.append({"name": task, **{split: str(path) for split, path in paths.items()}})
    return {"kind": "text_to_text", "of": {"kind": "local", "tasks": tasks}, "prompt": "{text}:"}


@pytest.mark.parametrize("template", [None, CHATS], ids=["plain", "template"])
def test_an_answer_is_exact_where_generate_writes_it(tmp_path: Path, template: str | None) -> None:
    values = {
        "name": "colours",
        "stream": local(tmp_path),
        "problem": {"kind": "causal_lm", "score": "exact_match", "template": template},
        "method": "per_task",
        "backbone": {"id": str(write(tmp_path / "base")), "max_length": 64},
        "lora": {"rank": 8, "alpha": 16, "targets": "all_linear", "dropout": 0},
        "training": {"epochs": 25, "batch_size": 12, "learning_rate": 0.02, "weight_decay": 0, "early_stop": None},
        "output": str(tmp_path / "runs"),
    }
    config = load_config(values)
    folder = run(config)
    record = read_record(folder)
    assert (record.score.name, record.score.better) == ("exact_match", "higher")
    likelihoods = TokenLikelihoods.read(folder / "predictions" / "task-02.parquet")
    stream = config.stream.load()
    said = []
    for task in stream.tasks:
        own = likelihoods.of(task.name)
        dialogues = [task.test.read(np.array([row]))[0] for row in own.example.tolist()]
        prompts, answers = zip(*((text for _, text in one.messages) for one in dialogues), strict=True)
        if template is not None:  # which leaves out what is blank around a text
            answers = tuple(answer.strip() for answer in answers)
        written = generate(folder, prompts, task.name, tokens=8)
        expected = [one.ended and one.text == answer for one, answer in zip(written, answers, strict=True)]
        assert own.exact is not None
        assert own.exact.tolist() == expected
        assert own.bytes.tolist() == [len(answer) for answer in answers]
        said += expected
    assert {*said} == {True, False}
    np.testing.assert_allclose(record.matrix[-1], [np.mean(said[:9]), np.mean(said[9:])])
    assert "task_example" in (log := (folder / "log.txt").read_text())
    assert ("blue<|end|>⟧" in log) or ("grey<|end|>⟧" in log)
    if template is None:
        assert verify(folder).problems == ()
        assert evaluate(folder).changed == 0
        text, _ = write_table([folder], metrics=["exact_match", "forgetting", "nats_per_token"])
        assert f"{100 * np.mean(said):.1f}" in text
        assert "Exact match of all documents" in metrics_of_path(folder).markdown()
        return
    script = runpy.run_path(str(export(folder, tmp_path / "out", merged=False) / "inference.py"))
    prompt = "te 1 grey:"
    (ours,) = generate(folder, [prompt], "sky", tokens=8)
    assert script["generate"]([prompt], "sky", tokens=8) == [ours.text]


def hub(root: Path, name: str, columns: tuple[str, ...], label: str, classes: tuple[object, ...]) -> None:
    """Write three train rows and a test row of each class as the hub stores them, with names of classes of its own."""
    datasets = pytest.importorskip("datasets")
    folder = root / name
    folder.mkdir(parents=True)
    named = all(isinstance(one, str) for one in classes)
    features = {column: datasets.Value("string") for column in columns}
    features[label] = datasets.ClassLabel(names=[*classes]) if named else datasets.Value("int64")
    for split, count in (("train", 3), ("test", 1)):
        rows = [(place, number) for number in range(count) for place in range(len(classes))]
        values = {column: [f"{column} {split} {place} {number}" for place, number in rows] for column in columns}
        values[label] = [place if named else classes[place] for place, _ in rows]
        built = datasets.Dataset.from_dict(values, features=datasets.Features(features))
        built.to_parquet(str(folder / f"{split}.parquet"))
    files = "".join(f"  - split: {split}\n    path: {split}.parquet\n" for split in ("train", "test"))
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n")


@pytest.mark.slow
def test_the_standard_benchmark_runs_from_copies_in_the_hubs_layout(tmp_path: Path) -> None:
    root = tmp_path / "hub"
    hub(root, "fancyzhx/dbpedia_14", ("title", "content"), "label", tuple(f"Class{n}" for n in range(14)))
    amazon = "yassiracharki/Amazon_Reviews_for_Sentiment_Analysis_fine_grained_5_classes"
    hub(root, amazon, ("review_title", "review_text"), "class_index", (1, 2, 3, 4, 5))
    questions = ("question_title", "question_content", "best_answer")
    hub(root, "community-datasets/yahoo_answers_topics", questions, "topic", tuple(f"Topic{n}" for n in range(10)))
    hub(root, "fancyzhx/ag_news", ("text",), "label", ("World", "Sports", "Business", "Sci/Tech"))
    overrides = [
        f"stream.of.root={root}",
        f"stream.of.cache={tmp_path / 'cache'}",
        f"backbone.id={write(tmp_path / 'base', n_positions=640)}",
        "backbone.max_length=640",
        "training.precision=fp32",
        f"output={tmp_path / 'runs'}",
    ]
    config = load_config(find_config("causal_lm/standard"), overrides)
    stream = config.stream.load()
    (first,) = stream.tasks[3].test.read(np.array([3]))
    assert first.messages == (
        (
            "user",
            "Task:TC\nDataset:agnews\nWhat is the topic of the following paragraph? Choose one from the option.\n"
            "Option: World, Sports, Business, Science or Technology \nText: text test 3 0\nAnswer:",
        ),
        ("assistant", " Science or Technology"),
    )
    folder = run(config)
    record = read_record(folder)
    assert record.tasks == ("dbpedia", "amazon", "yahoo", "ag")
    assert record.score.name == "exact_match"
    exact = TokenLikelihoods.read(folder / "predictions" / "task-04.parquet").exact
    assert exact is not None
    assert len(exact) == 14 + 5 + 10 + 4
    assert np.isfinite(record.matrix[-1]).all()


@pytest.mark.parametrize(
    ("name", "tasks"), [("standard-orders", 4), ("long-orders", 15), ("t5-standard-orders", 4), ("t5-long-orders", 15)]
)
def test_the_six_orders_are_runs_of_two_sweeps(name: str, tasks: int) -> None:
    planned = plan_runs(load_sweep(find_sweep(f"sweeps/{name}")))
    orders = [one.config.order for one in planned]
    assert len({*orders}) == 3
    for order in orders:
        assert order is not None
        assert sorted(order) == sorted(task.name for task in planned[0].config.stream.of.tasks)
        assert len({*order}) == tasks
    assert len({one.folder for one in planned}) == 3


def test_trace_is_read_from_its_own_files(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    config = load_config(find_config("causal_lm/trace"))
    names = [domain.name for domain in config.stream.domains]
    assert names == ["C-STANCE", "FOMC", "MeetingBank", "Py150", "ScienceQA", "NumGLUE-cm", "NumGLUE-ds", "20Minuten"]
    folder = tmp_path / "TRACE" / names[1]
    folder.mkdir(parents=True)
    for split, count in (("train", 3), ("validation", 1), ("test", 2)):
        rows = [{"prompt": f"{split} {number}: hawkish?", "answer": "A"} for number in range(count)]
        (folder / f"{split}.json").write_text(json.dumps(rows))
    only = config.stream.model_copy(
        update={"domains": config.stream.domains[1:2], "root": tmp_path, "cache": tmp_path / "cache"}
    )
    (task,) = only.load().tasks
    assert [len(split) for _, split in task.splits()] == [3, 1, 2]
    assert sorted(one.messages[0][1] for one in task.test.read(np.arange(2))) == [
        "test 0: hawkish?",
        "test 1: hawkish?",
    ]
