"""How fast SRe2L's files are imported, beside a loop that does nothing but load them.

    python -m benchmarks.import_speed --dir /var/tmp

Generates a directory of label files, then reads it in processes of their own, by turns: a loop over
`torch.load`, `labelcast import` to dense labels, and import straight to a label set. Before
each turn every file is read once, so that all find them in the page cache. A rate is labels over
the wall time of the process; the loop's own time, without the start of Python, stands beside it.
Peaks are of resident memory, sampled, and as the kernel has kept it (VmHWM).
"""

import argparse
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from labelcast_producers.budget.measured import measure

ROOT = Path(__file__).parents[1]
RESULT = Path(__file__).parent / "results" / "import.json"
BARE = "bare"
_GIB = 2**30
_SAMPLE_SECONDS = 0.02
_MOST_SAMPLES = 100_000
_LEAST_EPOCHS = 3
_RANK = 32
_POOL_ROWS = 8192
_VIEW = 224
# Crop, flip and partner of a view; λ and box of a batch.
_VIEW_BYTES, _BATCH_BYTES = 16 + 1 + 8, 8 + 4 * 8

Record = dict[str, Any]


@dataclass(frozen=True)
class Directory:
    """Generated files.

    Attributes:
        samples: of the data set that they pretend to label.
        epochs: all of them whole.
        batch_size: of all batches but the last of an epoch.
        classes: C.
        files: their number.
        labels: in all of them.
        file_bytes: sizes of all files.
    """

    samples: int
    epochs: int
    batch_size: int
    classes: int
    files: int
    labels: int
    file_bytes: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Generate, measure and write the result."""
    parser = argparse.ArgumentParser(description="Import of SRe2L's files beside torch.load.")
    parser.add_argument("--dir", type=Path, help="where files go, three times --gib; else TMPDIR")
    parser.add_argument("--gib", type=float, default=2.0, help="of labels, at least")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument(
        "--fit-steps", type=int, default=0, help="also import with a codec fitted for so many steps"
    )
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.bare is not None:
        print(json.dumps(_load_all(options.bare)))
        return 0
    directory = Path(tempfile.mkdtemp(prefix="import-speed-", dir=options.dir))
    try:
        result = _measure(directory, options)
    except subprocess.CalledProcessError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(directory)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    return 0


def generate(path: Path, *, gib: float, classes: int, batch_size: int) -> Directory:
    """Write `epoch_{e}/batch_{b}.tar` of at least `gib` GiB of labels, with plausible values.

    Logits are a few thousand rows of low rank, taken anew for every file with their classes
    shifted: files differ, and are written about as fast as the disk takes them.
    """
    import torch

    random = np.random.default_rng(0)
    wanted = math.ceil(gib * _GIB / (2 * classes))
    epochs = max(_LEAST_EPOCHS, math.ceil(wanted / _MOST_SAMPLES))
    samples = math.ceil(wanted / epochs)
    factors = random.normal(0, 0.6, (_POOL_ROWS, _RANK)).astype(np.float32)
    pool = (factors @ random.normal(0, 1, (_RANK, classes)).astype(np.float32)).astype(np.float16)
    files = total = 0
    for epoch in range(epochs):
        directory = path / f"epoch_{epoch}"
        directory.mkdir(parents=True)
        for number, start in enumerate(range(0, samples, batch_size)):
            count = min(batch_size, samples - start)
            rows = pool[random.integers(_POOL_ROWS, size=count)]
            logits = torch.from_numpy(np.roll(rows, files % classes, axis=1))
            file = directory / f"batch_{number}.tar"
            torch.save([*_augmentation(random, count), logits], file)
            files, total = files + 1, total + file.stat().st_size
    return Directory(samples, epochs, batch_size, classes, files, samples * epochs, total)


def _augmentation(random: np.random.Generator, count: int) -> list[object]:
    """Crops, flips, partners, λ and box, of the types that SRe2L saves."""
    import torch

    # Images of many sizes: fractions of whole pixels of each.
    size = random.integers(200, 600, (count, 2))
    extent = np.ceil(size * random.uniform(0.3, 1.0, (count, 2)))
    start = np.floor((size - extent) * random.random((count, 2)))
    crops = np.concatenate([start / size, extent / size], axis=1).astype(np.float32)
    lam = float(random.beta(1.0, 1.0))
    cut = int(_VIEW * math.sqrt(1 - lam))
    row, column = random.integers(_VIEW, size=2)
    edges = (row - cut // 2, column - cut // 2, row + cut // 2, column + cut // 2)
    return [
        torch.from_numpy(crops),
        torch.from_numpy(random.random(count) < 0.5),
        torch.from_numpy(random.permutation(count)),
        lam,
        [np.int64(np.clip(edge, 0, _VIEW)) for edge in edges],
    ]


def _measure(directory: Path, options: argparse.Namespace) -> Record:
    files = directory / "files"
    made = generate(files, gib=options.gib, classes=options.classes, batch_size=options.batch_size)
    importing = ["labelcast.cli", "import", str(files), "--quiet", "--draws", "two"]
    importing += ["--samples", str(made.samples), "--view-size", str(_VIEW)]
    turns = {
        BARE: ["benchmarks.import_speed", "--bare", str(files)],
        "dense": importing,
        "raw": [*importing, "--codec", "raw:fp16"],
    }
    titles = {
        BARE: "loop over torch.load",
        "dense": "import to dense labels",
        "raw": "import to a raw label set",
    }
    if options.fit_steps:
        codec = _fit(directory, importing, options.fit_steps)
        turns["codes"] = [*importing, "--codec", str(codec)]
        titles["codes"] = "import to codes of 8 bytes"
    runs: dict[str, list[Record]] = {name: [] for name in turns}
    at_rest = {"SRe2L's files": _files_at_rest(made)}
    for _ in range(options.repetitions):
        for name, arguments in turns.items():
            out = directory / f"out-{name}"
            _warm(files)
            more = [] if name == BARE else ["--out", str(out)]
            runs[name].append(_watched([*arguments, *more]))
            if name in ("raw", "codes"):
                at_rest[titles[name].removeprefix("import to ")] = _label_set_at_rest(out)
            shutil.rmtree(out, ignore_errors=True)
    readers = {name: _summary(titles[name], runs[name], made.labels) for name in turns}
    loop = statistics.median(json.loads(run["printed"])["seconds"] for run in runs[BARE])
    for reader in readers.values():
        speed = reader["rows_per_second"]
        reader["ratio"] = speed / readers[BARE]["rows_per_second"]
        # A harder yardstick: the import with, the loop without the start of its process.
        reader["ratio_to_loop_alone"] = speed * loop / made.labels
    return {
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
        "files": asdict(made),
        "repetitions": options.repetitions,
        "bare_loop_rows_per_second": round(made.labels / loop),
        "readers": readers,
        "at_rest": at_rest,
    }


def _load_all(path: Path) -> Record:
    """The bare loop: every file once, as training scripts load them."""
    import torch

    began, rows = time.perf_counter(), 0
    for file in sorted(path.glob("epoch_*/batch_*.tar")):
        # Files that this benchmark has written itself.
        rows += len(torch.load(file, weights_only=False)[5])
    return {"rows": rows, "seconds": time.perf_counter() - began}


def _fit(directory: Path, importing: list[str], steps: int) -> Path:
    dense, codec = directory / "dense", directory / "codec"
    _watched([*importing, "--out", str(dense)])
    fit = ["labelcast.cli", "fit", "--labels", str(dense), "--out", str(codec)]
    _watched([*fit, "--target-bytes", "8", "--steps", str(steps), "--quiet"])
    shutil.rmtree(dense)
    return codec


def _warm(path: Path) -> None:
    """Read every file: afterwards the page cache has them all, if memory allows."""
    buffer = bytearray(2**20)
    for file in path.glob("*/*.tar"):
        with file.open("rb", buffering=0) as stream:
            while stream.readinto(buffer):
                pass


def _watched(arguments: list[str]) -> Record:
    """Run a module and sample its resident memory.

    Returns:
        The largest sample, the kernel's own peak, wall time with start and end, and what it said.

    Raises:
        subprocess.CalledProcessError: it failed, and has said why on stderr.
    """
    command = [sys.executable, "-m", *arguments]
    began = time.perf_counter()
    sampled = kept = 0
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        status, watched = Path(f"/proc/{process.pid}/status"), psutil.Process(process.pid)
        # It prints a few lines, which its pipe holds until it has ended.
        while process.poll() is None:
            try:
                sampled = max(sampled, watched.memory_info().rss)
                kept = max(kept, _high_water(status.read_text()))
            except (psutil.NoSuchProcess, OSError):
                break
            time.sleep(_SAMPLE_SECONDS)
        printed, _ = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return {
        "seconds": time.perf_counter() - began,
        "peak_rss_bytes": sampled,
        "kernel_peak_rss_bytes": kept,
        "printed": printed,
    }


def _high_water(status: str) -> int:
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    return 0


def _summary(title: str, runs: Sequence[Record], labels: int) -> Record:
    seconds = statistics.median(run["seconds"] for run in runs)
    return {
        "title": title,
        "seconds": [round(run["seconds"], 3) for run in runs],
        "rows_per_second": labels / seconds,
        "peak_rss_bytes": max(run["peak_rss_bytes"] for run in runs),
        "kernel_peak_rss_bytes": max(run["kernel_peak_rss_bytes"] for run in runs),
    }


def _files_at_rest(made: Directory) -> Record:
    payload = 2 * made.classes * made.labels
    augmentation = _VIEW_BYTES * made.labels + _BATCH_BYTES * made.files
    return _at_rest(
        made.labels,
        payload=payload,
        augmentation=augmentation,
        container=made.file_bytes - payload - augmentation,
        codec=0,
    )


def _label_set_at_rest(path: Path) -> Record:
    parts = dict(measure(path).parts)
    labels = measure(path).labels
    container = parts["container"] + parts["report"]
    return _at_rest(
        labels,
        payload=parts["payload"],
        augmentation=parts["augmentation"],
        container=container,
        codec=parts["codec"],
    )


def _at_rest(labels: int, **parts: int) -> Record:
    total = sum(parts.values())
    sizes = {**parts, "total": total}
    return {
        "bytes": sizes,
        "bytes_per_label": {name: size / labels for name, size in sizes.items()},
    }


if __name__ == "__main__":
    sys.exit(main())
