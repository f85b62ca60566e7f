"""Run the federation on this machine: Flower's server and two sites, and a labelcast service.

python -m examples.flower    (after `make example-flower`, which makes .venv-flower)
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import torch

from examples.__main__ import CLASSES, POLICY, labelcast, write_images
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.torch import ImageFolder
from labelcast_glyphs.local_service import local_service
from labelcast_glyphs.networks import student_network
from labelcast_glyphs.teacher import TeacherSettings, train_or_load_teacher

APP = Path(__file__).parent
BIN = APP.parents[1] / ".venv-flower" / "bin"
SITES, ROUNDS, EPOCHS = ("north", "south"), 2, 8
PATIENCE_SECONDS = 120.0


def main() -> None:
    """Make labels, give each site its part, train, and say what moved."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_label_set(root)
        published = root / "federated" / "label-set"
        with local_service(root / "service") as service:
            by = "--admin", service.admin, "--token-file", service.token_file
            labelcast("push", published, "--tag", "federated:v1", *by)
            run = {
                "address": service.grpc,
                "label-set": LabelSetDirectory(published).digest,
                "classes": CLASSES,
                "sites": len(SITES),
                "rounds": ROUNDS,
                "epochs": EPOCHS,
                "out": str(root),
            }
            with flower(root) as environment:
                words = [f"{key}={json.dumps(value)}" for key, value in run.items()]
                command = [f"{BIN}/flwr", "run", str(APP), "here", "--stream"]
                command += ["--run-config", " ".join(words)]
                subprocess.run(command, env=environment, check=True)
        tell(root)


def make_label_set(root: Path) -> None:
    """Labels of all images, and each site's part of images and fingerprints.

    A teacher has seen all of them here; where none may, each site labels its own, and `labelcast
    stage` puts the label sets together.
    """
    images, dense, codec = root / "images", root / "dense", root / "codec"
    write_images(images)
    settings = TeacherSettings(num_classes=CLASSES, epochs=8, batch_size=30)
    teacher = train_or_load_teacher(settings, root / "teacher", show_progress=False)
    # A partner in a mix would be another site's image.
    (root / "policy.json").write_text(json.dumps(POLICY | {"mix": "none"}))
    named = "--teacher", "labelcast_glyphs.teacher:load_teacher"
    path = "--teacher-args", json.dumps({"path": str(teacher.path)})
    # By name: a site that has only its own images finds the same IDs.
    seen = "--images", images, "--channels", 1, "--ids", "name", "--policy", root / "policy.json"
    seeds = "--seeds", ROUNDS * EPOCHS
    labelcast("relabel", *named, *path, *seen, *seeds, "--out", dense, "--quiet")
    small = "--codes", 8, "--no-context", "--steps", 200
    labelcast("fit", "--labels", dense, *small, "--out", codec, "--quiet")
    labelcast("encode", "--labels", dense, "--codec", codec, "--out", root / "label-set", "--quiet")
    words: list[object] = []
    for number, site in enumerate(SITES):
        part = root / site / "images"
        for directory in sorted(images.iterdir()):
            (part / directory.name).mkdir(parents=True)
            for path_ in sorted(directory.iterdir())[number :: len(SITES)]:
                shutil.copy(path_, part / directory.name)
        ids = ImageFolder(part, channels=1, ids="name").sample_ids
        (root / site / "ids.txt").write_text("\n".join(map(str, ids.tolist())))
        words += ["--site", f"{site}={root / site / 'ids.txt'}"]
    labelcast("federate", root / "label-set", *words, "--out", root / "federated")


@contextlib.contextmanager
def flower(root: Path) -> Iterator[dict[str, str]]:
    """Flower's server and a node for each site, which speak plain text on this machine alone."""
    home, port = root / "flower", free_port()
    home.mkdir()
    here = f'[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = "127.0.0.1:{port}"\n'
    (home / "config.toml").write_text(here + "insecure = true\n")
    environment = os.environ | {
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }
    with contextlib.ExitStack() as started:
        link = ["flower-superlink", "--disable-runtime-dependency-installation"]
        started.enter_context(process(root / "server", environment, *link, "--port", port))
        wait_for(f"http://127.0.0.1:{port}/health")
        for site in SITES:
            told = {
                "images": root / site / "images",
                "fingerprints": root / "federated" / f"{site}.fingerprints",
                "cache": root / site / "cache",
            }
            words = " ".join(f'{key}="{value}"' for key, value in told.items())
            node = ["flower-supernode", "--superlink", f"127.0.0.1:{port}", "--port", free_port()]
            started.enter_context(
                process(root / site / "node", environment, *node, "--node-config", words)
            )
        yield environment


@contextlib.contextmanager
def process(log: Path, environment: dict[str, str], *words: object) -> Iterator[None]:
    """One of Flower's processes; what it says is shown if the block fails."""
    with log.with_suffix(".log").open("w+") as said:
        command = [f"{BIN}/{words[0]}", "--insecure", *map(str, words[1:])]
        running = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
        try:
            yield
        except BaseException:
            said.seek(0)
            print(f"== {words[0]}\n{said.read()}")
            raise
        finally:
            running.terminate()
            running.wait()


def wait_for(url: str) -> None:
    """Return once it answers."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url).is_success:
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody answers at {url}")
        time.sleep(0.1)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def tell(root: Path) -> None:
    """What labels cost a site, and what the student knows."""
    moved = json.loads((root / "moved.json").read_text())
    labels, sites = moved["labels"], moved["sites"]
    print(
        f"{labels} labels at {sites} sites: {moved['label-bytes']} bytes moved for labels,"
        f" {moved['dense-bytes']} if they were dense; {moved['opening-bytes']} for codec and tables"
    )
    images = ImageFolder(root / "images", channels=1)
    student = student_network(CLASSES).eval()
    student.load_state_dict(torch.load(root / "student.pt", weights_only=True))
    pairs = [images[number] for number in range(len(images))]
    guessed = student(torch.stack([image for image, _ in pairs])).argmax(dim=1)
    right = (guessed == torch.tensor([hard for _, hard in pairs])).float().mean()
    print(f"{right:.0%} of the whole images are known")


if __name__ == "__main__":
    main()
