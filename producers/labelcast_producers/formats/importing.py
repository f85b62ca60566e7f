"""Foreign files → dense labels, or a label set encoded on the fly."""

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labelcast.codec import LabelKind
from labelcast.directory import MANIFEST_NAME, Bundle
from labelcast.errors import InvalidRequestError, LabelFileError
from labelcast.label_set import class_list_digest, digest_of
from labelcast.progress import Progress, unwatched
from labelcast.torch.images.samples import SampleTable
from labelcast_producers.dense.labels import DESCRIPTION_NAME, DenseLabels, Description
from labelcast_producers.encoding.label_set_writer import write_bundle
from labelcast_producers.encoding.stages import write_staged
from labelcast_producers.formats.known import IMPORTERS
from labelcast_producers.formats.output.dense import write_dense
from labelcast_producers.formats.output.top_k import TopKSource, write_top_k
from labelcast_producers.formats.parts.foreign_rows import ForeignRows
from labelcast_producers.formats.source import (
    Finding,
    Importer,
    ImportOptions,
    Source,
    SourceFacts,
)
from labelcast_producers.neural.chosen_encoder import choose_encoder

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import left.

    Attributes:
        facts: of the source, with the order as it was verified.
        result: dense labels, or a label set where a codec was given.
    """

    facts: SourceFacts
    result: DenseLabels | Bundle


def recognise(path: Path, format_name: str = "auto") -> tuple[Importer, Finding]:
    """Tell what files are by their structure.

    Args:
        path: file or directory.
        format_name: an importer's name, or "auto".

    Raises:
        LabelFileError: nothing known, more than one format fits, or the format named does not.
        InvalidRequestError: no importer has that name.
    """
    if not path.exists():
        raise LabelFileError(f"{path} does not exist", path=path)
    names = [importer.name for importer in IMPORTERS]
    if format_name not in ("auto", *names):
        raise InvalidRequestError(f"{format_name!r} is no format; use auto or {', '.join(names)}")
    found: list[tuple[Importer, Finding]] = []
    for importer in IMPORTERS:
        if format_name in ("auto", importer.name):
            finding = importer.detect(path)
            if finding is not None:
                found.append((importer, finding))
    if not found:
        raise LabelFileError(f"{path} {_what_else(path, format_name)}", path=path)
    if len(found) > 1:
        several = ", ".join(finding.format for _, finding in found)
        raise LabelFileError(f"{path} may be {several}; say which with --format", path=path)
    return found[0]


def _what_else(path: Path, format_name: str) -> str:
    """What is there instead of labels of a format."""
    if (path / MANIFEST_NAME).is_file():
        return "is a label set already; push it"
    if (path / DESCRIPTION_NAME).is_file():
        return "holds dense labels already; fit or encode them"
    if format_name != "auto":
        others = [importer.name for importer in IMPORTERS if importer.detect(path) is not None]
        if others:
            return f"is not {format_name} but {' or '.join(others)}; leave --format out"
    names = ", ".join(importer.name for importer in IMPORTERS)
    return (
        "holds no labels of a known structure: give the directory that the producer wrote, or the"
        f" one file of arrays; known are {names}"
    )


def open_source(path: Path, options: ImportOptions, format_name: str = "auto") -> Source:
    """Recognise files and scan everything but their labels.

    Raises:
        As `recognise` and `Importer.open`; LabelFileError also for files of no known layout among
        the others.
    """
    importer, finding = recognise(path, format_name)
    if finding.foreign:
        several = ", ".join(finding.foreign[:_SHOWN])
        more = f" and {len(finding.foreign) - _SHOWN} more" if len(finding.foreign) > _SHOWN else ""
        raise LabelFileError(
            f"{path} holds files that are no part of {finding.format}: {several}{more}; move them"
            " away",
            path=path,
        )
    return importer.open(path, options)


def describe(
    source: Source, options: ImportOptions, *, teacher_name: str, identity: str
) -> Description:
    """What the labels of a source mean.

    Args:
        source: scanned.
        options: as it was scanned with; its images give the data set's identity.
        teacher_name: digest of weights there is none in foreign files, so the name is hashed.
        identity: of the files, which names the data set where there are no images.
    """
    facts = source.facts
    names: Sequence[str] = [str(number) for number in range(facts.num_classes)]
    dataset = identity
    if options.images is not None:
        table = SampleTable(options.image_folder())
        known = np.isin(facts.index.sample_ids, table.sample_ids)
        if not known.all():
            raise LabelFileError(
                f"{options.images} has no sample {facts.index.sample_ids[~known][0]}, of which the"
                " files hold labels; give the images that were labelled"
            )
        names, dataset = table.dataset.class_names, table.digest()
    names = facts.class_names or names
    if len(names) != facts.num_classes:
        raise LabelFileError(
            f"the labels have {facts.num_classes} classes, the images or names {len(names)}"
        )
    return Description(
        teacher=digest_of(teacher_name.encode()),
        teacher_name=teacher_name,
        dataset=dataset,
        num_classes=facts.num_classes,
        class_list=class_list_digest(list(names)),
        policy=facts.policy,
        label_kind=facts.label_kind,
        temperature=facts.temperature,
        row_order=facts.index.row_order,
        sample_order=facts.order,
    )


def import_labels(
    path: Path,
    source: Source,
    options: ImportOptions,
    out: Path,
    *,
    teacher_name: str,
    codec: str | None = None,
    temperature: float = 1.0,
    device: str = "auto",
    progress: Progress = unwatched,
) -> Imported:
    """Write what a source holds; interrupted, it goes on where it was when it is called again.

    Args:
        path: of the files.
        source: scanned, and verified if that is wanted.
        options: as it was scanned with.
        out: directory of the dense labels or the label set; nothing is published from it before
            its description or manifest is written, which happens last.
        teacher_name: of the labels.
        codec: as `encode` takes it; None keeps dense labels as they are, and gives top-k labels
            the codec that keeps them as they are.
        temperature: of a top-k softmax over logits.
        device: torch device or "auto".
        progress: of the labels.

    Raises:
        LabelFileError, LabelValueError: what is wrong with which file.
        StoreFullError: no room.
    """
    facts = source.facts
    _require_new(path, out)
    identity = source_identity(path, source, options)
    description = describe(source, options, teacher_name=teacher_name, identity=identity)
    if codec is None and facts.top_k is None and not facts.stages:
        dense = write_dense(source, description, out, identity=identity, progress=progress)
        return Imported(facts, dense)
    foreign = DenseLabels(
        description=description,
        index=facts.index,
        hard_labels=facts.hard_labels,
        rows=ForeignRows(source),
        records=source.records(),
    )
    if codec is None and not facts.stages and isinstance(source, TopKSource):
        bundle = write_top_k(source, source, foreign, out, identity=identity, progress=progress)
        return Imported(facts, bundle)
    encoder = choose_encoder(
        codec or natural_codec(facts), description, temperature=temperature, device=device
    )
    if facts.stages:
        bundle = write_staged(foreign, encoder, facts.stages, out, progress=progress)
    else:
        bundle = write_bundle(
            foreign,
            encoder.encoder,
            out,
            artifact=encoder.artifact,
            fit_report=encoder.fit_report,
            identity=identity,
            progress=progress,
        )
    return Imported(facts, bundle)


def _require_new(path: Path, out: Path) -> None:
    """Refuse to write among the files, or over a result: a failure would leave neither."""
    if out.resolve() == path.resolve() or path.resolve() in out.resolve().parents:
        raise InvalidRequestError(f"{out} is among the files that are imported; give another --out")
    for name in (MANIFEST_NAME, DESCRIPTION_NAME):
        if (out / name).exists():
            raise InvalidRequestError(
                f"{out} holds a finished result ({name}); give another --out, or delete it first"
            )


def natural_codec(facts: SourceFacts) -> str:
    """The codec that keeps labels as they are, as `encode` takes it."""
    if facts.top_k is None:
        return "raw:fp16"
    if facts.label_kind is LabelKind.LOGITS:
        return f"topk:{facts.top_k.k}:logits"
    return f"topk:{facts.top_k.k}:{facts.top_k.recovery}"


def source_identity(path: Path, source: Source, options: ImportOptions) -> str:
    """Digest over the files, what was said of them, and whose labels are where.

    The last follows from the images too, which may change behind the same path.
    """
    facts, index = source.facts, source.facts.index
    hasher = hashlib.sha256(repr(dataclasses.astuple(options)).encode())
    hasher.update(f"{facts.format} {facts.order} {index.row_order}".encode())
    for table in (index.sample_ids, index.seeds, index.present, facts.hard_labels):
        hasher.update(b"-" if table is None else np.ascontiguousarray(table).tobytes())
    for part in source.parts:
        hasher.update(np.ascontiguousarray(part.rows).tobytes())
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            stat = file.stat()
            name = file.relative_to(path)
            hasher.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
    return "sha256:" + hasher.hexdigest()
