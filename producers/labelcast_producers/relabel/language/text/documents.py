"""Plain text as documents: UTF-8 files, whole, or a document for each line or paragraph."""

import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from labelcast.errors import LabelFileError

_PARAGRAPH_END = re.compile(r"\n(?:[ \t]*\n)+")


class DocumentPer(StrEnum):
    """What one document is."""

    FILE = "file"
    LINE = "line"  # that holds more than white space
    PARAGRAPH = "paragraph"  # between empty lines


def text_files(paths: Sequence[Path], pattern: str) -> list[Path]:
    """Files in the order that numbers their documents.

    Args:
        paths: files and directories, in their order; files of a directory, however deep, come
            sorted by their paths.
        pattern: which files of a directory are taken, such as "*.txt".

    Raises:
        LabelFileError: a path is not there, or a directory has no such file.
    """
    files = list[Path]()
    for path in paths:
        if path.is_dir():
            inside = (each for each in path.rglob(pattern) if each.is_file())
            found = sorted(inside, key=lambda each: each.relative_to(path).as_posix())
            if not found:
                raise LabelFileError(
                    f"{path} has no file {pattern}; say which with --pattern, such as"
                    " --pattern '*.md'"
                )
            files += found
        elif path.is_file():
            files.append(path)
        else:
            raise LabelFileError(f"{path} is not there; give a file or directory of text")
    return files


def documents(file: Path, per: DocumentPer) -> list[str]:
    """The documents of a file, in order; none of a file without text.

    Raises:
        LabelFileError: it is unreadable, or no UTF-8.
    """
    return [part for part in _parts(_text(file), per) if part.strip()]


def _parts(text: str, per: DocumentPer) -> list[str]:
    match per:
        case DocumentPer.FILE:
            return [text]
        case DocumentPer.LINE:
            return text.split("\n")
        case DocumentPer.PARAGRAPH:
            return _PARAGRAPH_END.split(text)


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except OSError as error:
        raise LabelFileError(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise LabelFileError(
            f"{file} is not UTF-8 at byte {error.start}; convert it with iconv -t UTF-8, or leave"
            " it out"
        ) from None
