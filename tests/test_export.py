"""What leaves plora: PEFT adapters and plain networks that give the predictions of the run, without plora."""

import json
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertTokenizerFast,
    UltrabertConfig,
    UltrabertModel,
)

import plora.export
from plora.config import RunConfig, load_config
from plora.errors import RunError, UnknownTaskError
from plora.export import export
from plora.results import read_record
from plora.runs import predict, run
from plora.streams.base import TextInput

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
Config = Callable[..., RunConfig]

TEXTS = ["the apple and pear", "rye loaf", "a train, a ticket", "wave " * 40, "moss"]  # one is cut
PAIRS = [("apple pear", "the loaf"), ("train track", "wing"), ("wave " * 20, "bark fern " * 20)]


def same_as_predict(folder: Path, source: Path, head: str, task: str | None, texts: Sequence[TextInput]) -> None:
    """The exported script, run in this process, gives the labels and probabilities of `predict`."""
    theirs = runpy.run_path(str(folder / "inference.py"))["predict"](texts, head)
    # A cosine is divided by a temperature of about 0.001, and so is its rounding.
    tolerance = 1e-5 if json.loads((folder / "heads.json").read_text())["normalize"] else 1e-6
    for text, labels, ours in zip(texts, theirs, predict(source, texts, task, top=99), strict=True):
        assert sorted(labels) == sorted(ours.labels), text
        for label, probability in zip(ours.labels, ours.probabilities, strict=True):
            assert labels[label] == pytest.approx(probability, abs=tolerance), text


CASES = [
    # scenario, method, merged, other settings
    ("task", "per_task", False, ()),
    ("task", "o_lora", False, ()),
    ("task", "o_lora", True, ()),
    ("class", "o_lora", False, ("training.epochs=2",)),
    ("class", "sequential", False, ("lora.layers=last 1", "lora.targets=all_linear")),
    ("task", "merged_ties", False, ()),
    ("class", "merged_average", True, ()),
    ("class", "merged_magmax", False, ("merging.rank=3",)),
    ("class", "joint", True, ("backbone.pooling=first",)),
    ("class", "sequential", False, ("lora.rslora=true", "lora.targets=all_linear")),
    ("task", "frozen", True, ("head=ridge",)),
    ("task", "frozen", True, ("head=ncm",)),
    ("class", "frozen", True, ("head=ridge",)),
    ("class", "frozen", True, ("head=ncm",)),
    ("class", "frozen", True, ("head=ranpac",)),
    ("class", "first_session", False, ()),
    ("class", "first_session", True, ("head=ridge",)),
    ("task", "lateral", False, ()),
    ("task", "per_task", False, ("head=ridge",)),
    ("class", "o_lora", True, ("head=ranpac", "drift=linear")),
    ("class", "sequential", True, ("head=cosine",)),
    ("task", "per_task", False, ("head=cosine",)),
    ("class", "full", True, ("training.learning_rate=0.003",)),
    *(
        pytest.param("class", method, False, (), marks=pytest.mark.slow)
        for method in ("n_lora", "ewc", "online_ewc", "ewc_lora", "replay", "der", "generative_replay", "lwf")
    ),
    pytest.param(
        "class", "gumbel_cl_lora", False, ("gate={kind: gumbel_sparsemax, per: layer}",), marks=pytest.mark.slow
    ),
    ("task", "gumbel_cl_lora", True, ("training.epochs=2",)),
    pytest.param("class", "inf_lora", False, (), marks=pytest.mark.slow),
    ("class", "sd_lora", False, ()),
    pytest.param("class", "sd_lora_kd", True, (), marks=pytest.mark.slow),
    pytest.param("task", "sd_lora_rr", True, ("lora.rank=3", "lora.ranks={1: 2}"), marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("scenario", "method", "merged", "settings"), CASES)
def test_labels_and_probabilities_are_those_of_predict(
    toy_config: Config, tmp_path: Path, scenario: str, method: str, merged: bool, settings: tuple[str, ...]
) -> None:
    source = run(toy_config("training.epochs=1", f"scenario={scenario}", f"method={method}", *settings))
    folder = export(source, tmp_path / "out", merged=merged)
    heads = json.loads((folder / "heads.json").read_text())["heads"]
    assert list(heads) == (["food", "travel", "nature"] if scenario == "task" else ["all"])
    for head in heads:
        task = head if scenario == "task" else None
        same_as_predict(folder, source, head, task, TEXTS)
        same_as_predict(folder, source, head, task, PAIRS)


def test_a_domain_incremental_run_has_one_head(toy_values: dict[str, object], tmp_path: Path) -> None:
    tasks = []
    for task in toy_values["stream"]["tasks"]:
        texts = Path(task["train"]).read_text().splitlines()
        first = json.loads(texts[0])["label"]
        rows = [{**row, "label": "one" if row["label"] == first else "two"} for row in map(json.loads, texts)]
        path = tmp_path / f"{task['name']}.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)))
        tasks.append({"name": task["name"], "train": str(path)})
    values = toy_values | {"stream": {"kind": "local", "tasks": tasks}, "scenario": "domain", "method": "o_lora"}
    source = run(load_config(values, ["training.epochs=1"]))
    folder = export(source, tmp_path / "out", merged=True)
    assert json.loads((folder / "heads.json").read_text())["heads"]["all"]["labels"] == ["one", "two"]
    same_as_predict(folder, source, "all", None, TEXTS)


def without_plora(folder: Path, *arguments: str, cwd: Path) -> list[dict[str, object]]:
    """Run the exported script by itself, in a process in which plora cannot be imported."""
    code = (
        "import runpy, sys; sys.modules['plora'] = None; sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__'); "
        "assert not [name for name in sys.modules if name.startswith('plora.')]"
    )
    command = [sys.executable, "-I", "-W", "ignore", "-c", code, str(folder / "inference.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("merged", [True, False])
def test_the_script_runs_where_there_is_no_plora(toy_config: Config, tmp_path: Path, merged: bool) -> None:
    source = run(toy_config("training.epochs=2", "method=per_task"))
    written = export(source, tmp_path / "out", task="travel" if merged else None, merged=merged)
    elsewhere = tmp_path / "elsewhere"
    shutil.move(written, elsewhere)
    option = [] if merged else ["--task", "travel"]  # one head needs no name
    answers = without_plora(elsewhere, *option, "a train\tthe wing", "plane", cwd=tmp_path)
    assert [answer["text"] for answer in answers] == [["a train", "the wing"], "plane"]
    ours = [*predict(source, [("a train", "the wing")], "travel"), *predict(source, ["plane"], "travel")]
    for answer, prediction in zip(answers, ours, strict=True):
        for label, probability in zip(prediction.labels, prediction.probabilities, strict=True):
            assert answer["labels"][label] == pytest.approx(probability, abs=1e-6)


def test_a_merged_network_is_a_plain_one(toy_config: Config, tiny_backbone: Path, tmp_path: Path) -> None:
    source = run(toy_config("training.epochs=1", "method=o_lora"))
    folder = export(source, tmp_path / "out", merged=True)
    network, base = AutoModel.from_pretrained(folder), AutoModel.from_pretrained(tiny_backbone)
    assert network.state_dict().keys() == base.state_dict().keys()
    changed = [
        name for name, tensor in network.state_dict().items() if not torch.equal(tensor, base.state_dict()[name])
    ]
    assert len(changed) == 2 * 4  # q, k, v, o of two blocks
    assert sorted(path.suffix for path in folder.iterdir() if path.suffix not in (".json", ".txt")) == [
        ".md",
        ".py",
        ".safetensors",
        ".safetensors",
    ]
    assert AutoTokenizer.from_pretrained(folder)("the apple").input_ids


def test_no_classifier_of_a_merged_network_has_random_rows(toy_config: Config, tmp_path: Path) -> None:
    source = run(toy_config("training.epochs=1", "method=per_task"))
    folder = export(source, tmp_path / "out", task="food", merged=True)
    with pytest.warns(UserWarning, match="zero-element"):
        classifier = AutoModelForSequenceClassification.from_pretrained(folder)
    assert classifier.num_labels == 0
    assert classifier(**AutoTokenizer.from_pretrained(folder)("apple", return_tensors="pt")).logits.shape == (1, 0)


def test_adapters_run_on_a_folder_where_their_network_cannot_be_had(
    toy_config: Config,
    tiny_backbone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = run(toy_config("training.epochs=1", "method=per_task"))
    folder = export(source, tmp_path / "out", task="food")
    heads = json.loads((folder / "heads.json").read_text())
    (folder / "heads.json").write_text(json.dumps(heads | {"backbone": "sentence-transformers/all-MiniLM-L6-v2"}))
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["inference.py", "--backbone", str(tiny_backbone), "apple"])
    runpy.run_path(str(folder / "inference.py"), run_name="__main__")
    (ours,) = predict(source, ["apple"], "food", top=99)
    answer = json.loads(capsys.readouterr().out)
    assert answer["labels"] == pytest.approx(dict(zip(ours.labels, ours.probabilities, strict=True)), abs=1e-6)
    assert "--backbone FOLDER" in (folder / "README.md").read_text()


def test_bf16_runs_are_exported_in_single_precision(toy_config: Config, tiny_backbone: Path, tmp_path: Path) -> None:
    source = run(toy_config("training.epochs=1", "training.precision=bf16"))
    merged = load_file(export(source, tmp_path / "merged", merged=True) / "model.safetensors")
    base = load_file(tiny_backbone / "model.safetensors")
    assert {tensor.dtype for tensor in merged.values()} == {torch.float32}
    name = "encoder.layer.0.intermediate.dense.weight"  # not adapted: the published numbers, not rounded ones
    assert torch.equal(merged[name], base[name])
    adapter = load_file(export(source, tmp_path / "adapter") / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in adapter.values()} == {torch.float32}


def test_tasks_become_folders(toy_values: dict[str, object], tmp_path: Path) -> None:
    stream = toy_values["stream"]
    names = ["../mail & co", "README.md"]
    tasks = [{**task, "name": name} for task, name in zip(stream["tasks"], names, strict=False)]
    values = toy_values | {"stream": {**stream, "tasks": tasks}, "method": "per_task"}
    source = run(load_config(values, ["training.epochs=1"]))
    folder = export(source, tmp_path / "out")
    heads = json.loads((folder / "heads.json").read_text())["heads"]
    places = [head["adapter"] for head in heads.values()]
    assert list(heads) == names
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == sorted(places)
    assert not (tmp_path / "mail & co").exists()
    same_as_predict(folder, source, names[0], names[0], TEXTS)

    only = export(source, tmp_path / "only", task=names[1])
    assert [path.name for path in only.iterdir() if path.is_dir()] == [places[1]]
    same_as_predict(only, source, names[1], names[1], TEXTS)


@pytest.mark.parametrize("names", [["意见" * 40 + "一", "意见" * 40 + "二"], ["Mail", "mail"]])
def test_tasks_that_no_folder_could_be_named_after(
    names: list[str], toy_values: dict[str, object], tmp_path: Path
) -> None:
    stream = toy_values["stream"]
    tasks = [{**task, "name": name} for task, name in zip(stream["tasks"], names, strict=False)]
    values = toy_values | {"stream": {**stream, "tasks": tasks}, "method": "per_task"}
    source = run(load_config(values, ["training.epochs=1"]))
    folder = export(source, tmp_path / "out")
    heads = json.loads((folder / "heads.json").read_text())["heads"]
    places = [head["adapter"] for head in heads.values()]
    assert list(heads) == names
    assert len({place.casefold() for place in places}) == 2
    assert all(len(place) < 255 for place in places)
    for name in names:
        same_as_predict(folder, source, name, name, TEXTS)


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_a_sequence_classifier_where_transformers_has_one(
    toy_config: Config, tiny_backbone: Path, tmp_path: Path, pooling: str
) -> None:
    backbone = tmp_path / "ultrabert"
    tokenizer = BertTokenizerFast.from_pretrained(tiny_backbone)
    tokenizer.save_pretrained(backbone)
    torch.manual_seed(0)
    config = UltrabertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        pad_token_id=0,
    )
    UltrabertModel(config).save_pretrained(backbone)
    settings = (f"backbone={{id: {backbone}, max_length: 16, pooling: {pooling}}}", "lora.targets=all_linear")
    source = run(toy_config("training.epochs=1", "scenario=class", "method=o_lora", *settings))
    folder = export(source, tmp_path / "out", merged=True)
    same_as_predict(folder, source, "all", None, TEXTS)

    classifier = AutoModelForSequenceClassification.from_pretrained(folder)
    tokens = AutoTokenizer.from_pretrained(folder)(TEXTS[:3], padding=True, return_tensors="pt")
    with torch.inference_mode():
        rows = classifier(tokens["input_ids"], tokens["attention_mask"]).logits.softmax(1)
    for row, ours in zip(rows.tolist(), predict(source, TEXTS[:3], top=99), strict=True):
        found = {classifier.config.id2label[i]: probability for i, probability in enumerate(row)}
        assert found == pytest.approx(dict(zip(ours.labels, ours.probabilities, strict=True)), abs=1e-6)

    ncm = run(toy_config("scenario=class", "method=frozen", "head=ncm", settings[0]))  # no linear map of the feature
    loaded = AutoModel.from_pretrained(export(ncm, tmp_path / "ncm", merged=True))
    assert loaded.config.architectures == ["UltrabertModel"]


# ---------------------------------------------------------------------- the model card


def test_the_card_says_what_it_is(toy_config: Config, tiny_backbone: Path, tmp_path: Path) -> None:
    source = run(toy_config("training.epochs=1", "method=per_task"))
    record = read_record(source)
    card = (export(source, tmp_path / "out") / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: peft\npipeline_tag: text-classification\n")
    assert "base_model:" not in card  # a folder of this machine is no name on the hub
    for data in record.data:
        assert all(sha256 in card for sha256 in data.fingerprints.values())
        assert re.search(rf"\| {data.task} +\| +\d+\.\d \| +{data.train} \|", card)
    assert "- travel: " in card
    for label in ("rail", "air"):
        assert label in card
    for metric in record.metrics.values():
        assert metric.definition in card
    assert "## Intended use and limits" in card
    assert 'python inference.py --task food "a text"' in card
    assert "`travel` (travel)" in card
    only = (export(source, tmp_path / "only", task="travel", merged=True) / "README.md").read_text()
    assert only.startswith("---\nlibrary_name: transformers\n")
    assert 'python inference.py "a text"' in only
    assert "- food: " not in only


def test_the_card_says_which_split_was_scored(toy_config: Config, tmp_path: Path) -> None:
    for split in ("test", "validation"):
        source = run(toy_config("training.epochs=1", "method=per_task", f"name={split}", f"evaluation.split={split}"))
        card = (export(source, tmp_path / split) / "README.md").read_text()
        assert f"Accuracy on the {split} split, after the last task." in card
        assert ("these numbers choose settings, they are not results" in card) == (split == "validation")


# ---------------------------------------------------------------------- refusals, and the hub


@pytest.mark.slow
def test_what_cannot_be_exported_is_refused_and_nothing_is_written(toy_config: Config, tmp_path: Path) -> None:
    out = tmp_path / "out"
    frozen = run(toy_config("method=frozen", "head=ncm", "scenario=class"))
    slots = run(toy_config("method=per_task", "training.epochs=1"))
    shared = run(toy_config("method=sequential", "training.epochs=1", "scenario=class"))
    with pytest.raises(RunError, match="method 'frozen' has no slots to write as adapters; add --merged"):
        export(frozen, out)
    routed = run(toy_config("method=routed", "training.epochs=1", "scenario=class"))
    for merged in (False, True):
        with pytest.raises(RunError, match="method 'routed' chooses one of its slots for each input, which no PEFT"):
            export(routed, out, merged=merged)
    weighed = run(toy_config("method=gain_lora", "training.epochs=1", "scenario=class"))
    with pytest.raises(RunError, match="method 'gain_lora' weighs its slots anew for each input, which no PEFT"):
        export(weighed, out)
    with pytest.raises(UnknownTaskError, match=r"one merged network holds one .*--task.*food, travel, nature"):
        export(slots, out, merged=True)
    with pytest.raises(UnknownTaskError, match="no task 'foot'; did you mean 'food'"):
        export(slots, out, task="foot", merged=True)
    with pytest.raises(RunError, match="class-incremental: all tasks share one head; leave --task out"):
        export(shared, out, task="food")
    with pytest.raises(RunError, match=r"a folder of this machine, and nobody else .*add --merged"):
        export(slots, out, push="someone/some-model")
    with pytest.raises(RunError, match="not a run folder"):
        export(tmp_path / "nothing", out)
    assert not out.exists()
    out.mkdir()
    (out / "precious.txt").write_text("keep me")
    with pytest.raises(RunError, match="exists already; nothing was changed"):
        export(slots, out)
    assert [path.name for path in out.iterdir()] == ["precious.txt"]


def test_a_failure_leaves_nothing_behind(toy_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = run(toy_config("training.epochs=1"))

    def fail(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(plora.export, "_card", fail)
    with pytest.raises(OSError, match="No space left"):
        export(source, tmp_path / "exports/out")
    assert list((tmp_path / "exports").iterdir()) == []


class Hub:
    """Stands in for the hub's client."""

    def __init__(self, calls: list[tuple[str, dict[str, object]]], error: Exception | None = None) -> None:
        self.calls, self.error = calls, error

    def create_repo(self, repository: str, **settings: object) -> None:
        if self.error:
            raise self.error
        self.calls.append((repository, settings))

    def upload_folder(self, repo_id: str, folder_path: Path) -> None:
        self.calls.append((repo_id, {"files": sorted(path.name for path in folder_path.iterdir())}))


def test_pushing_uploads_the_whole_folder(toy_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, dict[str, object]]] = []
    monkeypatch.setattr(plora.export, "HfApi", lambda: Hub(calls))
    source = run(toy_config("training.epochs=1"))
    folder = export(source, tmp_path / "out", merged=True, push="someone/some-model")
    assert calls == [
        ("someone/some-model", {"private": True, "exist_ok": True}),
        ("someone/some-model", {"files": sorted(path.name for path in folder.iterdir())}),
    ]


def test_without_a_network_the_folder_is_there_and_the_rest_is_one_line(
    toy_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plora.export, "HfApi", lambda: Hub([], ConnectionError("no route to host\nat all")))
    source = run(toy_config("training.epochs=1"))
    with pytest.raises(RunError) as caught:
        export(source, tmp_path / "out", merged=True, push="someone/some-model")
    assert "is written, but the hub did not take it as 'someone/some-model' (no route to host)" in str(caught.value)
    assert f"hf upload someone/some-model {tmp_path / 'out'}" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert (tmp_path / "out/inference.py").is_file()
