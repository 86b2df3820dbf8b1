"""A task inside `transformers.Trainer`: what has to hold is checked, and what was learned is committed."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from plora.errors import ConfigError, TrainingError
from plora.fingerprint import hash_tensors
from plora.model import ContinualModel
from plora.moment import Moment
from plora.strategies import Strategy


class ContinualCallback(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Guards one task that a `Trainer` learns, and commits it at the end.

        model.adapters.open_task("mail", plora.LoRA())  # first: Trainer makes its optimizer when it starts to train
        continual = ContinualCallback(model, task=1, strategies=[Orthogonality(OrthogonalitySettings())])
        trainer = MyTrainer(model=model, callbacks=[continual], …)  # its compute_loss adds continual.penalty()
        trainer.train()

    When training begins, the optimizer must hold every trainable tensor exactly once. When it ends, everything frozen
    must be the same bits as at its beginning; then the open slot and head rows are committed. The strategies' terms
    and diagnostics are logged beside the loss.

    Args:
        model: what the Trainer trains.
        task: position of the task in the stream, from 0.
        strategies: what protects old knowledge by a penalty on parameters, such as orthogonality.

    Raises:
        ConfigError: a strategy needs more than a penalty, which a Trainer does not give it.
    """

    def __init__(self, model: ContinualModel, task: int, strategies: Sequence[Strategy] = ()) -> None:
        more = ("begin", "design", "before_task", "rehearse", "on_batch", "after_task")
        for strategy in strategies:
            if asked := [name for name in more if getattr(type(strategy), name) is not getattr(Strategy, name)]:
                raise ConfigError(
                    [
                        f"strategies: '{strategy.kind}' must be asked for more than a penalty ({', '.join(asked)}), "
                        "and this callback cannot; use `plora run`, or ask it in a loop of your own"
                    ]
                )
        self.model, self.task, self.strategies = model, task, tuple(strategies)
        self._state = TrainerState()
        self._frozen = ""
        self._terms: dict[str, Tensor] = {}

    def penalty(self) -> Tensor:
        """Return the sum of the strategies' terms at this step, a scalar to add to the loss of each batch.

        A Trainer takes the mean over the batches that it accumulates, so each term counts once per optimizer step.
        """
        terms = {name: term for s in self.strategies for name, term in s.penalty(self.model, self._progress()).items()}
        self._terms = {name: term.detach() for name, term in terms.items()}
        return torch.stack([*terms.values()]).sum() if terms else torch.zeros((), device=self.model.device)

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        optimizer: Optimizer,
        **kwargs: object,
    ) -> None:
        """Compare the optimizer with what trains, and remember the frozen set.

        Raises:
            TrainingError: a tensor that trains is not in the optimizer, or another one is, or one is there twice.
        """
        trainable = sorted(id(parameter) for parameter in self.model.trainable().values())
        held = sorted(id(parameter) for group in optimizer.param_groups for parameter in group["params"])
        if not trainable or held != trainable:
            raise TrainingError(
                f"{len(set(held) & set(trainable))} of the {len(trainable)} tensors that train are in the optimizer, "
                f"which holds {len(held)}; open the slot and the head rows before Trainer.train, and give each task a "
                "Trainer of its own"
            )
        self._state = state
        self._frozen = hash_tensors(self.model.frozen())

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float],
        **kwargs: object,
    ) -> None:
        """Add the strategies' terms and diagnostics to what is logged."""
        values = {name: term.item() for name, term in self._terms.items()}
        for strategy in self.strategies:
            values |= strategy.diagnostics(self.model)
        logs |= values
        state.log_history[-1] |= values

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Compare the frozen set with what it was, and commit.

        Raises:
            TrainingError: something that is declared frozen has changed.
        """
        if hash_tensors(self.model.frozen()) != self._frozen:
            raise TrainingError(f"task {self.task}: something that is declared frozen changed while it was learned")
        self._terms = {}
        self.model.commit()

    def _progress(self) -> Moment:
        state = self._state
        return Moment(self.task, state.global_step, state.max_steps, int(state.epoch or 0))
