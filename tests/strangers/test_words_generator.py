"""Parts of two further kinds outside of the package: what writes texts, and a head."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from words_generator import Words

sys.path.append(str(Path(__file__).parents[1] / "training"))
from killing import quiet

from plora.build import Workspace
from plora.config import RunConfig
from plora.errors import ConfigError, RunError
from plora.heads import LinearHead, NCMHead
from plora.results import read_curves, read_record
from plora.runs import run, verify

Make = Callable[..., RunConfig]
GENERATOR = "strategies=[{kind: generative_replay, per_class: 8, generator: {kind: 'words_generator:WordsSettings'%s}}]"


def test_texts_are_written_by_the_generator_that_the_config_names(
    toy_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    original = Words.write

    def watched(self: Words, *given: object) -> object:
        drafts = original(self, *given)  # type: ignore[arg-type]
        written.append(len(drafts.texts))
        return drafts

    monkeypatch.setattr(Words, "write", watched)
    config = toy_config("method=generative_replay", "training.epochs=1", GENERATOR % ", share: 0.5")
    run(config, quiet(), Workspace())
    assert written == [2 * 6, 4 * 6]  # half of the 12 candidates per class, of two and of four old classes
    points = read_curves(config.folder / "curves.jsonl")
    assert all(("generated" in point.terms) == (point.task != "food") for point in points)
    with pytest.raises(RunError, match="asks to run Python code of 'words_generator:WordsSettings'"):
        verify(config.folder)
    monkeypatch.setenv("PLORA_TRUST_OWN_PARTS", "1")
    assert verify(config.folder).problems == ()


@pytest.mark.parametrize(
    ("generator", "said"),
    [
        ("{kind: poet}", r"generator: unknown generator kind 'poet' \(kinds: mlm, causal, self\)"),
        ("{kind: mln}", r"did you mean 'mlm'"),
        ("{sweeps: 2}", r"needs a 'kind' key; kinds: mlm, causal"),
        ("{kind: 'words_generator:Words'}", r"'words_generator:Words' is not derived from .*GeneratorSettings"),
        ("{kind: 'words_generator:WordsSettings', shares: 2}", r"generator.shares: unknown key; did you mean 'share'"),
    ],
)
def test_a_mistake_in_a_generator_is_one_line(toy_config: Make, generator: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        toy_config("method=generative_replay", f"strategies=[{{kind: generative_replay, generator: {generator}}}]")


class Twice(LinearHead):
    """z = 2 (W f + b)."""

    def forward(self, features):  # type: ignore[no-untyped-def]
        """Return twice the logits."""
        return 2 * super().forward(features)


class Nearest(NCMHead):
    """A head that is solved."""


@pytest.mark.parametrize(
    ("method", "fits", "other"),
    [("full", "Twice", "Nearest"), ("first_session", "Nearest", "Twice"), ("o_lora", "Nearest", None)],
)
def test_a_head_of_ones_own_learns_where_one_of_its_way_does(
    toy_config: Make, method: str, fits: str, other: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate = "training.learning_rate=0.003" if method == "full" else "training.learning_rate=0.02"
    config = toy_config(f"method={method}", "training.epochs=1", rate, f"head='test_words_generator:{fits}'")
    run(config, quiet(), Workspace())
    assert config.folder.parent.name == f"{method}-{fits}"
    record = read_record(config.folder)
    assert record.matrix[3, 2] > record.matrix[0, 2]
    with pytest.raises(RunError, match=f"asks to run Python code of 'test_words_generator:{fits}'"):
        verify(config.folder)
    monkeypatch.setenv("PLORA_TRUST_OWN_PARTS", "1")
    assert verify(config.folder).problems == ()
    if other is None:
        return  # slots train under either
    wrong = toy_config(f"method={method}", f"head='test_words_generator:{other}'")
    with pytest.raises(ConfigError, match=f"head: 'test_words_generator:{other}' .* that of method '{method}'"):
        run(wrong, quiet(), Workspace())
    assert not wrong.folder.exists()


def test_a_head_that_is_none_is_one_line(toy_config: Make) -> None:
    with pytest.raises(ConfigError, match=r"head: 'test_words_generator:Third': module .* has no 'Third'"):
        toy_config("head='test_words_generator:Third'")
    with pytest.raises(ConfigError, match=r"'words_generator:Words' is not derived from plora.heads.base.Head"):
        run(toy_config("head='words_generator:Words'"), quiet(), Workspace())
