"""A section of a config that is one of several kinds."""

from collections.abc import Callable, Mapping

from pydantic import BaseModel, WrapValidator
from pydantic_core import PydanticCustomError

from plora.errors import did_you_mean


def by_kind(table: Mapping[str, type[BaseModel]], what: str) -> WrapValidator:
    """Choose a class by its `kind` key from a visible table, so that errors name the chosen class's own keys."""

    def choose(value: object, _: Callable[[object], BaseModel]) -> BaseModel:
        if isinstance(value, BaseModel):
            return value
        if not isinstance(value, Mapping) or "kind" not in value:
            raise PydanticCustomError("kind", "needs a 'kind' key; kinds: {kinds}", {"kinds": ", ".join(table)})
        kind = str(value["kind"])
        if kind not in table:
            raise PydanticCustomError(
                "kind",
                "unknown {what} kind '{kind}'{hint} (kinds: {kinds})",
                {"what": what, "kind": kind, "hint": did_you_mean(kind, table), "kinds": ", ".join(table)},
            )
        return table[kind].model_validate(value)

    return WrapValidator(choose)
