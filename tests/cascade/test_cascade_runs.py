"""A tree is learned by the one loop, and its cascade is scored, used and exported."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

sys.path.append(str(Path(__file__).parents[1] / "training"))

from killing import KILLED, in_child, quiet
from tiny_images import new_backbone
from tiny_tree import tree_values
from typer.testing import CliRunner

import plora
from plora.cascade import cascade_of_runs, descend, evaluate_cascade, export_cascade, read_cascade, route_cascade
from plora.cli import app
from plora.config import load_config
from plora.errors import ConfigError, DataError, RunError, UnknownTaskError
from plora.results import read_record
from plora.results.record.cascade_result import CascadeResult, read_cascade_result
from plora.runs import resume
from tests.conftest import TOPICS

TEXTS = ["the old train and a ticket", "apple plum pear", "a wave of the reef"]


@pytest.fixture(scope="module")
def folder(learned: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the cascade of one run, beside a flat classifier."""
    out = tmp_path_factory.mktemp("cascade") / "found"
    evaluate_cascade(cascade_of_runs([learned["tree"]], learned["flat"]), out)
    return out


@pytest.fixture(scope="module")
def result(folder: Path) -> CascadeResult:
    return read_cascade_result(folder / "cascade.json")


def test_told_the_way_each_node_gives_what_its_run_recorded(result: CascadeResult, learned: dict[str, Path]) -> None:
    record = read_record(learned["tree"])
    assert record.tasks == ("root", *TOPICS)
    for score, cell in zip(result.scores, record.matrix[-1], strict=True):
        assert score.accuracy == score.recorded == cell
    assert all("collapsed" in doubt for doubt in result.doubts)
    told = np.average(
        [score.accuracy for score in result.scores[1:]], weights=[one.support for one in result.scores[1:]]
    )
    assert result.whole["oracle"].accuracy == pytest.approx(told)


def test_what_flows_adds_up(result: CascadeResult) -> None:
    sent = {flow.answer: flow.right + flow.wrong for flow in result.flows}
    assert sum(sent[task] for task in TOPICS) == result.examples == len(result.truth) == 60
    for score in result.scores[1:]:
        assert score.arrived == sent[score.node] == sum(sent[leaf] for leaf in result.nodes[score.node])
    ends = np.bincount(result.ends, minlength=len(result.leaves))
    assert [sent[leaf] for leaf in result.leaves] == ends.tolist()
    assert result.whole["pipeline"].accuracy == np.mean(np.array(result.ends) == result.truth)
    assert result.gain is not None
    assert result.gain.value == pytest.approx(result.whole["pipeline"].accuracy - result.whole["flat"].accuracy)


def test_thresholds_are_chosen_on_validation_and_kept(result: CascadeResult, folder: Path) -> None:
    by_budget = {point.at: point for point in result.chosen}
    assert by_budget[0.0].saved <= by_budget[0.1].saved
    assert read_cascade(folder).thresholds == by_budget[0.01].thresholds
    assert result.curves["thresholds"][-1].searches == len(result.leaves)
    assert result.curves["thresholds"][-1].lost == result.curves["likeliest"][-1].lost == 0


def test_the_page_has_the_tree_and_says_the_numbers(result: CascadeResult, folder: Path) -> None:
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "test examples go" in page
    assert f"{100 * result.whole['pipeline'].accuracy:.1f}" in page
    assert (folder / "flow.png").read_bytes()[:4] == b"\x89PNG"


def test_new_texts_end_at_leaves(folder: Path, learned: dict[str, Path]) -> None:
    found = descend(folder, TEXTS, top=6)
    for one in found:
        assert sum(one.probabilities) == pytest.approx(1)
        assert one.path == ("root", next(t for t in TOPICS if one.labels[0] in TOPICS[t]), one.labels[0])
        assert set(one.tried) <= set(one.labels)
    by_hand = plora.predict(learned["tree"], TEXTS[:1], "root")[0]
    below = plora.predict(learned["tree"], TEXTS[:1], "food")[0]
    p = dict(zip(by_hand.labels, by_hand.probabilities, strict=True))["food"]
    fruit = dict(zip(below.labels, below.probabilities, strict=True))["fruit"]
    assert dict(zip(found[0].labels, found[0].probabilities, strict=True))["fruit"] == pytest.approx(
        p * fruit, abs=1e-6
    )


def test_the_verbs(folder: Path, learned: dict[str, Path], tmp_path: Path) -> None:
    runner = CliRunner()
    said = runner.invoke(app, ["predict", str(folder), "--json", *TEXTS], catch_exceptions=False)
    lines = [json.loads(line) for line in said.stdout.splitlines()]
    assert [len(line["path"]) for line in lines] == [3, 3, 3]
    assert all(len(line["tried"]) >= 1 for line in lines)
    out = tmp_path / "out.csv"
    runner.invoke(app, ["predict", str(folder), *TEXTS, "--out", str(out)], catch_exceptions=False)
    assert out.read_text(encoding="utf-8").splitlines()[0] == "text,predicted,probability"
    second = tmp_path / "both"
    runs = [str(learned["tree"]), str(learned["tree-1"])]
    said = runner.invoke(app, ["cascade", "evaluate", *runs, "--out", str(second)], catch_exceptions=False)
    assert "| pipeline" in said.stdout or "pipeline %" in said.stdout
    said = runner.invoke(app, ["cascade", "table", str(folder), str(second)], catch_exceptions=False)
    assert said.stdout.count("\n| ") >= 3
    with pytest.raises(UnknownTaskError, match="leave --task out"):
        runner.invoke(app, ["predict", str(folder), "--task", "food", "a"], catch_exceptions=False)
    with pytest.raises(RunError, match="exists already"):
        runner.invoke(app, ["cascade", "evaluate", *runs, "--out", str(second)], catch_exceptions=False)


@pytest.mark.slow
def test_several_runs_answer_with_their_mean(learned: dict[str, Path], tmp_path: Path) -> None:
    runs = [learned["tree"], learned["tree-1"]]
    for number, some in enumerate([runs[:1], runs[1:], runs]):
        evaluate_cascade(cascade_of_runs(some), tmp_path / str(number))
    each = [descend(tmp_path / str(number), TEXTS, 6) for number in range(2)]
    both = read_cascade(tmp_path / "2")
    assert [len(one) for one in both.nodes.values()] == [2, 2, 2, 2]
    assert read_cascade_result(tmp_path / "2" / "cascade.json").scores[0].recorded is None
    one, other = ({**dict(zip(d.labels, d.probabilities, strict=True))} for d in (each[0][0], each[1][0]))
    assert one != other


def test_a_cascade_of_runs_that_were_learned_apart(learned: dict[str, Path], tmp_path: Path) -> None:
    """The labels of the toy run are those of the nodes below the root, told by name; its order is another."""
    tree = yaml.safe_load((learned["tree"] / "config.yaml").read_text(encoding="utf-8"))["stream"]
    nodes = {"root": list(TOPICS), **{task: sorted(TOPICS[task], reverse=True) for task in TOPICS}}
    values = {
        "stream": {**tree, "nodes": nodes},
        "nodes": {"root": [{"run": str(learned["tree"])}], **{t: [{"run": str(learned["toy"])}] for t in TOPICS}},
    }
    file = tmp_path / "cascade.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    found = evaluate_cascade(read_cascade(file), tmp_path / "apart")
    assert [score.recorded is None for score in found.scores] == [False, True, True, True]
    record = read_record(learned["toy"])
    accuracy = dict(zip(record.tasks, record.matrix[-1], strict=True))
    for score in found.scores[1:]:  # labels in another order are the same labels, and these the same texts
        assert score.accuracy == accuracy[score.node]
    wrong = {**values, "nodes": {**values["nodes"], "food": [{"run": str(learned["toy"]), "task": "travel"}]}}
    file.write_text(yaml.safe_dump(wrong), encoding="utf-8")
    with pytest.raises(
        RunError, match=r"node 'food' has the answers 'fruit', 'bread', and task 'travel' of .* other lab"
    ):
        evaluate_cascade(read_cascade(file), tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()
    file.write_text(yaml.safe_dump({**values, "nodes": {"root": [{"run": "x"}]}}), encoding="utf-8")
    with pytest.raises(ConfigError, match="nothing says where 'food' was learned"):
        read_cascade(file)


def test_no_run_of_a_tree_is_said(learned: dict[str, Path]) -> None:
    with pytest.raises(RunError, match="is no tree"):
        cascade_of_runs([learned["toy"]])


@pytest.mark.slow
def test_an_export_walks_the_tree_without_plora(folder: Path, tmp_path: Path) -> None:
    for merged in (False, True):
        out = export_cascade(folder, tmp_path / str(merged), merged)
        script = out / "inference.py"
        assert "plora" not in script.read_text(encoding="utf-8")
        done = subprocess.run(
            [sys.executable, str(script), *TEXTS], capture_output=True, text=True, check=True, cwd=tmp_path
        )
        lines = [json.loads(line)["labels"] for line in done.stdout.splitlines()]
        for line, one in zip(lines, descend(folder, TEXTS, 6), strict=True):
            assert next(iter(line)) == one.labels[0]
            np.testing.assert_allclose([line[label] for label in one.labels], one.probabilities, atol=1e-5)


def test_nodes_learn_what_the_router_sends_them(
    learned: dict[str, Path], tmp_path: Path, tiny_backbone: Path, toy_files: dict[str, Path]
) -> None:
    routes = route_cascade(cascade_of_runs([learned["tree"]]))
    routes.write(tmp_path / "routes.json")
    values = tree_values(tiny_backbone, toy_files, tmp_path)
    plain = load_config(values).stream.load()
    sent = {
        strangers: load_config(
            values, [f"stream.routes={tmp_path / 'routes.json'}", f"stream.strangers={strangers}"]
        ).stream.load()
        for strangers in ("drop", "noise")
    }
    leaf = routes.leaves.index
    for at, task in enumerate(plain.tasks[1:], start=1):
        below = [leaf(name) for name in TOPICS[task.name]]
        arrived = np.isin(routes.ends, below)
        own = np.repeat([task.name == one for one in TOPICS], len(routes.ends) // len(TOPICS))
        assert len(sent["drop"].tasks[at].train) == int((arrived & own).sum())
        assert len(sent["noise"].tasks[at].train) == int(arrived.sum())
        assert sent["noise"].tasks[at].test.fingerprint() == task.test.fingerprint()
    assert sent["drop"].tasks[0].train.fingerprint() == plain.tasks[0].train.fingerprint()


def test_routes_of_other_examples_are_refused(
    learned: dict[str, Path], tmp_path: Path, tiny_backbone: Path, toy_files: dict[str, Path]
) -> None:
    path = tmp_path / "routes.json"
    route_cascade(cascade_of_runs([learned["tree"]])).write(path)
    values = tree_values(tiny_backbone, toy_files, tmp_path)
    with pytest.raises(DataError, match=r"they are of .* other examples"):
        load_config(values, [f"stream.routes={path}", "stream.of.validation_fraction=0.3"]).stream.load()
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="routes"):
        load_config(values, [f"stream.routes={path}"]).stream.load()


@pytest.mark.slow
def test_a_cascade_of_images_killed_and_resumed(tmp_path: Path) -> None:
    """The tree of parity over digits: told the way as recorded, and after a kill the same bits."""
    nodes = {"parity": ["even", "odd"], "even": ["zero", "two", "four"], "odd": ["one", "three", "five"]}
    gone = ["six", "seven", "eight", "nine"]
    source = {"kind": "digits", "held_back": 0.8, "per_task": 10, "validation_fraction": 0.2}
    values = {
        "name": "digits",
        "problem": {"kind": "image_classification"},
        "stream": {"kind": "tree", "of": source, "nodes": nodes, "drop": gone},
        "method": "per_task",
        "backbone": new_backbone("resnet"),
        "lora": {"rank": 2, "targets": "all_conv"},
        "training": {"epochs": 1, "batch_size": 16, "learning_rate": 0.02},
    }
    whole, cut = (load_config({**values, "output": str(tmp_path / name)}) for name in ("whole", "cut"))
    assert in_child(lambda: plora.run(cut, quiet()), "step:9") == KILLED
    folders = [plora.run(whole), resume(cut.folder)]
    found = [evaluate_cascade(cascade_of_runs([run]), tmp_path / f"out-{at}") for at, run in enumerate(folders)]
    assert [score.accuracy for score in found[0].scores] == [score.recorded for score in found[0].scores]
    assert all("collapsed" in doubt for doubt in found[0].doubts)
    assert found[0].model_dump(exclude={"runs"}) == found[1].model_dump(exclude={"runs"})


@pytest.mark.slow
def test_a_moved_folder_of_cascade_and_runs_still_answers(learned: dict[str, Path], tmp_path: Path) -> None:
    home = tmp_path / "here"
    shutil.copytree(learned["tree"], home / "run")
    evaluate_cascade(cascade_of_runs([home / "run"]), home / "cascade")
    before = descend(home / "cascade", TEXTS)
    shutil.move(home, tmp_path / "there")
    assert descend(tmp_path / "there" / "cascade", TEXTS) == before
