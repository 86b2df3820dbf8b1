"""The conformance suite: what any gate, strategy, head, problem or method must keep to, ours or a user's.

    from plora.testing import check_gate

    def test_my_gate() -> None:
        check_gate(MyGate)

Each check builds a tiny random network of its own, downloads nothing, and is silent when every promise is kept. The
first one that is broken ends it in a `ConformanceError`: what was tested, the promise, what was seen and expected.
"""

from plora.errors import ConformanceError
from plora.testing.gates import check_gate
from plora.testing.heads import check_head
from plora.testing.methods import check_method
from plora.testing.problems import check_problem
from plora.testing.strategies import check_strategy

__all__ = [
    "ConformanceError",
    "check_gate",
    "check_head",
    "check_method",
    "check_problem",
    "check_strategy",
]
