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
    """One blob on its way.

    Args:
        rest: the service.
        ref: the blob.
        path: file with its content.
        chunk_bytes: what the store is to keep together.
    """

    def __init__(self, rest: RestLink, ref: BlobRef, path: Path, chunk_bytes: int) -> None:
        self._rest, self._ref, self._path = rest, ref, path
        self._chunk_bytes = chunk_bytes
        # Whole chunks: the service keeps no others.
        self._piece_bytes = max(PIECE_BYTES // chunk_bytes, 1) * chunk_bytes
        self._address = ""

    def run(self) -> Iterator[int]:
        """Send the blob and have it verified.

        After a broken connection the service is asked where it stands. Only a service that stays
        away for longer than the patience of the link ends the attempt; a session whose beginning
        was not answered holds no bytes and expires by itself.

        Yields:
            Bytes of the blob that the service has, ever more; last its size.

        Raises:
            BlobNotFoundError: the file was cut short meanwhile.
            DigestMismatchError: the service received something else.
            StoreFullError: the service dropped what it had received.
            NetworkError: the service stayed away.
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
                # A full store must not be kept full by what nobody will finish.
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
            # Finished by an earlier try whose answer was lost, if the blob is there.
            self._rest.request("HEAD", f"/v1/blobs/{self._ref.digest}")


def _received(answer: Mapping[str, Any]) -> int:
    with understood():
        return int(answer["received_bytes"])
