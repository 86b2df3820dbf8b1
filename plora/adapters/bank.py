"""The slots of one layer, evaluated together: one pair of matrix products however many tasks there were.

Shapes: B batch, T tokens, I input features, O output features, r rank of the open slot,
N = Σ ranks of the committed slots that take part.

    y = base(x) + (c ⊙ (x A_oldᵀ)) B_old + s · (dropout(x) A_openᵀ) B_open      A [N, I], B [N, O]

The open slot may have lateral connections to the older ones: what it reads is then (A_open + C A_old) x, where C
`[r, N]` starts at 0 and trains. Committing folds them into A, so that a committed slot is a plain one.

B is stored as rows `[N, O]`, so that joining slots is a concatenation along the first dimension and a single
slot is a view. What a user sees as `slot.B` is the transpose `[O, r]`, so that ΔW = s · B A.
"""

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plora.adapters.route import Route
from plora.adapters.settings import Init, SlotShape
from plora.errors import AdapterError


class Bank(nn.Module):
    """All slots of one linear map I → O: committed ones as buffers, at most one open as parameters.

    Args:
        in_features: I.
        out_features: O.
        path: the layer's path in the network, for messages and for `Route.mixing`.
        index: the layer's position among all adapted layers, for coefficients per layer.

    Raises:
        AdapterError: a rank larger than min(I, O), a second open slot, an unknown or repeated name.
    """

    A_old: Tensor
    B_old: Tensor
    row_scale: Tensor

    def __init__(self, in_features: int, out_features: int, path: str, index: int) -> None:
        super().__init__()
        self.in_features, self.out_features, self.path, self.index = in_features, out_features, path, index
        self.register_buffer("A_old", torch.empty(0, in_features))
        self.register_buffer("B_old", torch.empty(0, out_features))
        self.register_buffer("row_scale", torch.empty(0), persistent=False)
        self.A: nn.Parameter | None = None
        self.B: nn.Parameter | None = None
        self.C: nn.Parameter | None = None  # [r, N], lateral connections of the open slot
        self.committed: dict[str, SlotShape] = {}  # in the order of their rows
        self.open_name: str | None = None
        self.open_shape = SlotShape(0, 0.0)
        self.dropout = 0.0

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
        self.A_old = torch.cat([self.A_old, A.to(self.A_old)])
        self.B_old = torch.cat([self.B_old, B.to(self.B_old)])
        self.committed[name] = shape
        self._refresh_row_scale()

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

    def _set_open(self, name: str, shape: SlotShape, dropout: float, A: Tensor, B: Tensor) -> None:
        self.A, self.B = nn.Parameter(A), nn.Parameter(B)
        self.open_name, self.open_shape, self.dropout = name, shape, dropout

    def _slice(self, name: str) -> slice:
        start = 0
        for other, shape in self.committed.items():
            if other == name:
                return slice(start, start + shape.rank)
            start += shape.rank
        raise AdapterError(f"layer '{self.path}' has no slot '{name}'")

    def _refresh_row_scale(self) -> None:
        scales = [shape.scale for shape in self.committed.values() for _ in range(shape.rank)]
        self.row_scale = torch.tensor(scales, device=self.A_old.device, dtype=self.A_old.dtype)

    # ------------------------------------------------------------------ forward

    def forward(self, x: Tensor, y: Tensor, route: Route) -> Tensor:
        """Add the slots of `route` to the base output.

        Args:
            x: `[…, I]` the layer's input.
            y: `[…, O]` what the base layer (or its folded weight) made of it.
            route: slots and coefficients.

        Returns:
            `[…, O]`.
        """
        if x.dtype != self.A_old.dtype and not torch.is_autocast_enabled(x.device.type):
            x = x.to(self.A_old.dtype)  # a network held in half precision: its slots stay fp32
        mixing = route.mixing.get(self.path)
        if mixing is not None:
            return self._mixed(x, y, route, mixing)
        old = () if route.folded else tuple(name for name in route.slots if name in self.committed)
        if old:
            y = self._add_committed(x, y, route, old)
        if self.open_name is not None and self.open_name in route.slots:
            A, B = self.rows(self.open_name)
            z = F.linear(F.dropout(x, self.dropout, self.training), A)
            scale = self.open_shape.scale
            coefficient = self._coefficients(route, (self.open_name,), x)
            if coefficient is not None:
                z = z * coefficient
            y = _add_product(y, z, scale * B)  # scaling r × O values, not B × T × r
        return y

    def _add_committed(self, x: Tensor, y: Tensor, route: Route, names: tuple[str, ...]) -> Tensor:
        A, B, scale = self._gather(names)
        h = F.linear(x, A)
        coefficients = self._coefficients(route, names, x)
        if coefficients is None:
            return _add_product(y, h, scale[:, None] * B)
        ranks = torch.tensor([self.committed[name].rank for name in names], device=x.device)
        per_row = coefficients.repeat_interleave(ranks, dim=-1) * scale
        if per_row.dim() == 1:
            return _add_product(y, h, per_row[:, None] * B)
        return _add_product(y, h * per_row, B)

    def _gather(self, names: tuple[str, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """Rows of the named committed slots: the buffers themselves, a view, or (out of order) a copy."""
        if names == tuple(self.committed):
            return self.A_old, self.B_old, self.row_scale
        slices = [self._slice(name) for name in names]
        if all(left.stop == right.start for left, right in itertools.pairwise(slices)):
            rows = slice(slices[0].start, slices[-1].stop)
            return self.A_old[rows], self.B_old[rows], self.row_scale[rows]
        index = torch.cat([torch.arange(rows.start, rows.stop) for rows in slices]).to(self.A_old.device)
        return self.A_old[index], self.B_old[index], self.row_scale[index]

    def _coefficients(self, route: Route, names: tuple[str, ...], x: Tensor) -> Tensor | None:
        """Coefficients of the named slots, shaped to multiply `[…, len(names)]`; None when all are 1."""
        c = route.coefficients
        if c is None:
            return None
        if route.per == "layer":
            c = c[self.index]
        if names != route.slots:
            c = c[..., [route.slots.index(name) for name in names]]
        given, found = (c.shape[:1], x.shape[:1]) if route.per == "sample" else (c.shape[:-1], x.shape[:-1])
        if route.per in ("sample", "token") and given != found:
            raise AdapterError(
                f"coefficients per {route.per} are for {list(given)}, but the input of layer '{self.path}' is "
                f"{list(x.shape)}"
            )
        if route.per == "sample":  # [B, S] → [B, 1, …, S]
            c = c.reshape(c.shape[0], *([1] * (x.dim() - 2)), c.shape[1])
        return c

    def _mixed(self, x: Tensor, y: Tensor, route: Route, mixing: Tensor) -> Tensor:
        """y + (s ⊙ ((c ⊙ z) Mᵀ)) B with z = x Aᵀ over the rows of all slots of the route, in its order."""
        z, B, scale = [], [], []
        for name in route.slots:
            A_k, B_k = self.rows(name)
            source = F.dropout(x, self.dropout, self.training) if name == self.open_name else x
            z_k = F.linear(source, A_k)
            coefficient = self._coefficients(route, (name,), x)
            z.append(z_k if coefficient is None else z_k * coefficient)
            B.append(B_k)
            scale += [self.shape(name).scale] * len(A_k)
        if mixing.shape != (len(scale), len(scale)):
            raise AdapterError(
                f"the mixing matrix of layer '{self.path}' is {list(mixing.shape)}, "
                f"but its slots have {len(scale)} rows"
            )
        h = F.linear(torch.cat(z, dim=-1), mixing)
        return _add_product(y, h * torch.tensor(scale, device=h.device, dtype=h.dtype), torch.cat(B))


def _add_product(y: Tensor, h: Tensor, B: Tensor) -> Tensor:
    """y + h B in one pass over y: `[…, O] + […, N] [N, O]`."""
    if y.dim() == 1:
        return _add_product(y[None], h[None], B)[0]
    if y.dtype != h.dtype and not torch.is_autocast_enabled(y.device.type):
        return y + (h @ B).to(y.dtype)
    return torch.addmm(y.flatten(0, -2), h.flatten(0, -2), B).view_as(y)
