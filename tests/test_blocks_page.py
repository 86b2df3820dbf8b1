"""The page about codec blocks does as it says, and so does the one that its results are rendered into."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

from benchmarks.render import blocks
from plora.cache import CACHE
from plora.config import load_config
from plora.configs import find_config
from plora.results import read_record
from plora.runs import run
from plora.runs.pretraining import pretrain

PAGE = Path(__file__).parents[1] / "docs" / "guide" / "blocks.md"
TINY = (
    "{model_type: resnet, num_channels: 2, embedding_size: 8, hidden_sizes: [8, 16], depths: [1, 1], layer_type: basic}"
)


def shown(language: str) -> str:
    (found,) = re.findall(rf"```{language} [^\n]*\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return str(found)


def test_the_config_of_the_page_learns_domains_of_ten_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(shown("yaml"), encoding="utf-8")
    count = 96
    rng = np.random.default_rng(0)
    np.savez(
        "blocks.npz",
        blocks=rng.integers(0, 1024, (count, 16, 16)).astype(np.uint16),
        label=np.arange(count) % 4,
        content=np.repeat(["photo", "sketch"], count // 2),
        q=rng.integers(20, 56, count),
        part=np.tile(np.repeat(["train", "train", "validation", "test"], 4), count // 16),
    )
    record = read_record(run(load_config(Path("mine.yaml"), ["training.epochs=1"])))
    assert record.tasks == ("photo", "sketch")
    assert [task.train for task in record.data] == [18, 18]
    assert record.score.name == "macro_f1"


def test_the_cost_of_answers_is_computed_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    data = ["stream.data.photographs=[flower]", "stream.data.quantisers=[48]", "stream.train_per_class=8"]
    few = [*data, "stream.validation_per_class=4", "stream.test_per_class=6", "training.epochs=1"]
    name = "image_classification/blocks_pretrain"
    pretrain(load_config(find_config(name), [*few, f"backbone.network={TINY}"]), name)
    run(load_config(find_config("image_classification/blocks"), [*few, "bottleneck.width=4"]))
    Path("excess.py").write_text(shown("python"), encoding="utf-8")
    capsys.readouterr()
    runpy.run_path("excess.py")
    said = re.fullmatch(r"(\d+\.\d) % above the cheapest types\n", capsys.readouterr().out)
    assert said is not None
    assert float(said[1]) > 0


def test_results_say_what_adapters_reach_and_what_they_cost() -> None:
    ways = {"full": 0.5, "pooled adapters": 0.48, "frozen": 0.4, "flat, full": 0.3}
    runs = [
        {"way": way, "seed": seed, "macro_f1": score + seed / 100, "accuracy": score, "f1": {"RECT": score}}
        | {"trainable": 1000, "seconds": 60.0}
        for way, score in ways.items()
        for seed in (0, 1)
    ]
    page = blocks(
        {
            "runs": runs,
            "forest": {"accuracy": 0.36, "macro_f1": 0.35, "classes": 10},
            "forward": {"ratio": 1.02},
            "stage_1_macro_f1": 0.9,
            "versions": {},
            **dict.fromkeys(("command", "date", "hardware", "commit"), "x"),
        }
    )
    assert "*pooled adapters*, reaches 96.0 % of the macro-F1" in page
    assert "| full | 2 | 50.5 ± 0.7 | 50.0 ± 0.0 | 50.0 ± 0.0 | 1,000 | 60 |" in page
    assert "by 1.020 (median" in page
    assert page.index("| frozen |") < page.index("| flat, full |")
