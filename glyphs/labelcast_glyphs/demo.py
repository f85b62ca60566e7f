"""The whole main job, from a teacher to students trained through the running service.

    python -m labelcast_glyphs.demo --out demo-out [--quick] [--tls]

Every step is the command or call that a user would run on their own data; service and students are
processes of their own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from labelcast import Precision, Representation, Views
from labelcast.augmentation import AugmentationPolicy, Mix
from labelcast.codec import TOLERANCES
from labelcast.errors import GoldenRowsError, LabelcastError
from labelcast_glyphs.demo_report import build_report, print_table, write_plot
from labelcast_glyphs.distilled import DistilledSet, distil
from labelcast_glyphs.local_service import LocalService, local_service
from labelcast_glyphs.student import Run
from labelcast_glyphs.teacher import TeacherSettings, train_or_load_teacher
from labelcast_producers.dense.labels import DESCRIPTION_NAME
from labelcast_producers.fitting import FitConfig

TAG = "glyphs:demo"
POLICY = AugmentationPolicy(
    view_height=32,
    view_width=32,
    rotation_degrees=15.0,
    crop_scale=(0.4, 1.0),
    crop_ratio=4 / 3,
    mix=Mix.CUTMIX,
)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much of everything.

    Attributes:
        teacher: settings of its training.
        images_per_class: of the distilled set.
        views: augmentation seeds, and epochs of a student.
        fit_steps: of the codec.
        codec_name: directory of the fit, so that an interrupted one of another scale is kept.
    """

    teacher: TeacherSettings
    images_per_class: int
    views: int
    fit_steps: int
    codec_name: str


FULL = Scale(
    teacher=TeacherSettings(), images_per_class=2, views=60, fit_steps=5000, codec_name="codec"
)
QUICK = Scale(
    teacher=TeacherSettings.quick(),
    images_per_class=2,
    views=10,
    fit_steps=600,
    codec_name="codec-quick",
)
_INTERRUPTED = 130

_console = Console(stderr=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the demo and print its table."""
    parser = argparse.ArgumentParser(description="Teacher to trained student, in one command.")
    parser.add_argument("--out", type=Path, default=Path("demo-out"))
    parser.add_argument("--quick", action="store_true", help="a few minutes instead of a quarter")
    parser.add_argument("--tls", action="store_true", help="encrypt what leaves the service")
    options = parser.parse_args(arguments)
    # Service and student share the cores: threads that spin while they wait would take them from
    # whoever has work (measured: a tenth of the training speed).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        _run_and_report(options.out, quick=options.quick, encrypted=options.tls)
    except (LabelcastError, subprocess.CalledProcessError, OSError, ValueError) as error:
        line = " ".join(str(error).split())
        _console.print(f"error: {line}", style="bold red", markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        _console.print("interrupted", style="bold red")
        return _INTERRUPTED
    return 0


def _run_and_report(out: Path, *, quick: bool, encrypted: bool) -> None:
    began = time.perf_counter()
    report = run_demo(out, QUICK if quick else FULL, encrypted=encrypted)
    report["seconds"] = round(time.perf_counter() - began, 1)
    report["quick"] = quick
    path = out / "demo-report.json"
    path.write_text(json.dumps(report, indent=2) + "\n")
    print_table(report)
    write_plot(report, path.with_suffix(".png"))
    _console.print(f"{path} and {path.with_suffix('.png')}, in {report['seconds']:.0f} s")


def run_demo(out: Path, scale: Scale, *, encrypted: bool = False) -> dict[str, Any]:
    """Steps 1 to 9; everything is kept in `out`.

    Args:
        out: directory.
        scale: how much of everything.
        encrypted: whether admins and students reach the service over TLS.

    Returns:
        The report, JSON values.

    Raises:
        LabelcastError: the service refused something.
        subprocess.CalledProcessError: a command failed; it has said why.
        OSError: `out` cannot be written.
        ValueError: a file of an earlier run is damaged.
    """
    out.mkdir(parents=True, exist_ok=True)
    teacher_path, top1 = _prepare_teacher_and_images(out, scale)
    policy_path = out / "policy.json"
    policy_path.write_text(json.dumps(POLICY.as_json()))
    dense, on_disk = out / "dense", out / "label-set"
    _step("Relabel: the teacher labels every view")
    _labelcast(
        "relabel",
        *("--teacher", "labelcast_glyphs.teacher:load_teacher"),
        *("--teacher-args", json.dumps({"path": str(teacher_path)})),
        *("--dataset", "labelcast_glyphs.distilled:DistilledSet.load"),
        *("--dataset-args", json.dumps({"path": str(out / "distilled.safetensors")})),
        *("--policy", policy_path, "--seeds", scale.views, "--out", dense),
    )
    codec = _codec_directory(out, dense, scale)
    _step("Fit: a VQAE learns to keep the labels in 8 bytes")
    _labelcast("fit", "--labels", dense, "--out", codec, "--steps", scale.fit_steps)
    _step("Encode: labels to packed codes")
    _labelcast("encode", "--labels", dense, "--codec", codec, "--out", on_disk)
    _step("Serve: Redis, decoder, gRPC and REST start as processes of their own")
    with local_service(out / "service", encrypted=encrypted) as service:
        _step(f"Push: upload, validate, publish as {TAG}")
        where = ("--admin", service.admin, "--token-file", service.token_file)
        _labelcast("push", on_disk, "--tag", TAG, *where, *_trusting(service))
        difference = _largest_difference(service, out)
        results = [_train(run, service, out, dense, scale) for run in Run]
        with service.registry() as registry:
            details = registry.inspect(TAG)
    report = build_report(results, details, teacher_top1=top1)
    return report | {"largest_difference_between_deliveries": difference}


def _codec_directory(out: Path, dense: Path, scale: Scale) -> Path:
    """One for each teacher and each default of the fit: a fit of others is not taken up again."""
    defaults = FitConfig(steps=scale.fit_steps).model_dump_json().encode()
    identity = hashlib.sha256((dense / DESCRIPTION_NAME).read_bytes() + defaults).hexdigest()
    return out / f"{scale.codec_name}-{identity[:8]}"


def _prepare_teacher_and_images(out: Path, scale: Scale) -> tuple[Path, float]:
    from labelcast_glyphs.dataset import GlyphDataset

    _step("Teacher: trained on 9 faces, tested on 3; cached")
    cache = Path(os.environ.get("GLYPHS_CACHE_DIR", out / "cache"))
    teacher = train_or_load_teacher(scale.teacher, cache)
    _console.print(f"teacher top-1 on the held-out faces: {teacher.held_out_top1:.1%}")
    _step("Distil: the images that the teacher recognises best")
    images = GlyphDataset("train", scale.teacher.num_classes)
    chosen = distil(images, teacher.network, images_per_class=scale.images_per_class)
    chosen.save(out / "distilled.safetensors")
    _console.print(f"{len(chosen)} images of {chosen.num_classes} classes")
    return teacher.path, teacher.held_out_top1


def _largest_difference(service: LocalService, out: Path) -> float:
    """How far logits decoded by the service and here are apart, over a thousand views.

    Raises:
        GoldenRowsError: further than fp16 delivery explains.
    """
    with service.client() as client:
        label_set = client.open(TAG)
        samples = DistilledSet.load(out / "distilled.safetensors").sample_ids
        views = Views.of(samples[:1000], 1)
        streamed = client.labels(label_set, views, Representation.logits())
        codes = client.labels(label_set, views, Representation.codes())
        here = label_set.decoder().decode(codes.rows, codes.views)
    there = streamed.values.astype(np.float32)
    difference = float(np.abs(there - here).max())
    if not TOLERANCES[Precision.FP16].accepts(there, here):
        raise GoldenRowsError(f"service and student decode differently, by {difference:.3g}")
    _console.print(f"decoded there and here: the same labels within {difference:.2g}")
    return difference


def _train(run: Run, service: LocalService, out: Path, dense: Path, scale: Scale) -> dict[str, Any]:
    _step(f"Student: {run.value}")
    result = out / f"student-{run.value}.json"
    yardstick = ["--dense", dense] if run is Run.DENSE_MEMORY else []
    _python(
        "labelcast_glyphs.student",
        *("--run", run.value, "--address", service.grpc, "--tag", TAG),
        *("--distilled", out / "distilled.safetensors", "--epochs", scale.views),
        *("--out", result, *yardstick, *_trusting(service)),
    )
    measured: dict[str, Any] = json.loads(result.read_text())
    return measured


def _trusting(service: LocalService) -> tuple[object, ...]:
    """Options of commands that reach the service."""
    return () if service.tls is None else ("--tls-ca", service.tls.authorities)


def _step(text: str) -> None:
    _console.rule(text, align="left")


def _labelcast(*arguments: object) -> None:
    _python("labelcast.cli", *arguments)


def _python(module: str, *arguments: object) -> None:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    # In a session of its own: Ctrl-C reaches only us, and no child adds its traceback to our line.
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            status = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if status:
        raise subprocess.CalledProcessError(status, command)


if __name__ == "__main__":
    sys.exit(main())
