"""Sending one blob to the admin API, over connections that may break off."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from labelcast.errors import (
    BlobNotFoundError,
    LabelcastError,
    NetworkError,
    ProtocolError,
    UploadNotFoundError,
    UploadOffsetError,
)
from labelcast.label_set import BlobRef
from labelcast.network.patience import PASSING
from labelcast.registry.rest import RestLink, understood

PIECE_BYTES = 4 * 2**20
# The service reads what it validates again from its store before it answers.
VALIDATED_BYTES_A_SECOND = 20e6


class BlobUpload:
    """The upload of one blob.

    Args:
        rest: link to the service.
        ref: blob to upload.
        path: file with its content.
        chunk_bytes: bytes that the store keeps together.
    """

    def __init__(self, rest: RestLink, ref: BlobRef, path: Path, chunk_bytes: int) -> None:
        self._rest, self._ref, self._path = rest, ref, path
        self._chunk_bytes = chunk_bytes
        # Whole chunks: the service keeps no others.
        self._piece_bytes = max(PIECE_BYTES // chunk_bytes, 1) * chunk_bytes
        self._address = ""

    def run(self) -> Iterator[int]:
        """Send the blob and have it verified.

        After a broken connection the service is asked how much it has. The upload fails only if the
        service is unavailable for longer than the link's patience; a session whose begin request
        was not answered holds no bytes and expires by itself.

        Yields:
            Bytes of the blob that the service has, increasing up to its size.

        Raises:
            BlobNotFoundError: the file became shorter meanwhile.
            DigestMismatchError: the service received something else.
            StoreFullError: the service dropped what it had received.
            NetworkError: the service remained unavailable.
        """
        begun = self._rest.patience.run(self._begin)
        if not begun.get("complete"):
            with understood():
                self._address = f"/v1/uploads/{quote(begun['upload_id'], safe='')}"
            try:
                yield from self._send_all()
                self._rest.patience.run(self._finish)
            except NetworkError:
                raise
            except LabelcastError:
                # An upload that nobody will finish must not keep a full store full.
                with suppress(LabelcastError):
                    self._rest.request("DELETE", self._address)
                raise
        yield self._ref.size

    def _begin(self) -> dict[str, Any]:
        return self._rest.request(
            "POST",
            "/v1/uploads",
            json={
                "digest": self._ref.digest,
                "size": self._ref.size,
                "chunk_bytes": self._chunk_bytes,
            },
        )

    def _send_all(self) -> Iterator[int]:
        at = furthest = 0
        certain, patience = True, self._rest.patience
        while at < self._ref.size:
            try:
                at, certain = self._send_piece(at) if certain else self._standing(), True
            except UploadOffsetError as error:
                # What a cut request sent was still being stored when we asked.
                at = _received(error.facts)
                if at <= furthest:
                    patience.wait_after(error)
            except PASSING as error:
                certain = False
                patience.wait_after(error)
            if at > furthest:
                furthest = at
                patience.progress()
                yield at

    def _send_piece(self, at: int) -> int:
        with self._path.open("rb") as stream:
            stream.seek(at)
            piece = stream.read(self._piece_bytes)
        if not piece:
            raise BlobNotFoundError(f"{self._path} was cut short while it was sent")
        answer = self._rest.request(
            "PATCH",
            self._address,
            content=piece,
            headers={
                "Content-Type": "application/octet-stream",
                "Content-Range": f"bytes {at}-{at + len(piece) - 1}/{self._ref.size}",
            },
        )
        now = _received(answer)
        if now <= at:
            raise ProtocolError("the service takes bytes and keeps none of them")
        return now

    def _standing(self) -> int:
        return _received(self._rest.request("GET", self._address))

    def _finish(self) -> None:
        try:
            self._rest.request(
                "PUT",
                self._address,
                params={"digest": self._ref.digest},
                timeout_seconds=self._rest.timeout_seconds
                + self._ref.size / VALIDATED_BYTES_A_SECOND,
            )
        except UploadNotFoundError:
            # If the blob exists, an earlier try has finished and its answer was lost.
            self._rest.request("HEAD", f"/v1/blobs/{self._ref.digest}")


def _received(answer: Mapping[str, Any]) -> int:
    with understood():
        return int(answer["received_bytes"])
