"""What text methods learn stays the same bits, whatever is rebuilt around them."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from text_goldens import FILE, PLAIN

HERE = Path(__file__).parent

KEPT = json.loads(FILE.read_text(encoding="utf-8"))
QUICK = [
    "class frozen ranpac",
    "class first_session ridge",
    "task full linear",
    "task lateral linear",
    "class routed linear",
    "domain ewc_lora linear",
    "class der linear",
    "domain lwf linear",
    "class generative_replay linear",
    "domain merged_ties linear",
    "class replay early",
]


def _made_again(names: Sequence[str]) -> dict[str, dict[str, object]]:
    done = subprocess.run(
        [sys.executable, HERE / "text_goldens.py", *names], env={**os.environ, **PLAIN}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout[done.stdout.index("{\n") :])
    assert isinstance(found, dict)
    return found


pytestmark = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the bits of x86")


def test_some_methods_learn_the_same_bits() -> None:
    found = _made_again(QUICK)
    assert found == {name: KEPT[name] for name in QUICK}


@pytest.mark.slow
def test_every_method_learns_the_same_bits() -> None:
    found = _made_again(())
    assert (
        found.keys() == KEPT.keys()
    )  # a new method gets its golden with `python tests/goldens/text_goldens.py --write`
    assert {name: found[name] for name in found if found[name] != KEPT[name]} == {}
