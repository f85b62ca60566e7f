"""Debian packages whose files are read: fetched once, checked, unpacked, not installed."""

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Package:
    """A package at one version.

    Attributes:
        name: of the package.
        version: as apt knows it.
        sha256: of the .deb, hexadecimal.
    """

    name: str
    version: str
    sha256: str


def unpacked(package: Package, cache: Path) -> Path:
    """The root of a package's files.

    Args:
        package: which.
        cache: directory that keeps what was fetched.

    Raises:
        ValueError: apt brings another file than the one that was pinned.
        CalledProcessError: apt or dpkg failed, and has said why on stderr.
    """
    root = cache / f"{package.name}_{package.version}"
    if root.is_dir():
        return root
    cache.mkdir(parents=True, exist_ok=True)
    archive = _fetched(package, cache)
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != package.sha256:
        archive.unlink()
        raise ValueError(
            f"{package.name} {package.version} has digest {found}, not {package.sha256};"
            " it was deleted"
        )
    partial = root.with_suffix(".part")
    subprocess.run(["dpkg-deb", "-x", str(archive), str(partial)], check=True)
    partial.rename(root)
    return root


def _fetched(package: Package, cache: Path) -> Path:
    def there() -> list[Path]:
        # apt writes the colon of an epoch as %3a; none of ours has one.
        return sorted(cache.glob(f"{package.name}_{package.version}_*.deb"))

    if not there():
        wanted = f"{package.name}={package.version}"
        subprocess.run(["apt-get", "-qq", "download", wanted], cwd=cache, check=True)
    return there()[0]
