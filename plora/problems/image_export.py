"""What image classification writes of an export: how images are prepared, and a script that labels files of images."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from plora import atomic
from plora.backbones import ImageBackbone, write_processor
from plora.problems.export_part import ExportPart, ScriptPart
from plora.problems.image_classification import ImageClassification
from plora.results.report.model_card import InputWords

# The same steps as `ImageReading` decodes a file with, and `Preparation` and `ImageClassification.features` take.
DECODING = '''PREPARED = json.loads((HERE / "preprocessor_config.json").read_text(encoding="utf-8"))
MEAN, STD = (torch.tensor(PREPARED[name])[:, None, None] for name in ("image_mean", "image_std"))
GROUND, HIGHEST, COLOURS = (SETTINGS["reading"][name] for name in ("ground", "highest", "colours"))
GREY = ("1", "L", "LA")


def decoded(image):
    """Return an image turned as its EXIF says, in 8 bits a channel, laid over GROUND where it is transparent."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        values, clear = numpy.asarray(image).astype(float), image.info.get("transparency")
        image = Image.fromarray(numpy.round(numpy.clip(values / HIGHEST, 0, 1) * 255).astype("uint8"))
        if clear is not None:
            seen = Image.fromarray(numpy.where(values == clear, 0, 255).astype("uint8"))
            image = Image.merge("LA", (image, seen))
    if image.has_transparency_data:
        grey = image.mode in GREY and len(set(GROUND)) == 1
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*GROUND, 255)), image.convert("RGBA"))
        image = image.getchannel("R") if grey else image.convert("RGB")
    grey = image.mode in GREY if COLOURS == "found" else COLOURS == "grey"
    return image.convert("L" if grey else "RGB")


def resized(found, size):
    if found.shape[1:] == size:
        return found
    if PREPARED["resample"] == 3:
        return interpolate(found[None].byte(), size, mode="bicubic", antialias=True)[0].float()
    return interpolate(found[None], size, mode="bilinear", antialias=True)[0].round()'''
"""Lines of a script that has HERE and SETTINGS: how a file is decoded, and pixels resized."""
_CODE = (
    DECODING
    + '''

CUT = PREPARED["crop_size"] if PREPARED.get("do_center_crop") else None
SIZE = tuple((CUT or PREPARED["size"])[name] for name in ("height", "width"))


def pixels(file):
    """Return an image as [channels, height, width], whole numbers in 0 to 255; a grey one fills every channel."""
    with Image.open(file) as image:
        found = torch.from_numpy(numpy.array(decoded(image))).float()
    found = found.expand(len(MEAN), -1, -1) if found.dim() == 2 else found.permute(2, 0, 1)
    if len(found) != len(MEAN):
        raise ValueError(f"{file} has {len(found)} channels, and the network takes {len(MEAN)}")
    found = resized(found, sides(*found.shape[1:]))
    top, left = ((own - wanted) // 2 for own, wanted in zip(found.shape[1:], SIZE))
    return found[:, top : top + SIZE[0], left : left + SIZE[1]]


def sides(height, width):
    """Return the height and width that an image is resized to, before its centre is cut out."""
    size, short = PREPARED["size"], min(height, width)
    if "shortest_edge" not in size:
        return size["height"], size["width"]
    edge = size["shortest_edge"]
    return (edge, int(edge * width / short)) if height == short else (int(edge * height / short), edge)


def positions(network):
    """Return what has position embeddings interpolated, where the network's own are for images of another size."""
    if not SETTINGS["interpolated"]:
        return {}
    own = network.config.image_size
    own = (own, own) if isinstance(own, int) else tuple(own)
    return {} if own == SIZE else {"interpolate_pos_encoding": True}


def features(network, files):
    images = torch.stack([pixels(file) for file in files])
    found = network(pixel_values=(images / 255 - MEAN) / STD, **positions(network))
    if SETTINGS["pooled"]:
        return found.pooler_output.flatten(1)
    states = found.last_hidden_state
    return states.flatten(2).mean(2) if states.dim() == 4 else states[:, 0]
'''
)


class ImageExport(ExportPart):
    """Images in files of any kind that Pillow reads."""

    script: ClassVar[ScriptPart] = ScriptPart(
        summary="Label images: python inference.py [--task TASK] one.png another.jpg.",
        one="file",
        many="files",
        inputs="a file is a path, of any kind of image that Pillow reads",
        imports=("import numpy", "from PIL import Image, ImageOps", "from torch.nn.functional import interpolate"),
        auto="",
        code=_CODE,
        asked="given.files",
    )

    @property
    def words(self) -> InputWords:
        """Images, and what becomes of their shape."""
        prepared = self._images.preparation
        (height, width), channels = prepared.size, len(prepared.mean)
        shape = "whatever their shape" if prepared.before is None else "what is beside their centre cut off"
        return InputWords(
            pipeline_tag="image-classification",
            article="an",
            noun="image",
            limit=f"Images are resized to {height} × {width} pixels, {shape}, and have "
            + ("one channel: grey." if channels == 1 else f"{channels} channels; grey fills all of them."),
            example="one.png another.jpg",
            note="Files are of any kind that Pillow reads.",
            described_in="preprocessor_config.json",
            packages=("pillow",),
        )

    def settings(self) -> Mapping[str, atomic.JsonValue]:
        """Return how files are decoded, and which vector of the network's is the feature."""
        assert isinstance(self.problem, ImageClassification)
        reading: atomic.JsonValue = self.problem.reading.model_dump(mode="json", exclude={"max_pixels"})
        images = self._images
        return {"reading": reading, "pooled": images.pooled, "interpolated": images.interpolated}

    def save(self, folder: Path) -> None:
        """Write preprocessor_config.json."""
        write_processor(self._images.preparation, folder)

    @property
    def _images(self) -> ImageBackbone:
        assert isinstance(self.backbone, ImageBackbone)
        return self.backbone
