"""The streams of inputs with a class each: what a tree of their classes can be made of."""

from plora.streams.base import StreamSource
from plora.streams.blocks import Blocks
from plora.streams.digits import Digits
from plora.streams.docstrings import DocstringSkills, DocstringTopics
from plora.streams.glyphs import Glyphs
from plora.streams.hub import HubStream
from plora.streams.image_stream import ImageStream
from plora.streams.local import LocalStream

LABELLED: dict[str, type[StreamSource]] = {
    "docstring_topics": DocstringTopics,
    "docstring_skills": DocstringSkills,
    "digits": Digits,
    "glyphs": Glyphs,
    "local": LocalStream,
    "hub": HubStream,
    "images": ImageStream,
    "blocks": Blocks,
}
"""`kind:` of such a stream → its source."""
