"""Which route was in force when: what torch computes a second time, for backward, gets the route of the first time.

Activation checkpointing, torch's own and that of `transformers`, calls a part of the network again while it goes
backward, perhaps after other forward passes under other routes. Autograd numbers everything that it records, and while
it goes backward it says which of these nodes it is at; so the number says which route was in force when that node was
made, whoever checkpoints, and whatever is a block to him.
"""

import threading
from collections import deque

import torch

from plora.adapters.route import Route
from plora.errors import AdapterError

_REMEMBERED = 256
"""Changes of route; each pass of a model makes two."""


class History:
    """The routes of one network, by the number that autograd had reached when each of them came into force."""

    def __init__(self) -> None:
        self._entries: deque[tuple[int, Route]] = deque(maxlen=_REMEMBERED)
        self._thread = threading.get_ident()
        self._called = 0  # the number that autograd had reached when a place was called last

    def __deepcopy__(self, memo: dict[int, object]) -> "History":
        """Begin anew: what a copy has computed is nothing that its original has."""
        return History()

    def put(self, route: Route) -> None:
        """Remember that a route is in force from here on."""
        self._note(route, torch._C._autograd._get_sequence_nr())

    def called(self, route: Route) -> None:
        """Remember that a place is called under a route.

        One that is not the last in force is that of what is computed again, or is in force again after it: since the
        last call, because a part of the network that is to be computed again has its node before its places are called.
        """
        self._note(route, self._called)
        if threading.get_ident() == self._thread:
            self._called = torch._C._autograd._get_sequence_nr()

    def _note(self, route: Route, began: int) -> None:
        if self._entries and self._entries[-1][1] is route:
            return
        thread = threading.get_ident()
        if thread != self._thread:  # autograd counts in each thread from 0, and goes backward in threads of its own
            if torch._C._current_graph_task_id() != -1:
                return
            self._entries.clear()
            self._thread = thread
        self._entries.append((max(began, self._entries[-1][0]) if self._entries else 0, route))

    def at(self, number: int) -> Route:
        """Return the route that was in force when autograd made the node of this number.

        Raises:
            AdapterError: that is too long ago.
        """
        for began, route in reversed(self._entries):
            if began <= number:
                return route
        raise AdapterError(
            "activation checkpointing computes a block again whose forward pass is too long ago: the route in force "
            f"has changed {_REMEMBERED} times since; go backward sooner"
        )
