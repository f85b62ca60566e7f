"""The checksum of a subject, against bytes that are put together by hand from `labels.proto`."""

import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelcast import Representation, Views, wire
from labelcast.answer_subject import LabelSubject, representation_bytes, resolution_checksum
from labelcast.codec import Precision
from labelcast.identifiers import Digest, digest_from_hash
from labelcast.label_set import MissingViews, RowOrder, ViewIndex, index_of_cells
from labelcast.representation import Form
from labelcast.v2 import labels_pb2 as pb

ZEROS, LETTERS = digest_from_hash(bytes(32)), digest_from_hash(b"\xab" * 32)

# Form and precision (one byte each), k (uint32), temperature (float64), all little-endian.
CODES = bytes.fromhex("01 00 00000000 0000000000000000")
LOGITS_FP32 = bytes.fromhex("02 02 00000000 0000000000000000")
PROBABILITIES_FP16 = bytes.fromhex("03 01 00000000 0000000000000040")
TOP_5 = bytes.fromhex("04 01 05000000 000000000000f03f")

# Sample IDs 1, 2**63 and 2**64 - 1 with the seeds 0, 7 and 2**32 - 1.
IDS = bytes.fromhex("0100000000000000 0000000000000080 ffffffffffffffff")
SEEDS = bytes.fromhex("00000000 07000000 ffffffff")
VIEWS = Views.of([1, 2**63, 2**64 - 1], [0, 7, 2**32 - 1])
NOTHING = Views.of(np.zeros(0, np.uint64), np.zeros(0, np.uint32))


@pytest.mark.parametrize(
    ("digest", "representation", "canonical", "expected"),
    [
        # Golden: these numbers never change.
        (ZEROS, Representation.codes(), CODES, 0x695C3121),
        (LETTERS, Representation.logits(Precision.FP32), LOGITS_FP32, 0x9FCD93B3),
        (ZEROS, Representation.probabilities(2.0), PROBABILITIES_FP16, 0x66975F24),
        (LETTERS, Representation.top_k(5, 1.0), TOP_5, 0xED889E87),
    ],
)
def test_golden_labels(
    digest: Digest, representation: Representation, canonical: bytes, expected: int
) -> None:
    assert representation_bytes(representation) == canonical
    by_hand = zlib.crc32(b"\x01" + digest.encode() + canonical + IDS + SEEDS)
    assert by_hand == expected
    assert LabelSubject(digest, representation).checksum(VIEWS) == expected


def test_golden_resolution() -> None:
    asked, rows = Views.of([1, 5, 2**63], [3, 4, 9]), np.array([0, 2])
    found = Views.of([1, 2**63], [0, 7])
    by_hand = zlib.crc32(
        b"\x02"
        + LETTERS.encode()
        + b"\x03"
        + bytes.fromhex("0100000000000000 0500000000000000 0000000000000080")
        + bytes.fromhex("03000000 04000000 09000000")
        + bytes.fromhex("0000000000000000 0200000000000000")
        + bytes.fromhex("0100000000000000 0000000000000080")
        + bytes.fromhex("00000000 07000000")
    )
    assert by_hand == 0x8F8CF70D
    assert resolution_checksum(LETTERS, MissingViews.DRAW, asked, found, rows) == by_hand
    empty = zlib.crc32(b"\x02" + LETTERS.encode() + b"\x02" + IDS + SEEDS)
    none = np.zeros(0, np.int64)
    assert resolution_checksum(LETTERS, MissingViews.DROP, VIEWS, NOTHING, none) == empty


def test_no_rows_and_one() -> None:
    subject = LabelSubject(ZEROS, Representation.codes())
    preamble = b"\x01" + ZEROS.encode() + CODES
    assert subject.checksum(NOTHING) == zlib.crc32(preamble)
    assert subject.checksum(VIEWS[1:2]) == zlib.crc32(preamble + IDS[8:16] + SEEDS[4:8])


@pytest.mark.parametrize("form", Form)
def test_forms_have_the_numbers_of_the_schema(form: Form) -> None:
    representation = {
        Form.CODES: Representation.codes(),
        Form.LOGITS: Representation.logits(),
        Form.PROBABILITIES: Representation.probabilities(1.5, Precision.FP32),
        Form.TOP_K: Representation.top_k(3, 1.5),
    }[form]
    message = wire.representation_to_proto(representation)
    assert message.form == pb.Form.Value(f"FORM_{form.name}")
    if representation.precision is not None:
        assert message.precision == pb.Precision.Value(f"PRECISION_{representation.precision.name}")
    assert representation_bytes(representation)[:2] == bytes([message.form, message.precision])


@pytest.mark.parametrize("missing", MissingViews)
def test_rules_have_the_numbers_of_the_schema(missing: MissingViews) -> None:
    number = pb.Missing.Value(f"MISSING_{missing.name}")
    none = np.zeros(0, np.int64)
    by_hand = zlib.crc32(b"\x02" + ZEROS.encode() + bytes([number]))
    assert resolution_checksum(ZEROS, missing, NOTHING, NOTHING, none) == by_hand


def test_how_a_column_lies_in_memory_is_no_matter() -> None:
    subject = LabelSubject(ZEROS, Representation.codes())
    expected = subject.checksum(VIEWS)
    ids, seeds = VIEWS.sample_ids, VIEWS.seeds
    twice, thrice = np.repeat(ids, 2), np.repeat(seeds, 3)
    for column in (twice, thrice):
        column.flags.writeable = False
    spaced = Views(twice[::2], thrice[::3])
    assert not spaced.sample_ids.flags.c_contiguous
    assert subject.checksum(spaced) == expected
    assert subject.checksum(Views(ids[::-1].copy()[::-1], seeds[::-1].copy()[::-1])) == expected
    assert subject.checksum(Views.of(ids.astype(">u8"), seeds.astype(">u4"))) == expected
    shared = Views(np.broadcast_to(ids[:1], 3), np.broadcast_to(seeds[1:2], 3))
    by_hand = zlib.crc32(b"\x01" + ZEROS.encode() + CODES + IDS[:8] * 3 + SEEDS[4:8] * 3)
    assert subject.checksum(shared) == by_hand


@given(
    ids=st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=20, unique=True),
    data=st.data(),
)
def test_every_other_order_and_every_shift_shows(ids: list[int], data: st.DataObject) -> None:
    subject = LabelSubject(ZEROS, Representation.codes())
    views = Views.of(np.array(ids, np.uint64), 0)
    shift = data.draw(st.integers(1, len(ids) - 1))
    assert subject.checksum(views[np.roll(np.arange(len(ids)), shift)]) != subject.checksum(views)
    for other in (
        LabelSubject(LETTERS, Representation.codes()),
        LabelSubject(ZEROS, Representation.logits()),
        LabelSubject(ZEROS, Representation.probabilities(1.0)),
        LabelSubject(ZEROS, Representation.probabilities(1.5)),
        LabelSubject(ZEROS, Representation.top_k(1, 1.0)),
        LabelSubject(ZEROS, Representation.top_k(2, 1.0)),
    ):
        assert other.checksum(views) != subject.checksum(views)


@st.composite
def indexes(draw: st.DrawFn) -> ViewIndex:
    """Segments of either row order, whole or not, that share samples and no seed."""
    segments = []
    for number in range(draw(st.integers(1, 4))):
        # The same few IDs occur in several segments; the largest does not fit int64.
        pool = st.sampled_from([0, 1, 7, 2**40, 2**63, 2**64 - 1])
        samples = np.array(sorted(draw(st.sets(pool, min_size=1))), "u8")
        low = number * 2**30
        seeds = draw(st.sets(st.integers(low, low + 2**30 - 1), min_size=1, max_size=5))
        present: Any = None
        if draw(st.booleans()):
            cells = st.integers(0, len(samples) * len(seeds) - 1)
            present = np.array(sorted(draw(st.sets(cells, min_size=1))), np.int64)
        order = draw(st.sampled_from(RowOrder))
        segments.append(index_of_cells(samples, np.array(sorted(seeds), "u4"), order, present))
    return ViewIndex(segments)


@given(index=indexes(), data=st.data())
def test_what_was_found_gives_back_what_was_asked(index: ViewIndex, data: st.DataObject) -> None:
    """Over segments, row orders and absent views, repeated and in any order."""
    every = [segment.views() for segment in index.segments]
    ids = np.concatenate([views.sample_ids for views in every])
    seeds = np.concatenate([views.seeds for views in every])
    at = np.array(data.draw(st.lists(st.integers(0, len(ids) - 1), max_size=40)), np.intp)
    asked = Views(ids[at], seeds[at])
    found = index.views_at(*index.locate(asked))
    assert found.sample_ids.tolist() == asked.sample_ids.tolist()
    assert found.seeds.tolist() == asked.seeds.tolist()
