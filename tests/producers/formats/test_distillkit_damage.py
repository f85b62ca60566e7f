"""DistillKit's Parquet files that cannot be used: each is refused, and what is wrong is named."""

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pytest
import yaml

from labelcast.codec import LabelKind
from labelcast.codec.topk import Recovery
from labelcast.errors import DataError, InvalidRequestError, LabelFileError, LabelValueError
from labelcast_producers.formats.distillkit import DistillKitImporter, DistillKitSource
from labelcast_producers.formats.source import ImportOptions
from tests.producers.formats.truth_checks import finding_of, open_own
from tests.producers.formats.writers.distillkit import (
    BINS,
    EXACT,
    Row,
    Settings,
    packed,
    write_distillkit,
    write_rows,
)

ZERO = ImportOptions(recovery=Recovery.ZERO)


def opened(path: Path, options: ImportOptions = ZERO) -> DistillKitSource:
    return open_own(DistillKitImporter(), path, options)


def test_other_files_are_not_ours(tmp_path: Path) -> None:
    importer = DistillKitImporter()
    assert importer.detect(tmp_path) is None
    assert importer.detect(tmp_path / "nothing") is None
    (tmp_path / "note.txt").write_text("no labels")
    assert importer.detect(tmp_path / "note.txt") is None
    (tmp_path / "other.parquet").write_bytes(b"PAR1 or not")
    assert importer.detect(tmp_path) is None
    with pytest.raises(LabelFileError, match=r"other\.parquet is not DistillKit's"):
        importer.open(tmp_path, ZERO)
    (tmp_path / "other.parquet").unlink()
    with pytest.raises(LabelFileError, match="has no Parquet file"):
        importer.open(tmp_path, ZERO)


def test_another_schema_among_ours(tmp_path: Path) -> None:
    write_distillkit(tmp_path, EXACT, lengths=[2])
    schema = pa.schema([("input_ids", pa.list_(pa.uint64()))])
    write_rows(tmp_path / "other", [{"input_ids": [1]}], schema=schema)
    (tmp_path / "other" / "data_0.parquet").rename(tmp_path / "tokens.parquet")

    finding = finding_of(DistillKitImporter(), tmp_path)

    assert finding.foreign == ("tokens.parquet",)
    with pytest.raises(LabelFileError, match=r"tokens\.parquet is not DistillKit's"):
        DistillKitImporter().open(tmp_path, ZERO)


def test_legacy_columns_and_missing_tokens(tmp_path: Path) -> None:
    nested = pa.list_(pa.list_(pa.float32()))
    schema = pa.schema([(name, nested) for name in ("packed_indices", "exact_values", "coeffs")])
    write_rows(tmp_path, [], schema=schema)
    (tmp_path / "compression_config.yaml").write_text(yaml.safe_dump(EXACT))
    with pytest.raises(LabelFileError, match="legacy compression"):
        DistillKitImporter().detect(tmp_path)

    nested = pa.list_(pa.list_(pa.uint8()))
    schema = pa.schema([(name, nested) for name in ("compressed_logprobs", "bytepacked_indices")])
    write_rows(tmp_path, [], schema=schema)
    with pytest.raises(LabelFileError, match="column input_ids is not a list of integers"):
        DistillKitImporter().open(tmp_path, ZERO)


def _floats(*values: float) -> list[int]:
    return list(struct.pack(f"<{len(values)}f", *values))


def _set(column: str, value: Any, token: int | None = 2) -> Callable[[list[Row]], None]:
    def edit(rows: list[Row]) -> None:
        if token is None:
            rows[1][column] = value
        else:
            rows[1][column][token] = value(rows[1][column][token]) if callable(value) else value

    return edit


VALUES, INDICES = "compressed_logprobs", "bytepacked_indices"
LOW = _floats(*[-200.0] * 8)
DAMAGE: dict[str, tuple[Callable[[list[Row]], None], type[DataError], str]] = {
    "short value bytes": (_set(VALUES, [0] * 31), LabelFileError, "token 2: 31 bytes in comp"),
    "long index bytes": (_set(INDICES, [0] * 10), LabelFileError, "token 2: 10 bytes in bytep"),
    "null string": (_set(VALUES, None), LabelFileError, "token 2: no bytes in compressed"),
    "null byte": (_set(INDICES, lambda old: [*old[:-1], None]), LabelFileError, "token 2: a byte"),
    "null values": (_set(VALUES, None, None), LabelFileError, "row 1: compressed_logprobs is null"),
    "null tokens": (_set("input_ids", None, None), LabelFileError, "row 1: input_ids is null"),
    "too many tokens": (_set("input_ids", [1] * 7, None), LabelFileError, "7 tokens but 4 labels"),
    "too few tokens": (_set("input_ids", [1] * 3, None), LabelFileError, "3 tokens but 4 labels"),
    "no strings": (_set(VALUES, [], None), LabelFileError, "0 byte strings in compressed_logprobs"),
    "index": (
        _set(INDICES, list(packed([1, 2, 3, 300, 4, 5, 6, 7], 9))),
        LabelFileError,
        "token 2: index 300 is outside the 300",
    ),
    "index twice": (
        _set(INDICES, list(packed([1, 2, 3, 9, 4, 5, 9, 7], 9))),
        LabelFileError,
        "token 2: an index comes twice",
    ),
    "NaN": (_set(VALUES, _floats(-1, *[np.nan] * 7)), LabelValueError, "token 2: a log-prob"),
    "infinity": (_set(VALUES, _floats(*[-np.inf] * 8)), LabelValueError, "token 2: a log-prob"),
    "above 1": (_set(VALUES, _floats(*[-0.5] + [0.0] * 7)), LabelValueError, "sum to 4.852"),
    "overflow": (_set(VALUES, _floats(*[1e30] * 8)), LabelValueError, "token 2: probabilities sum"),
    "nothing": (_set(VALUES, LOW), LabelValueError, "token 2: no log-probability"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named(tmp_path: Path, name: str) -> None:
    edit, error, message = DAMAGE[name]
    write_distillkit(tmp_path, EXACT, lengths=[3, 4, 2], edit=edit)

    with pytest.raises(error, match=message) as raised:
        opened(tmp_path)

    assert f"{tmp_path / 'data_0.parquet'}: row 1" in raised.value.message


def test_sums_above_one_are_divided_as_the_trainer_does(tmp_path: Path) -> None:
    edit, *_ = DAMAGE["above 1"]
    write_distillkit(tmp_path, EXACT, lengths=[3, 4, 2], edit=edit)
    with pytest.raises(LabelValueError, match=r"--recovery renormalise divides by the sum"):
        opened(tmp_path)

    source = opened(tmp_path, ImportOptions(recovery=Recovery.RENORMALISE))

    np.testing.assert_allclose(source.read(source.parts[0]).sum(axis=1), 1, atol=1e-6)


def test_no_labels_at_all(tmp_path: Path) -> None:
    write_distillkit(tmp_path, EXACT, lengths=[1], labels_missing=1)
    with pytest.raises(LabelFileError, match="not one sequence has labels"):
        opened(tmp_path)
    write_rows(tmp_path, [])
    with pytest.raises(LabelFileError, match="not one sequence has labels"):
        opened(tmp_path)


def test_every_truncation_is_named(tmp_path: Path) -> None:
    write_distillkit(tmp_path, EXACT, lengths=[3, 2])
    path = tmp_path / "data_0.parquet"
    content = path.read_bytes()
    for length in range(0, len(content), 37):
        path.write_bytes(content[:length])
        with pytest.raises(LabelFileError, match=r"data_0\.parquet: is no Parquet file"):
            DistillKitImporter().open(tmp_path, ZERO)
        with pytest.raises(LabelFileError, match=r"data_0\.parquet: is no Parquet file"):
            DistillKitImporter().detect(tmp_path)


def test_names_that_are_no_text(tmp_path: Path) -> None:
    write_distillkit(tmp_path, EXACT, lengths=[3, 2])
    path = tmp_path / "data_0.parquet"
    path.write_bytes(path.read_bytes().replace(b"messages", b"messa\xe7es"))

    with pytest.raises(LabelFileError, match=r"data_0\.parquet: is no Parquet file"):
        DistillKitImporter().open(tmp_path, ZERO)


def test_a_file_that_changes_after_the_scan(tmp_path: Path) -> None:
    write_distillkit(tmp_path, EXACT, lengths=[3, 2])
    source = opened(tmp_path)

    write_distillkit(tmp_path, EXACT, lengths=[3, 1])
    with pytest.raises(LabelFileError, match="changed since it was scanned"):
        source.read(source.parts[0])
    write_distillkit(tmp_path, EXACT, lengths=[3])
    with pytest.raises(LabelFileError, match="changed since it was scanned"):
        source.read(source.parts[0])
    (tmp_path / "data_0.parquet").unlink()
    with pytest.raises(LabelFileError, match=r"data_0\.parquet"):
        source.read(source.parts[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ImportOptions(), "--recovery renormalise"),
        (replace(ZERO, temperature=2.0), "temperature 1"),
        (replace(ZERO, label_kind=LabelKind.LOGITS), "keeps probabilities"),
        (replace(ZERO, images=Path("images")), "no images"),
        (replace(ZERO, num_samples=3), "holds 2 sequences"),
        (replace(ZERO, class_names=("a", "b")), "2 class names for a vocabulary of 300"),
    ],
)
def test_options_that_are_missing_or_wrong(
    tmp_path: Path, options: ImportOptions, message: str
) -> None:
    write_distillkit(tmp_path, EXACT, lengths=[2, 2])

    with pytest.raises(InvalidRequestError, match=message):
        opened(tmp_path, options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kk": 1, "vocabulary": 2}, r"unknown keys \['kk', 'vocabulary'\]"),
        ({"exact_k": ...}, r"keys missing: \['exact_k'\]"),
        ({"k": True}, "k is True, not a whole number"),
        ({"k": 0}, "k is 0, not a whole number"),
        ({"d": "300"}, "d is '300', not"),
        ({"d": 7}, "k is 8, more than the 7 of d"),
        ({"exact_k": 9}, "exact_k is 9, not a whole number from 0 to 8"),
        ({"exact_k": 4}, "no polynomial_terms or residual_bins"),
        ({"exact_dtype": "int8"}, "exact_dtype is 'int8', not one of float16"),
        ({"polynomial_terms": ["cube"]}, "polynomial term 'cube'"),
        ({"polynomial_terms": [-1]}, "polynomial term -1"),
        ({"polynomial_terms": [True]}, "polynomial term True"),
        ({"polynomial_terms": 3}, "polynomial_terms is 3, not a list"),
        ({"delta_encoding": 1}, "delta_encoding is 1, not true or false"),
        ({"residual_bins": [3]}, "list of mappings"),
        ({"residual_bins": [{"bits": 3}]}, "unknown keys"),
        ({"residual_bins": [BINS[0] | {"element_bits": 33}]}, "element_bits is 33"),
        ({"residual_bins": BINS}, "more than k - exact_k"),
        ({"polynomial_degree": 3}, "legacy compression"),
    ],
)
def test_settings_that_are_wrong(tmp_path: Path, change: Settings, message: str) -> None:
    write_distillkit(tmp_path, EXACT, lengths=[2])
    settings = {name: value for name, value in (EXACT | change).items() if value is not ...}
    (tmp_path / "compression_config.yaml").write_text(yaml.safe_dump(settings))

    with pytest.raises(LabelFileError, match=message) as raised:
        opened(tmp_path)

    assert "compression_config.yaml" in raised.value.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("d: [", "is no readable YAML"),
        ("[" * 100_000, "is no readable YAML"),
        ("when: 2024-99-99", "is no readable YAML"),
        ("!!python/object/apply:os.getcwd []", "is no readable YAML"),
        ("", "no mapping with d and k"),
        ("d: 300", "no mapping with d and k"),
        ("a: {polynomial_degree: 3, k: 8}", "legacy compression"),
        ("x: &x [*x, {d: 3, k: 2}]\ny: {d: 3, k: 1}", "several compression settings"),
    ],
)
def test_settings_that_cannot_be_read(tmp_path: Path, text: str, message: str) -> None:
    write_distillkit(tmp_path, EXACT, lengths=[2])
    (tmp_path / "compression_config.yaml").write_text(text)

    with pytest.raises(LabelFileError, match=message) as raised:
        DistillKitImporter().open(tmp_path, ZERO)

    assert "\n" not in raised.value.message
