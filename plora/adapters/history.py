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

    def __deepcopy__(self, memo: dict[int, object]) -> "History":
        """Begin anew: what a copy has computed is nothing that its original has."""
        return History()

    def note(self, route: Route) -> None:
        """Remember that a route is in force from here on."""
        if self._entries and self._entries[-1][1] is route:
            return
        thread = threading.get_ident()
        if thread != self._thread:  # autograd counts in each thread from 0
            if torch._C._current_graph_task_id() != -1:
                return
            self._entries.clear()
            self._thread = thread
        began = torch._C._autograd._get_sequence_nr() if self._entries else 0
        self._entries.append((began, route))

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
            f"has changed {_REMEMBERED} times since; call backward() sooner"
        )
