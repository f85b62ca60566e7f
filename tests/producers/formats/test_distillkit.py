"""DistillKit's Parquet files: every label, whatever the settings; and every way to be wrong."""

import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from labelcast.augmentation import PositionPolicy
from labelcast.codec import LabelKind
from labelcast.codec.sparse.distillkit.decompress import unpack_integers
from labelcast.codec.topk import Recovery
from labelcast.errors import InvalidRequestError, LabelFileError
from labelcast.label_set import RowOrder
from labelcast_producers.formats.distillkit import DistillKitImporter, DistillKitSource
from labelcast_producers.formats.distillkit import source as scanned
from labelcast_producers.formats.distillkit.config import settings_beside
from labelcast_producers.formats.distillkit.parquet import SequenceFile, Sequences
from labelcast_producers.formats.importing import Import
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
from tests.producers.formats.writers.truth import Truth

ZERO = ImportOptions(recovery=Recovery.ZERO)
TAIL: Settings = {"d": 300, "k": 20, "exact_k": 4, "residual_bins": []}
CASES: dict[str, Settings] = {
    "exact": EXACT,
    "exact-float16": EXACT | {"exact_dtype": "float16"},
    "exact-bfloat16": EXACT | {"exact_dtype": "bfloat16", "delta_encoding": False},
    "exact-bfloat16-delta": EXACT | {"exact_dtype": "bfloat16"},
    "exact-float64": EXACT | {"exact_dtype": "float64", "delta_encoding": False},
    "one-class": EXACT | {"k": 1, "exact_k": 1},
    "whole-vocabulary": EXACT | {"d": 8},
    "power-of-two": EXACT | {"d": 256},
    "wide-indices": EXACT | {"d": 70_000, "k": 3, "exact_k": 3},
    "powers": TAIL | {"polynomial_terms": [0, 1, 2]},
    "powers-plain": TAIL | {"polynomial_terms": [0, 1, 2], "delta_encoding": False},
    "sqrt": TAIL | {"polynomial_terms": [0, 1, "sqrt"], "delta_encoding": False},
    "normalised": TAIL | {"polynomial_terms": [0, 1, "exp", "sqrt"], "normalize_t": True},
    "float16-terms": TAIL | {"polynomial_terms": [0, 1], "term_dtype": "float16"},
    "bfloat16-terms": TAIL | {"polynomial_terms": [0, "sqrt"], "term_dtype": "bfloat16"},
    "float64-terms": TAIL | {"polynomial_terms": [1, 0, 3], "term_dtype": "float64"},
    "bins": TAIL | {"residual_bins": BINS, "polynomial_terms": None},
    "bins-plain": TAIL
    | {
        "residual_bins": [{"scale_dtype": "float32", "element_bits": 8, "num_elements": 16}],
        "delta_encoding": False,
    },
    "all": TAIL | {"polynomial_terms": [0, 1, "sqrt"], "residual_bins": BINS},
    "all-plain": TAIL
    | {"polynomial_terms": [0, 1, "sqrt"], "residual_bins": BINS, "delta_encoding": False},
    "nothing-exact": TAIL | {"exact_k": 0, "polynomial_terms": [0, 1], "residual_bins": BINS},
    "no-tail": EXACT | {"polynomial_terms": [0, 1]},
    "diffused": TAIL | {"residual_bins": BINS, "error_diffusion": True},
}


def opened(path: Path, options: ImportOptions = ZERO) -> DistillKitSource:
    return open_own(DistillKitImporter(), path, options)


def check(source: DistillKitSource, truth: Truth) -> None:
    """Every label is there once, in its place, and as close as fp16 can tell."""
    index = source.facts.index
    rows = np.concatenate([part.rows for part in source.parts])
    assert rows.tolist() == list(range(len(truth)))
    assert index.num_rows == len(truth)
    assert truth.top_indices is not None
    for part in source.parts:
        views = index.views_at(part.rows)
        at = [
            truth.row(int(sample), int(seed))
            for sample, seed in zip(views.sample_ids, views.seeds, strict=True)
        ]
        labels = source.read(part)
        assert labels.dtype == np.float32
        np.testing.assert_allclose(labels, truth.labels[at], rtol=2**-11, atol=2**-24)
        ids, probabilities = source.read_top_k(part)
        assert ids.dtype == np.int64
        assert ids.tolist() == truth.top_indices[at].tolist()
        assert probabilities.dtype == np.float32
        np.testing.assert_array_equal(np.take_along_axis(labels, ids, axis=1), probabilities)


@pytest.mark.parametrize("name", CASES)
def test_every_label_of_every_setting(tmp_path: Path, name: str) -> None:
    truth = write_distillkit(tmp_path, CASES[name], lengths=[5, 3, 7])

    source = opened(tmp_path)

    check(source, truth)
    facts = source.facts
    assert (facts.format, facts.num_classes) == ("distillkit", CASES[name]["d"])
    assert facts.label_kind is LabelKind.PROBABILITIES
    assert facts.temperature == 1
    assert facts.top_k is not None
    assert (facts.top_k.k, facts.top_k.recovery) == (CASES[name]["k"], Recovery.ZERO)
    assert isinstance(facts.policy, PositionPolicy)
    assert facts.index.row_order is RowOrder.SAMPLE_MAJOR
    assert source.records() is None


@pytest.mark.parametrize("name", ["exact", "all", "whole-vocabulary"])
def test_spread_over_the_others(tmp_path: Path, name: str) -> None:
    truth = write_distillkit(tmp_path, CASES[name], lengths=[4, 2], recovery="spread")

    source = opened(tmp_path, ImportOptions(recovery=Recovery.SPREAD, temperature=1.0))

    check(source, truth)
    np.testing.assert_allclose(source.read(source.parts[0]).sum(axis=1), 1, atol=1e-5)


def test_renormalise(tmp_path: Path) -> None:
    truth = write_distillkit(tmp_path, CASES["bins"], lengths=[4, 2])
    truth = replace(truth, labels=truth.labels / truth.labels.sum(axis=1, keepdims=True))

    check(opened(tmp_path, ImportOptions(recovery=Recovery.RENORMALISE)), truth)


def test_sequences_of_one_length_fill_the_grid(tmp_path: Path) -> None:
    truth = write_distillkit(tmp_path, EXACT, lengths=[4, 4, 4])

    source = opened(tmp_path)

    assert source.facts.index.present is None
    assert not any("no label at their last" in note for note in source.facts.notes)
    check(source, truth)


def test_the_last_token_may_lack_a_label(tmp_path: Path) -> None:
    """As vLLM gives no log-probabilities behind the last token of a prompt."""
    truth = write_distillkit(tmp_path, EXACT, lengths=[4, 1, 6], labels_missing=1)

    source = opened(tmp_path)

    assert source.facts.index.sample_ids.tolist() == [0, 2]
    assert any("3 sequences have no label at their last token" in n for n in source.facts.notes)
    assert any("1 sequences have no labels at all" in note for note in source.facts.notes)
    check(source, truth)


def test_files_are_ordered_by_their_numbers(tmp_path: Path) -> None:
    truth = write_distillkit(tmp_path, EXACT, lengths=[2, 1, 3] * 4, per_file=1)

    source = opened(tmp_path)

    assert any("2 comes before 10" in note for note in source.facts.notes)
    assert [part.path.name for part in source.parts[1:4]] == [
        f"data_{n}.parquet" for n in (1, 2, 3)
    ]
    check(source, truth)


def test_a_single_file(tmp_path: Path) -> None:
    truth = write_distillkit(tmp_path, EXACT, lengths=[2, 3])

    check(opened(tmp_path / "data_0.parquet"), truth)


@pytest.mark.parametrize("rows_per_part", [1, 3, 50])
@pytest.mark.parametrize("batch_bytes", [1, 400, 2**20])
def test_parts_of_any_size_and_in_any_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_per_part: int, batch_bytes: int
) -> None:
    monkeypatch.setattr(scanned, "_PART_BYTES", rows_per_part * 4 * EXACT["d"])
    monkeypatch.setattr("labelcast_producers.formats.distillkit.parquet._BATCH_BYTES", batch_bytes)
    monkeypatch.setattr(scanned, "_CHUNK_VALUES", 3 * EXACT["k"])
    truth = write_distillkit(
        tmp_path, EXACT, lengths=[7, 1, 1, 4, 9, 2], per_file=4, row_group=2, labels_missing=1
    )
    source = opened(tmp_path)

    assert all(len(part.rows) <= rows_per_part for part in source.parts)
    check(source, truth)
    backwards = [source.read_top_k(part)[0] for part in reversed(source.parts)]
    assert truth.top_indices is not None
    np.testing.assert_array_equal(np.concatenate(backwards[::-1]), truth.top_indices)
    assert source.parts[-1].rows[-1] == len(truth) - 1
    with pytest.raises(IndexError):
        source.parts[len(source.parts)]


def test_a_reader_goes_over_a_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanned, "_PART_BYTES", 4 * EXACT["d"])
    write_distillkit(tmp_path, EXACT, lengths=[3] * 6, per_file=3)
    source = opened(tmp_path)
    runs: list[str] = []
    sequences = SequenceFile.sequences

    def counted(self: SequenceFile, first_row: int = 0) -> Iterator[Sequences]:
        runs.append(self.path.name)
        return sequences(self, first_row)

    monkeypatch.setattr(SequenceFile, "sequences", counted)

    for part in source.parts:
        source.read_top_k(part)

    assert runs == ["data_0.parquet", "data_1.parquet"]


def test_sums_of_slightly_above_one_are_scaled_and_told(tmp_path: Path) -> None:
    def add_half_a_percent(rows: list[Row]) -> None:
        for row in rows:
            row["compressed_logprobs"][1] = list(struct.pack("<2f", *np.log([0.5025, 0.5025])))

    settings = EXACT | {"k": 2, "exact_k": 2, "delta_encoding": False}
    write_distillkit(tmp_path, settings, lengths=[3, 3], edit=add_half_a_percent)

    source = opened(tmp_path)

    note = "2 of 6 labels sum to above 1 by rounding or by the fit to their tail, up to 1.0050"
    assert any(note in each for each in source.facts.notes)
    np.testing.assert_allclose(source.read(source.parts[0])[[1, 4]].sum(axis=1), 1, atol=1e-6)


def test_what_inspect_shows(tmp_path: Path) -> None:
    write_distillkit(tmp_path, CASES["all"], lengths=[5, 3], per_file=1)

    finding = finding_of(DistillKitImporter(), tmp_path)

    assert finding.format == DistillKitImporter.name == "distillkit"
    stored = finding.inside["bytes_per_token"].pop("stored")
    assert stored > 0
    assert finding.inside == {
        "files": 2,
        "sequences": 2,
        "tokens": 8,
        "classes": 300,
        "k": 20,
        "exact_k": 4,
        "bytes_per_token": {"log_probabilities": 16 + 12 + 4 + 5 + 2 + 2 + 2 + 1, "indices": 23},
    }
    assert "--recovery" in finding.missing[0]
    assert finding.foreign == ()


def test_lists_with_wide_offsets(tmp_path: Path) -> None:
    """As data-set libraries write them when they copy a cache."""
    truth = write_distillkit(tmp_path, EXACT, lengths=[3, 2])
    path = tmp_path / "data_0.parquet"
    wide = pa.large_list(pa.large_list(pa.uint8()))
    schema = pa.schema(
        [
            ("compressed_logprobs", wide),
            ("bytepacked_indices", wide),
            ("input_ids", pa.list_(pa.int32())),
        ]
    )
    rows = pq.read_table(path).to_pylist()
    write_rows(tmp_path, rows, schema=schema)

    check(opened(tmp_path), truth)


def test_where_settings_may_lie(tmp_path: Path) -> None:
    truth = write_distillkit(tmp_path, EXACT, lengths=[2])
    written = tmp_path / "compression_config.yaml"
    nested = {"teacher": {"kind": "dataset", "logprob_compressor": EXACT}, "epochs": 3}

    written.unlink()
    (tmp_path / "unrelated.yml").write_text("a: 1")
    finding = finding_of(DistillKitImporter(), tmp_path)
    assert any("compression_config.yaml" in line for line in finding.missing)
    with pytest.raises(LabelFileError, match=r"no compression_config\.yaml"):
        DistillKitImporter().open(tmp_path, ZERO)

    (tmp_path / "training.yaml").write_text(yaml.safe_dump(nested))
    check(opened(tmp_path), truth)
    (tmp_path / "other.yml").write_text(yaml.safe_dump(EXACT))
    with pytest.raises(LabelFileError, match=r"several .* in other\.yml, training\.yaml"):
        opened(tmp_path)
    written.write_text(yaml.safe_dump(nested))
    check(opened(tmp_path), truth)
    (tmp_path / "training.yaml").write_text("#" * (2**20 + 1))
    assert settings_beside(tmp_path) is not None


@given(st.data())
def test_integers_of_any_width(data: st.DataObject) -> None:
    bits = data.draw(st.integers(1, 32))
    count = data.draw(st.integers(1, 20))
    one = st.lists(st.integers(0, 2**bits - 1), min_size=count, max_size=count)
    rows = data.draw(st.lists(one, min_size=0, max_size=4))
    stored = np.array([list(packed(row, bits)) for row in rows], dtype=np.uint8)
    stored = stored.reshape(len(rows), -(-bits * count // 8))

    assert unpack_integers(stored, bits=bits, count=count).tolist() == rows


def test_tokens_travel_along(tmp_path: Path) -> None:
    write_distillkit(tmp_path / "files", EXACT, lengths=[4, 1, 6], per_file=2, labels_missing=1)
    labels = Import.open(tmp_path / "files", ZERO)
    assert any("sample IDs are rows of the Parquet files" in note for note in labels.notes)
    labels.write_input_ids(tmp_path / "out" / "tokens.parquet")
    files = [pq.read_table(tmp_path / "files" / f"data_{number}.parquet") for number in (0, 1)]
    expected = [tokens for file in files for tokens in file["input_ids"].to_pylist()]
    found = pq.read_table(tmp_path / "out" / "tokens.parquet")
    assert found["sample_id"].to_pylist() == [0, 1, 2]
    assert found["input_ids"].to_pylist() == expected
    with pytest.raises(InvalidRequestError, match="among the imported files"):
        labels.write_input_ids(tmp_path / "files" / "tokens.parquet")
    # The second sequence has no labels, but its tokens.
    assert labels.facts.index.sample_ids.tolist() == [0, 2]


def test_other_files_have_no_tokens(tmp_path: Path) -> None:
    np.save(tmp_path / "labels.npy", np.random.default_rng(0).normal(0, 3, (4, 5)).astype("f4"))
    with pytest.raises(InvalidRequestError, match="hold no tokens; leave --input-ids out"):
        Import.open(tmp_path / "labels.npy").write_input_ids(tmp_path / "tokens.parquet")


def copies_told(directory: Path) -> list[str]:
    notes = DistillKitImporter().open(directory, ZERO).facts.notes
    return [note for note in notes if "the very labels" in note]


def test_a_copied_file_is_told(tmp_path: Path) -> None:
    write_distillkit(tmp_path, EXACT, lengths=[3, 4, 2, 5], per_file=2)
    first, second = sorted(tmp_path.glob("*.parquet"))
    assert not copies_told(tmp_path)
    second.write_bytes(first.read_bytes())
    (told,) = copies_told(tmp_path)
    assert told.startswith(f"{second.name} holds the very labels of {first.name}: if it was copied")
    second.unlink()
    assert not copies_told(tmp_path)
