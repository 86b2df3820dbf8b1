"""What LoRA saves in a step is counted, arms are told apart, and their page is made of what was measured."""

import pytest

from benchmarks.render import segmentation, segmentation_step, segmentation_steps
from benchmarks.segmentation import TINY, arm, measure_steps, quick
from plora.configs import find_sweep
from plora.sweep import load_sweep, plan_runs

SAID = {"command": "c", "date": "d", "hardware": "h", "versions": {"plora": "0"}, "commit": "f"}


def test_a_step_of_lora_holds_less_of_everything() -> None:
    found = measure_steps(TINY, 1, "fp32")
    ways = found["ways"]
    assert isinstance(ways, dict)
    assert found["parameters"] == ways["full"]["trainable"]
    for part in ("trainable", "activation_bytes", "gradient_bytes", "optimizer_bytes"):
        assert 0 < ways["lora"][part] < ways["full"][part]
    assert ways["full"]["gradient_bytes"] == 4 * ways["full"]["trainable"]  # fp32: every parameter has one
    assert ways["lora"]["gradient_bytes"] == 4 * ways["lora"]["trainable"]
    page = segmentation_step({**SAID, **found})
    assert f"{found['memory_lora_over_full']} of the memory" in page


@pytest.mark.parametrize("name", ["scenes", "camvid"])
def test_a_sweep_has_every_arm_with_every_seed_and_so_has_its_quick_form(name: str) -> None:
    config = load_sweep(find_sweep(f"sweeps/{name}"))
    arms = ["frozen", "full", "linear", "lora"]
    runs = plan_runs(config)
    assert sorted((arm(run.config), run.config.seed) for run in runs) == [(one, n) for one in arms for n in range(3)]
    small = plan_runs(quick(config))
    assert sorted(arm(run.config) for run in small) == arms
    assert {run.config.backbone.kind for run in small} == {"new"}


def test_arms_stand_by_their_mean_iou() -> None:
    shared = {"tasks": ["a", "b"], "train_images": 2, "test_images": 2, "trainable": 5, "seconds": 3.0}
    shared |= {"peak_memory_bytes": None, "kept_bytes": 2048, "forgetting": 0.1}
    runs = [
        {"arm": "linear", "mean_iou": 0.2, "last_row": [0.1, 0.3], **shared},
        {"arm": "lora", "mean_iou": 0.5, "last_row": [0.4, 0.6], **shared},
        {"arm": "lora", "mean_iou": 0.7, "last_row": [0.6, 0.8], **shared},
    ]
    page = segmentation({**SAID, "runs": runs, "chosen_on_validation": {}, "searched": {}}).splitlines()
    assert page[2].startswith(
        "| LoRA, and what answers | 2 | 60.0 ± 14.1 | 10.0 ± 0.0 | 50.0 ± 14.1 | 70.0 ± 14.1 | 5 |"
    )
    assert page[3].startswith("| a linear layer for each patch | 1 | 20.0 | 10.0 | 10.0 | 30.0 | 5 | 3 | – | 2 |")


def test_what_holds_old_classes_is_told_in_words() -> None:
    shared = {"trainable": 5, "seconds": 3.0, "passes": 1, "lora": True, "by_class": False}
    last = {"old": 0.2, "new": 0.4, "all": 0.3}
    runs = [
        {**shared, "method": "lwf", "foreground_iou": 0.3, "steps": [{"old": None, "new": 0.5, "all": 0.5}, last]},
        {**shared, "method": "joint", "foreground_iou": 0.6, "steps": []},
        {**shared, "method": "routed", "by_class": True, "passes": 2, "foreground_iou": 0.25, "steps": [last]},
    ]
    page = segmentation_steps({**SAID, "runs": runs, "chosen_on_validation": {}, "searched": {}}).splitlines()
    assert [line.split(" | ")[0] for line in page[2:5]] == [
        "| all classes at once",
        "| what the model said before",
        "| queries of their own for each step, and LoRA",
    ]
    assert page[3].endswith("| `lwf` | 30.0 | 20.0 | 40.0 | 50.0 | 5 | 1 | 3 |")


def test_the_sweep_of_steps_has_what_holds_old_classes_and_all_at_once() -> None:
    runs = [run.config for run in plan_runs(load_sweep(find_sweep("sweeps/scene-steps")))]
    assert [run.method for run in runs] == ["routed", "routed", "sequential", "lwf", "replay", "sequential"]
    assert [run.scenario for run in runs] == ["class"] * 5 + ["domain"]
    assert len(plan_runs(quick(load_sweep(find_sweep("sweeps/scene-steps"))))) == 6
