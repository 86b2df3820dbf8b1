"""`plora ls`: what there is."""

from collections.abc import Callable, Iterator
from typing import Annotated, Literal

import typer

from plora.cli.saying import say

Lines = Iterator[str]


def command(
    what: Annotated[
        Literal["configs", "sweeps", "methods", "problems", "streams"] | None,
        typer.Argument(help="List these alone.", show_default=False),
    ] = None,
) -> None:
    """List the shipped configs and sweeps, the methods with their scenarios, the problems and the streams.

    Example: `plora ls problems`
    """
    for name, lines in _LISTS.items():
        if what in (None, name):
            say(*lines())


def _configs() -> Lines:
    from plora.configs import header, shipped_configs

    yield "configs (plora run NAME, or plora cp NAME for your own copy)"
    for name, path in shipped_configs().items():
        yield f"  {name:<34} {(header(path) or [''])[0]}"


def _sweeps() -> Lines:
    from plora.configs import header, shipped_sweeps

    yield "sweeps (plora sweep NAME)"
    for name, path in shipped_sweeps().items():
        yield f"  {name:<34} {(header(path) or [''])[0]}"


def _methods() -> Lines:
    from plora.methods import METHODS

    yield "methods (method=…)"
    for method in METHODS.values():
        scenarios = "/".join(name for name in ("task", "class", "domain") if name not in method.refusals)
        yield f"  {method.name:<14} {scenarios:<18} {method.summary}"


def _problems() -> Lines:
    from plora.problems.settings import PROBLEMS

    yield "problems (problem.kind=…)"
    for kind, settings in PROBLEMS.items():
        yield f"  {kind:<22} {_first_line(settings)}"


def _streams() -> Lines:
    from plora.streams import STREAMS

    yield "streams (stream.kind=…)"
    for kind, source in STREAMS.items():
        yield f"  {kind:<18} {_first_line(source)}"


def _first_line(described: type[object]) -> str:
    return (described.__doc__ or "").strip().splitlines()[0]


_LISTS: dict[str, Callable[[], Lines]] = {
    "configs": _configs,
    "sweeps": _sweeps,
    "methods": _methods,
    "problems": _problems,
    "streams": _streams,
}
