"""The messages between an I/O worker and the decoder process, over a Unix socket.

    frame    header: payload bytes u64, request number u32, kind u8, CRC-32 of these u32
             + payload; everything little-endian
    key      digest of the codec, or of codec and head (71 ASCII bytes)
    subject  key, form u8, precision u8, k u32, temperature f64,
             place: offset u64, generation u64 of a slot in the shared memory; 0, 0 for none

    SHARE    reference to memory, see `labelcast_server.decoder.shared_memory`
                                          → DONE     the same reference
    LOAD     key + length of a head's files u32 (0 for none) + these, see `decoder.heads`
             + artifact                   → DONE     the same key
    DECODE   subject + packed rows, each followed by its context row if the codec is conditioned
                                          → DONE     subject, CRC-32 of the rows that were decoded,
                                                     CRC-32 of the labels; labels, unless they
                                                     are in the slot that was named
                                          → MISSING  key: send LOAD first
    PING     8 bytes                      → DONE     the same 8 bytes, once labels have decoded
    any      …                            → ERROR    CRC-32 of the request's payload, CRC-32 of the
                                                     rest, canonical JSON {reason, message, facts}

Every answer names its request, and the slot. If the decoder mixes up its jobs, or the connection
loses, repeats or damages something, it is noticed before a label is delivered.
"""

import json
import struct
from dataclasses import dataclass
from enum import IntEnum

from labelcast.checksums import crc32
from labelcast.codec import Precision
from labelcast.errors import (
    InvalidRequestError,
    LabelcastError,
    ServiceUnavailableError,
    error_from_reason,
)
from labelcast.identifiers import Digest, digest_from
from labelcast.representation import Form, Representation

_HEADER = struct.Struct("<QIB")
_CHECKSUM = struct.Struct("<I")
_SUBJECT = struct.Struct("<71sBBId")
_PLACE = struct.Struct("<QQ")
_CHECKSUMS = struct.Struct("<II")
_LENGTH = struct.Struct("<I")

HEADER_BYTES = _HEADER.size + _CHECKSUM.size
DIGEST_BYTES = 71
SUBJECT_BYTES = _SUBJECT.size + _PLACE.size
ANSWER_HEAD_BYTES = SUBJECT_BYTES + _CHECKSUMS.size
PING_BYTES = 8
MAX_REFERENCE_BYTES = 256
MAX_HEAD_FILES_BYTES = 2**20
# An artifact has at most 2**31 bytes; a block of rows or labels has far fewer.
MAX_LOAD_BYTES = 2**31 + DIGEST_BYTES + _LENGTH.size + MAX_HEAD_FILES_BYTES
MAX_ROWS_BYTES = 2**28
MAX_ERROR_BYTES = 2**16

_FORMS = tuple(Form)
_PRECISIONS = tuple(Precision)


class Kind(IntEnum):
    """Kind of a frame."""

    LOAD = 1
    DECODE = 2
    DONE = 3
    ERROR = 4
    MISSING = 5
    PING = 6
    SHARE = 7


@dataclass(frozen=True, slots=True)
class Place:
    """Where labels go in shared memory.

    Attributes:
        offset: byte at which the slot begins.
        generation: tells its user from those before and after, of any slot; from 1.
    """

    offset: int
    generation: int


# The labels follow in the answer itself.
NO_PLACE = Place(0, 0)


def pack_header(size: int, number: int, kind: Kind) -> bytes:
    """Pack the header of a frame whose payload has `size` bytes."""
    header = _HEADER.pack(size, number, kind)
    return header + _CHECKSUM.pack(crc32(header))


def unpack_header(header: bytes) -> tuple[int, int, Kind]:
    """Unpack payload bytes, request number and kind.

    Args:
        header: HEADER_BYTES bytes.

    Raises:
        ServiceUnavailableError: it is damaged; nothing after it can be read.
    """
    size, number, kind = _HEADER.unpack_from(header)
    (checksum,) = _CHECKSUM.unpack_from(header, _HEADER.size)
    if crc32(header[: _HEADER.size]) != checksum or kind not in set(Kind):
        raise broken("sent a damaged header")
    return size, number, Kind(kind)


def pack_subject(codec: Digest, representation: Representation, place: Place = NO_PLACE) -> bytes:
    """Pack what a decoding request is about, without its rows: SUBJECT_BYTES bytes."""
    about = _SUBJECT.pack(
        codec.encode("ascii"),
        _FORMS.index(representation.form),
        _PRECISIONS.index(representation.precision or Precision.FP16),
        representation.k or 0,
        representation.temperature or 0.0,
    )
    return about + _PLACE.pack(place.offset, place.generation)


def with_place(subject: bytes, place: Place) -> bytes:
    """The same subject with another place."""
    return subject[: _SUBJECT.size] + _PLACE.pack(place.offset, place.generation)


def unpack_subject(subject: bytes) -> tuple[Digest, Representation, Place]:
    """Unpack codec digest, representation and place.

    Raises:
        RequestError: no digest, or there is no such representation.
        ValueError, IndexError: not written by `pack_subject`.
    """
    codec, form, precision, k, temperature = _SUBJECT.unpack_from(subject)
    representation = Representation(
        _FORMS[form], _PRECISIONS[precision], temperature or None, k or None
    )
    place = Place(*_PLACE.unpack_from(subject, _SUBJECT.size))
    return digest_from(codec.decode("ascii")), representation, place


def pack_load(head_files: bytes, artifact: bytes) -> bytes:
    """Pack what follows the key of a LOAD.

    Args:
        head_files: where the head lies; b"" for none.
        artifact: of the codec.
    """
    return _LENGTH.pack(len(head_files)) + head_files + artifact


def unpack_load(body: bytes) -> tuple[bytes, bytes]:
    """Unpack head's files and artifact.

    Raises:
        InvalidRequestError: there are fewer bytes than it says.
    """
    if len(body) < _LENGTH.size:
        raise InvalidRequestError("a codec to load says how long its head's files are")
    (length,) = _LENGTH.unpack_from(body)
    end = _LENGTH.size + length
    if length > MAX_HEAD_FILES_BYTES or len(body) < end:
        raise InvalidRequestError(f"a codec to load has no {length} bytes of head's files")
    return body[_LENGTH.size : end], body[end:]


def pack_answer_head(subject: bytes, rows_crc32: int, labels_crc32: int) -> bytes:
    """Pack the part of an answer before its labels: ANSWER_HEAD_BYTES bytes.

    Args:
        subject: subject of the request, see `pack_subject`.
        rows_crc32: CRC-32 of the packed rows, with their context, that were decoded.
        labels_crc32: CRC-32 of the labels.
    """
    return subject + _CHECKSUMS.pack(rows_crc32, labels_crc32)


def unpack_answer_head(head: bytes) -> tuple[bytes, int, int]:
    """Unpack subject, CRC-32 of the decoded rows and CRC-32 of the labels."""
    return head[:SUBJECT_BYTES], *_CHECKSUMS.unpack_from(head, SUBJECT_BYTES)


def pack_error(error: LabelcastError, request_crc32: int) -> bytes:
    """Pack an ERROR frame's payload; the CRC-32 of a request's payload names the request."""
    value = {"reason": error.reason, "message": error.message[:4096], "facts": error.facts}
    told = json.dumps(value).encode()
    return _CHECKSUMS.pack(request_crc32, crc32(told)) + told


def unpack_error(payload: bytes, request_crc32: int) -> LabelcastError:
    """Unpack the error about a request; the CRC-32 of the request's payload names it.

    Raises:
        ServiceUnavailableError: it is damaged, or about another request.
    """
    if len(payload) < _CHECKSUMS.size:
        raise broken("sent a damaged error")
    about, checksum = _CHECKSUMS.unpack_from(payload)
    told = payload[_CHECKSUMS.size :]
    if crc32(told) != checksum or request_crc32 != about:
        raise broken("sent a damaged error, or one about another request")
    value = json.loads(told)
    return error_from_reason(value["reason"], value["message"], value["facts"])


def broken(what: str) -> ServiceUnavailableError:
    """The error when the connection between worker and decoder process cannot be trusted."""
    return ServiceUnavailableError(
        f"the decoder process {what}; the connection to it is being reopened, retry in a moment"
    )
