"""What segmentation writes of an export: how images are prepared, and a script that gives their pixels classes."""

from collections.abc import Mapping
from pathlib import Path

from plora import atomic
from plora.backbones import Backbone, BackboneConfig, write_processor
from plora.backbones.segmenters import SegmentationBackbone
from plora.errors import RunError
from plora.problems.base import Problem
from plora.problems.export_part import BACKBONE_CHOSEN, BACKBONE_OPTION, ExportPart
from plora.problems.image_export import DECODING
from plora.problems.semantic_segmentation import SemanticSegmentation
from plora.results.pictures.overlay import class_colours
from plora.results.report.model_card import InputWords
from plora.tensor_file import save_tensors

FITTED_FILE = "fitted.safetensors"
_FITTED = ("class_predictor.weight", "class_predictor.bias", "embeddings.position_embeddings.weight")
"""Tensors whose shape the classes and the size of images decide; where a slot has them, they are in its adapter."""

# The same steps as `EncodedMaps` makes rows with, and `SemanticSegmentation.scores` makes scores of them.
_SCRIPT = '''"""Give every pixel of images a class: python inference.py [--task TASK] [--out FOLDER] one.png two.jpg."""

import argparse
import json
from functools import lru_cache
from pathlib import Path

import numpy
import torch
{imports}from torch.nn.functional import interpolate
from transformers import {auto}

HERE = Path(__file__).resolve().parent
SETTINGS = json.loads((HERE / "adapters.json").read_text(encoding="utf-8"))
ADAPTERS, CLASSES = SETTINGS["adapters"], SETTINGS["classes"]
{decoding}


SIZE = tuple(PREPARED["size"][name] for name in ("height", "width"))


@lru_cache(maxsize=1)
def network(adapter):
{network}


def canvas(height, width):
    """Return the size that an image is resized to; the network reads all of it, or windows of it."""
    if not SETTINGS["windows"]:
        return SIZE
    scale = max(SIZE[0] / height, SIZE[1] / width)
    return max(SIZE[0], round(scale * height)), max(SIZE[1], round(scale * width))


def starts(whole, own):
    number = -(-whole // own)
    return [0] if number == 1 else [at * (whole - own) // (number - 1) for at in range(number)]


@torch.inference_mode()
def scores(file, task=next(iter(ADAPTERS))):
    """Return the score of each class at each pixel of an image, [classes, height, width]."""
    with Image.open(file) as image:
        found = torch.from_numpy(numpy.array(decoded(image))).float()
    found = found[None] if found.dim() == 2 else found.permute(2, 0, 1)
    if len(found) not in (1, len(MEAN)):
        raise ValueError(f"{{file}} has {{len(found)}} channels, and the network takes {{len(MEAN)}}")
    size = tuple(found.shape[1:])
    whole = canvas(*size)
    found = (resized(found, whole).expand(len(MEAN), -1, -1) / 255 - MEAN) / STD
    summed, counts = torch.zeros(len(CLASSES), *whole), torch.zeros(whole)
    for top in starts(whole[0], SIZE[0]):
        for left in starts(whole[1], SIZE[1]):
            rows, columns = slice(top, top + SIZE[0]), slice(left, left + SIZE[1])
            answer = network(ADAPTERS[task])(pixel_values=found[None, :, rows, columns])
            masks = interpolate(answer.masks_queries_logits, SIZE, mode="bilinear")[0].sigmoid()
            classes = answer.class_queries_logits[0].softmax(1)[:, :-1]
            summed[:, rows, columns] += torch.einsum("qc,qhw->chw", classes, masks)
            counts[rows, columns] += 1
    return interpolate((summed / counts)[None], size, mode="bilinear")[0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--task", choices=list(ADAPTERS), default=next(iter(ADAPTERS)), required=len(ADAPTERS) > 1)
    parser.add_argument("--out", type=Path, help="a folder for masks: palette PNGs, whose indices are the classes")
{option}    parser.add_argument("files", nargs="+")
    given = parser.parse_args()
{chosen}    for file in given.files:
        found = scores(file, given.task).argmax(0).byte().numpy()
        shares = (numpy.bincount(found.ravel(), minlength=len(CLASSES)) / found.size).tolist()
        print(json.dumps(dict(file=file, classes=dict(zip(CLASSES, shares))), ensure_ascii=False))
        if given.out is not None:
            given.out.mkdir(parents=True, exist_ok=True)
            mask = Image.fromarray(found)
            mask.putpalette(bytes(SETTINGS["colours"]))
            mask.save(given.out / (Path(file).stem + ".png"))
'''
_MERGED = """\
    found = AutoModelForUniversalSegmentation.from_pretrained(HERE, use_safetensors=True, dtype=torch.float32)
    return found.eval()"""
_ADAPTED = """\
    found = AutoModelForUniversalSegmentation.from_pretrained(
        SETTINGS["backbone"],
        revision=SETTINGS["revision"],
        config=AutoConfig.from_pretrained(HERE),
        use_safetensors=True,
        dtype=torch.float32,
        ignore_mismatched_sizes=True,
    )
    found.load_state_dict(load_file(HERE / "fitted.safetensors"), strict=False)  # of these classes and this size
    found.attn_mask_probs.zero_()  # no query is masked after training
    return PeftModel.from_pretrained(found, HERE / adapter).eval()"""


class SegmentationExport(ExportPart):
    """Images whose pixels have classes.

    Raises:
        RunError: `transformers` has no such network: patches answer, images are not square, classes are told by angles,
            or outliers have one.
    """

    def __init__(self, backbone: Backbone, config: BackboneConfig, problem: Problem) -> None:
        super().__init__(backbone, config, problem)
        assert isinstance(problem, SemanticSegmentation)
        height, width = self._images.preparation.size
        reason = "its patches answer" if problem.settings.answer == "patches" else ""
        if height != width:
            reason = f"it reads images of {height} × {width} pixels"
        if problem.settings.arcface is not None:
            reason = "it tells classes by angles (problem.arcface)"
        if problem.settings.outlier_class:
            reason = "it has a class of outliers that is nobody's answer (problem.outlier_class)"
        if reason:
            raise RunError(
                f"the run has no export: {reason}, and EoMT of transformers answers by queries with a linear layer for "
                "the classes, of square images alone; use the run with `plora predict`"
            )
        self._problem = problem

    @property
    def words(self) -> InputWords:
        """Images, and what becomes of their shape."""
        height, width = self._images.preparation.size
        shape = "in windows of that size that overlap" if self._problem.settings.windows else "whatever their shape"
        how = "read" if self._problem.settings.windows else f"resized to {height} × {width} pixels,"
        return InputWords(
            pipeline_tag="image-segmentation",
            article="an",
            noun="image",
            limit=f"Images are {how} {shape}" + (f", {height} × {width}." if self._problem.settings.windows else "."),
            example="one.png another.jpg",
            note="Files are of any kind that Pillow reads; `--out FOLDER` writes their masks.",
            described_in="preprocessor_config.json",
            packages=("pillow",),
            model="A model of semantic segmentation",
            prints="the share of each class in the pixels of each image",
            use="It gives each pixel one of these classes: " + ", ".join(self._problem.class_names) + ".",
        )

    def settings(self) -> Mapping[str, atomic.JsonValue]:
        """Return classes and their colours, whether images are read in windows, and how files are decoded."""
        reading: atomic.JsonValue = self._problem.reading.model_dump(mode="json", exclude={"max_pixels"})
        return {
            "classes": self._problem.class_names,
            "colours": class_colours().ravel().tolist(),
            "windows": self._problem.settings.windows,
            "reading": reading,
        }

    def save(self, folder: Path) -> None:
        """Write preprocessor_config.json; beside adapters also what the pretrained network was fitted to."""
        write_processor(self._images.preparation, folder)
        if (folder / "config.json").exists():  # of a merged network, which holds all of it
            return
        network = self._images.network
        network.config.save_pretrained(folder)
        held = network.state_dict()
        save_tensors(folder / FITTED_FILE, {name: held[name].contiguous() for name in _FITTED if name in held})

    def inference(self, merged: bool) -> str:
        """Return a script that gives pixels classes."""
        beside = "" if merged else "AutoConfig, "
        imports = [
            *(() if merged else ("from peft import PeftModel",)),
            "from PIL import Image, ImageOps",
            *(() if merged else ("from safetensors.torch import load_file",)),
        ]
        return _SCRIPT.format(
            imports="\n".join(imports) + "\n",
            auto=f"{beside}AutoModelForUniversalSegmentation",
            decoding=DECODING,
            network=_MERGED if merged else _ADAPTED,
            option="" if merged else BACKBONE_OPTION,
            chosen="" if merged else BACKBONE_CHOSEN,
        )

    @property
    def _images(self) -> SegmentationBackbone:
        assert isinstance(self.backbone, SegmentationBackbone)
        return self.backbone
