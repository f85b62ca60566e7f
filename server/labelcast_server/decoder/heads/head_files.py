"""A head on its way to the decoder process: too large for a socket, so its files are named."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from labelcast.codec.latent import Head, HeadSpec
from labelcast.errors import InvalidRequestError, ManifestError, ServiceUnavailableError
from labelcast.identifiers import Digest
from labelcast.label_set import digest_of
from labelcast.label_set.fields import Fields
from labelcast.label_set.language.contract import head_as_json, head_from_fields


def decoder_key(codec: Digest, head: HeadSpec | None) -> Digest:
    """What names a decoder: its codec, or codec and head, since one codec may go with any head."""
    if head is None:
        return codec
    about = json.dumps({"codec": codec, "head": head_as_json(head)}, sort_keys=True)
    return digest_of(about.encode())


@dataclass(frozen=True, slots=True)
class HeadFiles:
    """Where the rows of a head lie on this machine.

    Attributes:
        spec: head.
        parts: files in the order of the tokens, each with the rows that it begins with.
    """

    spec: HeadSpec
    parts: tuple[tuple[Path, int], ...]

    def to_bytes(self) -> bytes:
        """JSON that `from_bytes` reads back."""
        parts = [[str(path), rows] for path, rows in self.parts]
        return json.dumps({"head": head_as_json(self.spec), "parts": parts}).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read what `to_bytes` gave.

        Raises:
            InvalidRequestError: it did not.
        """
        try:
            value = json.loads(content)
            spec = head_from_fields(Fields(value["head"], "head"))
            return cls(spec, tuple((Path(path), int(rows)) for path, rows in value["parts"]))
        except (ValueError, KeyError, TypeError, ManifestError) as error:
            raise InvalidRequestError(f"these are no files of a head: {error}") from None

    def read(self) -> Head:
        """Read the head into memory and compare it with its digest.

        Mapped, it would take less memory where there is no GPU; but damage that is done to a file
        later would be logits that nobody compares.

        Raises:
            ServiceUnavailableError: a file is gone: the cache has let it go meanwhile.
            CodecFormatError: the files are not the head's.
        """
        stride = self.spec.stride
        try:
            parts = [np.fromfile(path, np.uint8, rows * stride) for path, rows in self.parts]
        except OSError as error:
            raise ServiceUnavailableError(
                f"the teacher's head is no longer in this machine's cache: {error.strerror}; retry"
                " in a moment"
            ) from None
        head = Head(
            self.spec, [part[: len(part) // stride * stride].reshape(-1, stride) for part in parts]
        )
        head.verify()
        return head
