"""Runs of causal language models: every method that needs no classes learns documents through the one loop."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_writers import write
from transformers import AutoModelForCausalLM, AutoTokenizer

sys.path.append(str(Path(__file__).parents[1] / "training"))
from killing import KILLED, in_child, quiet

from plora.adapters import AdaptedLinear
from plora.build import Workspace, build
from plora.config import RunConfig, load_config, load_domain
from plora.errors import AdapterError, BackboneError, ConfigError, DataError, RunError
from plora.methods import METHODS
from plora.moment import Moment
from plora.params import count_parameters
from plora.problems import CausalLM
from plora.results import read_record
from plora.runs import evaluate, extend, resume, run, verify
from plora.runs.pretraining import pretrain
from plora.runs.validating import validate
from plora.training.course import plan_course
from plora.training.stage import begin_lesson, open_stage
from plora.training.step import Backward

Make = Callable[..., RunConfig]


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("gpt2"))


@pytest.fixture
def make(gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setenv("PLORA_TRUST_OWN_PARTS", "1")
    monkeypatch.setenv("PLORA_CACHE", str(tmp_path / "cache"))
    values = {
        "name": "languages",
        "stream": {"kind": "tiny_writers:WrittenStream"},
        "problem": {"kind": "causal_lm"},
        "scenario": "domain",
        "backbone": {"id": str(gpt2), "max_length": 32},
        "lora": {"rank": 2, "alpha": 4},
        "training": {"epochs": 2, "batch_size": 4, "learning_rate": 0.01, "log_every": 1},
    }
    return lambda *overrides: load_config(values, [*overrides, f"output={tmp_path / 'runs'}"])


SELF = "strategies=[{kind: generative_replay, generator: {kind: self}, per_class: 8}]"
LEARN: dict[str, tuple[str, ...]] = {
    "full": ("training.learning_rate=0.001",),
    "joint": (),
    "sequential": (),
    "per_task": ("scenario=task",),
    "lateral": ("scenario=task",),
    "o_lora": (),
    "n_lora": (),
    "gumbel_cl_lora": (),
    "sd_lora": (),
    "sd_lora_rr": ("lora={rank: 2, alpha: 4, ranks: {1: 1}}",),
    "sd_lora_kd": (),
    "inf_lora": (),
    "replay": (),
    "generative_replay": (SELF,),
    "merged_average": (),
    "merged_ties": (),
    "merged_magmax": (),
}
"""Methods that learn documents, with what they need beside the defaults."""
REFUSED = {
    "frozen": r"trains a head alone, and problem 'causal_lm' answers with the network itself",
    "first_session": r"solves a head over classes, and problem 'causal_lm' has none",
    "routed": r"chooses by classes that features are near to, and problem 'causal_lm' has none; set gate=",
    "gain_lora": r"weighs slots by features that a head reads, and problem 'causal_lm' has none",
    "ewc": r"'ewc' reads scores of classes, and problem 'causal_lm' has none",
    "online_ewc": r"'ewc' reads scores of classes",
    "ewc_lora": r"'ewc_lora' reads scores of classes",
    "der": r"'replay' reads scores of classes",
    "lwf": r"'distillation' reads scores of classes",
}
"""Methods that do not, and why."""
FAST = ("sequential", "per_task", "replay")


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in LEARN if name not in FAST]


@pytest.mark.parametrize("method", [*FAST, *SLOW])
def test_methods_learn_documents(make: Make, method: str) -> None:
    config = make(f"method={method}", *LEARN[method])
    validate(config)
    run(config, quiet(), Workspace())
    record = read_record(config.folder)
    assert record.score.name == "nats_per_byte"
    assert np.isfinite(record.matrix[-1]).all()
    assert record.matrix[-1, 1] < record.matrix[0, 1]  # nats fell
    assert verify(config.folder).problems == ()
    assert evaluate(config.folder).changed == 0


@pytest.mark.parametrize("method", REFUSED)
def test_methods_that_need_classes_are_refused_before_anything_is_loaded(make: Make, method: str) -> None:
    with pytest.raises(ConfigError, match=REFUSED[method]) as found:
        make(f"method={method}", "backbone.id=/nowhere")
    assert len(str(found.value).splitlines()) <= 2


def test_every_method_learns_documents_or_says_why_not() -> None:
    assert {*LEARN, *REFUSED} == {*METHODS}
    assert not LEARN.keys() & REFUSED.keys()


def gradients(config: RunConfig, indices: np.ndarray) -> dict[str, torch.Tensor]:
    """Of one step on some documents of the first task, from the same slot."""
    parts = build(config)
    plan = plan_course(parts)[0]
    torch.manual_seed(0)
    open_stage(parts, plan)
    for parameter in parts.model.trainable().values():
        torch.nn.init.normal_(parameter, std=0.2)
    lesson = begin_lesson(parts, plan)
    micro = config.training.micro_batch_size or config.training.batch_size
    Backward(parts, plan, lesson, micro).run(indices, Moment("language 1", 0, 1, 0), draw=0)
    return {name: parameter.grad for name, parameter in parts.model.trainable().items() if parameter.grad is not None}


@pytest.mark.parametrize(
    "other",
    [
        ("training.micro_batch_size=1",),
        ("training.tokens_per_batch=16",),
        ("training.activation_checkpointing=true",),
        ("problem.packing=false",),
    ],
    ids=" ".join,
)
def test_a_step_is_the_same_in_parts_with_recomputation_and_without_packing(make: Make, other: tuple[str, ...]) -> None:
    documents = np.arange(8)
    whole, found = gradients(make("lora.dropout=0"), documents), gradients(make("lora.dropout=0", *other), documents)
    assert whole
    for name, gradient in whole.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)


def test_gpt2_is_adapted_part_by_part_and_neither_head_nor_embeddings_are(make: Make) -> None:
    model = build(make()).model
    adapted = {path: layer for path, layer in model.backbone.named_modules() if isinstance(layer, AdaptedLinear)}
    assert [*adapted["transformer.h.0.attn.c_attn"].banks] == ["q", "k", "v"]
    everything = build(make("lora.targets=all_linear")).model
    found = [path for path, layer in everything.backbone.named_modules() if isinstance(layer, AdaptedLinear)]
    assert found
    assert not [path for path in found if "lm_head" in path or "wte" in path or "wpe" in path]
    assert count_parameters(make("lora.targets=transformer.h.0.attn.c_attn")).trainable > 0
    for named in ("lora.targets=lm_head", "modules=[lm_head]"):
        with pytest.raises(AdapterError, match=r"head that gives words their scores is adapted, .*; leave it out"):
            build(make(named))


@pytest.mark.slow
@pytest.mark.parametrize("settings", [("method=sequential",), ("method=full", "training.learning_rate=0.001")])
def test_in_bf16_it_learns_too(make: Make, settings: tuple[str, ...]) -> None:
    config = make(*settings, "training.precision=bf16")
    run(config, quiet(), Workspace())
    record = read_record(config.folder)
    assert record.matrix[-1, 1] < record.matrix[0, 1]
    assert verify(config.folder).problems == ()
    assert evaluate(config.folder).changed == 0


@pytest.mark.slow
def test_a_run_that_was_cut_goes_on_as_if_it_had_not_been(make: Make) -> None:
    whole, cut = make("method=replay", "name=whole"), make("method=replay", "name=cut", "training.checkpoint_seconds=0")
    run(whole, quiet(), Workspace())
    assert in_child(lambda: run(cut, quiet(), Workspace()), failpoint="step:8") == KILLED
    resume(cut.folder, quiet(), Workspace())
    np.testing.assert_array_equal(read_record(cut.folder).matrix, read_record(whole.folder).matrix)
    assert verify(cut.folder).problems == ()


NEW = (
    "backbone={kind: new, network: {model_type: gpt2, n_embd: 16, n_layer: 1, n_head: 2, n_positions: 32}, "
    "vocabulary: 270, max_length: 32}",
    "method=full",
    "stream.languages=[the cat sat on a mat]",
)


def test_a_new_network_learns_words_and_is_kept_as_a_folder_for_anyone(make: Make, tmp_path: Path) -> None:
    folder = pretrain(make(*NEW), "tiny", quiet())
    network, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert network.config.vocab_size == 270
    assert network.config.eos_token_id == tokenizer.eos_token_id == tokenizer.bos_token_id == 0
    for text in ("the cat", " naïve  café\n\n", "<|end|> x"):
        ids = tokenizer(text, split_special_tokens=True)["input_ids"]
        assert 0 not in ids
        assert tokenizer.decode(ids) == text
    kept = json.loads((folder / "pretraining-results.json").read_text())
    config = make("backbone={id: pretrained:tiny, max_length: 32}", "method=sequential")
    run(config, quiet(), Workspace())
    # What the base gives the language that it knows is what its pretraining has measured.
    last = read_record(config.folder).matrix[0, 0]
    assert kept["matrix"][-1][0] == pytest.approx(last, rel=1e-5)


def test_words_are_kept_by_the_texts_that_they_were_learned_from(make: Make, tmp_path: Path) -> None:
    first = build(make(*NEW)).model.problem
    assert isinstance(first, CausalLM)
    (path,) = (tmp_path / "cache" / "vocabularies").iterdir()
    path.write_text("damaged")
    again = build(make(*NEW)).model.problem
    assert again.fingerprint() == first.fingerprint()
    build(make(*NEW, "stream.documents=13"))
    assert len([*(tmp_path / "cache" / "vocabularies").iterdir()]) == 2


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ((*NEW, "backbone.vocabulary=null"), BackboneError, r"set backbone.vocabulary to their number"),
        ((*NEW, "backbone.network.vocab_size=260"), ConfigError, r"vocab_size is 260, and vocabulary 270"),
        ((*NEW, "backbone.network.model_type=qwen2"), BackboneError, r"choose another model_type, such as llama"),
        ((*NEW, "backbone.network.model_type=no_such"), BackboneError, r"backbone.network: "),
        (("backbone.vocabulary=300",), ConfigError, r"`vocabulary` is of a new network"),
        (("problem.context=32",), BackboneError, r"problem.context=32 leaves nothing to predict .* set it to 31"),
        (("stream.labelled=true",), DataError, r"'causal_lm' needs documents, and task 'language 1' .* has texts"),
        ((*NEW, "stream.labelled=true"), DataError, r"'causal_lm' needs documents, and task 'language 1' .* has texts"),
        (("stream.languages=['']",), DataError, r"every document of the train split is empty"),
        (("method=ewc",), ConfigError, r"ewc"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(
    make: Make, settings: tuple[str, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        build(make(*settings))


@pytest.mark.parametrize(("change", "message"), [("eos", "no token that ends a text"), ("more", "belong together")])
def test_a_tokenizer_that_does_not_fit_is_refused(make: Make, tmp_path: Path, change: str, message: str) -> None:
    folder = write(tmp_path / "network")
    path = folder / "tokenizer_config.json"
    said = json.loads(path.read_text())
    if change == "eos":
        del said["eos_token"]
        path.write_text(json.dumps(said))
    else:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.add_tokens([f"<{number}>" for number in range(100)])
        tokenizer.save_pretrained(folder)
    with pytest.raises(BackboneError, match=message):
        build(make(f"backbone.id={folder}"))


def test_a_corpus_that_is_shorter_than_a_row_is_one_short_row(make: Make) -> None:
    config = make("stream.languages=[cat]", "stream.documents=1", "backbone.max_length=64")
    run(config, quiet(), Workspace())
    record = read_record(config.folder)
    assert record.matrix[1, 0] < record.matrix[0, 0]
    assert evaluate(config.folder).changed == 0


def test_a_base_whose_weights_moved_is_refused_by_every_verb(make: Make, tmp_path: Path) -> None:
    base = write(tmp_path / "base")
    config = make("method=per_task", "scenario=task", f"backbone.id={base}", "training.epochs=1")
    run(config, quiet(), Workspace())
    write(base, initializer_range=0.2)
    for verb in (evaluate, resume, lambda path: extend(path, load_domain(tmp_path, ["docstrings=numpy"]))):
        with pytest.raises(RunError, match="was learned on another backbone"):
            verb(config.folder)


def test_in_bf16_a_head_that_is_the_embedding_too_is_not_rounded(make: Make) -> None:
    network = build(make("training.precision=bf16")).model.backbone
    assert network.lm_head.weight is network.transformer.wte.weight
    assert network.lm_head.weight.dtype == torch.float32
