"""Runs as a user sees them: start one, go on with it, add to it, check it, use it."""

from typing import TYPE_CHECKING

from plora.lazy import names_from

if TYPE_CHECKING:
    from plora.runs.checking import Rescored, Verified, evaluate, verify
    from plora.runs.continuations import Written, write_side_by_side
    from plora.runs.elsewhere import Elsewhere, evaluate_on
    from plora.runs.forgetting import forget
    from plora.runs.generating import Continuation, generate
    from plora.runs.given_inputs import GivenInputs, read_inputs, read_prompts, require_writable, write_labelled
    from plora.runs.learning import extend, read_task, resume, run
    from plora.runs.loading import load_learner, load_run
    from plora.runs.predicting import Prediction, predict
    from plora.runs.segmented_files import require_new_folder, write_segmented
    from plora.runs.segmenting import Segmented, segment
    from plora.runs.tagged_files import require_sentence_file, write_tagged
    from plora.runs.tagging import TaggedWords, tag
    from plora.runs.validating import validate

__all__ = [
    "Continuation",
    "Elsewhere",
    "GivenInputs",
    "Prediction",
    "Rescored",
    "Segmented",
    "TaggedWords",
    "Verified",
    "Written",
    "evaluate",
    "evaluate_on",
    "extend",
    "forget",
    "generate",
    "load_learner",
    "load_run",
    "predict",
    "read_inputs",
    "read_prompts",
    "read_task",
    "require_new_folder",
    "require_sentence_file",
    "require_writable",
    "resume",
    "run",
    "segment",
    "tag",
    "validate",
    "verify",
    "write_labelled",
    "write_segmented",
    "write_side_by_side",
    "write_tagged",
]

__getattr__, _ = names_from(
    __name__,
    {
        "checking": ["Rescored", "Verified", "evaluate", "verify"],
        "continuations": ["Written", "write_side_by_side"],
        "elsewhere": ["Elsewhere", "evaluate_on"],
        "forgetting": ["forget"],
        "generating": ["Continuation", "generate"],
        "given_inputs": ["GivenInputs", "read_inputs", "read_prompts", "require_writable", "write_labelled"],
        "learning": ["extend", "read_task", "resume", "run"],
        "loading": ["load_learner", "load_run"],
        "predicting": ["Prediction", "predict"],
        "segmented_files": ["require_new_folder", "write_segmented"],
        "segmenting": ["Segmented", "segment"],
        "tagged_files": ["require_sentence_file", "write_tagged"],
        "tagging": ["TaggedWords", "tag"],
        "validating": ["validate"],
    },
)
