"""DistillKit: Parquet files of byte strings, token by token, and their settings as YAML.

Everything is done one token and one number at a time: what is stored is rounded, put into bytes,
and put together again from the rounded numbers, which gives the truth.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import torch
import yaml

from tests.producers.formats.writers.recovery import scattered, spread
from tests.producers.formats.writers.truth import Truth, truth_of_views

Settings = dict[str, Any]
Row = dict[str, Any]

SCHEMA = pa.schema(
    [
        ("input_ids", pa.list_(pa.uint64())),
        ("compressed_logprobs", pa.list_(pa.list_(pa.uint8()))),
        ("bytepacked_indices", pa.list_(pa.list_(pa.uint8()))),
        ("messages", pa.string()),
    ]
)
# Settings that tests start from.
EXACT: Settings = {"d": 300, "k": 8, "exact_k": 8, "residual_bins": []}
BINS = [
    {"scale_dtype": "float32", "element_bits": 8, "num_elements": 5},
    {"scale_dtype": "float16", "element_bits": 4, "num_elements": 4},
    {"scale_dtype": "bfloat16", "element_bits": 1, "num_elements": 3},
]


def stored_as(number: float, dtype: str) -> tuple[float, bytes]:
    """A number as it comes back from a dtype, and its bytes."""
    value = torch.tensor([number], dtype=torch.float64).to(getattr(torch, dtype))
    return float(value), value.view(torch.uint8).numpy().tobytes()


def packed(numbers: Sequence[int], bits: int) -> bytes:
    """Integers as a string of bits, the highest first, filled up with zeros."""
    text = "".join(format(number, f"0{bits}b") for number in numbers)
    text += "0" * (-len(text) % 8)
    return bytes(int(text[at : at + 8], 2) for at in range(0, len(text), 8))


def term_value(term: int | str, point: float) -> float:
    """One term of the fit at one point."""
    if isinstance(term, int):
        return float(point**term)
    return {"sqrt": math.sqrt, "exp": math.exp}[term](point)


def encoded(logs: Sequence[float], settings: Settings) -> tuple[bytes, list[float]]:
    """The byte string of one token, and the log-probabilities that it holds."""
    values = list(logs)
    delta = settings.get("delta_encoding", True)
    if delta:
        values = [values[0]] + [b - a for a, b in pairwise(logs)]
    exact_k = settings["exact_k"]
    out, kept = b"", []
    for value in values[:exact_k]:
        number, data = stored_as(value, settings.get("exact_dtype", "float32"))
        out += data
        kept.append(number)
    tail = values[exact_k:]
    restored = [0.0] * len(tail)
    if terms := settings.get("polynomial_terms"):
        dtype = settings.get("term_dtype", "float32")
        last = max(len(tail) - 1, 1)
        points = [t / last if settings.get("normalize_t") else float(t) for t in range(len(tail))]
        table = [[term_value(term, point) for term in terms] for point in points]
        fit = np.zeros(len(terms))
        if tail:
            fit = np.linalg.lstsq(np.array(table), np.array(tail), rcond=None)[0]
        stored = [stored_as(value, dtype) for value in fit]
        out += b"".join(data for _, data in stored)
        for t, point in enumerate(points):
            rounded = stored_as(point, dtype)[0]
            products = [
                stored_as(number * stored_as(term_value(term, rounded), dtype)[0], dtype)[0]
                for (number, _), term in zip(stored, terms, strict=True)
            ]
            restored[t] = stored_as(sum(products), dtype)[0]
    at = 0
    for each in settings.get("residual_bins") or []:
        bits, count = each["element_bits"], each["num_elements"]
        places = range(at, at + count)
        residuals = [tail[place] - restored[place] for place in places]
        largest = max(abs(value) for value in residuals)
        low, high = (0, 1) if bits == 1 else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        scale, data = stored_as(
            (largest or 1.0) / (1 if bits == 1 else 2 ** (bits - 1)), each["scale_dtype"]
        )
        levels = [min(max(round(value / scale), low), high) - low for value in residuals]
        out += data + packed(levels, bits)
        for place, level in zip(places, levels, strict=True):
            restored[place] += (2 * level - 1 if bits == 1 else level + low) * scale
        at += count
    kept += restored
    if delta:
        kept = [sum(kept[: number + 1]) for number in range(len(kept))]
    return out, kept


def write_distillkit(
    directory: Path,
    settings: Settings,
    *,
    lengths: Sequence[int],
    seed: int = 0,
    recovery: Literal["zero", "spread"] = "zero",
    labels_missing: int = 0,
    per_file: int | None = None,
    row_group: int | None = None,
    spike: float = 4.0,
    edit: Callable[[list[Row]], None] | None = None,
) -> Truth:
    """Write sequences of made-up log-probabilities.

    Args:
        directory: that gets the Parquet files and `compression_config.yaml`.
        settings: as DistillKit takes them; what is left out has DistillKit's default.
        lengths: tokens of each sequence.
        seed: of the log-probabilities.
        recovery: what the labels of the truth give to the other tokens.
        labels_missing: at the end of each sequence, 0 or 1.
        per_file: sequences a file, named data_0.parquet, data_1.parquet and so on.
        row_group: sequences a row group.
        spike: added to the likeliest token's logit.
        edit: changes the rows before they are written, to damage them.
    """
    rng = np.random.default_rng(seed)
    d, k = settings["d"], settings["k"]
    rows: list[Row] = []
    sample_ids, seeds = [], []
    top_ids, top_values = [], []
    for sample, length in enumerate(lengths):
        row: Row = {"input_ids": rng.integers(0, d, length).tolist(), "messages": "[]"}
        row |= {"compressed_logprobs": [], "bytepacked_indices": []}
        for position in range(length - labels_missing):
            logits = rng.normal(0, 1.5, size=(d,))
            logits[rng.integers(d)] += spike
            logs = logits - np.log(np.exp(logits).sum())
            order = np.argsort(-logs)[:k].tolist()
            data, kept = encoded([float(logs[number]) for number in order], settings)
            indices = packed(order, math.ceil(math.log2(d)))
            row["compressed_logprobs"].append(list(data))
            row["bytepacked_indices"].append(list(indices))
            probabilities = [math.exp(value) for value in kept]
            total = max(sum(probabilities), 1.0)
            sample_ids.append(sample)
            seeds.append(position)
            top_ids.append(order)
            top_values.append([value / total for value in probabilities])
        rows.append(row)
    if edit is not None:
        edit(rows)
    write_rows(directory, rows, per_file=per_file, row_group=row_group)
    (directory / "compression_config.yaml").write_text(yaml.safe_dump(settings))
    ids, values = np.array(top_ids), np.array(top_values)
    return truth_of_views(
        sample_ids,
        seeds,
        labels=spread(ids, values, d) if recovery == "spread" else scattered(ids, values, d, 0.0),
        temperature=1.0,
        top_values=values,
        top_indices=ids,
    )


def write_rows(
    directory: Path,
    rows: list[Row],
    *,
    per_file: int | None = None,
    row_group: int | None = None,
    schema: Any = SCHEMA,
) -> None:
    """Write rows as data_0.parquet, data_1.parquet and so on."""
    directory.mkdir(parents=True, exist_ok=True)
    step = per_file or max(len(rows), 1)
    for number, start in enumerate(range(0, max(len(rows), 1), step)):
        table = pa.Table.from_pylist(rows[start : start + step], schema=schema)
        pq.write_table(table, directory / f"data_{number}.parquet", row_group_size=row_group)
