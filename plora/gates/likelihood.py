"""Each slot says by itself how likely a document is, and what it found likely before decides how much it counts."""

from collections.abc import Sequence

from plora.adapters import Route
from plora.gates.base import Gate, own_or_all
from plora.gates.settings import LikelihoodSettings
from plora.moment import Moment


class Likelihood(Gate):
    """p(x) = 1/K Σ_k p_k(x) = Π_t Σ_k w_k(x_<t) p_k(x_t | x_<t), w_k(x_<t) = p_k(x_<t) / Σ_j p_j(x_<t).

    Where no task is named, K slots read a document, each alone, in K passes. Each token is predicted by all of them,
    weighed by how likely each has found the tokens before it: none is used to choose who predicts it, and p is a
    distribution. Of documents with answers, x is the answers; their prompts are read, and weigh nothing. A document
    costs at most ln K nats more than with the slot that finds it likeliest. While a task trains, its own slot is the
    route; so is that of a task that is named.

    Source: the mixture of experts with equal shares, whose weights are the posterior of the expert (Bayes' rule).
    """

    settings = LikelihoodSettings()

    def route(self, slots: Sequence[str], task: str | None, at: Moment | None = None) -> Route:
        """Return the route through the slot of a named task; without a task all slots, each of which reads alone."""
        return own_or_all(slots, task)
