"""Plain text as documents: UTF-8 files, whole, or a document for each line or paragraph."""

import re
from collections.abc import Iterator, Sequence
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


def documents(files: Sequence[Path], per: DocumentPer) -> Iterator[str]:
    """The documents of files, in order; a file at a time is in memory.

    Raises:
        LabelFileError: a file is unreadable, no UTF-8, or holds no text.
    """
    for file in files:
        text = _text(file)
        if not text.strip():
            raise LabelFileError(f"{file} holds no text; leave it out")
        match per:
            case DocumentPer.FILE:
                yield text
            case DocumentPer.LINE:
                yield from (line for line in text.split("\n") if line.strip())
            case DocumentPer.PARAGRAPH:
                yield from (each for each in _PARAGRAPH_END.split(text) if each.strip())


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
