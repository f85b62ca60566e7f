"""What a loss costs that decodes its labels itself, beside one that is given all of them decoded.

    python -m benchmarks.code_loss

Forward and backward pass over the logits of a student that is left out, one thread; codes of a
generated VQAE. The two are timed by turns, and a ratio is the median of the ratios of turns, with
the least and the greatest behind it. Memory is what torch allocates at most at one time, besides
the logits, as its profiler counts.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from labelcast.codec import (
    CodecHeader,
    LabelKind,
    Precision,
    TemperatureRange,
    VqaeCodec,
    VqaeShape,
)
from labelcast.torch import CodedLabels, TorchDecoder, coded_label_loss, soft_label_loss

RESULT = Path(__file__).parent / "results" / "code_loss.json"
CODES, WIDTH, HIDDEN, TEMPERATURE = 8, 8, 256, 2.0
# Rows and classes: ImageNet-1k's, many of them, ImageNet-21k's, many of them.
SIZES = ((256, 1_000), (4_096, 1_000), (256, 21_841), (1_024, 21_841))


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    result = {
        "machine": {
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
        "codec": {"codes": CODES, "codeword_width": WIDTH, "hidden": HIDDEN},
        "repetitions": options.repetitions,
        "sizes": [measured(*size, options.repetitions) for size in SIZES],
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def measured(rows: int, classes: int, repetitions: int) -> dict[str, Any]:
    codes = generated(rows, classes)
    logits = torch.randn(rows, classes, requires_grad=True)

    def ours() -> None:
        logits.grad = None
        coded_label_loss(logits, codes, temperature=TEMPERATURE).backward()

    def peer() -> None:
        logits.grad = None
        labels = codes.decode()
        soft_label_loss(logits, labels, LabelKind.LOGITS, temperature=TEMPERATURE).backward()

    ours()
    found = logits.grad
    peer()
    torch.testing.assert_close(found, logits.grad, rtol=1e-5, atol=1e-5 / rows)
    turns = [(seconds(ours), seconds(peer)) for _ in range(repetitions)]
    ratios = sorted(mine / theirs for mine, theirs in turns)
    memory = peak_bytes(ours, logits), peak_bytes(peer, logits)
    return {
        "rows": rows,
        "classes": classes,
        "logits_bytes": logits.nbytes,
        "ms": statistics.median(mine for mine, _ in turns) * 1e3,
        "peer_ms": statistics.median(theirs for _, theirs in turns) * 1e3,
        "time_ratio": statistics.median(ratios),
        "time_ratio_from": ratios[0],
        "time_ratio_to": ratios[-1],
        "peak_bytes": memory[0],
        "peer_peak_bytes": memory[1],
    }


def generated(rows: int, classes: int) -> CodedLabels:
    generator = np.random.default_rng(0)
    shape = VqaeShape(CODES, 256, WIDTH, (HIDDEN,), Precision.FP16)

    def stored(*sides: int) -> Any:
        return generator.normal(0, 0.2, sides).astype(np.float16)

    codec = VqaeCodec(
        CodecHeader(classes, LabelKind.LOGITS, TemperatureRange(TEMPERATURE, TEMPERATURE)),
        shape,
        stored(CODES, 256, WIDTH),
        [(stored(out, into), stored(out)) for into, out in shape.layer_widths(classes)],
    )
    packed = generator.integers(0, 256, (rows, CODES), dtype=np.uint8)
    return CodedLabels.of(TorchDecoder.from_codec(codec, "cpu"), packed)


def seconds(run: Callable[[], None]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def peak_bytes(run: Callable[[], None], logits: torch.Tensor) -> int:
    """Most bytes held at one time during `run`, besides those before it."""
    logits.grad = None
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    with tempfile.TemporaryDirectory() as directory:
        trace = Path(directory) / "trace.json"
        profiled.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    changes = [
        (event["ts"], event["args"]["Bytes"]) for event in events if event["name"] == "[memory]"
    ]
    held = most = 0
    for _, change in sorted(changes, key=lambda each: each[0]):
        held += change
        most = max(most, held)
    return most


if __name__ == "__main__":
    main()
