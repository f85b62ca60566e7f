"""Before all points: the texts, and the teacher's exact predictions of them."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.codec.queue import write_result
from benchmarks.language.corpus import read_corpus
from benchmarks.language.place import Place
from benchmarks.language.settings import TEACHER_FILE, TEACHER_NAME, TEACHER_PACKAGE

ROOT = Path(__file__).parents[2]


def installed_teacher() -> Path:
    """The teacher's file in the package that carries it, which is not imported.

    Raises:
        ValueError: the package is not installed.
    """
    found = importlib.util.find_spec(TEACHER_PACKAGE)
    if found is None or found.origin is None:
        raise ValueError(
            f"{TEACHER_PACKAGE} is not installed; run `make bench-language`, or say --teacher"
        )
    return Path(found.origin).with_name(TEACHER_FILE)


def prepare(place: Place, teacher: Path, debian: Path, *, jobs: int) -> None:
    """Do what is missing.

    Args:
        place: of the run.
        teacher: a GGUF file.
        debian: directory that keeps Debian packages.
        jobs: processes that label.

    Raises:
        CalledProcessError: a command failed, and has said why on stderr.
        ValueError: the work directory is of other settings.
    """
    _require_same_settings(place)
    if not (place.directory / "corpus.json").is_file():
        _prepare_corpus(place, teacher, debian)
    for name, tokens, processes in (
        # One process, from beginning to end: what it takes is reported.
        ("held-out", place.held_out_tokens, 1),
        ("exact", place.train_tokens, jobs),
    ):
        if not (place.directory / f"{name}.json").is_file():
            _relabel(place, name, tokens, teacher, processes)


def _require_same_settings(place: Place) -> None:
    """Points of other settings that lie there must not be taken for these."""
    path, settings = place.directory / "settings.json", place.scale.as_json()
    if not path.is_file():
        write_result(path, settings)
    elif json.loads(path.read_text()) != settings:
        raise ValueError(f"{place.directory} is of a run with other settings; delete it")


def _prepare_corpus(place: Place, teacher: Path, debian: Path) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(teacher.parent, gguf_file=teacher.name)

    def encode(text: str) -> list[int]:
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    corpus = read_corpus(place.scale.corpus, debian, encode)
    corpus.train.save(place.train_tokens)
    corpus.held_out.save(place.held_out_tokens)
    write_result(place.directory / "corpus.json", corpus.facts)


def _relabel(place: Place, name: str, tokens: Path, teacher: Path, processes: int) -> None:
    out = place.directory / name
    resumed, began = out.exists(), time.perf_counter()
    program = ["-m", "labelcast.cli", "relabel-text"]
    if processes > 1:
        program = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), *program]
    command = [
        *(sys.executable, *program, "--model", str(teacher), "--model-name", TEACHER_NAME),
        *("--text", str(tokens), "--codec", "hidden:fp32", "--out", str(out)),
        *("--max-length", str(place.scale.corpus.sequence), "--batch-tokens", "1024", "--json"),
    ]
    said, peak = _run(command)
    count = sum(map(len, place.train if name == "exact" else place.held_out))
    seconds = time.perf_counter() - began
    # Of a run that went on where another had stopped, nobody knows how long it took.
    figures = {
        "tokens": count,
        "processes": processes,
        "seconds": None if resumed else seconds,
        "tokens_per_second": None if resumed else count / seconds,
        "peak_rss_bytes": peak,
    }
    write_result(place.directory / f"{name}.json", json.loads(said) | figures)


def _run(command: list[str]) -> tuple[str, int]:
    """Run a command: what it printed, and the most memory of one of its processes."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return said, used.ru_maxrss * 1024
