"""Rows of token sequences → label set, as they come: no dense file lies between."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation import PositionPolicy
from labelcast.codec import Codec, Rows, write_artifact
from labelcast.codec.latent import Head
from labelcast.errors import InvalidRequestError, LabelFileError
from labelcast.identifiers import Digest
from labelcast.label_set import (
    LabelContract,
    Manifest,
    RaggedIndex,
    Section,
    Segment,
    SegmentIndex,
    index_of_sequences,
    to_canonical,
)
from labelcast.label_set.fingerprints import FingerprintKind, SampleFingerprints
from labelcast.label_set.language import LANGUAGE_FEATURE, LanguageContract
from labelcast.label_set.segment import LENGTHS_PART, RAGGED_FEATURE
from labelcast.label_set_directory import LabelSetDirectory, LabelSetDirectoryWriter

_GOLDEN_BYTES = 2**20
_MAX_GOLDEN_ROWS = 16


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class SequenceSet:
    """What a label set says of its sequences.

    Attributes:
        teacher: digest of the teacher's weights.
        teacher_name: its name, to show.
        language: tokenizer, padding and head.
        sample_ids: uint64, shape (S,), strictly increasing.
        lengths: uint32, shape (S,): tokens of each sequence, at least 1.
        fingerprints: uint64, shape (S,), from `token_fingerprint` of each sequence's token IDs.
        labelled: bool, shape (sum of lengths,), sequence after sequence: positions that have a
            label; None if all have.
    """

    teacher: Digest
    teacher_name: str
    language: LanguageContract
    sample_ids: NDArray[np.uint64]
    lengths: NDArray[np.uint32]
    fingerprints: NDArray[np.uint64]
    labelled: NDArray[np.bool_] | None = None

    def index(self) -> SegmentIndex:
        """Which row holds which position; rows go sequence after sequence.

        Raises:
            ManifestError: see `index_of_sequences`.
        """
        return index_of_sequences(self.sample_ids, self.lengths, self.labelled)

    def identity(self) -> Digest:
        """Digest of the data set: over sample IDs and token fingerprints."""
        return self.sample_fingerprints().digest()

    def sample_fingerprints(self) -> SampleFingerprints:
        """The fingerprints with their samples.

        Raises:
            ManifestError: there is not one for each sample.
        """
        return SampleFingerprints(FingerprintKind.TOKENS, self.sample_ids, self.fingerprints)


def write_sequence_set(
    sequences: SequenceSet,
    codec: Codec,
    blocks: Iterable[Rows],
    out: Path,
    *,
    report: dict[str, Any],
    head: Head | None = None,
) -> LabelSetDirectory:
    """Write the label set of token sequences.

    Args:
        sequences: what the label set says of its sequences.
        codec: codec of the rows.
        blocks: packed rows of all labelled positions, sequence after sequence: uint8, shape
            (n, stride) each.
        out: directory of the label set; a finished one there is replaced.
        report: how well the codes keep the labels; JSON values. The student's canary needs the
            figure of `NextTokenMeter` under `next_token.REPORT_KEY`.
        head: head to ship; None to name it alone, for students that have the teacher.

    Raises:
        CodecError: the codec cannot decode a row.
        InvalidRequestError: the head is not the one that `sequences` names.
        LabelFileError: there is not one row for each labelled position.
    """
    (out / "manifest.json").unlink(missing_ok=True)
    named = sequences.language.head
    if head is not None and head.spec != named:
        raise InvalidRequestError(
            f"the head to ship is {head.spec}, the label set names {named}; give both the same"
        )
    index, writer, first = sequences.index(), LabelSetDirectoryWriter(out), list[Rows]()

    def checked() -> Iterator[Rows]:
        for block in blocks:
            codec.check_rows(block)
            if len(block) and not first:
                first.append(block[:_MAX_GOLDEN_ROWS].copy())
            yield block

    codes = writer.add_rows(codec.row_stride, checked())
    if codes.rows != index.num_rows:
        raise LabelFileError(
            f"{codes.rows} rows were given for {index.num_rows} labelled positions; encode each"
            " labelled position once"
        )
    columns = codec.golden_columns(codec.header, codec.config())
    golden = first[0][: max(1, _GOLDEN_BYTES // (4 * columns))]
    codec_ref = writer.add_blob(write_artifact(codec, golden))
    prints = sequences.sample_fingerprints()
    features = [LANGUAGE_FEATURE, *([RAGGED_FEATURE] if isinstance(index, RaggedIndex) else [])]
    writer.finish(
        Manifest(
            contract=LabelContract(
                teacher=sequences.teacher,
                teacher_name=sequences.teacher_name,
                dataset=prints.digest(),
                num_classes=codec.header.num_classes,
                class_list=sequences.language.tokenizer,
                policy=PositionPolicy(),
                label_kind=codec.header.label_kind,
                temperatures=codec.header.temperatures,
                codec=codec_ref.digest,
                language=sequences.language,
            ),
            segments=(_segment(writer, index, codes, prints),),
            codec=codec_ref,
            report=writer.add_blob(to_canonical(report)),
            head=None if head is None else writer.add_rows(head.spec.stride, head.parts),
            requires=tuple(features),
        )
    )
    return LabelSetDirectory(writer.directory)


def _segment(
    writer: LabelSetDirectoryWriter,
    index: SegmentIndex,
    codes: Section,
    prints: SampleFingerprints,
) -> Segment:
    presence = index.pack_presence()
    parts = {prints.kind.part: writer.add_column(prints.values, "<u8")}
    if isinstance(index, RaggedIndex):
        lengths = index.lengths(np.arange(len(index.sample_ids)))
        parts[LENGTHS_PART] = writer.add_column(lengths, "<u4")
    return Segment(
        row_order=index.row_order,
        sample_ids=writer.add_column(index.sample_ids, "<u8"),
        seeds=writer.add_column(index.seeds, "<u4"),
        codes=codes,
        hard_labels=None,
        presence=None if presence is None else writer.add_column(presence, "u1"),
        parts=tuple(sorted(parts.items())),
    )
