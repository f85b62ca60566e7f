"""Checks of the machine: Python, kernel, limits."""

import resource
import sys
from pathlib import Path

from labelcast_server.doctor.finding import Finding

OVERCOMMIT = Path("/proc/sys/vm/overcommit_memory")
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_OLDEST_PYTHON = (3, 11)
_ENOUGH_OPEN_FILES = 4096


def check_python() -> Finding:
    """Check that this Python is one that labelcast supports."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= _OLDEST_PYTHON:
        return Finding("python", "ok", f"Python {version}")
    return Finding("python", "error", f"Python {version} is too old", "use Python 3.11 or later")


def check_kernel(overcommit: Path, huge_pages: Path) -> list[Finding]:
    """Check that the kernel is set up as Redis recommends; a missing setting is skipped.

    Args:
        overcommit: file with the value of vm.overcommit_memory.
        huge_pages: file with the state of transparent huge pages.
    """
    findings = []
    if (value := _read(overcommit)) is not None:
        if value == "1":
            findings.append(Finding("overcommit", "ok", "vm.overcommit_memory is 1"))
        else:
            findings.append(
                Finding(
                    "overcommit",
                    "warning",
                    f"vm.overcommit_memory is {value}: Redis may fail to rewrite its file when it"
                    " uses more than half of the memory",
                    "sysctl vm.overcommit_memory=1",
                )
            )
    if (value := _read(huge_pages)) is not None:
        if "[always]" in value:
            findings.append(
                Finding(
                    "huge-pages",
                    "warning",
                    "transparent huge pages are always on: Redis is slow and large after a fork",
                    f"echo madvise > {huge_pages}",
                )
            )
        else:
            findings.append(Finding("huge-pages", "ok", "transparent huge pages are not forced"))
    return findings


def check_open_files() -> Finding:
    """Check that this process may open enough files for its connections and its cache."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY or limit >= _ENOUGH_OPEN_FILES:
        return Finding("open-files", "ok", f"{limit} open files allowed")
    return Finding(
        "open-files",
        "warning",
        f"only {limit} open files allowed, and each student's connection is one",
        f"ulimit -n {_ENOUGH_OPEN_FILES * 4}",
    )


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
