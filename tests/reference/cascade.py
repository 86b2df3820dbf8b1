"""A cascade walked example by example, as its definitions say it."""

from collections.abc import Mapping, Sequence

Nodes = Mapping[str, Sequence[str]]
Said = Mapping[str, Sequence[float]]
"""Of one example: what each node says."""


def root(nodes: Nodes) -> str:
    """The node that is no answer of another."""
    return next(node for node in nodes if not any(node in answers for answers in nodes.values()))


def leaves_below(nodes: Nodes, name: str) -> list[str]:
    """The leaves below a node, or the leaf itself."""
    return [leaf for answer in nodes[name] for leaf in leaves_below(nodes, answer)] if name in nodes else [name]


def walk(nodes: Nodes, said: Said, start: str) -> list[str]:
    """The way of one example from a node down to a leaf, always to the likeliest answer."""
    way = [start]
    while way[-1] in nodes:
        p = said[way[-1]]
        way.append(nodes[way[-1]][max(range(len(p)), key=p.__getitem__)])
    return way


def leaf_probability(nodes: Nodes, said: Said, leaf: str) -> float:
    """The product of what is said on the way to a leaf."""
    p, node = 1.0, root(nodes)
    while node != leaf:
        (answer,) = (answer for answer in nodes[node] if leaf in leaves_below(nodes, answer))
        p *= said[node][list(nodes[node]).index(answer)]
        node = answer
    return p


def tried(nodes: Nodes, said: Said, thresholds: Mapping[str, float], name: str) -> list[str]:
    """The leaves that are left to be tried below a node which abstains where it is not sure enough."""
    if name not in nodes:
        return [name]
    p = said[name]
    best = max(range(len(p)), key=p.__getitem__)
    answers = [nodes[name][best]] if p[best] > thresholds[name] else nodes[name]
    return [leaf for answer in answers for leaf in tried(nodes, said, thresholds, answer)]


def node_numbers(nodes: Nodes, said: Sequence[Said], truth: Sequence[str], node: str) -> dict[str, float]:
    """What `NodeScore` says of one node, but for F1."""
    own = [at for at, leaf in enumerate(truth) if leaf in leaves_below(nodes, node)]
    ways = [walk(nodes, one, root(nodes)) for one in said]
    arrived = [at for at, way in enumerate(ways) if node in way]
    routed = [at for at in own if at in arrived]
    alone = {at: walk(nodes, said[at], node)[-1] == truth[at] for at in own}
    answer_right = [truth[at] in leaves_below(nodes, walk(nodes, said[at], node)[1]) for at in own]
    pipeline = sum(ways[at][-1] == truth[at] for at in own) / len(own)
    return {
        "support": len(own),
        "arrived": len(arrived),
        "strangers": len(arrived) - len(routed),
        "accuracy": sum(answer_right) / len(own),
        "alone": sum(alone.values()) / len(own),
        "recall": len(routed) / len(own),
        "pipeline": pipeline,
        "cascade_error": sum(alone.values()) / len(own) - pipeline,
        "if_routed": sum(alone[at] for at in routed) / len(routed),
    }


def searched(candidates: Sequence[Sequence[int]], costs: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Candidates of an example on average, and the cost lost by trying no others, as a share of the least cost."""
    lost = sum(min(of[at] for at in some) - min(of) for some, of in zip(candidates, costs, strict=True))
    return sum(map(len, candidates)) / len(candidates), lost / sum(map(min, costs))
