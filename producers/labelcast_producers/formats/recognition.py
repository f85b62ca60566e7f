"""Recognises the format of files by their structure."""

from collections.abc import Sequence
from pathlib import Path

from labelcast.errors import InvalidRequestError, LabelFileError
from labelcast.label_set_directory import MANIFEST_NAME
from labelcast.progress import Progress, unwatched
from labelcast_producers.dense.labels import DESCRIPTION_NAME
from labelcast_producers.formats.known import IMPORTERS
from labelcast_producers.formats.nearest import nearest_reason
from labelcast_producers.formats.source import Finding, Importer, ImportOptions, Source

_SHOWN = 5


def recognise(path: Path, format_name: str = "auto") -> tuple[Importer, Finding]:
    """Recognise the format of files by their structure.

    Args:
        path: file or directory.
        format_name: an importer's name, or "auto".

    Raises:
        LabelFileError: no known format, more than one, or not the named format fits.
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
        raise LabelFileError(_what_else(path, format_name), path=path)
    if len(found) > 1:
        several = ", ".join(finding.format for _, finding in found)
        raise LabelFileError(
            f"{path} may be {several}; say which with --format, and move the files of others away",
            path=path,
        )
    return found[0]


def open_source(
    path: Path,
    options: ImportOptions,
    format_name: str = "auto",
    *,
    progress: Progress = unwatched,
) -> Source:
    """Recognise files and scan everything but their labels.

    Args:
        path: file or directory.
        options: of the user.
        format_name: an importer's name, or "auto".
        progress: counts files.

    Raises:
        LabelFileError: files of no known layout are among the others.
            Otherwise as `recognise` and `Importer.open`.
    """
    importer, finding = recognise(path, format_name)
    if finding.foreign:
        _refuse_broken_links(path, finding.foreign)
        several = ", ".join(finding.foreign[:_SHOWN])
        more = f" and {len(finding.foreign) - _SHOWN} more" if len(finding.foreign) > _SHOWN else ""
        raise LabelFileError(
            f"{path} holds files that are no part of {finding.format}: {several}{more}; move them"
            " away",
            path=path,
        )
    return importer.open(path, options, progress=progress)


def _refuse_broken_links(path: Path, names: Sequence[str]) -> None:
    """Refuse what may stand for labels, as where a disk is not mounted: nobody moves it away."""
    for link in (path / name for name in names):
        if link.is_symlink() and not link.exists():
            raise LabelFileError(
                f"{link} is a link to what is not there; mend it, or move it away", path=link
            )


def _what_else(path: Path, format_name: str) -> str:
    """Say what the files hold instead of labels of a format."""
    if (path / MANIFEST_NAME).is_file():
        return f"{path} is a label set already; push it"
    if (path / DESCRIPTION_NAME).is_file():
        return f"{path} holds dense labels already; fit or encode them"
    asked = [each for each in IMPORTERS if format_name in ("auto", each.name)]
    if format_name != "auto":
        others = [importer.name for importer in IMPORTERS if importer.detect(path) is not None]
        if others:
            return f"{path} is not {format_name} but {' or '.join(others)}; leave --format out"
    names = ", ".join(importer.name for importer in IMPORTERS)
    return nearest_reason(path, asked) or (
        f"{path} holds no labels of a known structure: give the directory that the producer wrote,"
        f" or the one file of arrays; known are {names}"
    )
