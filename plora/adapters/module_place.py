"""A place whose slots are modules: the open one has parameters, committed ones nothing but buffers, in eval mode."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

from plora.adapters.place import Place
from plora.errors import AdapterError
from plora.fingerprint import hash_tensors


class ModulePlace(Place, ABC):
    """The slots of one spot, each a module of its own.

    Attributes:
        opened: the open slot; every buffer of it may move while it trains (BatchNorm's statistics).
        closed: the committed ones, in the order of `names`.
    """

    def __init__(self, path: str, index: int, site: int) -> None:
        super().__init__(path, index, site)
        self.opened: nn.Module | None = None
        self.closed = nn.ModuleList()
        self._names: list[str] = []

    @abstractmethod
    def blank(self) -> nn.Module:
        """Return a module for a slot whose values are about to be replaced; no random numbers are drawn."""

    @abstractmethod
    def fresh(self) -> nn.Module:
        """Return the module that a slot starts to train from."""

    @abstractmethod
    def description(self) -> str:
        """Return the settings that give the tensors their meaning, as one line."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the committed slots, in the order in which they were committed."""
        return tuple(self._names)

    def module(self, name: str) -> nn.Module:
        """Return the module of a slot."""
        if name == self.open_name and self.opened is not None:
            return self.opened
        if name not in self._names:
            raise AdapterError(f"{self} has no slot '{name}'")
        return self.closed[self._names.index(name)]

    def open(self, name: str) -> None:
        """Start a slot that trains."""
        self._set_open(name, self.fresh())

    def commit(self) -> None:
        """Turn the open slot's parameters into buffers, which no optimizer can reach."""
        if self.open_name is None or self.opened is None:
            raise AdapterError(f"{self} has no open slot to commit; call open_task first")
        name, module = self.open_name, self.opened
        self.delete(name)
        self._close(name, module)

    def append(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Add a committed slot from its tensors, named as `tensors` names them."""
        module = self.blank()
        module.load_state_dict(dict(tensors))
        self._close(name, module)

    def reopen(self, name: str, dropout: float) -> None:
        """Take a committed slot back into training, with its values; `dropout` is the settings'."""
        module = self.module(name)
        thaw(module, [path for path, _ in self.blank().named_parameters(remove_duplicate=False)])
        self.delete(name)
        self._set_open(name, module)

    def delete(self, name: str) -> None:
        """Remove a slot, committed or open."""
        if name == self.open_name:
            self.opened = self.open_name = None
            return
        position = self._names.index(name)
        del self.closed[position], self._names[position]

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Return the parameters and buffers of a slot's module, by name, in the order of their names."""
        return dict(sorted(self.module(name).state_dict(keep_vars=True).items()))

    def misfit(self, tensors: Mapping[str, Tensor]) -> str | None:
        """Return what keeps tensors from being a slot of this place; None when they fit."""
        wanted = {name: list(tensor.shape) for name, tensor in self.blank().state_dict().items()}
        if wanted.keys() != tensors.keys():
            missing, extra = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
            return f"it lacks the tensors {missing[:3]} and has unknown ones {extra[:3]}"
        wrong = next((name for name, tensor in tensors.items() if list(tensor.shape) != wanted[name]), None)
        return None if wrong is None else f"'{wrong}' is {list(tensors[wrong].shape)} instead of {wanted[wrong]}"

    def content(self, name: str) -> Iterator[bytes]:
        """Yield kind, path and settings, and the hash of the tensors."""
        yield f"{self.kind}:{self.path}:{self.description()}:{hash_tensors(self.tensors(name).items())}".encode()

    def trained(self) -> list[nn.Parameter]:
        """Return the parameters of the open slot."""
        return [] if self.opened is None else list(self.opened.parameters())

    def moving(self) -> list[str]:
        """Return names of the open slot's buffers, all of which may change in a forward pass in train mode."""
        return [] if self.opened is None else [f"opened.{name}" for name, _ in self.opened.named_buffers()]

    def train(self, mode: bool = True) -> "ModulePlace":
        """Switch the open slot alone: committed ones stay in eval mode."""
        super().train(mode)
        self.closed.eval()
        return self

    def _set_open(self, name: str, module: nn.Module) -> None:
        self.open_name, self.opened = name, module.train(self.training)

    def _close(self, name: str, module: nn.Module) -> None:
        freeze(module)
        self.closed.append(module.eval())
        self._names.append(name)


def freeze(module: nn.Module) -> None:
    """Turn every parameter inside a module into a buffer of the same name, with memory of its own.

    A parameter that several modules share stays one tensor.
    """
    buffers: dict[nn.Parameter, Tensor] = {}
    for inner in module.modules():
        for name, parameter in list(inner.named_parameters(recurse=False, remove_duplicate=False)):
            delattr(inner, name)
            inner.register_buffer(name, buffers.setdefault(parameter, parameter.detach().clone()))


def thaw(module: nn.Module, paths: Iterable[str]) -> None:
    """Turn the named buffers of a module into parameters, as they were before `freeze`."""
    parameters: dict[Tensor, nn.Parameter] = {}
    for path in paths:
        parent, _, name = path.rpartition(".")
        inner = module.get_submodule(parent)
        buffer = inner.get_buffer(name)
        delattr(inner, name)
        inner.register_parameter(name, parameters.setdefault(buffer, nn.Parameter(buffer.detach().clone())))


@contextmanager
def still(module: nn.Module) -> Iterator[None]:
    """Let no buffer of an open slot's module move inside the `with` block: copies of them move in their stead.

    Statistics could be left out instead, but a block that is computed again for backward must save as many tensors as
    it did the first time.
    """
    holders = [inner for inner in module.modules() if inner._buffers] if module.training else []
    own = [dict(inner._buffers) for inner in holders]
    for inner in holders:
        inner._buffers.update({name: None if kept is None else kept.clone() for name, kept in inner._buffers.items()})
    try:
        yield
    finally:
        for inner, buffers in zip(holders, own, strict=True):
            inner._buffers.update(buffers)
