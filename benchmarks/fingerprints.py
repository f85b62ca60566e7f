"""What it costs to compare images with the teacher's, and sample IDs by name on the wire.

    python -m benchmarks.fingerprints

Photographs are cut to the size of ImageNet's and written as JPEGs of about their bytes. They are
read and decoded as a student does, by turns through `ImageFolder` and through `ComparedDataset`
that has not seen them; hashing alone stands beside it. Times are of this thread's processor, so
that a busy machine does not show, with files in the page cache: from a slower disk the share is
smaller. Requests are serialised as a client sends them.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from labelcast import Views
from labelcast.label_set.fingerprints import fingerprint
from labelcast.torch import ComparedDataset, ImageFolder, SampleTable
from labelcast.torch.images.ids_by_name import ids_by_name
from labelcast.wire import views_to_proto

RESULT = Path(__file__).parent / "results" / "fingerprints.json"
_WIDTH, _HEIGHT, _QUALITY = 500, 375, 97
_BATCH = 256
_DATA_SETS = {"CIFAR-10": 50_000, "ImageNet-1k": 1_281_167}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description="Cost of comparing images.")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        write_photographs(root, options.images)
        measured = compare(root, options.repetitions)
    result = {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "images": options.images,
        "repetitions": options.repetitions,
        **measured,
        "request_bytes_per_label": {name: on_the_wire(n) for name, n in _DATA_SETS.items()},
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    return 0


def write_photographs(root: Path, count: int) -> None:
    """`root/photographs/NNN.jpg`: cuts of two photographs."""
    rng = np.random.default_rng(0)
    photographs = [Image.fromarray(image) for image in load_sample_images().images]
    (root / "photographs").mkdir()
    for number in range(count):
        photograph = photographs[number % len(photographs)]
        left = int(rng.integers(photograph.width - _WIDTH))
        top = int(rng.integers(photograph.height - _HEIGHT))
        cut = photograph.crop((left, top, left + _WIDTH, top + _HEIGHT))
        cut.save(root / "photographs" / f"{number:03d}.jpg", quality=_QUALITY)


def compare(root: Path, repetitions: int) -> dict[str, Any]:
    """Microseconds an image: medians over repetitions that take turns."""
    folder = ImageFolder(root)
    known = SampleTable(folder).fingerprints()
    contents = [folder.read_bytes(at) for at in range(len(folder))]

    def plain() -> None:
        for at in range(len(folder)):
            folder[at]

    def compared() -> None:
        dataset = ComparedDataset(folder, known)
        for at in range(len(dataset)):
            dataset[at]

    def hashing() -> None:
        for content in contents:
            fingerprint(content)

    found: dict[str, list[float]] = {"plain": [], "compared": [], "hashing": []}
    for _ in range(repetitions):
        for work in (plain, compared, hashing):
            found[work.__name__].append(_seconds(work) / len(folder))
    medians = {name: statistics.median(values) for name, values in found.items()}
    return {
        "file_bytes": statistics.mean(map(len, contents)),
        "microseconds": {name: round(1e6 * value, 1) for name, value in medians.items()},
        "hashing_share": medians["hashing"] / medians["plain"],
    }


def on_the_wire(samples: int) -> dict[str, float]:
    """Bytes of the request that ask for a label, one epoch in a random order."""
    order = np.random.default_rng(0).permutation(samples)[: 40 * _BATCH].astype(np.uint64)
    named = ids_by_name([f"train/{number:08d}.JPEG" for number in order.tolist()])
    return {
        "position": _request_bytes(order) / len(order),
        "name": _request_bytes(named) / len(named),
    }


def _request_bytes(sample_ids: Any) -> int:
    batches = Views.of(sample_ids, 7).batches(_BATCH)
    return sum(views_to_proto(batch).ByteSize() for batch in batches)


def _seconds(work: Callable[[], None]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began


if __name__ == "__main__":
    sys.exit(main())
