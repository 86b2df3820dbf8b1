"""What image classification writes of an export: how images are prepared, and a script that labels files of images."""

from pathlib import Path
from typing import ClassVar

from plora.backbones import ImageBackbone, save_image_preparation
from plora.problems.export_part import ExportPart, ScriptPart
from plora.results.report.model_card import InputWords

# The same steps as `plora.streams.images` reads a file with, and `Preparation` and `ImageClassification.features` take.
_CODE = '''PREPARED = json.loads((HERE / "preprocessor_config.json").read_text(encoding="utf-8"))
SIZE = PREPARED["size"]["height"], PREPARED["size"]["width"]
MEAN, STD = (torch.tensor(PREPARED[name])[:, None, None] for name in ("image_mean", "image_std"))


def pixels(file):
    """Return an image as [channels, height, width], whole numbers in 0 to 255; a grey one fills every channel."""
    with Image.open(file) as image:
        turned = ImageOps.exif_transpose(image)
        found = torch.from_numpy(numpy.array(turned.convert("L" if turned.mode in ("1", "L") else "RGB"))).float()
    found = found.expand(len(MEAN), -1, -1) if found.dim() == 2 else found.permute(2, 0, 1)
    if len(found) != len(MEAN):
        raise ValueError(f"{file} has {len(found)} channels, and the network takes {len(MEAN)}")
    if found.shape[1:] == SIZE:
        return found
    return interpolate(found[None], SIZE, mode="bilinear", align_corners=False, antialias=True)[0].round()


def features(network, files):
    images = torch.stack([pixels(file) for file in files])
    found = network(pixel_values=(images / 255 - MEAN) / STD)
    if getattr(found, "pooler_output", None) is not None:
        return found.pooler_output.flatten(1)
    states = found.last_hidden_state
    return states.flatten(2).mean(2) if states.dim() == 4 else states[:, 0]
'''


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
        height, width = self._images.size
        channels = len(self._images.mean)
        return InputWords(
            pipeline_tag="image-classification",
            article="an",
            noun="image",
            limit=f"Images are resized to {height} × {width} pixels, whatever their shape, and have "
            + ("one channel: grey." if channels == 1 else f"{channels} channels; grey fills all of them."),
            example="one.png another.jpg",
            note="Files are of any kind that Pillow reads.",
            described_in="preprocessor_config.json",
            packages=("pillow",),
        )

    def save(self, folder: Path) -> None:
        """Write preprocessor_config.json."""
        save_image_preparation(self._images, folder)

    @property
    def _images(self) -> ImageBackbone:
        assert isinstance(self.backbone, ImageBackbone)
        return self.backbone
