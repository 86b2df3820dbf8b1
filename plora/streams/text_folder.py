"""A folder with a folder of .txt files per class."""

from collections import Counter
from pathlib import Path

import pyarrow as pa

from plora.errors import DataError
from plora.streams.class_folders import entries, has_ending, refuse_links
from plora.streams.lines import whole_text
from plora.streams.source import Source


def read_text_folder(folder: Path) -> Source:
    """Read `folder/<class>/*.txt`, endings in capitals too, as the columns `text` and `label`; count the other files.

    Raises:
        DataError: there are none, one is not UTF-8, or is a link out of the folder; names it.
    """
    texts: list[str] = []
    labels: list[str] = []
    left_out: Counter[str] = Counter()
    for class_folder in entries(folder, left_out):
        if not class_folder.is_dir():
            left_out["files beside the folders of the classes"] += 1
            continue
        for file in entries(class_folder, left_out):
            if not has_ending(file, ".txt"):
                what = "folders in the folder of a class" if file.is_dir() else "files that do not end in .txt"
                left_out[what] += 1
                continue
            refuse_links(class_folder, folder)
            refuse_links(file, folder)
            if not file.is_file():
                raise DataError(f"'{file}' is not a file; take it away, or give it another ending")
            texts.append(whole_text(file.read_bytes(), f"'{file}'"))
            labels.append(class_folder.name)
    if not texts:
        raise DataError(
            f"folder '{folder}' has no '<class>/*.txt'; expected one folder per class with text files in it"
        )
    table = pa.table({"text": pa.array(texts, type=pa.large_string()), "label": pa.array(labels)})
    return Source(table, f"folder '{folder}'", left_out)
