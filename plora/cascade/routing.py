"""Where a cascade sends the training examples: what its nodes can be learned on the next time."""

from plora.cascade.evaluating import answers_of
from plora.cascade.folder import Cascade
from plora.cascade.members import Members, Progress
from plora.streams.routes import Routes


def route_cascade(cascade: Cascade, progress: Progress = lambda what, done, of: None) -> Routes:
    """Return where each training example ends if every node takes its likeliest answer.

    A node has learned the examples that it sends here, and sends them better than new ones.

    Args:
        cascade: its tree and its runs.
        progress: is told what is done now.

    Raises:
        RunError: a run is damaged, lacks a task or has other labels than its node has answers.
        DataError: the data and the tree do not fit, or a run cannot read the data.
    """
    stream, tree = cascade.stream.load(), cascade.stream.tree()
    members = Members.of(cascade, tree, progress)
    for run in members.runs.values():
        run.require_inputs(stream)
    leaves = cascade.stream.leaves("train")
    found = answers_of(members, stream, leaves, "train", progress)
    return Routes(tree.leaves, leaves.inputs.fingerprint(), found.ends)
