"""How fast labels are encoded, and what the faster search costs of their KL.

    python -m benchmarks.encode

The same codecs with the search that they are fitted for and with the one of before, which decodes
each of 96 trials a label, in turns. Speed is that of writing a whole label set, on as many cores as
are named; KL is that of views that no codec was fitted on. Codecs of glyphs are fitted here, for
fewer steps than by default; those of photographs are the ones of `make bench-imagenet`.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.comparison import Measure, Run
from benchmarks.encode.label_sets import GLYPHS, QUICK, first_seeds, label_glyphs, unseen_rows
from benchmarks.imagenet.parts import Part
from benchmarks.imagenet.place import Place
from benchmarks.imagenet.settings import FULL
from labelcast_producers.dense.labels import DenseLabels
from labelcast_producers.encoding.label_set_writer import write_label_set
from labelcast_producers.fitting import FitConfig, FittedCodec, fit, load_fitted
from labelcast_producers.fitting.metrics import measure
from labelcast_producers.neural.compute import Compute
from labelcast_producers.neural.encoding import VqaeEncoder
from labelcast_producers.neural.fitted_files import REPORT_FILE

ROOT = Path(__file__).parents[2]
RESULT = Path(__file__).parents[1] / "results" / "encode.json"
SIZES = (8, 4, 2)
POINTS = {
    "vqae-8": "photographs, 8 bytes",
    "vqae-4": "photographs, 4 bytes",
    "vqae-2": "photographs, 2 bytes",
    "vqae-plain-8": "photographs, 8 bytes, no context",
}
CORES = (2, 1)
CPU = torch.device("cpu")
STEPS, QUICK_STEPS = 1500, 60
KL_ROWS, QUICK_KL_ROWS = 2048, 256
REPETITIONS = 5
# Labels of a turn: 96 decodings a label take two cores three seconds for them.
SPEED_ROWS = 4000
# 10,000 labels a second where there were 1,280; the aim was 30,000.
REACH, AIM = 7.8, 23.4
MOST_KL = 1.02


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description="How fast labels are encoded.")
    parser.add_argument("--quick", action="store_true", help="one small codec, for a check")
    options = parser.parse_args()
    work = Path(os.environ.get("BENCH_DIR", ROOT / "bench-out"))
    out = work / "encode.json" if options.quick else RESULT
    work.mkdir(parents=True, exist_ok=True)
    place = Place(FULL, work / FULL.name)
    lacking = [] if options.quick else [name for name in POINTS if not _is_fitted(place, name)]
    if lacking:
        parser.error(
            f"photographs are encoded with the codecs of make bench-imagenet"
            f" POINT={','.join(lacking)}, which come first; --quick measures glyphs alone"
        )
    result = {
        "machine": {
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "arithmetic": {"ours": _arithmetic(), "peer": str(Compute.AUTO.resolve(CPU))},
        },
        "versions": {"torch": torch.__version__},
        "measures": list(measures(work, quick=options.quick)),
    }
    out.write_text(json.dumps(result, indent=1) + "\n")


def measures(work: Path, *, quick: bool) -> Iterator[dict[str, Any]]:
    """Rows of the result, label set by label set."""
    protocol = QUICK if quick else GLYPHS
    glyphs = label_glyphs(protocol, work)
    for size in SIZES[:1] if quick else SIZES:
        codec = fitted(glyphs, size, work / protocol.name / f"glyphs-{size}", quick=quick)
        # Whether to condition is the fit's own choice.
        plain = "" if codec.codec.context_stride else ", no context"
        yield from of_codec(f"glyphs, {size} bytes{plain}", glyphs, codec, quick=quick)
    if not quick:
        place = Place(FULL, work / FULL.name)
        for point, title in POINTS.items():
            codec = load_fitted(place.of(point) / "fit", device="cpu")
            yield from of_codec(title, place.teachers(Part.TRAIN), codec, quick=False)


def _is_fitted(place: Place, point: str) -> bool:
    return (place.of(point) / "fit" / REPORT_FILE).is_file()


def fitted(dense: DenseLabels, size: int, out: Path, *, quick: bool) -> FittedCodec:
    """A codec as `labelcast fit` makes it, but for fewer steps."""
    config = FitConfig(codes=size, steps=QUICK_STEPS if quick else STEPS, metric_rows=512)
    return fit(
        dense.rows,
        config,
        out=out,
        label_kind=dense.description.label_kind,
        context=dense.context(),
        device="cpu",
        # A fit of an earlier version has other settings, and would be refused.
        resume=False,
    )


def encoder_of(
    codec: FittedCodec, *, linearised: bool, compute: Compute = Compute.AUTO
) -> VqaeEncoder:
    """The codec's encoder with another search; that of before decodes each trial."""
    config = codec.report.config.model_copy(update={"search_linearised": linearised})
    encoder = codec.encoder
    return VqaeEncoder(
        encoder.model,
        codec.codec,
        label_kind=encoder.label_kind,
        temperature=encoder.temperature,
        search=replace(config.search, compute=compute),
    )


def _arithmetic() -> Compute:
    """Of what our search only proposes."""
    return Compute.AUTO.resolve_for_search(CPU)


def of_codec(
    name: str, dense: DenseLabels, codec: FittedCodec, *, quick: bool
) -> Iterator[dict[str, Any]]:
    """KL and speed of one codec, beside those of before."""
    before = encoder_of(codec, linearised=False)
    context = dense.context() if codec.codec.context_stride else None
    rows = unseen_rows(dense, QUICK_KL_ROWS if quick else KL_ROWS)
    ours, theirs = (
        measure(encoder, dense.rows, context, rows).kl_nats for encoder in (codec.encoder, before)
    )
    kept = Measure(name=f"{name}: KL", unit="nats", reach=MOST_KL, lower_is_better=True)
    yield kept.figures(ours, theirs, ours / theirs)
    few = first_seeds(dense, 300 if quick else SPEED_ROWS)
    encoders = [(cores, "", codec.encoder) for cores in CORES]
    if _arithmetic() is not Compute.FP32:
        exact = encoder_of(codec, linearised=True, compute=Compute.FP32)
        encoders.append((CORES[0], ", all in fp32", exact))
    for cores, how, encoder in encoders:
        where = f"{cores} cores" if cores > 1 else "one core"
        speed = Measure(name=f"{name}, {where}{how}", unit="labels/s", reach=REACH, aim=AIM)
        if cores > (os.cpu_count() or 1):
            yield speed.unrun("this machine has fewer cores")
            continue
        new, old = (labels_a_second(few, each, codec.artifact, cores) for each in (encoder, before))
        yield speed.compare(new, old, 1 if quick else REPETITIONS)


def labels_a_second(dense: DenseLabels, encoder: VqaeEncoder, artifact: bytes, cores: int) -> Run:
    """Writes the whole label set each time."""

    def run() -> float:
        threads = torch.get_num_threads()
        torch.set_num_threads(cores)
        try:
            with tempfile.TemporaryDirectory() as directory:
                began = time.perf_counter()
                out = Path(directory)
                write_label_set(dense, encoder, out, artifact=artifact, control_views=False)
                return dense.rows.num_rows / (time.perf_counter() - began)
        finally:
            torch.set_num_threads(threads)

    return run


if __name__ == "__main__":
    main()
