"""The suite as other machines would run it: under other kernels, one thread, any order, under load.

    python -m tests.anywhere                 every setting, one after the other
    python -m tests.anywhere haswell order   some of them, together in one run

Kernels that this processor lacks are ignored by the libraries that are asked for them.
"""

import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SETTINGS: dict[str, dict[str, str]] = {
    "haswell": {"OPENBLAS_CORETYPE": "Haswell"},
    "zen": {"OPENBLAS_CORETYPE": "Zen"},
    "skylakex": {"OPENBLAS_CORETYPE": "SkylakeX"},
    "prescott": {"OPENBLAS_CORETYPE": "Prescott"},
    "aten-default": {"ATEN_CPU_CAPABILITY": "default"},
    "aten-avx2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "onednn-sse41": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    "one-thread": dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
    ),
    "order": {"TESTS_IN_ANY_ORDER": str(random.SystemRandom().randrange(2**32))},
    "busy": {},
}
_BUSY_PROCESSES = 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Shuffle files, and the tests within each; loaded as a plugin where an order is asked for."""
    chance = random.Random(os.environ["TESTS_IN_ANY_ORDER"])
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    groups = list(files.values())
    chance.shuffle(groups)
    for group in groups:
        chance.shuffle(group)
    items[:] = [item for group in groups for item in group]


def main() -> int:
    """Run the suite under each setting, or once under all that are named; the worst exit status."""
    named = sys.argv[1:]
    if unknown := set(named) - SETTINGS.keys():
        raise SystemExit(f"no such settings: {', '.join(unknown)}; known: {', '.join(SETTINGS)}")
    return max(run_under(names) for names in ([named] if named else [[name] for name in SETTINGS]))


def run_under(names: list[str]) -> int:
    """Run the suite once under some settings together; its exit status."""
    changes = {variable: value for name in names for variable, value in SETTINGS[name].items()}
    command = [sys.executable, "-m", "pytest", "-q"]
    command += ["--numprocesses", "2", "--dist", "worksteal"]
    if "order" in names:
        command += ["-p", "tests.anywhere"]
    began = time.monotonic()
    with busy_processes(_BUSY_PROCESSES if "busy" in names else 0):
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | changes, capture_output=True, text=True
        )
    lines = done.stdout.splitlines()
    print(
        f"{'+'.join(names)} {changes}: {lines[-1]} ({time.monotonic() - began:.0f} s)", flush=True
    )
    if done.returncode:
        print(done.stdout.partition("= FAILURES =")[2] or done.stdout, done.stderr)
    return done.returncode


@contextlib.contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Processes that keep a core busy each."""
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
