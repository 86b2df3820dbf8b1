"""What several runs write after the same prompts, and the numbers that say how it reads."""

from pathlib import Path

import pytest
import torch
from sayings import learned

from plora.adapters import Route
from plora.errors import ConfigError
from plora.problems.causal_lm import CausalLM
from plora.runs import load_learner, write_side_by_side
from plora.runs.continuations import _distinct, _repeated

PROMPTS = ("the waves", "", "a cow stood in")


@pytest.fixture(autouse=True)
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLORA_TRUST_OWN_PARTS", "1")


def nats(run: Path, prompt: str, text: str) -> float:
    """− log p(text | prompt), token by token."""
    learner, _, _ = load_learner(run)
    model = learner.model.eval()
    assert isinstance(model.problem, CausalLM)
    tokenizer, layout = model.problem.tokenizer, model.problem.layout
    before, after = (tokenizer(said, add_special_tokens=False)["input_ids"] for said in (prompt, text))
    ids, total = [layout.start, *before], 0.0
    route = Route() if model.adapters is None else model.route(None)
    with torch.no_grad(), model.under(route):
        for token in after:
            total -= float(model.backbone(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(0)[token])
            ids.append(token)
    return total


def test_every_text_is_scored_under_every_run(tmp_path: Path) -> None:
    runs = [
        learned(tmp_path / "slots", "method=sequential", "training.epochs=3", kind="llama"),
        learned(tmp_path / "all", "method=full", "training.epochs=2", kind="llama"),
    ]
    found = write_side_by_side(runs, PROMPTS, tokens=12)
    assert [one.run for one in found] == runs
    for one in found:
        assert [written.prompt for written in one.continuations] == [*PROMPTS]
        size = sum(len(written.text.encode()) for written in one.continuations)
        for judge in runs:
            expected = sum(nats(judge, written.prompt, written.text) for written in one.continuations) / size
            assert one.nats_per_byte[judge] == pytest.approx(expected, rel=1e-4)
        own = one.nats_per_byte[one.run]
        assert own is not None
        assert own < max(value for value in one.nats_per_byte.values() if value is not None)
    with pytest.raises(ConfigError, match="a run is named twice"):
        write_side_by_side([runs[0], runs[0]], PROMPTS)


def test_numbers_for_variety() -> None:
    assert _distinct(["a b a b", "a b"], 1) == 2 / 6
    assert _distinct(["a b a b", "a b"], 2) == 2 / 4
    assert _distinct(["a", ""], 2) is None
    assert _repeated(["a b c d a b c d", "one two three"]) == 1 - 4 / 5
    assert _repeated(["", "a b c"]) is None
