"""A section of a config that is one of several kinds."""

from collections.abc import Callable, Mapping

from pydantic import BaseModel, WrapValidator
from pydantic_core import PydanticCustomError

from plora.errors import ConfigError, did_you_mean
from plora.settings import named


def by_kind(table: Mapping[str, type[BaseModel]], what: str, base: type[BaseModel]) -> WrapValidator:
    """Choose a class by its `kind` key, so that errors name the chosen class's own keys.

    Args:
        table: the kinds that there are.
        what: they are kinds of, in words.
        base: of all of them; a user's own class, whose kind is `package.module:Class`, is derived from it too.
    """

    def choose(value: object, _: Callable[[object], BaseModel]) -> BaseModel:
        if isinstance(value, BaseModel):
            return value
        if not isinstance(value, Mapping) or "kind" not in value:
            raise PydanticCustomError("kind", "needs a 'kind' key; kinds: {kinds}", {"kinds": ", ".join(table)})
        kind = str(value["kind"])
        if is_own(kind):
            try:
                return named(kind, base).model_validate(value)
            except ConfigError as error:
                raise PydanticCustomError("kind", "{reason}", {"reason": str(error)}) from None
        if kind not in table:
            raise PydanticCustomError(
                "kind",
                "unknown {what} kind '{kind}'{hint} (kinds: {kinds})",
                {"what": what, "kind": kind, "hint": did_you_mean(kind, table), "kinds": ", ".join(table)},
            )
        return table[kind].model_validate(value)

    return WrapValidator(choose)


def is_own(kind: str) -> bool:
    """Say whether a kind names a user's own class, `package.module:Class`."""
    return ":" in kind


def own_kinds(values: object) -> list[str]:
    """Return the users' own classes that a config names, before any of them is imported."""
    if isinstance(values, Mapping):
        named_here = (values.get(key) for key in ("kind", "head"))
        inner = [found for value in values.values() for found in own_kinds(value)]
        return [*(name for name in named_here if isinstance(name, str) and is_own(name)), *inner]
    if isinstance(values, list | tuple):
        return [found for value in values for found in own_kinds(value)]
    return []
