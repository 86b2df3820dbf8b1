"""The slots of one layer, evaluated together: one pair of matrix products however many tasks there were.

Shapes: B batch, T tokens, I input features, O output features, r rank of the open slot,
N = Σ ranks of the committed slots that take part.

    y = base(x) + (c ⊙ (x A_oldᵀ)) B_old + s · (dropout(x) A_openᵀ) B_open      A [N, I], B [N, O]

Beside a convolution I counts the C · k_h · k_w numbers that one position reads: x A_oldᵀ is a convolution with the
base's stride, padding and dilation and N output channels, B one with a 1 × 1 kernel (as PEFT and loralib have it).

The open slot may have lateral connections to the older ones: what it reads is then (A_open + C A_old) x, where C
`[r, N]` starts at 0 and trains. Committing folds them into A, so that a committed slot is a plain one.

B is stored as rows `[N, O]`, so that joining slots is a concatenation along the first dimension and a single
slot is a view. What a user sees as `slot.B` is the transpose `[O, r]`, so that ΔW = s · B A.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plora.adapters.place import Can, Place
from plora.adapters.route import Route
from plora.adapters.settings import Init, SlotShape
from plora.errors import AdapterError


@dataclass(frozen=True)
class Window:
    """What a convolution reads for each position of its output.

    Args:
        channels: C of its input.
        size, stride, padding, dilation: down and across.
    """

    channels: int
    size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    def read(self, x: Tensor, A: Tensor) -> Tensor:
        """Return A times what each position reads, `[…, H', W', N]`, from x `[…, C, H, W]` and A `[N, C k_h k_w]`."""
        kernel = A.view(len(A), self.channels, *self.size)
        return F.conv2d(x, kernel, None, self.stride, self.padding, self.dilation).movedim(-3, -1)

    def unfold(self, x: Tensor) -> Tensor:
        """Return what each position reads, `[B, H' W', C k_h k_w]`, from x `[B, C, H, W]`."""
        return F.unfold(x, self.size, self.dilation, self.padding, self.stride).transpose(1, 2)


@dataclass(frozen=True)
class _Taken:
    """Which committed rows a route's slots are, and where their coefficients stand on it."""

    slots: tuple[str, ...]  # of the route
    names: tuple[str, ...]  # those of them that are committed
    rows: slice | Tensor | None  # of A and B: a slice is a view, positions are a copy; None are all of them
    scale: Tensor  # [N] of these rows
    positions: Tensor | None  # of the names on the route; None when they are all of it
    owners: Tensor  # [N] position among the names, of each row


class Bank(Place):
    """All slots of one linear map I → O: committed ones as buffers, at most one open as parameters.

    Args:
        in_features: I.
        out_features: O.
        path: the layer's path in the network, for messages and for `Route.mixing`.
        index: the layer's position among all adapted layers, for coefficients per layer.
        site: the bank's position among all places, for coefficients per site.
        window: of a convolution; None beside a linear layer.

    Raises:
        AdapterError: a rank larger than min(I, O), a second open slot, an unknown or repeated name.
    """

    kind: ClassVar[str] = "bank"
    can: ClassVar[Can] = Can()

    A_old: Tensor
    B_old: Tensor
    row_scale: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        path: str,
        index: int,
        site: int = 0,
        window: Window | None = None,
    ) -> None:
        super().__init__(path, index, site)
        self.in_features, self.out_features, self.window = in_features, out_features, window
        self.register_buffer("A_old", torch.empty(0, in_features))
        self.register_buffer("B_old", torch.empty(0, out_features))
        self.register_buffer("row_scale", torch.empty(0), persistent=False)
        self.A: nn.Parameter | None = None
        self.B: nn.Parameter | None = None
        self.C: nn.Parameter | None = None  # [r, N], lateral connections of the open slot
        self.committed: dict[str, SlotShape] = {}  # in the order of their rows
        self.open_shape = SlotShape(0, 0.0)
        self.dropout = 0.0
        self._taken: _Taken | None = None  # of the route in force last: the next forward pass has the same slots

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the committed slots, in the order of their rows."""
        return tuple(self.committed)

    def require_rank(self, rank: int) -> None:
        """Refuse a rank above min(I, O): B A cannot have it."""
        if rank > min(self.in_features, self.out_features):
            raise AdapterError(
                f"rank {rank} is larger than layer '{self.path}' allows ({self.in_features} inputs, "
                f"{self.out_features} outputs); choose rank ≤ {min(self.in_features, self.out_features)}"
            )

    # ------------------------------------------------------------------ the life of a slot

    def open(self, name: str, shape: SlotShape, dropout: float, init: Init, lateral: bool = False) -> None:
        """Start a slot that trains: A drawn by `init`, B = 0, so that the function does not change.

        `kaiming`: A ~ U(±1/√I) (loralib, PEFT); `gauss`: A ~ N(0, 0.01²). With `lateral` it also learns to read what
        the committed slots read, from C = 0.
        """
        self.require_rank(shape.rank)
        A = torch.empty(shape.rank, self.in_features, dtype=self.A_old.dtype)  # a seed draws the same for any device
        if init == "kaiming":
            nn.init.kaiming_uniform_(A, a=math.sqrt(5))
        else:
            nn.init.normal_(A, std=0.01)
        A = A.to(self.A_old.device)
        self._set_open(name, shape, dropout, A, A.new_zeros(shape.rank, self.out_features))
        if lateral and self.committed:
            self.C = nn.Parameter(A.new_zeros(shape.rank, len(self.A_old)))

    def commit(self) -> None:
        """Turn the open slot into rows of the committed buffers, which no optimizer can reach."""
        if self.open_name is None or self.A is None or self.B is None:
            raise AdapterError(f"layer '{self.path}' has no open slot to commit; call open_task first")
        A, B = self.rows(self.open_name)
        self.append(self.open_name, self.open_shape, A.detach(), B.detach())
        self.delete(self.open_name)

    def append(self, name: str, shape: SlotShape, A: Tensor, B: Tensor) -> None:
        """Add a committed slot with the rows A `[r, I]` and B `[r, O]`."""
        self.A_old, self.B_old = _followed_by(self.A_old, A), _followed_by(self.B_old, B)
        self.row_scale = _followed_by(self.row_scale, self.row_scale.new_full((shape.rank,), shape.scale))
        self.committed[name] = shape
        self._taken = None

    def reopen(self, name: str, dropout: float) -> None:
        """Take a committed slot back into training, with its values."""
        shape, (A, B) = self.committed[name], self.rows(name)
        A, B = A.clone(), B.clone()
        self.delete(name)
        self._set_open(name, shape, dropout, A, B)

    def rescale(self, name: str, factor: float) -> None:
        """Multiply ΔW of a slot: its s becomes s · factor."""
        former = self.shape(name)
        shape = SlotShape(former.rank, former.scale * factor)
        if name == self.open_name:
            self.open_shape = shape
        else:
            self.committed[name] = shape
            self._refresh_row_scale()

    def delete(self, name: str) -> None:
        """Remove a slot, committed or open."""
        if name == self.open_name:
            self.A = self.B = self.C = None
            self.open_name = None
            return
        rows = self._slice(name)
        self.A_old = torch.cat([self.A_old[: rows.start], self.A_old[rows.stop :]])
        self.B_old = torch.cat([self.B_old[: rows.start], self.B_old[rows.stop :]])
        del self.committed[name]
        self._refresh_row_scale()

    def clear(self) -> None:
        """Remove every slot."""
        self.A = self.B = self.C = None
        self.open_name = None
        self.A_old, self.B_old = self.A_old.new_empty(0, self.in_features), self.B_old.new_empty(0, self.out_features)
        self.committed = {}
        self._refresh_row_scale()

    def leave_out(self, memo: dict[int, object]) -> None:
        """Have a deep copy with this memo begin without the committed slots."""
        for rows in (self.A_old, self.B_old, self.row_scale):
            memo[id(rows)] = rows.new_empty(0, *rows.shape[1:])
        memo[id(self.committed)] = {}
        if self._taken is not None:
            memo[id(self._taken)] = None

    def rows(self, name: str) -> tuple[Tensor, Tensor]:
        """Return A `[r, I]` and B `[r, O]` of a slot: when it is open the parameters themselves, or A + C A_old."""
        if name == self.open_name and self.A is not None and self.B is not None:
            return self.A if self.C is None else self.A + self.C @ self.A_old[: self.C.shape[1]], self.B
        rows = self._slice(name)
        return self.A_old[rows], self.B_old[rows]

    def shape(self, name: str) -> SlotShape:
        """Return rank and scaling of a slot."""
        return self.open_shape if name == self.open_name else self.committed[name]

    def delta(self, name: str) -> Tensor:
        """Return ΔW = s · B A, `[O, I]`."""
        A, B = self.rows(name)
        return self.shape(name).scale * (B.T @ A)

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Return A `[r, I]` and B `[r, O]` of a slot."""
        A, B = self.rows(name)
        return {"A": A, "B": B}

    def content(self, name: str) -> Iterator[bytes]:
        """Yield path, rank and scale, A and B, as fp32."""
        shape = self.shape(name)
        yield f"{self.path}:{shape.rank}:{shape.scale!r}".encode()
        for matrix in self.rows(name):
            yield matrix.detach().float().cpu().contiguous().numpy().tobytes()

    def trained(self) -> list[nn.Parameter]:
        """Return A, B and lateral C of the open slot."""
        return [matrix for matrix in (self.A, self.B, self.C) if matrix is not None]

    def _set_open(self, name: str, shape: SlotShape, dropout: float, A: Tensor, B: Tensor) -> None:
        self.A, self.B = nn.Parameter(A), nn.Parameter(B)
        self.open_name, self.open_shape, self.dropout = name, shape, dropout

    def _slice(self, name: str) -> slice:
        if name not in self.committed:
            raise AdapterError(f"layer '{self.path}' has no slot '{name}'")
        return self._slices((name,))[0]

    def _slices(self, names: Sequence[str]) -> list[slice]:
        """The rows of committed slots, all found in one pass."""
        stops = itertools.accumulate(shape.rank for shape in self.committed.values())
        stop_of = dict(zip(self.committed, stops, strict=True))
        return [slice(stop_of[name] - self.committed[name].rank, stop_of[name]) for name in names]

    def _refresh_row_scale(self) -> None:
        scales = [shape.scale for shape in self.committed.values() for _ in range(shape.rank)]
        self.row_scale = torch.tensor(scales, device=self.A_old.device, dtype=self.A_old.dtype)
        self._taken = None

    # ------------------------------------------------------------------ forward

    def forward(self, x: Tensor, y: Tensor, route: Route) -> Tensor:
        """Add the slots of `route` to the base output.

        Args:
            x: `[…, I]` the layer's input; of a convolution `[…, C, H, W]`.
            y: `[…, O]` what the base layer (or its folded weight) made of it; of a convolution `[…, H', W', O]`.
            route: slots and coefficients.

        Returns:
            As y.
        """
        if x.dtype != self.A_old.dtype and not torch.is_autocast_enabled(x.device.type):
            x = x.to(self.A_old.dtype)  # a network held in half precision: its slots stay fp32
        mixing = route.mixing.get(self.path)
        if mixing is not None:
            return self._mixed(x, y, route, mixing)
        if not route.folded:
            y = self._add_committed(x, y, route)
        if self.open_name is not None and self.open_name in route.slots:
            A, B = self.rows(self.open_name)
            z = self._read(F.dropout(x, self.dropout, self.training), A)
            scale = self.open_shape.scale
            coefficient = self._coefficients(route, y)
            if coefficient is not None:
                k = route.slots.index(self.open_name)
                z = z * coefficient[..., k : k + 1]
            y = _add_product(y, z, scale * B)  # scaling r × O values, not B × T × r
        return y

    def _add_committed(self, x: Tensor, y: Tensor, route: Route) -> Tensor:
        taken = self._take(route.slots)
        if not taken.names:
            return y
        A, B, scale = self.A_old, self.B_old, taken.scale
        if taken.rows is not None:
            A, B = A[taken.rows], B[taken.rows]
        h = self._read(x, A)
        coefficients = self._coefficients(route, y)
        if coefficients is None:
            return _add_product(y, h, scale[:, None] * B)
        if taken.positions is not None:
            coefficients = coefficients.index_select(-1, taken.positions)
        per_row = coefficients.index_select(-1, taken.owners) * scale
        if per_row.dim() == 1:
            return _add_product(y, h, per_row[:, None] * B)
        return _add_product(y, h * per_row, B)

    def _read(self, x: Tensor, A: Tensor) -> Tensor:
        """x Aᵀ, `[…, N]`."""
        return F.linear(x, A) if self.window is None else self.window.read(x, A)

    def _take(self, slots: tuple[str, ...]) -> _Taken:
        """The committed rows of a route's slots: the buffers themselves, a view, or (out of order) a copy."""
        if self._taken is None or self._taken.slots != slots:
            with torch.inference_mode(False):  # what is kept may be needed for a gradient later
                self._taken = self._find(slots)
        return self._taken

    def _find(self, slots: tuple[str, ...]) -> _Taken:
        device = self.A_old.device
        names = tuple(name for name in slots if name in self.committed)
        slices = self._slices(names)
        rows: slice | Tensor | None = None
        if names != self.names and all(left.stop == right.start for left, right in itertools.pairwise(slices)):
            rows = slice(slices[0].start, slices[-1].stop) if slices else slice(0, 0)
        elif names != self.names:
            rows = torch.cat([torch.arange(part.start, part.stop) for part in slices]).to(device)
        scale = self.row_scale if rows is None else self.row_scale[rows]
        place_of = {name: position for position, name in enumerate(slots)}
        positions = None if names == slots else torch.tensor([place_of[name] for name in names], device=device)
        owners = torch.tensor([i for i, part in enumerate(slices) for _ in range(part.stop - part.start)])
        return _Taken(slots, names, rows, scale, positions, owners.to(device, torch.long))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Bank":
        self._taken = None  # tensors go to another device, or into another type
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def _coefficients(self, route: Route, y: Tensor) -> Tensor | None:
        """Coefficients of the route's slots, shaped to multiply `[…, S]` where the output is y; None when all are 1."""
        c = route.coefficients_of(self.index, self.site)
        if c is None or route.per not in ("sample", "token"):
            return c
        leading = y.shape[:-1]
        if route.per == "token" and self.window is not None and c.shape[1] == math.prod(leading[1:]):
            c = c.reshape(c.shape[0], *leading[1:], c.shape[-1])  # tokens of a map are its positions
        given, found = (c.shape[:1], leading[:1]) if route.per == "sample" else (c.shape[:-1], leading)
        if given != found:
            raise AdapterError(
                f"coefficients per {route.per} are for {list(given)}, but the input of layer '{self.path}' is "
                f"{[*leading, self.in_features]}"
            )
        if route.per == "sample":  # [B, S] → [B, 1, …, S]
            c = c.reshape(c.shape[0], *([1] * (y.dim() - 2)), c.shape[1])
        return c

    def _mixed(self, x: Tensor, y: Tensor, route: Route, mixing: Tensor) -> Tensor:
        """y + (s ⊙ ((c ⊙ z) Mᵀ)) B with z = x Aᵀ over the rows of all slots of the route, in its order."""
        z, B, scale = [], [], []
        coefficients = self._coefficients(route, y)
        for k, name in enumerate(route.slots):
            A_k, B_k = self.rows(name)
            source = F.dropout(x, self.dropout, self.training) if name == self.open_name else x
            z_k = self._read(source, A_k)
            z.append(z_k if coefficients is None else z_k * coefficients[..., k : k + 1])
            B.append(B_k)
            scale += [self.shape(name).scale] * len(A_k)
        if mixing.shape != (len(scale), len(scale)):
            raise AdapterError(
                f"the mixing matrix of layer '{self.path}' is {list(mixing.shape)}, "
                f"but its slots have {len(scale)} rows"
            )
        h = F.linear(torch.cat(z, dim=-1), mixing)
        return _add_product(y, h * torch.tensor(scale, device=h.device, dtype=h.dtype), torch.cat(B))


def _followed_by(rows: Tensor, more: Tensor) -> Tensor:
    """`[N, …]` followed by `[r, …]`, in memory that has room for as many again.

    So a thousand slots that are read one after the other are moved ten times, not a thousand. What `rows` holds is
    never written: who keeps it, for a gradient too, keeps its numbers.
    """
    length, shape = len(rows) + len(more), rows.shape[1:]
    room = rows.untyped_storage().nbytes() // (rows.element_size() * math.prod(shape))
    if room < length or rows.storage_offset() or not rows.is_contiguous():
        grown = rows.new_empty(2 * length, *shape)
        grown[: len(rows)] = rows
        rows = grown
    # A tensor of its own over the same memory, and not a view: writing behind `rows` does not count as changing it.
    found: Tensor = rows.new_empty(0).set_(rows.untyped_storage(), 0, (length, *shape), rows.stride())
    found[length - len(more) :] = more.to(found)
    return found


def _add_product(y: Tensor, h: Tensor, B: Tensor) -> Tensor:
    """y + h B in one pass over y: `[…, O] + […, N] [N, O]`."""
    if y.dim() == 1:
        return _add_product(y[None], h[None], B)[0]
    if y.dtype != h.dtype and not torch.is_autocast_enabled(y.device.type):
        return y + (h @ B).to(y.dtype)
    return torch.addmm(y.flatten(0, -2), h.flatten(0, -2), B).view_as(y)
