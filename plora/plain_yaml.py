"""YAML as plain data: no objects, every key once, and no aliases that grow without end."""

import re
from typing import Any

import yaml

_MOST_VALUES = 100_000
_PAIR = re.compile(r"[\ud800-\udbff][\udc00-\udfff]")


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        # PyYAML keeps the last of two equal keys and says nothing.
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        known = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in known:
                    raise yaml.YAMLError(f"line {key.start_mark.line + 1}: the key '{key.value}' is written twice")
                known.add((key.tag, key.value))
        return node

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> str:
        # JSON writes a character beyond U+FFFF as two escapes, of which PyYAML makes two halves.
        text: str = super().construct_scalar(node)
        return _PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)


def parse_yaml(text: str) -> object:
    """Return the value of a YAML (or JSON) text.

    Raises:
        yaml.YAMLError: it is not YAML, has a tag that makes objects, a key twice, a value that contains itself, or
            more values than a config can have.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _count(node, {}) > _MOST_VALUES:
            raise yaml.YAMLError(f"it has more than {_MOST_VALUES:,} values, aliases written out")
        value: object = loader.construct_document(node)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # What PyYAML raises for a scalar that does not fit its type, such as 2001-99-99 or !!bool x.
        raise yaml.YAMLError(f"a value does not fit its type: {error}") from None
    return value


def _count(node: yaml.Node, counts: dict[int, int]) -> int:
    """Number of values below a node when every alias is written out; nodes that occur often are counted once."""
    if id(node) not in counts:
        counts[id(node)] = 0  # while it is being counted
        parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        inner = sum(_count(part, counts) for part in parts) if isinstance(node, yaml.CollectionNode) else 0
        counts[id(node)] = 1 + inner
    elif counts[id(node)] == 0:
        raise yaml.YAMLError("an alias stands inside the value that it names")
    return counts[id(node)]
