"""A checksum of what an answer is about: the views, the label set and the form.

Both ends compute it, each from its own data: the service takes the views back from the rows that it
found, the client takes them from its request. If the two differ, labels would be delivered for the
wrong views. A CRC-32 is enough against accidents; TLS protects against adversaries.

`proto/labelcast/v2/labels.proto` and FORMAT.md define the bytes, with golden values.
"""

import struct

import numpy as np
from numpy.typing import NDArray

from labelcast.checksums import crc32
from labelcast.codec import Precision
from labelcast.identifiers import Digest
from labelcast.label_set import MissingViews
from labelcast.representation import Form, Representation
from labelcast.views import Views

_LABELS, _RESOLVED = b"\x01", b"\x02"
_REPRESENTATION = struct.Struct("<BBId")
# Numbers of the enums in labels.proto; 0 is "unset".
_FORMS = {form: number for number, form in enumerate(Form, 1)}
_PRECISIONS = {precision: number for number, precision in enumerate(Precision, 1)}
_MISSING = {missing: number for number, missing in enumerate(MissingViews, 1)}


class LabelSubject:
    """Subjects of the rows of one label set in one form.

    Args:
        label_set: digest of the label set.
        representation: form of the labels.
    """

    def __init__(self, label_set: Digest, representation: Representation) -> None:
        self._preamble = crc32(
            _LABELS + label_set.encode("ascii") + representation_bytes(representation)
        )

    def checksum(self, views: Views) -> int:
        """CRC-32 of the rows that answer `views`, in their order."""
        return crc32(
            _column(views.seeds, "<u4"), crc32(_column(views.sample_ids, "<u8"), self._preamble)
        )


def representation_bytes(representation: Representation) -> bytes:
    """Canonical bytes of a form: form and precision (uint8), k (uint32), temperature (float64)."""
    precision = representation.precision
    return _REPRESENTATION.pack(
        _FORMS[representation.form],
        0 if precision is None else _PRECISIONS[precision],
        representation.k or 0,
        representation.temperature or 0.0,
    )


def resolution_checksum(
    label_set: Digest, missing: MissingViews, asked: Views, found: Views, rows: NDArray[np.int64]
) -> int:
    """CRC-32 of resolved views: the request, the rule, and the views found.

    Args:
        label_set: digest of the label set.
        missing: rule for missing views.
        asked: views of the request.
        found: views of the answer.
        rows: int64, shape (len(found),): rows of the request that they answer.
    """
    checksum = crc32(_RESOLVED + label_set.encode("ascii") + bytes([_MISSING[missing]]))
    for column, dtype in (
        (asked.sample_ids, "<u8"),
        (asked.seeds, "<u4"),
        (rows, "<u8"),
        (found.sample_ids, "<u8"),
        (found.seeds, "<u4"),
    ):
        checksum = crc32(_column(column, dtype), checksum)
    return checksum


def _column(values: NDArray[np.integer], dtype: str) -> NDArray[np.integer]:
    return np.ascontiguousarray(values, dtype=dtype)
