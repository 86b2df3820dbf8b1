"""Backbones: which network, and how it is loaded."""

from typing import TYPE_CHECKING

from plora.backbones.settings import (
    DOCSTRING_LM,
    GLYPH_VIT,
    MADE,
    MINILM,
    SCENE_EOMT,
    SHIPPED,
    BackboneConfig,
    ImagePreparation,
    Pooling,
)
from plora.lazy import names_from

if TYPE_CHECKING:
    from plora.backbones.loading import (
        TRUST_HINT,
        Backbone,
        ImageBackbone,
        TextBackbone,
        empty_backbone,
        find_backbone,
        load_backbone,
        load_image_backbone,
        made_by,
        new_text_backbone,
        no_progress_bar,
        positions,
        quiet_loading,
        require_positions,
        save_image_backbone,
        save_text_backbone,
    )
    from plora.backbones.preparation import Preparation
    from plora.backbones.processor import write_processor

__all__ = [
    "TRUST_HINT",
    "Backbone",
    "ImageBackbone",
    "Preparation",
    "TextBackbone",
    "empty_backbone",
    "find_backbone",
    "load_backbone",
    "load_image_backbone",
    "made_by",
    "new_text_backbone",
    "no_progress_bar",
    "positions",
    "quiet_loading",
    "require_positions",
    "save_image_backbone",
    "save_text_backbone",
    "write_processor",
    "DOCSTRING_LM",
    "GLYPH_VIT",
    "SCENE_EOMT",
    "MADE",
    "MINILM",
    "SHIPPED",
    "BackboneConfig",
    "ImagePreparation",
    "Pooling",
]

__getattr__, _ = names_from(
    __name__,
    {
        "loading": [
            "TRUST_HINT",
            "Backbone",
            "ImageBackbone",
            "TextBackbone",
            "empty_backbone",
            "find_backbone",
            "load_backbone",
            "load_image_backbone",
            "made_by",
            "new_text_backbone",
            "no_progress_bar",
            "positions",
            "quiet_loading",
            "require_positions",
            "save_image_backbone",
            "save_text_backbone",
            "save_text_backbone",
        ],
        "preparation": ["Preparation"],
        "processor": ["write_processor"],
    },
)
