"""Recognises DistillKit's files and opens them with the user's options."""

import re
from pathlib import Path

from labelcast.codec import LabelKind
from labelcast.codec.sparse.distillkit.settings import Settings
from labelcast.codec.topk import Recovery
from labelcast.errors import InvalidRequestError, LabelFileError
from labelcast.progress import Progress, unwatched
from labelcast_producers.formats.distillkit.config import SETTINGS_NAME, settings_beside
from labelcast_producers.formats.distillkit.parquet import SequenceFile, is_distillkit
from labelcast_producers.formats.distillkit.source import FORMAT, DistillKitSource
from labelcast_producers.formats.source import Finding, Importer, ImportOptions

_RECOVERIES = (
    "renormalise (the k are divided by their sum, as DistillKit's trainer does for `zero`, its"
    " default), spread (the other tokens share what is missing to 1, its `symmetric_uniform`) or"
    " zero (the k stay as stored, the others get nothing)"
)


class DistillKitImporter(Importer):
    """Importer of a directory of Parquet files with their settings, or of one such file."""

    name = FORMAT

    def detect(self, path: Path) -> Finding | None:
        """See `Importer.detect`."""
        files, foreign = _sorted_files(path)
        if not files:
            return None
        settings = settings_beside(files[0].parent)
        inside: dict[str, object] = {"files": len(files)}
        missing = [f"--recovery: {_RECOVERIES}"]
        if settings is None:
            missing.append(_no_settings(files[0]))
        else:
            inside |= _inside([SequenceFile(each, settings) for each in files], settings)
        return Finding(
            format=FORMAT,
            title="DistillKit: top-k log-probabilities of token sequences, compressed, in Parquet",
            inside=inside,
            missing=tuple(missing),
            foreign=foreign,
        )

    def open(
        self, path: Path, options: ImportOptions, *, progress: Progress = unwatched
    ) -> DistillKitSource:
        """See `Importer.open`; decodes and checks every label on the way.

        Raises:
            LabelValueError: a label is not finite, or its probabilities sum to more than 1.01.
        """
        files, foreign = _sorted_files(path)
        if foreign:
            raise LabelFileError(
                f"{path}: {', '.join(foreign)} is not DistillKit's, or unreadable; move it away"
            )
        if not files:
            raise LabelFileError(f"{path}: has no Parquet file with DistillKit's columns")
        settings = settings_beside(files[0].parent)
        if settings is None:
            raise LabelFileError(_no_settings(files[0]))
        recovery = _checked_recovery(options, settings)
        source = DistillKitSource(
            [SequenceFile(each, settings) for each in files], settings, recovery, progress
        )
        if options.num_samples not in {None, len(source.facts.index.sample_ids)}:
            raise InvalidRequestError(
                f"{path}: holds {len(source.facts.index.sample_ids)} sequences with labels, not the"
                f" {options.num_samples} that --samples says; leave it out"
            )
        return source


def _checked_recovery(options: ImportOptions, settings: Settings) -> Recovery:
    if options.recovery is None:
        raise InvalidRequestError(
            "DistillKit's files do not say what the tokens that are not among the k get;"
            f" say --recovery {_RECOVERIES}"
        )
    if options.temperature not in {None, 1}:
        raise InvalidRequestError(
            "DistillKit keeps log-probabilities at temperature 1; leave --temperature out"
        )
    if options.label_kind not in {None, LabelKind.PROBABILITIES}:
        raise InvalidRequestError("DistillKit keeps probabilities: leave out --label-kind")
    if options.images is not None or options.image_list is not None:
        raise InvalidRequestError(
            "DistillKit's samples are token sequences, there are no images; leave --images and"
            " --image-list out"
        )
    if options.class_names is not None and len(options.class_names) != settings.d:
        raise InvalidRequestError(
            f"{len(options.class_names)} class names for a vocabulary of {settings.d}; give"
            f" {settings.d}, or leave --class-names out"
        )
    return options.recovery


def _sorted_files(path: Path) -> tuple[list[Path], tuple[str, ...]]:
    """DistillKit's files in their order, and the names of other Parquet files among them."""
    candidates = sorted(path.glob("*.parquet"), key=_natural) if path.is_dir() else [path]
    files: list[Path] = []
    foreign: list[Path] = []
    for each in candidates:
        if not each.is_file() or each.suffix != ".parquet":
            continue
        try:
            ours = is_distillkit(each)
        except LabelFileError:
            # Settings beside it show that an unreadable file was meant to be DistillKit's.
            if settings_beside(each.parent) is not None:
                raise
            ours = False
        (files if ours else foreign).append(each)
    return files, tuple(each.name for each in foreign)


def _natural(path: Path) -> list[tuple[str, int]]:
    """Sort key that puts data_2 before data_10, the order in which they were written."""
    return [(text, int(digits or 0)) for text, digits in re.findall(r"(\D*)(\d*)", path.name)]


def _no_settings(file: Path) -> str:
    return (
        f"{file.parent}: no {SETTINGS_NAME}, which says how the bytes are cut up;"
        " put the one that the labels were written with beside them"
    )


def _inside(files: list[SequenceFile], settings: Settings) -> dict[str, object]:
    tokens = sum(file.count_tokens() for file in files)
    stored = sum(file.path.stat().st_size for file in files)
    return {
        "sequences": sum(file.num_rows for file in files),
        "tokens": tokens,
        "classes": settings.d,
        "k": settings.k,
        "exact_k": settings.exact_k,
        "bytes_per_token": {
            "log_probabilities": settings.value_bytes,
            "indices": settings.index_bytes,
            "stored": round(stored / max(tokens, 1), 1),
        },
    }
