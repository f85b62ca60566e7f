"""Small label sets of token sequences, for any test that needs one.

    label_set, labels = make_sequence_set(tmp_path, lengths=[5, 1, 9])

`labels` is what every right reader must give for `label_set.index()`'s views in row order.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelcast.codec import CodecHeader, LabelKind, Labels, Recovery, TemperatureRange, TopKCodec
from labelcast.label_set import digest_of
from labelcast.label_set.fingerprints import token_fingerprint
from labelcast.label_set.language import LanguageContract, NextTokenMeter, tokenizer_digest
from labelcast.label_set.language.next_token import REPORT_KEY
from labelcast.label_set_directory import LabelSetDirectory
from labelcast_producers.encoding.sequence_set import SequenceSet, write_sequence_set
from labelcast_producers.formats.output.top_k import pack_top_k

VOCABULARY = 300
TOKENS = [f"token {number}" for number in range(VOCABULARY)]


def token_ids(lengths: Sequence[int], *, key: int = 0) -> list[NDArray[np.uint32]]:
    """Tokens of sequences: uint32, shape (length,) each."""
    random = np.random.default_rng(key)
    return [random.integers(0, VOCABULARY, length).astype(np.uint32) for length in lengths]


def describe(
    texts: Sequence[NDArray[np.uint32]],
    *,
    labelled: NDArray[np.bool_] | None = None,
    language: LanguageContract | None = None,
) -> SequenceSet:
    """What a label set says of texts whose sample IDs are 10, 13, 16, …"""
    return SequenceSet(
        teacher=digest_of(b"teacher"),
        teacher_name="a teacher of tokens",
        language=language
        or LanguageContract(tokenizer=tokenizer_digest(TOKENS), tokenizer_name="three hundred"),
        sample_ids=10 + 3 * np.arange(len(texts), dtype=np.uint64),
        lengths=np.array([len(text) for text in texts], dtype=np.uint32),
        fingerprints=np.array([token_fingerprint(text) for text in texts], dtype=np.uint64),
        labelled=labelled,
    )


def make_sequence_set(
    directory: Path,
    *,
    lengths: Sequence[int] = (5, 1, 9, 3),
    labelled: NDArray[np.bool_] | None = None,
    k: int = 8,
) -> tuple[LabelSetDirectory, Labels]:
    """Write a top-k label set of sequences, whose labels name the token that follows."""
    texts, random = token_ids(lengths), np.random.default_rng(1)
    following = np.concatenate([np.append(text[1:], 0) for text in texts]).astype(np.int64)
    kept = np.ones(len(following), np.bool_) if labelled is None else labelled
    ids = np.argsort(random.random((len(following), VOCABULARY)), axis=1)[:, :k]
    ids[:, 0] = following
    # No token twice: another place takes what the first one stood at.
    for row in ids:
        row[1:][row[1:] == row[0]] = next(token for token in range(k + 1) if token not in row)
    values = np.sort(random.dirichlet(np.ones(k), len(ids)).astype(np.float16))[:, ::-1]
    header = CodecHeader(VOCABULARY, LabelKind.PROBABILITIES, TemperatureRange(1, 1))
    codec = TopKCodec(header, k, Recovery.RENORMALISE)
    rows = pack_top_k(codec, ids, values.astype(np.float32))[kept]
    meter, labels = NextTokenMeter(), codec.decode(rows)
    ends = np.zeros(len(following), np.bool_)
    ends[np.cumsum(lengths) - 1] = True
    has_next = ~ends[kept]
    with np.errstate(divide="ignore"):
        told = np.log(labels[np.arange(len(rows)), following[kept]])
    meter.add(told[has_next])
    figure = meter.figure()
    label_set = write_sequence_set(
        describe(texts, labelled=labelled),
        codec,
        [rows[:7], rows[7:]],
        directory,
        report={} if figure is None else {REPORT_KEY: figure.as_json()},
    )
    return label_set, labels
