"""Pages that show a user's own parts and images: their Python is a module, and their config a run."""

import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import plora
from plora.cli import app
from plora.config import load_config
from plora.results import ClassRankings, read_record
from plora.runs import verify
from plora.testing import check_gate, check_head

PAGE = Path(__file__).parent.parent / "docs" / "guide" / "your-parts.md"
IMAGES = PAGE.with_name("images.md")
TINY_VIT = (
    "{kind: new, network: {model_type: vit, hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2, "
    "intermediate_size: 8, image_size: 8, patch_size: 4}, image: {size: 8, mean: [0, 0, 0], std: [1, 1, 1]}}"
)


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}[^\n]*\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def my_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_parts.py").write_text("\n\n".join(_blocks("python")), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_parts", raising=False)


@pytest.mark.usefixtures("my_parts")
def test_the_page_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import my_parts  # type: ignore[import-not-found]

    (yaml,) = _blocks("yaml")
    (tmp_path / "mine.yaml").write_text(yaml, encoding="utf-8")
    folder = plora.run(load_config(tmp_path / "mine.yaml"))
    record = read_record(folder)
    assert record.complete
    assert any(share != 1 for share in record.gates[0].values())  # the gate has learned
    rankings = ClassRankings.read(folder / "predictions" / "task-05.parquet")
    assert my_parts.top_two_accuracy(rankings) >= (rankings.prediction == rankings.label).mean()
    monkeypatch.setenv("PLORA_TRUST_OWN_PARTS", "1")
    assert verify(folder).problems == ()


@pytest.mark.usefixtures("my_parts")
def test_the_gate_of_the_page_keeps_its_promises() -> None:
    import my_parts

    check_gate(my_parts.SoftGate)


@pytest.mark.usefixtures("my_parts")
def test_the_head_of_the_page_keeps_its_promises() -> None:
    import my_parts

    check_head(my_parts.DirectionHead)


def test_the_folder_of_birds_is_learned_by_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (yaml,) = re.findall(r'```yaml title="birds[^\n]*\n(.*?)```', IMAGES.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "birds.yaml").write_text(yaml, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("gull", "heron", "owl", "wren"):
        folder = tmp_path / "birds" / name
        folder.mkdir(parents=True)
        for number in range(10):
            Image.fromarray(rng.integers(0, 256, (10, 12, 3)).astype(np.uint8)).save(folder / f"{number}.png")
    record = read_record(plora.run(load_config(tmp_path / "birds.yaml", [f"backbone={TINY_VIT}"])))
    assert record.complete
    assert record.tasks == ("classes-1-2", "classes-3-4")
    assert (record.data[0].train, record.data[0].validation, record.data[0].test) == (14, 2, 4)
    assert record.stream.notes == {
        "class order": "seed 1993: " + " ".join(map(str, np.random.RandomState(1993).permutation(4))),
        "backbone pretrained on": "ImageNet-21k; classes that it knows from there: 2 of 4: wren, heron",
    }


def test_the_stream_of_the_page_about_images_is_learned_and_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (python,) = re.findall(r"```python[^\n]*\n(.*?)```", IMAGES.read_text(encoding="utf-8"), re.DOTALL)
    (yaml,) = re.findall(r'```yaml title="photos[^\n]*\n(.*?)```', IMAGES.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "my_images.py").write_text(python, encoding="utf-8")
    (tmp_path / "photos.yaml").write_text(yaml, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_images", raising=False)
    rng = np.random.default_rng(0)
    for task, classes in (("a", ("dark", "light")), ("b", ("dim", "bright"))):
        for split, count in (("train", 6), ("validation", 2), ("test", 3)):
            for position, name in enumerate(classes):
                folder = tmp_path / "photos" / task / split / name
                folder.mkdir(parents=True)
                for number in range(count):
                    pixels = rng.integers(100 * position, 100 * position + 60, (10, 12, 3)).astype(np.uint8)
                    Image.fromarray(pixels).save(folder / f"{number}.png")
    record = read_record(plora.run(load_config(tmp_path / "photos.yaml", [f"backbone={TINY_VIT}"])))
    assert record.complete
    assert record.tasks == ("a", "b")
    assert record.data[0].train == 12

    (lines,) = re.findall(r'```sh title="no plora[^\n]*\n(.*?)```', IMAGES.read_text(encoding="utf-8"), re.DOTALL)
    (_, trusting), predicting, exporting, labelling = (shlex.split(line, comments=True) for line in lines.splitlines())
    monkeypatch.setenv(*trusting.split("=", 1))
    predicted = CliRunner().invoke(app, [*predicting[1:], "--json", "--top", "9"])
    assert predicted.exit_code == 0, predicted.output
    ours = [json.loads(line) for line in predicted.output.splitlines()]
    assert [one["file"] for one in ours] == [f"photos/a/test/dark/{number}.png" for number in range(3)]
    exported = CliRunner().invoke(app, exporting[1:])
    assert exported.exit_code == 0, exported.output
    monkeypatch.setattr(sys, "argv", labelling[1:])
    capsys.readouterr()
    runpy.run_path(labelling[1], run_name="__main__")
    (theirs,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert theirs["file"] == ours[0]["file"]
    assert theirs["labels"] == pytest.approx(ours[0]["labels"], abs=1e-5)


GATES = PAGE.with_name("gates.md")
TINY_GLYPHS = (
    *("stream.increment=50", "stream.train_per_class=1", "stream.validation_per_class=1", "stream.test_per_class=1"),
    "training.epochs=1",
)


@pytest.mark.slow
def test_the_guide_to_gates_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command of the page in its order, in a tiny form; what needs a hub is validated."""
    monkeypatch.chdir(tmp_path)
    text = GATES.read_text(encoding="utf-8")
    commands = [
        shlex.split(line, comments=True)
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines()
        if line.strip()
    ]
    done = []
    for _, verb, *arguments in commands:
        offline = verb != "run" or arguments[0] == "image_classification/glyphs"
        verb = verb if offline else "validate"
        result = CliRunner().invoke(app, [verb, *arguments, *(TINY_GLYPHS if verb == "run" else ())])
        assert result.exit_code == 0, (verb, arguments, result.output)
        done.append(verb)
    assert [done.count(verb) for verb in ("run", "validate", "table", "report")] == [5, 2, 3, 1]
    (snippet,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(snippet, "gates.md", "exec"), {})
    states = read_record(Path("runs/gates/gumbel_cl_lora/seed-0")).slot_states
    assert all(state is not None and {"share", "magnitude"} <= state.vectors.keys() for state in states)
