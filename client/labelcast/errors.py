"""Everything labelcast raises on purpose.

    LabelcastError
    ├── RequestError                 the caller asked for something that cannot be
    │   ├── InvalidRequestError      a field, range or combination is wrong
    │   └── UnsupportedFormError     this label set cannot give labels in that form
    ├── NotFoundError
    │   ├── LabelSetNotFoundError    no such tag or digest
    │   ├── ViewNotFoundError        no such sample ID or augmentation seed
    │   ├── BlobNotFoundError        the store lacks a blob
    │   └── UploadNotFoundError      no such upload session
    ├── StateError                   right request, wrong moment
    │   ├── ContractMismatchError    label set is not the one the student was made for
    │   ├── DifferentImageError      an image is not the one that the teacher was shown
    │   ├── DifferentTokensError     a token sequence is not the one that the teacher was shown
    │   ├── LabelSetRetiredError
    │   ├── TransitionError          the life cycle has no such step
    │   ├── UploadOffsetError        bytes out of order
    │   ├── BusyError                data directory or port is in use
    │   └── MisalignedLabelsError    the canary: labels do not belong to these views
    ├── DataError                    bytes are not what they claim to be
    │   ├── ManifestError
    │   ├── DigestMismatchError
    │   ├── ChecksumMismatchError
    │   ├── LabelFileError           a dense label file is unusable
    │   └── CodecError
    │       ├── CodecFormatError     an artifact or packed row is malformed
    │       ├── CodeRangeError       a code is outside its codebook
    │       ├── GoldenRowsError      a decoder strays from the artifact's golden rows
    │       └── LabelValueError      NaN, infinity, overflow or not a distribution
    ├── AuthorizationError
    │   ├── UnauthenticatedError     no token, or an unknown one
    │   └── PermissionDeniedError    the token lacks the scope
    ├── StorageError
    │   ├── StoreUnavailableError    Redis cannot be reached
    │   ├── StoreFullError           not enough memory or disk
    │   └── StoreUnsafeError         Redis could forget what is stored in it
    └── NetworkError
        ├── ServiceUnavailableError
        ├── DeadlineExceededError
        ├── TlsError                 a certificate was not accepted, or one side is in plain text
        ├── ForkedChannelError       the process was forked from one that used a channel
        ├── OverloadedError          the service has no room for another request
        ├── LostRequestError         a request of a stream never arrived
        ├── WrongSubjectError        an answer for other rows than requested
        ├── ProtocolError            the peer broke the protocol
        └── InternalServiceError     not ours: logged at the service under `error_id`

Each class has a stable `reason`, which travels over gRPC and REST, so that the client raises the
class that the service raised. Facts are attributes in `facts`, always strings.
"""

from typing import ClassVar

# Separates torch's message about a worker from the worker's traceback, in one text.
_WORKERS_TRACEBACK = "\nOriginal Traceback (most recent call last):\n"


class LabelcastError(Exception):
    """Root of every error that labelcast raises on purpose.

    It can be pickled and copied. Raised in a worker of a torch DataLoader, it arrives with its
    class and its message, without its facts; the worker's traceback is added as a note.

    Args:
        message: one line that says what is wrong and what to do next; never holds a secret.
        **facts: facts behind the message, for programs; values become strings.
    """

    reason: ClassVar[str] = "labelcast"

    def __init__(self, message: str = "", /, **facts: object) -> None:
        # Torch makes the error again from `message=`; beside a message, that is an ordinary fact.
        message = message or str(facts.pop("message", ""))
        _, in_worker, traceback = message.partition(_WORKERS_TRACEBACK)
        if in_worker:
            message = traceback.rstrip().rpartition("\n")[2].partition(": ")[2]
            self.add_note(f"In the worker:\n{traceback.rstrip()}")
        super().__init__(" ".join(message.split()))
        self.facts = {name: str(value) for name, value in facts.items()}

    @property
    def message(self) -> str:
        """The one-line message."""
        return str(self.args[0])


class RequestError(LabelcastError):
    """The caller asked for something that cannot be."""

    reason = "request"


class InvalidRequestError(RequestError):
    """A field, range or combination is wrong."""

    reason = "invalid_request"


class UnsupportedFormError(RequestError):
    """This label set cannot give labels in the requested form."""

    reason = "unsupported_form"


class NotFoundError(LabelcastError):
    """What was named does not exist."""

    reason = "not_found"


class LabelSetNotFoundError(NotFoundError):
    """No such tag or digest."""

    reason = "label_set_not_found"


class ViewNotFoundError(NotFoundError):
    """The label set has no such sample ID or augmentation seed."""

    reason = "view_not_found"


class BlobNotFoundError(NotFoundError):
    """The store lacks a blob."""

    reason = "blob_not_found"


class UploadNotFoundError(NotFoundError):
    """No such upload session, or it has expired."""

    reason = "upload_not_found"


class StateError(LabelcastError):
    """A right request at the wrong moment."""

    reason = "state"


class ContractMismatchError(StateError):
    """The label set is not the one that the student was made for; `facts["field"]` says where."""

    reason = "contract_mismatch"


class DifferentImageError(StateError):
    """An image is not the one that the labels were made of; `facts["sample_id"]` says whose."""

    reason = "different_image"


class DifferentTokensError(StateError):
    """A token sequence is not the one that the labels were made of; `facts["sample_id"]`: whose."""

    reason = "different_tokens"


class LabelSetRetiredError(StateError):
    """The label set has been retired."""

    reason = "label_set_retired"


class TransitionError(StateError):
    """The life cycle of a label set has no such step."""

    reason = "transition"


class UploadOffsetError(StateError):
    """Upload bytes came out of order; `facts["received_bytes"]` is the offset to continue from."""

    reason = "upload_offset"


class BusyError(StateError):
    """A data directory or a port is in use by another process."""

    reason = "busy"


class MisalignedLabelsError(StateError):
    """The canary: delivered labels do not agree with the student's own hard labels."""

    reason = "misaligned_labels"


class DataError(LabelcastError):
    """Bytes are not what they claim to be."""

    reason = "data"


class ManifestError(DataError):
    """A manifest is malformed or contradicts itself."""

    reason = "manifest"


class DigestMismatchError(DataError):
    """Content does not have the digest it was announced under."""

    reason = "digest_mismatch"


class ChecksumMismatchError(DataError):
    """A chunk or message was damaged on its way."""

    reason = "checksum_mismatch"


class LabelFileError(DataError):
    """A dense label file is unusable."""

    reason = "label_file"


class CodecError(DataError):
    """Something is wrong with a codec artifact, packed rows or the labels given to it."""

    reason = "codec"


class CodecFormatError(CodecError):
    """An artifact or packed row is malformed."""

    reason = "codec_format"


class CodeRangeError(CodecError):
    """A code is outside its codebook."""

    reason = "code_range"


class GoldenRowsError(CodecError):
    """A decoder strays from the golden rows of its artifact."""

    reason = "golden_rows"


class LabelValueError(CodecError):
    """Labels hold NaN or infinity, overflow their precision, or are no distribution."""

    reason = "label_value"


class AuthorizationError(LabelcastError):
    """The caller may not do this."""

    reason = "authorization"


class UnauthenticatedError(AuthorizationError):
    """No token was given, or an unknown one."""

    reason = "unauthenticated"


class PermissionDeniedError(AuthorizationError):
    """The token lacks the scope."""

    reason = "permission_denied"


class StorageError(LabelcastError):
    """The store failed."""

    reason = "storage"


class StoreUnavailableError(StorageError):
    """Redis cannot be reached."""

    reason = "store_unavailable"


class StoreFullError(StorageError):
    """Not enough memory or disk."""

    reason = "store_full"


class StoreUnsafeError(StorageError):
    """Redis is set up in a way that could forget what is stored in it."""

    reason = "store_unsafe"


class NetworkError(LabelcastError):
    """Something went wrong between client and service."""

    reason = "network"


class ServiceUnavailableError(NetworkError):
    """The service cannot be reached or is going away."""

    reason = "service_unavailable"


class DeadlineExceededError(NetworkError):
    """No answer within the deadline."""

    reason = "deadline_exceeded"


class TlsError(NetworkError):
    """No encrypted connection: a certificate was not accepted, or one side speaks plain text."""

    reason = "tls"


class ForkedChannelError(NetworkError):
    """The process was forked from one that had opened a channel."""

    reason = "forked_channel"


class OverloadedError(NetworkError):
    """The service has no room for another stream or reply right now."""

    reason = "overloaded"


class LostRequestError(NetworkError):
    """A request of a stream never arrived: the one that came is not the next."""

    reason = "lost_request"


class ProtocolError(NetworkError):
    """The peer broke the protocol."""

    reason = "protocol"


class WrongSubjectError(NetworkError):
    """The answer is for other rows than requested."""

    reason = "wrong_subject"


class InternalServiceError(NetworkError):
    """The service failed in a way it did not foresee; its log has `facts["error_id"]`."""

    reason = "internal"


def _with_subclasses(root: type[LabelcastError]) -> list[type[LabelcastError]]:
    return [root, *(found for child in root.__subclasses__() for found in _with_subclasses(child))]


ERRORS_BY_REASON: dict[str, type[LabelcastError]] = {
    error.reason: error for error in _with_subclasses(LabelcastError)
}


def error_from_reason(reason: str, message: str, facts: dict[str, str]) -> LabelcastError:
    """Make the error that the other side reported.

    Args:
        reason: the other side's `reason`; one that this version does not know gives
            `InternalServiceError`, so that clients can talk to newer services.
        message: its one-line message.
        facts: its facts.
    """
    return ERRORS_BY_REASON.get(reason, InternalServiceError)(message, **facts)
