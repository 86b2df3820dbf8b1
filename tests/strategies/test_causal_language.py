import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lessons import a_model
from reference.causal_language import likeliest, surprise
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

from plora.adapters import LoRA
from plora.backbones import BackboneConfig
from plora.backbones.continuing import drawing_from
from plora.errors import AdapterError, BackboneError, ConfigError, DataError, RunError, TrainingError
from plora.generators.causal_generator import CausalGenerator
from plora.generators.causal_language import CausalLanguage, Drill
from plora.generators.settings import CausalGeneratorSettings
from plora.generators.writing import Writing
from plora.lesson import Lesson
from plora.strategies import GenerativeReplaySettings
from plora.streams.base import Stream, Texts
from plora.testing import check_problem, check_strategy
from plora.testing.tiny import tiny_lesson, tiny_stream

WORDS = {"fruit": ["apple", "pear", "plum", "grape"], "bread": ["loaf", "crust", "rye", "bun"]}
GEOMETRY = LoRA(rank=8, dropout=0.0, targets="all_linear")
LONG = Drill(epochs=20, learning_rate=0.01, batch_size=16)


def a_language(folder: Path, length: int = 12) -> CausalLanguage:
    return CausalLanguage.load(BackboneConfig(id=str(folder), max_length=length), GEOMETRY, torch.device("cpu"))


def examples(number: int = 60) -> list[tuple[str, str]]:
    rng, found = random.Random(0), []
    for i in range(number):
        name = ("fruit", "bread")[i % 2]
        words = [*rng.choices(["the", "a", "of"], k=rng.randint(1, 4)), *rng.choices(WORDS[name], k=3)]
        rng.shuffle(words)
        found.append((name, " ".join(words)))
    return found


def pairs(found: list[tuple[str, str]]) -> Texts:
    return Texts(tuple(found), np.zeros(len(found), np.int64))


def a_lesson() -> Lesson:
    return tiny_lesson(a_model("first"))


def test_the_loss_is_the_surprise_of_the_texts_alone_whatever_stands_beside_them(tiny_writer: Path) -> None:
    language = a_language(tiny_writer)
    split = pairs([("fruit", "apple pear the"), ("very good bread", "rye"), ("bread", "bun a of bun")])
    encoded, none = language.problem.encode(split), torch.zeros(0, 0)
    batch = encoded.collate(np.arange(3))
    with torch.no_grad():
        (loss,) = language.problem.losses(language.model.outputs(batch, "task"), batch, none).values()
        expected = sum(
            surprise(language.network, tokens[:begun], tokens[begun:])
            for tokens, begun in zip(encoded.tokens, encoded.begun, strict=True)
        )
    assert batch.weights == {"surprise": 3 + 1 + 4 + 3}  # with three ends
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_what_it_learns_keeps_the_promises_of_a_problem(tiny_writer: Path) -> None:
    language = a_language(tiny_writer)
    check_problem(language.problem, pairs(examples(5)), language.network)
    with pytest.raises(DataError, match="learns pairs of the name of a class and a text, got 'apple'"):
        language.problem.encode(Texts(("apple",), np.zeros(1, np.int64)))


def test_a_prompt_begins_with_the_start_and_ends_with_a_colon(tiny_writer: Path) -> None:
    language = a_language(tiny_writer)
    assert language.problem.tokenizer.convert_ids_to_tokens(language.problem.prompt("old bread")) == [
        "<end>",
        "old",
        "bread",
        ":",
    ]


def test_a_text_that_is_longer_than_the_network_can_read_is_refused(tiny_writer: Path) -> None:
    assert len(a_language(tiny_writer, length=60).problem.prompt("fruit")) == 3  # 63 and the end are 64
    with pytest.raises(BackboneError, match=r"has 64 positions; 4 for 'old fruit' and 60 .*max_length=59 or less"):
        a_language(tiny_writer, length=60).problem.prompt("old fruit")


def test_it_learns_to_write_words_of_the_class_that_it_is_given(tiny_writer: Path) -> None:
    language = a_language(tiny_writer)
    first, last = language.learn("task", examples(), LONG, a_lesson())
    assert last < first / 2
    for name, other in (("fruit", "bread"), ("bread", "fruit")):
        with drawing_from(0):
            texts = language.write("task", name, 100, 20, 1.0, a_lesson())
        assert len(texts) == 100
        written = [word for text in texts for word in text.split()]
        assert sum(word in WORDS[name] for word in written) > 3 * sum(word in WORDS[other] for word in written)


def test_a_later_task_leaves_the_slot_and_the_network_as_they_were(tiny_writer: Path) -> None:
    language = a_language(tiny_writer)
    frozen = {name: value.clone() for name, value in language.network.named_parameters()}
    language.learn("one", examples(), LONG, a_lesson())
    before, hashed = language.write("one", "fruit", 3, 1, 1.0, a_lesson()), language.adapters["one"].content_hash()
    language.learn("two", [(name, text[::-1]) for name, text in examples()], LONG, a_lesson())
    assert language.adapters["one"].content_hash() == hashed
    assert language.write("one", "fruit", 3, 1, 1.0, a_lesson()) == before
    assert all(torch.equal(value, frozen[name]) for name, value in language.network.named_parameters())


def test_of_one_token_to_draw_from_the_likeliest_is_written_until_the_end(tiny_writer: Path) -> None:
    language = a_language(tiny_writer, length=8)
    language.learn("task", examples(), LONG, a_lesson())
    with torch.no_grad(), language.adapters.using("task"):
        expected = likeliest(language.network, language.problem.prompt("bread"), language.problem.end, 8)
    assert language.write("task", "bread", 2, 1, 1.0, a_lesson()) == [language.problem.tokenizer.decode(expected)] * 2


def test_the_same_seed_learns_and_writes_the_same_and_the_runs_own_numbers_go_on(tiny_writer: Path) -> None:
    lesson, found = a_lesson(), []
    torch.manual_seed(5)
    expected = torch.rand(3)
    for seed in (1, 1, 2):
        language = a_language(tiny_writer)
        torch.manual_seed(5)
        language.learn("task", examples(20), Drill(2, 0.01, 8), replace(lesson, seed=seed))
        with drawing_from(seed):
            texts = language.write("task", "fruit", 4, 20, 1.0, lesson)
        found.append((language.adapters["task"].content_hash(), texts))
        assert torch.equal(torch.rand(3), expected)
    assert found[0] == found[1]
    assert found[0][0] != found[2][0]


def test_what_was_stored_writes_the_same_and_belongs_to_one_network(tiny_writer: Path, tmp_path: Path) -> None:
    language = a_language(tiny_writer)
    language.learn("one", examples(20), Drill(2, 0.01, 8), a_lesson())
    again = a_language(tiny_writer)
    again.restore(language.state())
    assert again.adapters.names == ["one"]
    assert again.write("one", "fruit", 3, 1, 1.0, a_lesson()) == language.write("one", "fruit", 3, 1, 1.0, a_lesson())
    short = language.state()
    del short[next(name for name in short if name.endswith("/A"))]
    with pytest.raises(RunError, match="stored slots of the language model lack"):
        a_language(tiny_writer).restore(short)
    shutil.copytree(tiny_writer, tmp_path / "other")
    settings = (tmp_path / "other/config.json").read_text(encoding="utf-8")
    (tmp_path / "other/config.json").write_text(settings.replace('"gelu_new"', '"relu"'), encoding="utf-8")
    with pytest.raises(RunError, match="belong to other weights"):
        a_language(tmp_path / "other").restore(language.state())


def test_a_network_that_does_not_write_is_refused(tiny_backbone: Path, tiny_writer: Path, tmp_path: Path) -> None:
    with pytest.raises(
        BackboneError, match=r"what writes texts: .*cannot continue texts.*choose one that was trained to write"
    ):
        a_language(tiny_backbone)
    endless = AutoTokenizer.from_pretrained(tiny_writer)
    endless.eos_token = None
    with pytest.raises(BackboneError, match="no token that ends a text"):
        Writing(endless, 8, None)


def test_the_generator_writes_for_each_class_of_each_old_task(tiny_writer: Path) -> None:
    generator = CausalGenerator(CausalGeneratorSettings(id=str(tiny_writer), lora=GEOMETRY, epochs=2))
    model = a_model("first", "second", "third")
    for position in range(2):
        lesson = tiny_lesson(model, position=position, first_row=2 * position)
        generator.prepare(model, lesson)
        generator.remember(model, lesson)
    done: list[tuple[int, int]] = []
    lesson = replace(
        tiny_lesson(model, position=2, first_row=4), progress=lambda _, now, total: done.append((now, total))
    )
    generator.prepare(model, lesson)
    drafts = generator.write(model, lesson, 3)
    assert drafts.tasks.tolist() == [0] * 6 + [1] * 6
    assert drafts.rows.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert len(drafts.texts) == 12
    assert drafts.for_a_class
    assert done == [(3, 12), (6, 12), (9, 12), (12, 12)]
    again = CausalGenerator(CausalGeneratorSettings(id=str(tiny_writer), lora=GEOMETRY, epochs=2))
    again.restore(generator.state(), model)
    same = again.write(model, lesson, 3).texts
    assert np.array_equal(same.ids, drafts.texts.ids)


def test_it_keeps_the_promises_of_a_strategy(tiny_writer: Path) -> None:
    check_strategy(
        GenerativeReplaySettings(generator=CausalGeneratorSettings(id=str(tiny_writer), epochs=1), per_class=4)
    )


def test_pairs_of_texts_are_refused_and_texts_with_separators_are_not(tiny_writer: Path) -> None:
    model, stream = a_model("first"), tiny_stream()
    generator = CausalGenerator(CausalGeneratorSettings(id=str(tiny_writer)))
    generator.begin(model, changed(stream, "ant [SEP] bee"), ("x",))
    with pytest.raises(DataError, match="writes single texts, and task 'second' has pairs"):
        generator.begin(model, changed(stream, ("ant", "bee")), ("x",))


def changed(stream: Stream, text: str | tuple[str, str]) -> Stream:
    """The stream with one text in all places of its second task."""
    first, second, third = stream.tasks
    split = Texts((text,) * len(second.train), second.train.labels)
    return replace(stream, tasks=(first, replace(second, train=split, validation=split, test=split), third))


def test_a_class_name_that_is_too_long_is_refused_before_the_run(tiny_writer: Path) -> None:
    generator = CausalGenerator(CausalGeneratorSettings(id=str(tiny_writer)))
    with pytest.raises(BackboneError, match="has 64 positions"):
        generator.begin(a_model("first"), tiny_stream(), ("short", "very " * 60))


def test_geometry_that_does_not_fit_is_named_as_the_generators(tiny_writer: Path) -> None:
    for lora, said in ((LoRA(rank=64), "rank 64 is larger"), (LoRA(targets="nothing"), "targets 'nothing'")):
        with pytest.raises(AdapterError, match=rf"^generator\.lora: .*{said}"):
            CausalGenerator(CausalGeneratorSettings(id=str(tiny_writer), lora=lora)).begin(
                a_model("first"), tiny_stream(), ("x",)
            )


def test_a_network_that_reads_later_words_is_refused(tiny_writer: Path, tmp_path: Path) -> None:
    config = BertConfig(vocab_size=60, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    torch.manual_seed(0)
    BertForMaskedLM(config).save_pretrained(tmp_path)  # has every weight of a BertLMHeadModel
    AutoTokenizer.from_pretrained(tiny_writer).save_pretrained(tmp_path)
    with pytest.raises(BackboneError, match=r"\(BertLMHeadModel\) reads what comes after"):
        a_language(tmp_path)


def test_a_slot_that_diverged_is_not_kept(tiny_writer: Path) -> None:
    language = a_language(tiny_writer)
    with pytest.raises(TrainingError, match=r"diverged while it learned task 1; .*learning_rate \(now 1e\+30\)"):
        language.learn("task", examples(20), Drill(2, 1e30, 8), a_lesson())
    assert language.adapters.names == []


def test_another_tokenizer_is_another_writer(tiny_writer: Path, tmp_path: Path) -> None:
    other = shutil.copytree(tiny_writer, tmp_path / "other")
    words = (other / "tokenizer.json").read_text(encoding="utf-8")
    swapped = words.replace('"apple"', '"?"').replace('"loaf"', '"apple"').replace('"?"', '"loaf"')
    (other / "tokenizer.json").write_text(swapped, encoding="utf-8")
    assert a_language(other).fingerprint != a_language(tiny_writer).fingerprint


def test_a_memory_given_back_replaces_what_was_there(tiny_writer: Path) -> None:
    language = a_language(tiny_writer)
    language.learn("one", examples(20), Drill(1, 0.01, 8), a_lesson())
    state = language.state()
    language.learn("two", examples(20), Drill(1, 0.01, 8), a_lesson())
    language.restore(state)
    assert language.adapters.names == ["one"]


@pytest.mark.parametrize(
    ("generator", "said"),
    [
        ("{kind: causal}", "id"),
        ("{kind: causal, id: x, sweeps: 2}", "sweeps"),
        ("{kind: mlm, id: x}", "id"),
        ("{kind: poet}", "mlm"),
    ],
)
def test_settings_of_the_other_generator_are_refused(toy_config, generator: str, said: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=said):
        toy_config(
            "method=generative_replay", f"strategies=[{{kind: generative_replay, generator: {generator}}}]"
        ).resolved_strategies()
