"""The root hash closes what hashes inside a folder cannot: whoever edits a run can make all of those anew."""

import json

from attempts import state
from cases import Attacked

from plora.run_folder.folder import RunFolder
from plora.runs import verify
from plora.sealed import Identity, read_sealed, write_sealed


def test_a_root_hash_is_expected(attacked: Attacked) -> None:
    run = attacked.runs["per_task"]
    before = state(run)
    root = verify(run).root
    assert root is not None
    assert verify(run, f" {root.upper()}\n").problems == ()
    (line,) = verify(run, verify(attacked.runs["other_seed"]).root).problems
    assert root in line
    assert line.isprintable()
    (line,) = verify(run, "\x1b[31m no hash").problems
    assert line.isprintable()
    assert state(run) == before


def test_a_run_that_was_sealed_anew_has_another_root(attacked: Attacked) -> None:
    """Nothing in the folder contradicts the machine that it names, so `verify` alone is content with any."""
    run = attacked.copy("per_task")().run
    root, folder = verify(run).root, RunFolder(run)
    told = read_sealed(folder.environment)
    told["processor"] = "a faster one"
    write_sealed(folder.environment, json.loads(json.dumps(told)), Identity(folder.run, "environment", 0))
    again = verify(run)
    assert again.problems == ()
    assert again.root != root
    (line,) = verify(run, root).problems
    assert "root hash" in line
