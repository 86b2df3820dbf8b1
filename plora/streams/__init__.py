"""Streams: tasks in an order, and the sources they come from."""

from plora.streams.base import (
    SCENARIOS,
    SPLITS,
    Scenario,
    Split,
    SplitName,
    Stream,
    StreamSource,
    Task,
    TextInput,
)
from plora.streams.blocks import Blocks
from plora.streams.corpora import Corpora
from plora.streams.digits import Digits
from plora.streams.docstring_arguments import DocstringArguments
from plora.streams.docstring_targets import DocstringLabels, DocstringParameters
from plora.streams.docstrings import DocstringSkills, DocstringTopics
from plora.streams.domains import Domain
from plora.streams.glyphs import Glyphs
from plora.streams.hub import HUB_TASKS, HubStream, HubTask
from plora.streams.image_stream import ImageStream
from plora.streams.label_sets import LabelSetStream, LabelSetTask
from plora.streams.label_tree import LabelTree
from plora.streams.labelled import LABELLED
from plora.streams.labelled_images import IGNORED, LabelledImage, LabelledImageArray, LabelledImages
from plora.streams.local import LocalStream, LocalTask
from plora.streams.numbers import NumberStream, NumberTask
from plora.streams.scenes import Scenes
from plora.streams.segmentation_stream import SegmentationStream
from plora.streams.tagged import Tagged, TaggedTask
from plora.streams.tagged_sentences import TaggedSentences
from plora.streams.targeted import LabelSets, Numbers
from plora.streams.text_to_text import TextToText
from plora.streams.tree import TreeStream

STREAMS: dict[str, type[StreamSource]] = {
    **LABELLED,
    "tree": TreeStream,
    "docstring_arguments": DocstringArguments,
    "docstring_parameters": DocstringParameters,
    "docstring_labels": DocstringLabels,
    "segmentation": SegmentationStream,
    "scenes": Scenes,
    "corpora": Corpora,
    "text_to_text": TextToText,
    "tagged": Tagged,
    "label_sets": LabelSetStream,
    "numbers": NumberStream,
}
"""`kind:` of a stream in a config → its source."""

__all__ = [
    # what a stream is
    "Stream",
    "Task",
    "Split",
    "TextInput",
    "Scenario",
    "SCENARIOS",
    "SplitName",
    "SPLITS",
    # images with a class for each pixel
    "IGNORED",
    "LabelledImage",
    "LabelledImages",
    "LabelledImageArray",
    # inputs with a target for each name of their task
    "LabelSets",
    "Numbers",
    # where it comes from
    "STREAMS",
    "LABELLED",
    "StreamSource",
    "DocstringTopics",
    "DocstringSkills",
    "DocstringArguments",
    "DocstringParameters",
    "DocstringLabels",
    "Digits",
    "Glyphs",
    "ImageStream",
    "TreeStream",
    "LabelTree",
    "Blocks",
    "SegmentationStream",
    "Scenes",
    "Corpora",
    "Domain",
    "TextToText",
    "Tagged",
    "TaggedTask",
    "TaggedSentences",
    "LocalStream",
    "LocalTask",
    "HubStream",
    "HubTask",
    "HUB_TASKS",
    "LabelSetStream",
    "LabelSetTask",
    "NumberStream",
    "NumberTask",
]
