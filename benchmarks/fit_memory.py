"""How much memory a fit holds while its label file is larger than memory should be.

    python -m benchmarks.fit_memory --dir /var/tmp

Generates a label file, fits it with `labelcast fit`, and reads the same batches once more in
the obvious way, through `numpy.load(mmap_mode="r")`. Both run as processes of their own, of which
the resident memory is sampled; the peak that the kernel has kept (VmHWM) stands beside it.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from labelcast_producers.fitting.config import FitConfig
from labelcast_producers.fitting.report import read_report
from labelcast_producers.fitting.sampling import Split, batch_rows

RESULT = Path(__file__).parent / "results" / "memory.json"
_GIB = 2**30
_SAMPLE_SECONDS = 0.05
_RANK = 64
_BLOCK_ROWS = 2**14


def main() -> None:
    """Generate, measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, help="where the label file goes; by default TMPDIR")
    parser.add_argument("--gib", type=float, default=20.0, help="size of the label file")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-rows", type=int, default=4096)
    parser.add_argument("--keep", action="store_true", help="leave the label file there")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--peer", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    config = FitConfig(steps=options.steps, batch_rows=options.batch_rows)
    if options.peer is not None:
        _read_mapped(options.peer, config)
        return
    directory = Path(tempfile.mkdtemp(prefix="fit-memory-", dir=options.dir))
    try:
        result = _measure(directory, config, options)
    finally:
        if not options.keep:
            shutil.rmtree(directory)
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


def _measure(directory: Path, config: FitConfig, options: argparse.Namespace) -> dict[str, Any]:
    path, out = directory / "labels.npy", directory / "codec"
    begun = time.perf_counter()
    _generate(path, round(options.gib * _GIB), options.classes)
    generated = time.perf_counter() - begun
    settings = directory / "config.json"
    settings.write_text(json.dumps({"steps": config.steps, "batch_rows": config.batch_rows}))
    command = ["-m", "labelcast.cli", "fit", "--labels", str(path), "--out", str(out)]
    fitted = _watched([*command, "--config", str(settings), "--fresh", "--quiet"])
    seconds = read_report(out / "fit-report.json").seconds
    sizes = ["--steps", str(config.steps), "--batch-rows", str(config.batch_rows)]
    mapped = _watched(["-m", "benchmarks.fit_memory", "--peer", str(path), *sizes])
    rows = config.steps * config.batch_rows
    return {
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
        "file_bytes": path.stat().st_size,
        "num_classes": options.classes,
        "generate_seconds": round(generated, 1),
        "steps": config.steps,
        "batch_rows": config.batch_rows,
        "read_bytes": rows * 2 * options.classes,
        "fit": fitted | {"step_seconds": seconds, "labels_per_second": round(rows / seconds)},
        "mapped": mapped,
    }


def _generate(path: Path, size: int, num_classes: int) -> None:
    """Logits of low rank, the same block over and over with its classes shifted: fast to write."""
    random = np.random.default_rng(0)
    num_rows = size // (2 * num_classes)
    factors = random.normal(0, 0.6, (_BLOCK_ROWS, _RANK)).astype(np.float32)
    classes = random.normal(0, 1, (_RANK, num_classes)).astype(np.float32)
    block = (factors @ classes).astype(np.float16)
    header = {"descr": "<f2", "fortran_order": False, "shape": (num_rows, num_classes)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, num_rows, _BLOCK_ROWS):
            file.write(np.roll(block, start // _BLOCK_ROWS, axis=1)[: num_rows - start].data)


def _watched(arguments: list[str]) -> dict[str, Any]:
    """Run Python and sample its resident memory.

    Returns:
        The largest sample, the kernel's own peak, and wall time with start and end.
    """
    begun = time.perf_counter()
    sampled = kept = 0
    with subprocess.Popen([sys.executable, *arguments]) as process:
        status = Path(f"/proc/{process.pid}/status")
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                sampled = max(sampled, watched.memory_info().rss)
                kept = max(kept, _high_water(status.read_text()))
            except (psutil.NoSuchProcess, OSError):
                break
            time.sleep(_SAMPLE_SECONDS)
    if process.returncode:
        sys.exit(f"{' '.join(arguments)} failed")
    return {
        "peak_rss_bytes": sampled,
        "kernel_peak_rss_bytes": kept,
        "seconds": round(time.perf_counter() - begun, 1),
    }


def _high_water(status: str) -> int:
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    return 0


def _read_mapped(path: Path, config: FitConfig) -> None:
    """The peer: the rows of the same steps, by indexing a mapped file."""
    values = np.load(path, mmap_mode="r")
    split = Split.of(
        len(values),
        rows_per_seed=None,
        block_rows=config.block_rows,
        holdout_every=config.holdout_every,
    )
    for step in range(config.steps):
        rows = batch_rows(
            split, seed=config.seed, step=step, count=config.batch_rows, run_rows=config.run_rows
        )
        np.isfinite(values[rows]).all()


if __name__ == "__main__":
    main()
