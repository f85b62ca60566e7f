"""Make labels, serve them, and run the examples as a reader would: processes of their own.

python -m examples
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from labelcast_glyphs.dataset import GlyphDataset
from labelcast_glyphs.local_service import LocalService, local_service
from labelcast_glyphs.teacher import TeacherSettings, train_or_load_teacher

HERE = Path(__file__).parent
CLASSES, EPOCHS = 20, 8
TAG = "examples:v1"
POLICY = {
    "policy": "seeded/1",
    "view_height": 32,
    "view_width": 32,
    "rotation_degrees": 10.0,
    "crop_scale": [0.5, 1.0],
    "crop_ratio": 1.33,
    "flip_probability": 0.0,
    "mix": "cutmix",
    "mix_probability": 0.5,
    "key": 0,
}


@dataclass(frozen=True)
class Setting:
    """What the examples find.

    Attributes:
        service: has the label set under `TAG`.
        images: class directories of images.
        label_set: the same label set on disk.
    """

    service: LocalService
    images: Path
    label_set: Path


def main() -> None:
    """Run every example; the first that fails ends it."""
    with tempfile.TemporaryDirectory() as directory, made(Path(directory)) as setting:
        where = "--address", setting.service.grpc, "--tag", TAG, "--images", setting.images
        run("plain_torch.py", *where, "--epochs", EPOCHS)
        run("edge_numpy.py", setting.label_set)


def run(program: str, *arguments: object) -> None:
    """Run one in a process of its own."""
    print(f"== {program}", flush=True)
    subprocess.run([sys.executable, HERE / program, *map(str, arguments)], check=True)


@contextmanager
def made(directory: Path) -> Iterator[Setting]:
    """Images, a teacher and its labels of them, served for as long as the block lasts."""
    images, dense, codec = directory / "images", directory / "dense", directory / "codec"
    write_images(images)
    settings = TeacherSettings(num_classes=CLASSES, epochs=8, batch_size=30)
    teacher = train_or_load_teacher(settings, directory / "teacher", show_progress=False)
    policy, label_set = directory / "policy.json", directory / "label-set"
    policy.write_text(json.dumps(POLICY))
    named = "--teacher", "labelcast_glyphs.teacher:load_teacher"
    path = "--teacher-args", json.dumps({"path": str(teacher.path)})
    seen = "--images", images, "--channels", 1, "--policy", policy
    labelcast("relabel", *named, *path, *seen, "--seeds", EPOCHS, "--out", dense, "--quiet")
    labelcast("fit", "--labels", dense, "--codes", 4, "--steps", 200, "--out", codec, "--quiet")
    labelcast("encode", "--labels", dense, "--codec", codec, "--out", label_set, "--quiet")
    with local_service(directory / "service") as service:
        by = "--admin", service.admin, "--token-file", service.token_file
        labelcast("push", label_set, "--tag", TAG, *by)
        yield Setting(service, images, label_set)


def write_images(directory: Path) -> None:
    """Glyphs as a researcher has images: a directory for each class."""
    glyphs = GlyphDataset("train", CLASSES)
    for image, hard, sample_id in zip(
        glyphs.images, glyphs.hard_labels.tolist(), glyphs.sample_ids.tolist(), strict=True
    ):
        path = directory / f"{hard:03}" / f"{sample_id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)


def labelcast(*words: object) -> None:
    """A command of `labelcast`."""
    command = [sys.executable, "-m", "labelcast.cli", *map(str, words)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
