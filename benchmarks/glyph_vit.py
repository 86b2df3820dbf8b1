"""What frozen features of the shipped vision transformer are worth on characters that it never saw.

Class means (cosine) and ridge regression (λ = 1), all classes at once; pixels for comparison. With `--omniglot FILE`, a
parquet file of Omniglot with columns image, label and split, handwriting too.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import JsonValue
from torch import Tensor

from benchmarks import evidence
from plora.backbones import GLYPH_VIT, BackboneConfig, ImageBackbone, load_image_backbone
from plora.problems.image_classification import ImageClassification
from plora.problems.settings import ImageClassificationSettings
from plora.streams.base import Split, Stream
from plora.streams.glyphs import Glyphs
from plora.streams.image_stream import ImageStream

_AT_ONCE = 256


@torch.no_grad()
def read(problem: ImageClassification, backbone: ImageBackbone, split: Split) -> tuple[Tensor, Tensor, Tensor]:
    """Features `[N, d]`, pixels `[N, …]` and labels `[N]`."""
    examples, features, pixels = problem.encode(split), list[Tensor](), list[Tensor]()
    for start in range(0, len(split), _AT_ONCE):
        batch = examples.collate(np.arange(start, min(start + _AT_ONCE, len(split))))
        found = backbone.network(**batch.inputs)
        features.append(problem.features(found, batch.inputs))
        pixels.append(batch.inputs["pixel_values"].flatten(1))
    labels = split.labels
    assert labels is not None
    return torch.cat(features).double(), torch.cat(pixels).double(), torch.from_numpy(labels)


def by_means(train: Tensor, rows: Tensor, test: Tensor, right: Tensor) -> float:
    """Accuracy of the nearest class mean."""
    means = torch.zeros(int(rows.max()) + 1, train.shape[1], dtype=train.dtype).index_add(0, rows, train)
    return float((F.normalize(test, dim=1) @ F.normalize(means, dim=1).T).argmax(1).eq(right).double().mean())


def by_ridge(train: Tensor, rows: Tensor, test: Tensor, right: Tensor) -> float:
    """Accuracy of ridge regression on one-hot labels."""
    design = F.pad(train, (0, 1), value=1.0)
    gram = design.T @ design + torch.eye(design.shape[1], dtype=design.dtype)
    weight = torch.linalg.solve(gram, design.T @ F.one_hot(rows).to(design))
    return float((F.pad(test, (0, 1), value=1.0) @ weight).argmax(1).eq(right).double().mean())


def worth(stream: Stream) -> dict[str, JsonValue]:
    """One row of the table."""
    (task,), config = stream.tasks, BackboneConfig(id=GLYPH_VIT)
    backbone = load_image_backbone(config)
    problem = ImageClassification.around(ImageClassificationSettings(), backbone, config, None)
    features, pixels, rows = read(problem, backbone, task.train)
    test_features, test_pixels, right = read(problem, backbone, task.test)
    return {
        "stream": stream.name,
        "classes": len(task.label_names),
        "train": len(rows),
        "test": len(right),
        "means": by_means(features, rows, test_features, right),
        "ridge": by_ridge(features, rows, test_features, right),
        "pixel_means": by_means(pixels, rows, test_pixels, right),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--omniglot", type=Path)
    given = parser.parse_args()
    streams = [Glyphs(increment=100).load()]
    if given.omniglot:
        data = {"kind": "parquet", "train": given.omniglot, "split": "split"}
        source = ImageStream.model_validate({"name": "omniglot", "data": data, "validation_per_class": 1})
        streams.append(source.load())
    rows: list[JsonValue] = [worth(stream) for stream in streams]
    print(*rows, sep="\n", flush=True)
    evidence.write("glyph_vit", {"rows": rows}, "python -m benchmarks.glyph_vit --omniglot FILE")


if __name__ == "__main__":
    main()
