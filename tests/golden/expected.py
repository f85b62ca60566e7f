"""Label sets and a data directory that an earlier version made, and what every later one must read.

    label_sets/<name>/              a label set as a directory
    label_sets/<name>.safetensors   what is in it, view by view
    data_directory/                 a data directory of the service that holds those before `LATER`

Made once, `LATER` when their format came, by `python -m tests.golden.make`. A test that fails on
them has found labels that people have and that this version reads otherwise: mend the version,
never the files.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from labelcast import Views
from labelcast.codec import Labels, Rows

HERE = Path(__file__).parent
NAMES = (
    "raw",
    "top-k",
    "vqae",
    "vqae-context",
    "recorded-mixup",
    "recorded-cutmix-pruned",
    "staged-one",
    "staged-two",
    "sequences",
    "states",
)
# Of sequences of tokens: their format is younger than the data directory.
LATER = ("sequences", "states")
# Of the raw codec and top-k: nothing is multiplied, so every bit must be right.
EXACT = frozenset(NAMES) - {"vqae", "vqae-context", "states"}
RETIRED = "staged-one"


@dataclass(frozen=True, eq=False)
class Expected:
    """What is in a label set.

    Attributes:
        digest: of the label set.
        views: every view that has a label, in the order of the rows.
        rows: packed, uint8, shape (N, stride).
        labels: decoded, float32, shape (N, C).
        recorded: columns of the recorded views by name, shape (N, …); empty where there are none.
    """

    digest: str
    views: Views
    rows: Rows
    labels: Labels
    recorded: dict[str, NDArray[Any]]


def label_set_directory(name: str) -> Path:
    """One of `NAMES` as a label set's directory; to be read, not written."""
    return HERE / "label_sets" / name


def expected(name: str) -> Expected:
    """What must be read from the label set `name`."""
    found = load_file(HERE / "label_sets" / f"{name}.safetensors")
    return Expected(
        digest="sha256:" + found.pop("digest").tobytes().hex(),
        views=Views(found.pop("sample_ids"), found.pop("seeds")),
        rows=found.pop("rows"),
        labels=found.pop("labels"),
        recorded=found,
    )


def copy_data_directory(to: Path) -> None:
    """A copy that a service may write to."""
    original = HERE / "data_directory"
    for path in original.rglob("*"):
        if path.is_file():
            copy = to / path.relative_to(original)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


def as_tensors(one: Expected) -> dict[str, NDArray[Any]]:
    """What `expected` reads back."""
    return {
        "digest": np.frombuffer(bytes.fromhex(one.digest.removeprefix("sha256:")), np.uint8),
        "sample_ids": one.views.sample_ids,
        "seeds": one.views.seeds,
        "rows": one.rows,
        "labels": one.labels,
        **one.recorded,
    }
