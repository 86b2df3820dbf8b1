"""Which methods learn label sets and numbers, and why the others are refused."""

import pytest

from plora.config import load_config
from plora.errors import ConfigError
from plora.methods import METHODS

STREAMS = {
    "text_multi_label": {"kind": "label_sets", "tasks": [{"name": "t", "train": "t.jsonl"}]},
    "image_multi_label": {"kind": "label_sets", "tasks": [{"name": "t", "train": "t.csv", "image": "file"}]},
    "text_regression": {"kind": "numbers", "tasks": [{"name": "t", "train": "t.csv"}]},
    "image_regression": {"kind": "numbers", "tasks": [{"name": "t", "train": "t.csv", "image": "file"}]},
}
REFUSED = {
    "routed": "chooses by classes that features are near to",
    "ewc": "'ewc' of method 'ewc' reads scores as of classes of which one is right",
    "online_ewc": "reads scores as of classes",
    "ewc_lora": "reads scores as of classes",
    "der": "reads scores as of classes",
    "generative_replay": "reads scores as of classes",
    "lwf": "reads scores as of classes",
}
"""Method → reason. All others learn each of these problems."""


def made(problem: str, method: str, **settings: object) -> None:
    scenario = (
        next(s for s in ("task", "domain") if s not in METHODS[method].refusals) if method != "routed" else "domain"
    )
    load_config(
        {"stream": STREAMS[problem], "problem": {"kind": problem}, "method": method, "scenario": scenario, **settings}
    )


@pytest.mark.parametrize("problem", STREAMS)
@pytest.mark.parametrize("method", METHODS)
def test_a_method_learns_it_or_is_refused_with_the_reason(problem: str, method: str) -> None:
    if method not in REFUSED:
        made(problem, method)
        return
    with pytest.raises(ConfigError, match=REFUSED[method]):
        made(problem, method)


@pytest.mark.parametrize("head", ["ncm", "klda", "spread", "cosine"])
def test_heads_of_classes_are_refused(head: str) -> None:
    reason = "tells directions, and no amounts" if head == "cosine" else "is made of one class for each example"
    with pytest.raises(ConfigError, match=f"head: '{head}' {reason}"):
        made("text_regression", "frozen", head=head)


@pytest.mark.parametrize("head", ["linear", "ridge", "ranpac"])
def test_heads_of_numbers_are_not(head: str) -> None:
    made("text_multi_label", "frozen", head=head)
    made("image_regression", "sequential", head=head)


def test_other_settings_without_a_meaning() -> None:
    with pytest.raises(ConfigError, match="scenario: problem 'text_regression' has no classes that tasks could add"):
        made("text_regression", "sequential", scenario="class")
    made("text_multi_label", "sequential", scenario="class")
    with pytest.raises(ConfigError, match="loss_rows: problem 'text_multi_label' learns each label by itself"):
        made("text_multi_label", "sequential", scenario="class", loss_rows="seen")
    with pytest.raises(ConfigError, match="drift: it makes features of old classes anew"):
        made("text_regression", "sequential", head="ridge", drift="linear")
    with pytest.raises(ConfigError, match="'%' is of fractions, which are shown times 100; write 'percent'"):
        load_config({"stream": STREAMS["text_regression"], "problem": {"kind": "text_regression", "unit": "%"}})
    with pytest.raises(ConfigError, match=r"rare classes more often, and loss\.beta weighs them more"):
        load_config(
            {
                "stream": {"kind": "docstring_topics"},
                "problem": {"kind": "text_classification", "sampling": "balanced", "loss": {"beta": 0.9}},
            }
        )
