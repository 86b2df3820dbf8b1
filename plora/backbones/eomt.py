"""Encoder-only mask transformers (EoMT): vision transformers in which queries that are learned answer with masks.

The layers and their weights are those of `transformers`, whose own forward pass takes images of one square size, keeps
what is predicted before each of the last blocks to itself, and reads queries past the module that holds them, so that
slots could not stand in its place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from plora.backbones.preparation import Size


@dataclass(frozen=True)
class Masks:
    """What queries answer: a mask each, and which class it is of.

    Args:
        masks: of each output logits `[B, Q, h, w]`; the last is that of the whole network, those before it were made on
            the way into each of the last blocks.
        classes: of each output logits `[B, Q, C + 1]`; the last one is of no object.
    """

    masks: tuple[Tensor, ...]
    classes: tuple[Tensor, ...]


class Segmenter(PreTrainedModel):  # type: ignore[misc]  # transformers has no types
    """What both kinds of EoMT share: sizes, and a forward pass under annealed masks.

    Class logits = class_predictor(q); mask logits = mask_head(q) · upscale_block(patches), q and patches being the
    states of queries and patches after the last norm.

    Source: Kerssies et al. 2025 (EoMT, arXiv 2503.19108).
    """

    def __init__(self, config: PreTrainedConfig) -> None:
        size = _sides(config.image_size)
        config.image_size = size[0]  # transformers divides by the patch
        super().__init__(config)
        # How deep a parameter is (`layer_decay`) is read from its place: what answers is above all blocks of the
        # encoder. Blocks that upscale are none of them, so that they may not come after them.
        for name in ("layers", "layernorm", "query", "mask_head", "class_predictor"):
            self._modules[name] = self._modules.pop(name)
        self.lay_out(size)

    @property
    def size(self) -> Size:
        """Height and width of its images."""
        return _sides(self.config.image_size)

    def lay_out(self, size: Size) -> None:
        """Take images of another size from now on; where patches have embeddings of their positions, new ones.

        Args:
            size: height and width, multiples of the patch.
        """
        patch = _sides(self.config.patch_size)
        self.grid_size = (size[0] // patch[0], size[1] // patch[1])
        self.config.image_size = size[0] if size[0] == size[1] else list(size)

    def forward(
        self, pixel_values: Tensor, shares: Sequence[float] | None = None, chances: Tensor | None = None
    ) -> Masks:
        """Return masks and their classes.

        Before each of the last n blocks, masks are predicted, and in the block a query attends to a patch only where
        its own mask is above 0: all queries where its share is 1, none where it is 0, else those whose chance is at
        most the share. Queries always see each other and the tokens that are no patches.

        Args:
            pixel_values: `[B, C, H, W]`.
            shares: `[n]` in 0 to 1 of each of the last blocks; None: nothing is masked, and nothing is predicted before
                the end.
            chances: `[B, n, Q]` in 0 to 1.
        """
        states, more = self._embedded(pixel_values)
        first = len(self.layers) - self.config.num_blocks
        found = []
        for number, layer in enumerate(self.layers):
            mask = None
            if number == first:
                queries = self.query(torch.arange(self.config.num_queries, device=states.device))
                states = torch.cat([queries.to(states).expand(len(states), -1, -1), states], dim=1)
            if number >= first and shares is not None:
                found.append(self.predict(self.layernorm(states)))
                share = shares[number - first]
                if share > 0:
                    assert chances is not None
                    mask = self._attended(found[-1][0].detach(), states, chances[:, number - first] <= share)
            states = layer(states, mask, **more)
        found.append(self.predict(self.layernorm(states)))
        return Masks(tuple(masks for masks, _ in found), tuple(classes for _, classes in found))

    def per_patch(self, pixel_values: Tensor) -> Tensor:
        """Return the class logits of each patch `[B, C + 1, h, w]`, without queries: class_predictor(patches).

        Args:
            pixel_values: `[B, C, H, W]`.
        """
        states, more = self._embedded(pixel_values)
        for layer in self.layers:
            states = layer(states, None, **more)
        patches = self.layernorm(states)[:, self.embeddings.num_prefix_tokens :]
        logits: Tensor = self.class_predictor(patches).transpose(1, 2)
        return logits.reshape(len(logits), -1, *self.grid_size)

    def _embedded(self, pixel_values: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """The states that enter the first block, and what every block gets besides."""
        return self.embeddings(pixel_values), {}

    def _attended(self, masks: Tensor, states: Tensor, masked: Tensor) -> Tensor:
        """What is added to attention scores, `[B, 1, T, T]`: −10⁹ where a query that is masked does not look.

        Args:
            masks: logits `[B, Q, h, w]`.
            states: `[B, T, d]`.
            masked: `[B, Q]` bool.
        """
        device = states.device.type
        held = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states.dtype
        resized = F.interpolate(masks.float(), self.grid_size, mode="bilinear").flatten(2)
        number, start = masks.shape[1], masks.shape[1] + self.embeddings.num_prefix_tokens
        hidden = (resized <= 0) & masked[:, :, None]
        added = states.new_zeros(len(states), 1, states.shape[1], states.shape[1], dtype=held)
        added[:, 0, :number, start:].masked_fill_(hidden, -1e9)
        return added


class EomtForUniversalSegmentation(Segmenter, transformers.EomtForUniversalSegmentation):  # type: ignore[misc]
    """EoMT on DINOv2: every patch has an embedding of its position."""

    def lay_out(self, size: Size) -> None:
        """Take images of another size; positions between those of the grid before are bicubic, antialiased."""
        before = self.grid_size
        super().lay_out(size)
        if self.grid_size == before:
            return
        embeddings = self.embeddings
        own = embeddings.position_embeddings.weight
        grid = own.detach().T.reshape(1, -1, *before)
        found = F.interpolate(grid.float(), self.grid_size, mode="bicubic", antialias=True).flatten(2)[0].T.to(own)
        weight = nn.Parameter(found.contiguous(), requires_grad=own.requires_grad)
        embeddings.position_embeddings = nn.Embedding(len(found), found.shape[1], _weight=weight)
        embeddings.position_ids = torch.arange(len(found), device=own.device)[None]
        embeddings.patch_embeddings.image_size, embeddings.patch_embeddings.num_patches = size, len(found)


class EomtDinov3ForUniversalSegmentation(Segmenter, transformers.EomtDinov3ForUniversalSegmentation):  # type: ignore[misc]
    """EoMT on DINOv3: positions are rotations, so that it takes any size."""

    def _embedded(self, pixel_values: Tensor) -> tuple[Tensor, dict[str, Any]]:
        states = self.dropout(self.embeddings(pixel_values))
        return states, {"position_embeddings": self.rope_embeddings(pixel_values.to(states.dtype))}


_KINDS = {"eomt": EomtForUniversalSegmentation, "eomt_dinov3": EomtDinov3ForUniversalSegmentation}


class AutoSegmenter:
    """Makes and loads the network that a configuration describes, as `AutoModel` does."""

    @staticmethod
    def from_config(config: PreTrainedConfig, **more: Any) -> Segmenter:  # noqa: ANN401  (as transformers has it)
        """Return a network with random weights.

        Raises:
            ValueError: networks of this kind do not answer with masks.
        """
        made: Segmenter = _kind(config)._from_config(config, **more)
        return made

    @staticmethod
    def from_pretrained(folder: Path, **more: Any) -> Any:  # noqa: ANN401  (with a report, or without)
        """Return a network with the weights of a folder.

        Raises:
            ValueError: networks of this kind do not answer with masks.
        """
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        return _kind(config).from_pretrained(folder, **more)


def _kind(config: PreTrainedConfig) -> type[Segmenter]:
    if config.model_type not in _KINDS:
        raise ValueError(f"model_type '{config.model_type}' does not answer with masks; expected {' or '.join(_KINDS)}")
    return _KINDS[config.model_type]


def _sides(value: int | Sequence[int]) -> Size:
    height, width = (value, value) if isinstance(value, int) else value
    return height, width
