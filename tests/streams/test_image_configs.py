"""The shipped configs of image data sets, on tiny local copies in the hub's own layout and column names."""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plora.config import RunConfig, load_config
from plora.configs import find_config
from plora.params import count_parameters
from plora.results import read_record, write_report
from plora.runs import run, verify
from plora.streams.image_stream import ImageStream

datasets = pytest.importorskip("datasets")

DOMAINS = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
SHIPPED = ("cifar100", "imagenet_r", "imagenet_a", "cub200", "domainnet")


def copy_of(
    root: Path, dataset_id: str, splits: Sequence[str], columns: dict[str, object], rows: Sequence[dict[str, object]]
) -> None:
    """Write the same rows as each split, as the hub stores them: a README.md with the layout, parquet files."""
    folder = root / dataset_id
    (folder / "data").mkdir(parents=True)
    for number, split in enumerate(splits):
        image = next(name for name, feature in columns.items() if isinstance(feature, datasets.Image))
        found = [{**row, image: {"bytes": png(at, number), "path": f"{at}.png"}} for at, row in enumerate(rows)]
        built = datasets.Dataset.from_list(found, features=datasets.Features(columns))
        built.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    files = "".join(f"  - split: {split}\n    path: data/{split}-*\n" for split in splits)
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n")


def png(row: int, split: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.full((8, 8, 3), split, np.uint8)
    pixels[..., 0], pixels[..., 1] = row % 256, row // 256
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def config_of(name: str, root: Path, *more: str) -> RunConfig:
    own = [f"stream.data.root={root}", f"stream.data.cache={root.parent / 'cache'}", f"output={root.parent / 'runs'}"]
    return load_config(find_config(f"image_classification/{name}"), [*own, *more])


def names_of(number: int) -> list[str]:
    return [f"class-{label:03d}" for label in range(number)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "copies"


def cifar(root: Path) -> None:
    features = {
        "img": datasets.Image(),
        "fine_label": datasets.ClassLabel(names=names_of(100)),
        "coarse_label": datasets.ClassLabel(names=names_of(20)),
    }
    rows = [{"fine_label": label % 100, "coarse_label": label % 20} for label in range(300)]
    copy_of(root, "uoft-cs/cifar100", ["train", "test"], features, rows)


def imagenet_r(root: Path) -> None:
    features = {"image": datasets.Image(), "wnid": datasets.Value("string"), "class_name": datasets.Value("string")}
    rows = [{"wnid": f"n{label % 200:08d}", "class_name": "a thing"} for label in reversed(range(1000))]
    copy_of(root, "axiong/imagenet-r", ["test"], features, rows)


def test_cifar_100(root: Path) -> None:
    cifar(root)
    stream = config_of("cifar100", root).stream.load()
    assert [len(task.label_names) for task in stream.tasks] == [10] * 10
    first = [f"class-{number:03d}" for number in (68, 56, 78, 8, 23)]
    assert list(stream.tasks[0].label_names[:5]) == first
    assert [[len(split) for _, split in task.splits()] for task in stream.tasks] == [[20, 10, 30]] * 10
    assert stream.notes["class order"] == "seed 1993: 68 56 78 8 23 …"
    assert stream.provenance == {"images": "uoft-cs/cifar100"}
    (image,) = stream.tasks[0].test.read(np.array([0]))
    assert image.shape == (8, 8, 3)  # type: ignore[attr-defined]
    assert image[0, 0, 2] == 1  # type: ignore[index]  # of the test split


def test_imagenet_r(root: Path) -> None:
    imagenet_r(root)
    stream = config_of("imagenet_r", root).stream.load()
    assert [name for task in stream.tasks for name in task.label_names] == [f"n{label:08d}" for label in range(200)]
    assert [[len(split) for _, split in task.splits()] for task in stream.tasks] == [[60, 20, 20]] * 10
    assert stream.notes["backbone pretrained on"] == "ImageNet-21k; classes that it knows from there: all"


def test_imagenet_a_has_classes_without_images(root: Path) -> None:
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=names_of(1000))}
    rows = [{"label": 5 * (label % 200)} for label in range(800)]
    copy_of(root, "barkermrl/imagenet-a", ["train"], features, rows)
    stream = config_of("imagenet_a", root).stream.load()
    assert sum(len(task.label_names) for task in stream.tasks) == 200
    order = np.random.RandomState(1993).permutation(200)
    assert stream.tasks[0].label_names[0] == f"class-{5 * order[0]:03d}"


def test_cub_200(root: Path) -> None:
    features = {
        "image": datasets.Image(),
        "bbox": datasets.Sequence(datasets.Value("float32")),
        "label": datasets.ClassLabel(names=names_of(200)),
    }
    rows = [{"bbox": [0.0, 0.0, 8.0, 8.0], "label": label % 200} for label in range(600)]
    copy_of(root, "bentrevett/caltech-ucsd-birds-200-2011", ["train", "test"], features, rows)
    stream = config_of("cub200", root).stream.load()
    assert [[len(split) for _, split in task.splits()] for task in stream.tasks] == [[40, 20, 60]] * 10


def test_domainnet_lacks_a_class_in_one_domain(root: Path) -> None:
    features = {
        "image": datasets.Image(),
        "domain": datasets.ClassLabel(names=list(DOMAINS)),
        "label": datasets.ClassLabel(names=names_of(4)),
    }
    rows = [{"domain": row % 6, "label": row // 6 % 4} for row in range(96) if (row % 6, row // 6 % 4) != (2, 3)]
    copy_of(root, "wltjr1007/DomainNet", ["train", "test"], features, rows)
    config = config_of("domainnet", root)
    stream = config.stream.load()
    assert [task.name for task in stream.tasks] == list(DOMAINS)
    stream.require(config.scenario)
    assert [len(task.test) for task in stream.tasks] == [16, 16, 12, 16, 16, 16]


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    """The network of the configs as its folder on the hub is, at 32 × 32 pixels, two blocks deep and 96 wide."""
    from transformers import ViTConfig, ViTModel

    settings = {"hidden_size": 96, "num_attention_heads": 3, "intermediate_size": 192, "num_hidden_layers": 2}
    ViTModel(ViTConfig(image_size=32, patch_size=16, **settings)).save_pretrained(tmp_path / "vit")
    prepared = {
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_processor_type": "ViTImageProcessor",
        "image_std": [0.5, 0.5, 0.5],
        "resample": 2,
        "rescale_factor": 0.00392156862745098,
        "size": {"height": 32, "width": 32},
    }
    (tmp_path / "vit/preprocessor_config.json").write_text(json.dumps(prepared))
    return tmp_path / "vit"


@pytest.mark.parametrize(
    ("name", "write", "method"),
    [("cifar100", cifar, ()), ("imagenet_r", imagenet_r, ("method=sequential", "head=null", "training.epochs=1"))],
)
def test_a_config_runs_on_its_network_at_reduced_depth(
    root: Path, vit: Path, name: str, write: Callable[[Path], None], method: tuple[str, ...]
) -> None:
    """As it is shipped, and with adapters, as it says that they are asked for."""
    write(root)
    few = [f"stream.{split}_per_class=2" for split in ("train", "validation", "test")]
    config = config_of(name, root, f"backbone.id={vit}", *few, *method)
    assert isinstance(config.stream, ImageStream)
    folder = run(config)
    record = read_record(folder)
    assert record.complete
    assert len(record.tasks) == 10
    assert verify(folder).problems == ()
    stored = json.loads((folder / "results.json").read_text())
    about = "backbone pretrained on"
    assert json.dumps(record.stream.notes[about]) in json.dumps(stored)
    log = (folder / "log.txt").read_text()
    assert "event=stream_note about=class_order note=" in log
    write_report([folder], folder / "report.html")
    page = (folder / "report.html").read_text()
    assert f"{about}: {record.stream.notes[about]}" in page
    assert f"class order: {record.stream.notes['class order']}" in page


@pytest.mark.parametrize("name", SHIPPED)
def test_the_adapters_of_a_full_size_network_are_counted_without_its_weights(name: str) -> None:
    network = json.dumps({"kind": "new", "network": {"model_type": "vit"}})  # ViT-B/16 is what the library means by it
    asked = [f"backbone={network}", "method=sequential", "head=null"]
    count = count_parameters(load_config(find_config(f"image_classification/{name}"), asked))
    assert count.trainable == 12 * 2 * 10 * (768 + 768) == 368_640
    groups = {group.path: (group.modules, group.trainable) for group in count.groups if group.trainable}
    assert groups == {f"layers.N.attention.{role}_proj + slot": (12, 184_320) for role in "qv"}
    assert count.frozen == 86_389_248  # with its pooler, as its folder on the hub has it
