"""What every method can do beside learning: the cells of the table of features.

Each cell is a test whose parameters begin with the method's name, or a refusal with its reason.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from plora.adapters import switch
from plora.config import RunConfig
from plora.errors import ConfigError
from plora.methods import METHODS
from plora.results import read_record
from plora.results.record.class_rankings import ClassRankings
from plora.runs import evaluate, run

Config = Callable[..., RunConfig]
_NOTHING_INSIDE = {name for name, row in METHODS.items() if row.slots == "none" and not row.trains_backbone}


def _scenario(method: str) -> str:
    """The first scenario that the method is not refused in, class-incremental before the others."""
    return next(s for s in ("class", "task", "domain") if s not in METHODS[method].refusals)


def _config(toy_config: Config, method: str, *more: str) -> RunConfig:
    rate = ("training.learning_rate=0.003",) if METHODS[method].trains_backbone else ()
    return toy_config(f"method={method}", f"scenario={_scenario(method)}", "training.epochs=2", *rate, *more)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_bf16(toy_config: Config, method: str) -> None:
    folder = run(_config(toy_config, method, "training.precision=bf16"))
    assert evaluate(folder).changed == 0
    assert np.isfinite(read_record(folder).matrix[-1]).all()


@pytest.mark.slow
@pytest.mark.parametrize("method", sorted(METHODS.keys() - _NOTHING_INSIDE))
def test_activation_checkpointing(
    toy_config: Config, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same predictions, and blocks are computed again while gradients flow back."""
    plain = run(_config(toy_config, method, f"output={tmp_path / 'plain'}"))
    again = 0
    checkpoint = switch.checkpoint

    def counted(function: Callable[..., torch.Tensor], *inputs: torch.Tensor, use_reentrant: bool) -> torch.Tensor:
        calls = 0

        def watched(*inner: torch.Tensor) -> torch.Tensor:
            nonlocal calls, again
            calls += 1
            again += calls > 1
            return function(*inner)

        return checkpoint(watched, *inputs, use_reentrant=use_reentrant)

    monkeypatch.setattr(switch, "checkpoint", counted)
    folder = run(
        _config(toy_config, method, "training.activation_checkpointing=true", f"output={tmp_path / 'checkpointed'}")
    )
    assert again > 0
    tables = [ClassRankings.read(max((place / "predictions").iterdir())) for place in (plain, folder)]
    assert (tables[0].prediction == tables[1].prediction).all()
    np.testing.assert_allclose(tables[0].probabilities, tables[1].probabilities, atol=1e-4)


@pytest.mark.parametrize("method", sorted(_NOTHING_INSIDE))
def test_activation_checkpointing_without_anything_to_train_is_refused(toy_config: Config, method: str) -> None:
    with pytest.raises(ConfigError, match=f"method '{method}' trains nothing inside the backbone"):
        _config(toy_config, method, "training.activation_checkpointing=true")
