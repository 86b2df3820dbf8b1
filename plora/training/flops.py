"""Floating-point operations of what runs inside a `with` block, counted by PyTorch from the shapes of its products."""

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

Shape = tuple[int, ...]


def _attention(query: Shape, key: Shape, value: Shape, *_: object, **__: object) -> int:
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


def _attention_backward(output: Shape, query: Shape, key: Shape, value: Shape, *_: object, **__: object) -> int:
    return int(sdpa_backward_flop_count(output, query, key, value))  # type: ignore[no-untyped-call]


class FlopCounter(FlopCounterMode):
    """Counts matrix products and attention, two operations per multiplication and addition; nothing else.

    What is recomputed counts again; sums, norms and activation functions do not count, as is usual.

        with FlopCounter() as counter:
            model(inputs)
        counter.get_total_flops()
    """

    def __init__(self) -> None:
        aten = torch.ops.aten
        super().__init__(
            display=False,
            custom_mapping={  # PyTorch knows the fused attention of GPUs alone
                aten._scaled_dot_product_flash_attention_for_cpu: _attention,
                aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
            },
        )
