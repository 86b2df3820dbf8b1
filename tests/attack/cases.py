"""Finished runs of the tiny network, made once, of which each attack gets a copy."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from attempts import Case, Outcome, attempt
from killing import KILLED, in_child, quiet

from plora.config import load_config, load_task
from plora.runs import extend, run

RUNS = {
    "per_task": ("method=per_task",),
    "other_seed": ("method=per_task", "seed=1"),
    "sequential": ("method=sequential",),
    "ncm": ("method=frozen", "head=ncm"),
    "ewc_lora": ("method=ewc_lora", "scenario=class"),
    "full": ("method=full",),
    "routed": ("method=routed", "scenario=class"),
    "unfinished": ("method=per_task", "training.checkpoint_seconds=0"),
    "extended": ("method=per_task", "name=longer"),
}
"""Settings of each run. `unfinished` was killed inside its second task, `extended` learned a third one later."""
STEP = "step_saved:10"
"""Where `unfinished` was killed: its tasks take seven steps each."""


@dataclass(frozen=True)
class Attacked:
    """The runs, and a place for copies of them.

    Args:
        runs: each run by its name in `RUNS`.
        before: the longer run before it was extended.
        place: where `outside` and copies stand.
        extra: files of a third task.
    """

    runs: dict[str, Path]
    before: Path
    place: Path
    extra: dict[str, Path]

    @property
    def outside(self) -> Path:
        """What no verb may touch: a home with files of somebody's, and a whole copy of each run."""
        return self.place / "outside"

    def copy(self, name: str, change: Callable[[Path], object] = lambda _: None) -> Callable[[], Case]:
        """Return what makes a copy of a run, at the one place where all copies stand, and changes it."""

        def make() -> Case:
            case = self.place / "case"
            shutil.rmtree(case, ignore_errors=True)
            shutil.copytree(self.runs[name], case / "run")
            change(case / "run")
            return Case(case / "run", self.extra, named="scenario=class" not in RUNS[name])

        return make

    def attempt(self, *work: tuple[str, Callable[[], Case]]) -> list[Outcome]:
        """See `attempts.attempt`."""
        return attempt(work, self.place / "answers")


def make_runs(backbone: Path, files: dict[str, Path], place: Path) -> Attacked:
    fewer = {}
    for name, path in files.items():
        lines = path.read_text(encoding="utf-8").splitlines()
        fewer[name] = place / f"{name}.jsonl"
        # Half of each class: the first half of a file is of its first class.
        fewer[name].write_text("\n".join(lines[:: 2 if "train" in name else 1]), encoding="utf-8")
    tasks = [
        {"name": task, "train": str(fewer[f"{task}-train"]), "test": str(fewer[f"{task}-test"])}
        for task in ("food", "travel")
    ]
    values = {
        "name": "toy",
        "stream": {"kind": "local", "name": "toy", "tasks": tasks},
        "scenario": "task",
        "backbone": {"id": str(backbone), "max_length": 16},
        "lora": {"rank": 2, "alpha": 4, "targets": "attention"},
        "training": {"epochs": 2, "batch_size": 8, "learning_rate": 0.02, "log_every": 2},
    }
    runs = {}
    for name, settings in RUNS.items():
        config = load_config(values, [*settings, f"output={place / 'runs' / name}"])
        if name == "unfinished":
            assert in_child(lambda config=config: run(config, quiet()), failpoint=STEP) == KILLED
        else:
            run(config, quiet())
        runs[name] = config.folder
    before = place / "before"
    shutil.copytree(runs["extended"], before)
    task = load_task(fewer["nature-train"], ["name=nature", f"test='{fewer['nature-test']}'"])
    extend(runs["extended"], task, quiet())
    home = place / "outside" / "home"
    (home / "letters").mkdir(parents=True)
    for name in (".bashrc", "adapter_model.safetensors", "adapter_config.json", "letters/one.txt", "config.yaml"):
        (home / name).write_text(f"{name} of somebody\n", encoding="utf-8")
    for name, folder in runs.items():
        shutil.copytree(folder, place / "outside" / name)
    return Attacked(runs, before, place, fewer)
