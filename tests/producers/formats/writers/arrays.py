"""Plain arrays of labels, (N, C) or (seeds, N, C), as anyone may have saved them."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray
from safetensors.numpy import save_file

from tests.producers.formats.writers.tables import write_table
from tests.producers.formats.writers.truth import Truth, truth_of_views
from tests.producers.formats.writers.views import ViewDraws

Container = Literal["npy", "npz", "safetensors", "parquet"]


def write_arrays(
    directory: Path,
    *,
    container: Container,
    samples: int,
    classes: int,
    epochs: int | None = None,
    seed: int = 0,
    label_kind: Literal["logits", "probabilities"] = "logits",
    temperature: float = 1.0,
    dtype: DTypeLike = np.float32,
    name: str = "labels",
    with_ids: bool = False,
) -> Truth:
    """Write `{name}.{container}`.

    Named containers hold the labels as `name`, and `sample_ids` where asked for. Parquet has a row
    for each view: a list column `name`, an int64 `seed` where there are seeds, and `sample_id`.

    Args:
        directory: that gets the file.
        container: of the array.
        samples, classes: N and C.
        epochs: seeds of a (seeds, N, C) array; None for (N, C).
        seed: of all that is drawn.
        label_kind: what the array holds.
        temperature: of probabilities.
        dtype: of the array.
        name: of the file and of what it holds.
        with_ids: write sparse, unsorted sample IDs too. An .npy has no place for them.
    """
    draws = ViewDraws(samples, classes, seed, stream=11)
    rows = range(samples)
    seeds = 1 if epochs is None else epochs
    values = np.stack([draws.logits(rows).numpy() for _ in range(seeds)])
    if label_kind == "probabilities":
        powers = np.exp(values / temperature)
        values = powers / powers.sum(axis=-1, keepdims=True)
    stored = values.astype(dtype)
    ids = draws.rng.permutation(10**6 + 17 * np.arange(samples)) if with_ids else np.arange(samples)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.{container}"
    _save(path, container, name, stored if epochs is not None else stored[0], ids, with_ids)
    return truth_of_views(
        np.tile(ids, seeds).tolist(),
        np.repeat(np.arange(seeds), samples).tolist(),
        labels=stored.reshape(-1, classes),
        label_kind=label_kind,
        temperature=temperature if label_kind == "probabilities" else None,
    )


def _save(
    path: Path,
    container: Container,
    name: str,
    stored: NDArray[Any],
    ids: NDArray[np.int64],
    with_ids: bool,
) -> None:
    arrays = {name: stored} | ({"sample_ids": ids} if with_ids else {})
    if container == "npy":
        np.save(path, stored)
    elif container == "npz":
        # A name that is a variable cannot be told from numpy's own keyword for pickling.
        np.savez(path, **arrays)  # type: ignore[arg-type]
    elif container == "safetensors":
        save_file({key: np.ascontiguousarray(array) for key, array in arrays.items()}, path)
    else:
        seeds = stored.shape[0] if stored.ndim == 3 else 1
        columns: dict[str, Any] = {"sample_id": np.tile(ids, seeds).tolist()}
        if stored.ndim == 3:
            columns["seed"] = np.repeat(np.arange(seeds), len(ids)).tolist()
        columns[name] = list(stored.reshape(-1, stored.shape[-1]))
        write_table(
            path,
            columns,
            {"sample_id": ("int64", 0), "seed": ("int64", 0), name: (stored.dtype.name, 1)},
        )
