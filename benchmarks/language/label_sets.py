"""The label set of a point, encoded from the exact labels, and what it costs."""

import shutil
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.language.corpus import Sequences
from benchmarks.language.memory import peak_rss_bytes
from benchmarks.language.place import Place
from benchmarks.language.points import DENSE, HARD, Point
from labelcast.codec import Rows
from labelcast.codec.latent import LatentCodec
from labelcast.codec.sparse import SparseCodec
from labelcast.label_set.fingerprints.hashing import token_fingerprint
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.views import Views
from labelcast_producers.encoding.sequence_set import SequenceSet, write_sequence_set
from labelcast_producers.encoding.tokens.base import Takes
from labelcast_producers.encoding.tokens.through_head import ThroughHead
from labelcast_producers.relabel.language.chosen_encoder import choose_token_encoder

_TEMPERATURE = 1.0
# States that scales of channels are taken from.
_CALIBRATED_ON = 1024
# Tokens that are encoded and decoded at a time.
BLOCK = 1024
# Tokens whose decoding is timed.
_READ, _DECODED = 8192, 1024


def make_labels(point: Point, place: Place) -> dict[str, Any]:
    """Encode the labels of a point, if there is something to encode.

    Returns:
        Sizes, speeds and memory; JSON values.
    """
    if point.name == HARD:
        return {"payload_bytes_per_token": 0}
    encode_seconds = None
    if point.codec is not None:
        encode_seconds = _encode(point, place)
    encoding_peak = peak_rss_bytes()
    label_set = place.label_set(point)
    tokens = len(place.train.tokens)
    return {
        **_sizes(label_set, tokens),
        "encode_tokens_per_second": None if encode_seconds is None else tokens / encode_seconds,
        "encode_peak_rss_bytes": None if point.name == DENSE else encoding_peak,
        **_decode_speeds(label_set, place.train),
    }


def views_of(numbers: NDArray[np.int64], lengths: NDArray[np.int64]) -> Views:
    """All positions of some sequences.

    Args:
        numbers: shape (n,): which sequences.
        lengths: shape (n,): positions of each.
    """
    samples = np.repeat(numbers, lengths).astype(np.uint64)
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    return Views.of(samples, (np.arange(len(samples)) - starts).astype(np.uint32))


def _encode(point: Point, place: Place) -> float:
    """Write the label set: seconds of the encoder alone."""
    exact, train = LabelSetDirectory(place.exact), place.train
    codec, head = exact.codec(), exact.head()
    assert isinstance(codec, LatentCodec)
    assert head is not None
    assert point.codec is not None
    numbers = np.arange(len(train.lengths))
    views, seconds = views_of(numbers, train.lengths), 0.0
    sampled = np.linspace(0, len(views) - 1, min(_CALIBRATED_ON, len(views))).astype(np.int64)
    chosen = Views.of(views.sample_ids[sampled], views.seeds[sampled])
    encoder = choose_token_encoder(
        point.codec,
        head.vocabulary,
        lambda: codec.latents(exact.gather(chosen)),
        temperature=_TEMPERATURE,
    )
    keeps_states = encoder.takes is Takes.STATES
    if not keeps_states:
        encoder = ThroughHead(encoder, head)

    def blocks() -> Iterator[Rows]:
        nonlocal seconds
        for batch in views.batches(BLOCK):
            states = codec.latents(exact.gather(batch))
            began = time.perf_counter()
            rows = encoder.encode(states, sample_ids=batch.sample_ids, positions=batch.seeds)
            seconds += time.perf_counter() - began
            yield rows

    contract = exact.manifest.contract
    assert contract.language is not None
    sequences = SequenceSet(
        teacher=contract.teacher,
        teacher_name=contract.teacher_name,
        language=contract.language,
        sample_ids=numbers.astype(np.uint64),
        lengths=train.lengths.astype(np.uint32),
        fingerprints=np.array([token_fingerprint(ids) for ids in train], dtype=np.uint64),
    )
    out = place.of(point) / "label-set"
    shutil.rmtree(out, ignore_errors=True)
    write_sequence_set(
        sequences, encoder.codec, blocks(), out, report={}, head=head if keeps_states else None
    )
    return seconds


def _sizes(label_set: LabelSetDirectory, tokens: int) -> dict[str, Any]:
    manifest = label_set.manifest
    head = 0 if manifest.head is None else sum(shard.data.size for shard in manifest.head.shards)
    files = [path for path in label_set.directory.rglob("*") if path.is_file()]
    stored = sum(path.stat().st_size for path in files)
    return {
        "payload_bytes_per_token": label_set.codec().row_stride,
        "rest_bytes_per_token": (stored - head) / tokens,
        "head_bytes": head,
    }


def _decode_speeds(label_set: LabelSetDirectory, train: Sequences) -> dict[str, float]:
    """Tokens a second, with numpy: to what a loss takes, and to all of the vocabulary."""
    codec = label_set.codec()
    views = views_of(np.arange(len(train.lengths)), train.lengths)
    rows = label_set.gather(views[:_READ])
    began = time.perf_counter()
    for at in range(0, len(rows), BLOCK):
        if isinstance(codec, LatentCodec):
            codec.latents(rows[at : at + BLOCK])
        else:
            assert isinstance(codec, SparseCodec)
            codec.sparse(rows[at : at + BLOCK])
    read = time.perf_counter() - began
    dense, began = rows[:_DECODED], time.perf_counter()
    for at in range(0, len(dense), BLOCK // 8):
        codec.decode(dense[at : at + BLOCK // 8])
    return {
        "read_tokens_per_second": len(rows) / read,
        "decode_tokens_per_second": len(dense) / (time.perf_counter() - began),
    }
