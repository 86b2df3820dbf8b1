"""Bring a run that an older version of plora wrote to the form of this one.

Its config says last whose it is, so an upgrade that was cut is made again from the start, and until then every file is
read as it was.
"""

from dataclasses import replace

import numpy as np

from plora.errors import RunError
from plora.results import RESULTS_FILE, read_measurements, read_record, write_record
from plora.results.record.columns import read_seal
from plora.results.record.curves import read_curves
from plora.results.record.forgotten import Forgotten, write_forgotten
from plora.results.record.manifest import NOTHING, read_chain, write_manifest
from plora.run_folder.checkpoint import check_files
from plora.run_folder.folder import RunFolder
from plora.sealed import Identity, read_sealed, write_sealed


def upgrade(folder: RunFolder) -> bool:
    """Write a run of an older version anew, where this is one; everything that has a hash is checked before.

    Returns:
        Whether it was one.

    Raises:
        RunError: something of it was changed or damaged; nothing was written.
    """
    if folder.run:
        return False
    config = folder.read_config()
    if not folder.environment.exists():  # nothing but its config was written
        folder.write_config(config)
        return True
    run = config.identity
    checkpoints = [*read_chain(folder.path)]
    record = read_record(folder.path) if folder.inside(RESULTS_FILE).exists() else None
    if checkpoints:
        check_files(folder, checkpoints[-1].files)
    if folder.curves.exists():
        read_curves(folder.curves)
    seals: list[str | None] = []
    for number in range(len(record.matrix) if record is not None else 1 + max(folder.complete(), default=0)):
        path = folder.predictions(number)
        seals.append(None)
        if not path.exists():
            continue
        if record is None or np.isnan(record.matrix[number]).all():
            path.unlink()  # nothing vouches for it, and it is measured again
            continue
        found = read_measurements(path)
        if not np.array_equal(found.cells(record.tasks, record.score), record.matrix[number], equal_nan=True):
            raise RunError(f"{path} does not give row {number} of the matrix in {RESULTS_FILE}; restore it from a copy")
        found.write(path, Identity(run, "predictions", number))
        seals[number] = read_seal(path)[1]
    if checkpoints and checkpoints[-1].forgotten:
        write_forgotten(folder.path, Forgotten(tasks=checkpoints[-1].forgotten), run)
    former = NOTHING
    for now in checkpoints:
        former = write_manifest(folder.path, former, now, run)
    environment = read_sealed(folder.environment)
    write_sealed(folder.environment, environment, Identity(run, "environment", 0))  # type: ignore[arg-type]  # JSON
    if record is not None:
        write_record(folder.path, replace(record, run=run, predictions=tuple(seals)))
    folder.write_config(config)
    return True
