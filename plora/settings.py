"""Settings of a part that is one of several kinds, and the part that they name. Imports no torch."""

from importlib import import_module
from typing import ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict

from plora.errors import ConfigError

Kind = TypeVar("Kind")


class PartSettings(BaseModel):
    """Settings as fields, and which class does the work with them.

    A class of your own needs no line in a table: `kind: package.module:Class` names these settings, and they name
    the part.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    part: ClassVar[str | type[object]]
    """`package.module:Class` that is made with these settings, which is imported when it is needed; or the class."""

    kind: str


def named(name: str | type[object], base: type[Kind]) -> type[Kind]:
    """Return the class that `package.module:Class` names.

    Args:
        name: the name, or the class itself.
        base: what it must be derived from.

    Raises:
        ConfigError: there is no such module or class, or it is of another kind.
    """
    found: object = name
    if isinstance(name, str):
        module, _, path = name.partition(":")
        try:
            found = getattr(import_module(module), path)
        except ModuleNotFoundError as error:
            where = "" if module.startswith(f"{error.name}.") or module == error.name else f", which '{module}' imports"
            raise ConfigError(
                [f"'{name}': there is no module '{error.name}'{where}; install it, or name its folder in PYTHONPATH"]
            ) from None
        except AttributeError:
            raise ConfigError([f"'{name}': module '{module}' has no '{path}'"]) from None
        except Exception as error:  # whatever a module of somebody else's raises
            raise ConfigError([f"'{name}' cannot be imported: {type(error).__name__}: {error}"]) from None
    if not isinstance(found, type) or not issubclass(found, base):
        raise ConfigError([f"'{name}' is not derived from {base.__module__}.{base.__name__}"])
    return found
