"""The whole of a run as one strict schema, and how it is read."""

from typing import TYPE_CHECKING

from plora.lazy import names_from

if TYPE_CHECKING:
    from plora.config.reading import load_config, load_domain, load_task, override, put, read_values
    from plora.config.run import RunConfig

__all__ = ["RunConfig", "load_config", "load_domain", "load_task", "override", "put", "read_values"]

__getattr__, _ = names_from(
    __name__,
    {"run": ["RunConfig"], "reading": ["load_config", "load_domain", "load_task", "override", "put", "read_values"]},
)
