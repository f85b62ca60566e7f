"""Make labels, serve them, and run the examples as a reader would: processes of their own.

python -m examples [--frameworks .venv-examples/bin/python] [program …]
"""

import argparse
import json
import os
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
TAG, UNMIXED_TAG, LANGUAGE_TAG = "examples:v1", "examples:unmixed", "examples:language"
POLICY: dict[str, object] = {
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
UNMIXED_POLICY = POLICY | {
    "rotation_degrees": 0.0,
    "flip_probability": 0.5,
    "mix": "none",
    "mix_probability": 0.0,
}


@dataclass(frozen=True)
class Setting:
    """What the examples find.

    Attributes:
        service: has the label set under `TAG`.
        directory: where everything is made.
    """

    service: LocalService
    directory: Path

    @property
    def images(self) -> Path:
        """Class directories of images."""
        return self.directory / "images"

    @property
    def label_set(self) -> Path:
        """The label set of `TAG` on disk."""
        return self.directory / TAG.partition(":")[2] / "label-set"


def main() -> None:
    """Run every example, or those named; the first that fails ends it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("programs", nargs="*", metavar="program", help="all if none is named")
    parser.add_argument(
        "--frameworks",
        default=sys.executable,
        help="the Python that has what requirements-frameworks.txt names",
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, made(Path(directory)) as setting:
        for program, start in PROGRAMS.items():
            if program in (options.programs or PROGRAMS):
                print(f"== {program}", flush=True)
                start(setting, options.frameworks)


def plain_torch(setting: Setting, _: str) -> None:
    where = "--address", setting.service.grpc, "--tag", TAG, "--images", setting.images
    run("plain_torch.py", *where, "--epochs", EPOCHS)


def edge_numpy(setting: Setting, _: str) -> None:
    run("edge_numpy.py", setting.label_set)


def ddp(setting: Setting, _: str) -> None:
    """Two processes, of which one is killed; then two that go on from the checkpoint."""
    out = setting.directory / "ddp"
    out.mkdir()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [str(HERE / "ddp.py"), setting.service.grpc, TAG, str(setting.images), str(out)]
    killed = subprocess.run([*command, "17"], check=False, stderr=subprocess.DEVNULL)
    if not killed.returncode:
        raise SystemExit("ddp.py was to be killed in its first run")
    subprocess.run(command, check=True)


def own_augmentation(setting: Setting, python: str) -> None:
    publish(setting.service, UNMIXED_TAG, UNMIXED_POLICY, setting.directory)
    run("own_augmentation.py", setting.service.grpc, UNMIXED_TAG, setting.images, python=python)


def lightning_trainer(setting: Setting, python: str) -> None:
    out = setting.directory / "lightning"
    run("lightning_trainer.py", setting.service.grpc, TAG, setting.images, out, python=python)


def hugging_face_trainer(setting: Setting, python: str) -> None:
    out = setting.directory / "hugging-face"
    run("hugging_face_trainer.py", setting.service.grpc, TAG, setting.images, out, python=python)


def language_model(setting: Setting, python: str) -> None:
    """A tiny teacher labels text of its own making: most of a label set's bytes are its head."""
    from examples.tiny_teacher import write_teacher

    out = setting.directory / "language"
    write_teacher(out / "teacher", out / "tokens.npy")
    text = "--model", out / "teacher", "--text", out / "tokens.npy", "--codec", "hidden:fp16"
    labelcast("relabel-text", *text, "--out", out / "label-set", "--quiet")
    by = "--admin", setting.service.admin, "--token-file", setting.service.token_file
    labelcast("push", out / "label-set", "--tag", LANGUAGE_TAG, *by)
    where = setting.service.grpc, LANGUAGE_TAG
    run("language_model.py", *where, out / "teacher", out / "tokens.npy", out, python=python)


PROGRAMS = {
    "plain_torch.py": plain_torch,
    "edge_numpy.py": edge_numpy,
    "ddp.py": ddp,
    "own_augmentation.py": own_augmentation,
    "lightning_trainer.py": lightning_trainer,
    "hugging_face_trainer.py": hugging_face_trainer,
    "language_model.py": language_model,
}


def run(program: str, *arguments: object, python: str = sys.executable) -> None:
    """Run one in a process of its own."""
    # Nothing is looked up on a hub.
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    command = [python, str(HERE / program), *map(str, arguments)]
    subprocess.run(command, check=True, env=environment)


@contextmanager
def made(directory: Path) -> Iterator[Setting]:
    """Images, and a teacher's labels of them, served for as long as the block lasts."""
    write_images(directory / "images")
    with local_service(directory / "service") as service:
        publish(service, TAG, POLICY, directory)
        yield Setting(service, directory)


def publish(service: LocalService, tag: str, policy: dict[str, object], directory: Path) -> None:
    """Relabel, fit, encode and push the teacher's labels of all views."""
    parts = directory / tag.partition(":")[2]
    parts.mkdir()
    dense, codec, written = parts / "dense", parts / "codec", parts / "policy.json"
    written.write_text(json.dumps(policy))
    settings = TeacherSettings(num_classes=CLASSES, epochs=8, batch_size=30)
    teacher = train_or_load_teacher(settings, directory / "teacher", show_progress=False)
    named = "--teacher", "labelcast_glyphs.teacher:load_teacher"
    path = "--teacher-args", json.dumps({"path": str(teacher.path)})
    seen = "--images", directory / "images", "--channels", 1, "--policy", written
    labelcast("relabel", *named, *path, *seen, "--seeds", EPOCHS, "--out", dense, "--quiet")
    labelcast("fit", "--labels", dense, "--codes", 4, "--steps", 200, "--out", codec, "--quiet")
    label_set = parts / "label-set"
    labelcast("encode", "--labels", dense, "--codec", codec, "--out", label_set, "--quiet")
    by = "--admin", service.admin, "--token-file", service.token_file
    labelcast("push", label_set, "--tag", tag, *by)


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
