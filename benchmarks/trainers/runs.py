"""Runs of one or several processes, and what they told."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.trainers.settings import Settings, Told

# What a process has allocated and freed before decides whether glibc gives the memory of each step
# back to the system, which costs a fifth of a step: the same for all, whatever they have read.
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**32)}


def run(settings: Settings) -> list[Told]:
    """Run a training run with all its ranks, and return what each told.

    Raises:
        CalledProcessError: a rank failed; what it said is on stderr.
    """
    with tempfile.TemporaryDirectory() as directory:
        meeting = str(Path(directory) / "meeting")
        ranks = [
            replace(settings, rank=rank, meeting=meeting) for rank in range(settings.num_ranks)
        ]
        commands = [
            [sys.executable, "-m", "benchmarks.trainers.job", rank.as_json()] for rank in ranks
        ]
        processes = [
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | _MALLOC)
            for command in commands
        ]
        said = [process.communicate()[0] for process in processes]
    for process, command in zip(processes, commands, strict=True):
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
    return [Told(**json.loads(text)) for text in said]


def seconds_a_step(told: list[Told]) -> float:
    """Of the slowest rank, without its first epoch."""
    return max(sum(one.seconds[1:]) / (len(one.seconds) - 1) / one.steps for one in told)


def cpu_seconds_a_step(told: list[Told]) -> float:
    """Of all ranks and their workers together, without the first epoch."""
    return sum(sum(one.cpu_seconds[1:]) / (len(one.seconds) - 1) / one.steps for one in told)
