"""Documents that machines carry, each as plain text."""

import hashlib
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.debian_packages import Package, unpacked
from benchmarks.language.plain_text import text_of_html

PACKAGES = (
    Package(
        "debian-handbook",
        "11.20220922",
        "3d5dbeac1f1afc9c094eab9d0f701f6ecff99c4927d5a4794cf6c85678134faa",
    ),
    Package(
        "debian-policy",
        "4.6.2.0",
        "ef9d01b625c3b87c3a845c2cd1b66f1a16e9240b2b9e5bee53472a00e8457a39",
    ),
    # What `linux-doc` stands for in this release.
    Package(
        "linux-doc-6.1",
        "6.1.176-1",
        "0d843674607703b9ef8c1db5e715c38ed52ff23574feabfe0d961d552126859f",
    ),
)
# Other people's packages, and tests, whose text is mostly tables of values.
_LEFT_OUT = frozenset(
    ("site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__")
)
_LICENCES = Path("/usr/share/common-licenses")
_COPYRIGHTS = Path("/usr/share/doc")


@dataclass(frozen=True)
class Document:
    """One text.

    Attributes:
        source: where it comes from: a name of `SOURCES`.
        name: path within it.
        text: without markup.
    """

    source: str
    name: str
    text: str


@dataclass(frozen=True)
class _Files:
    root: Path
    paths: Sequence[Path]
    read: Callable[[str], str]


def documents(source: str, cache: Path) -> Iterator[Document]:
    """Documents of one source, in an order that their names' digests give.

    Args:
        source: a name of `SOURCES`.
        cache: directory for Debian packages.
    """
    files = SOURCES[source](cache)
    names = sorted((path.relative_to(files.root).as_posix() for path in files.paths), key=_digest)
    for name in names:
        try:
            text = (files.root / name).read_text()
        except UnicodeDecodeError:
            continue
        yield Document(source, name, files.read(text).replace("\r\n", "\n"))


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _as_it_is(text: str) -> str:
    return text


def _standard_library(cache: Path) -> _Files:
    root = Path(sysconfig.get_path("stdlib"))
    paths = [
        path for path in root.rglob("*.py") if _LEFT_OUT.isdisjoint(path.relative_to(root).parts)
    ]
    return _Files(root, paths, _as_it_is)


def _licences(cache: Path) -> _Files:
    root = Path("/usr/share")
    whole = [path for path in _LICENCES.iterdir() if path.is_file() and not path.is_symlink()]
    copyrights = [
        path
        for path in _COPYRIGHTS.glob("*/copyright")
        if path.is_file() and not path.parent.is_symlink()
    ]
    return _Files(root, whole + copyrights, _as_it_is)


def _pages(package: str, folder: str) -> Callable[[Path], _Files]:
    (pinned,) = (one for one in PACKAGES if one.name == package)

    def files(cache: Path) -> _Files:
        root = unpacked(pinned, cache) / "usr" / "share" / "doc" / folder
        # Some directories are named like pages.
        paths = [path for path in root.rglob("*.html") if path.is_file()]
        return _Files(root, paths, text_of_html)

    return files


SOURCES: dict[str, Callable[[Path], _Files]] = {
    "python-standard-library": _standard_library,
    "debian-handbook": _pages("debian-handbook", "debian-handbook/html/en-US"),
    "debian-policy": _pages("debian-policy", "debian-policy"),
    "linux-doc": _pages("linux-doc-6.1", "linux-doc-6.1/html"),
    "licences": _licences,
}
