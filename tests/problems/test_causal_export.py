"""What leaves plora of a language model: PEFT and plain `transformers` have our scores, and write our texts."""

import json
import runpy
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftModel
from sayings import learned
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from plora.errors import RunError, UnknownTaskError
from plora.export import export
from plora.runs import generate, load_learner

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set:UserWarning"),
]
PROMPTS = ["the waves", "", "a cow", "zebra — ünïcode", "<|end|> is text"]
IDS = torch.arange(1, 25)[None] * 11 % 300


@pytest.fixture(autouse=True)
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLORA_TRUST_OWN_PARTS", "1")


@torch.no_grad()
def our_scores(run: Path, task: str | None) -> Tensor:
    """[1, T, V] of the run's network under the route of a task."""
    model = load_learner(run)[0].model.eval()
    with model.under(model.route(task)):
        return model.backbone(input_ids=IDS).logits  # type: ignore[no-any-return]


def near(found: Tensor, expected: Tensor) -> bool:
    return float((found - expected).detach().abs().max()) < 1e-5 * float(expected.abs().max())


def writes_ours(folder: Path, run: Path, task: str | None) -> None:
    script = runpy.run_path(str(folder / "inference.py"))
    theirs = script["generate"](PROMPTS, *([] if task is None else [task]), tokens=20)
    assert theirs == [one.text for one in generate(run, PROMPTS, task, tokens=20)]


@pytest.mark.parametrize(
    ("kind", "method", "targets"),
    [
        ("gpt2", "o_lora", "all_linear"),  # Conv1D, square and oblong
        pytest.param("gpt2", "per_task", "attention:qv", marks=pytest.mark.slow),  # two parts of a fused one
        pytest.param("llama", "per_task", "all_linear", marks=pytest.mark.slow),
    ],
)
def test_peft_and_a_merged_network_have_our_scores_and_write_our_texts(
    kind: str, method: str, targets: str, tmp_path: Path
) -> None:
    settings = (f"method={method}", f"lora.targets={targets}", "training.epochs=5")
    run = learned(tmp_path, *settings, kind=kind)
    base, adapted, merged = tmp_path / "base", tmp_path / "adapted", tmp_path / "merged"
    task, place = ("land", "land") if method == "per_task" else (None, ".")
    expected = our_scores(run, task)
    plain = AutoModelForCausalLM.from_pretrained(base)
    assert not near(plain(input_ids=IDS).logits, expected)  # the slots do something

    export(run, adapted)
    described = json.loads((adapted / "adapters.json").read_text())
    assert described["adapters"] == ({"sea": "sea", "land": "land"} if task else {"all": "."})
    with torch.no_grad():
        assert near(PeftModel.from_pretrained(plain, adapted / place)(input_ids=IDS).logits, expected)
        assert near(AutoPeftModelForCausalLM.from_pretrained(adapted / place)(input_ids=IDS).logits, expected)
    writes_ours(adapted, run, task)

    export(run, merged, task, merged=True)
    found = AutoModelForCausalLM.from_pretrained(merged)
    with torch.no_grad():
        assert near(found(input_ids=IDS).logits, expected)
    tied = found.get_input_embeddings().weight is found.get_output_embeddings().weight
    assert tied == (kind == "gpt2")
    assert AutoTokenizer.from_pretrained(merged).eos_token_id == described["end"]
    writes_ours(merged, run, task)
    card = (adapted / "README.md").read_text()
    assert card.splitlines()[1] == "library_name: peft"
    assert "pipeline_tag: text-generation" in card
    assert "\nA language model on `" in card
    assert "Labels:" not in card
    assert "heads" not in card


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    run = learned(tmp_path, "method=per_task", "training.epochs=1")
    with pytest.raises(UnknownTaskError, match="one merged network holds one of them: name it with --task"):
        export(run, tmp_path / "out", merged=True)
    whole = learned(tmp_path / "full", "method=full", "training.epochs=1", "training.learning_rate=0.001")
    with pytest.raises(RunError, match="no slots to write as adapters; add --merged"):
        export(whole, tmp_path / "out")
    export(whole, tmp_path / "out", merged=True)
    writes_ours(tmp_path / "out", whole, None)
    with torch.no_grad():
        found = AutoModelForCausalLM.from_pretrained(tmp_path / "out")(input_ids=IDS).logits
        moved = AutoModelForCausalLM.from_pretrained(tmp_path / "full" / "base")(input_ids=IDS).logits
        assert near(found, load_learner(whole)[0].model.eval().backbone(input_ids=IDS).logits)
    assert not near(found, moved)
