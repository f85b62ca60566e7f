"""Publishing label sets: the client of the admin API."""

from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote

from labelcast.errors import (
    BlobNotFoundError,
    ChecksumMismatchError,
    DigestMismatchError,
    LabelcastError,
    TransitionError,
)
from labelcast.files import file_digest
from labelcast.identifiers import Digest, Tag, check_reference, digest_from, tag_from
from labelcast.label_set import (
    CHUNK_BYTES,
    BlobRef,
    Manifest,
    to_canonical,
)
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.network.patience import PATIENCE_SECONDS
from labelcast.network.tls import Tls
from labelcast.progress import Progress, unwatched
from labelcast.registry.rest import RestLink, understood
from labelcast.registry.upload import VALIDATED_BYTES_A_SECOND, BlobUpload


@dataclass(frozen=True, slots=True)
class PushResult:
    """What a push did.

    Attributes:
        digest: digest of the label set.
        tag: tag that now points to it.
        uploaded_blobs: number of blobs sent.
        uploaded_bytes: size of the blobs sent.
        known_blobs: number of blobs that the service already had.
    """

    digest: Digest
    tag: Tag
    uploaded_blobs: int
    uploaded_bytes: int
    known_blobs: int


@dataclass(frozen=True, slots=True)
class LabelSetSummary:
    """One label set in a list.

    Attributes:
        digest: digest of the label set.
        state: staged, published or retired.
        tags: tags that point to it.
        created_at: time at which it was recorded, ISO 8601.
        labels: number of labels.
        num_classes: number of classes, C.
        payload_bytes: size of the codes alone.
        teacher_name: name of the teacher, for people.
    """

    digest: Digest
    state: str
    tags: tuple[Tag, ...]
    created_at: str
    labels: int
    num_classes: int
    payload_bytes: int
    teacher_name: str


@dataclass(frozen=True, slots=True)
class LabelSetDetails:
    """One label set with everything that the service knows about it.

    Attributes:
        summary: summary as in the list.
        manifest: manifest, checked against the digest.
        codec_name: "raw", "topk", "vqae" …
        store_bytes: memory that each blob takes in the store, by digest.
        report: fit report, if there is one.
    """

    summary: LabelSetSummary
    manifest: Manifest
    codec_name: str
    store_bytes: dict[Digest, int]
    report: dict[str, Any] | None


class Registry:
    """Pushes, lists and retires label sets; close it or use it in a `with` block.

    Args:
        base_url: URL of the admin API, like http://127.0.0.1:7071.
        token: admin token; a read token is enough to list and inspect.
        timeout_seconds: seconds to wait for each response; validating a large label set gets more
            time, by its size.
        patience_seconds: seconds that a service or its store may be unavailable, as during a
            restart, before a call gives up; any progress starts them again. A service that has
            never answered gets five seconds at most.
        tls: how a service at https:// is checked, and how this client proves itself; None trusts
            the authorities of the operating system.
        allow_plaintext: whether an http:// URL may lead to another machine.

    Raises:
        InvalidRequestError: an impossible URL or token, or plain text that is not allowed.
    """

    def __init__(
        self,
        base_url: str,
        token: str | None = None,
        *,
        timeout_seconds: float = 60.0,
        patience_seconds: float = PATIENCE_SECONDS,
        tls: Tls | None = None,
        allow_plaintext: bool = False,
    ) -> None:
        self._rest = RestLink(
            base_url,
            token,
            timeout_seconds=timeout_seconds,
            patience_seconds=patience_seconds,
            tls=tls,
            allow_plaintext=allow_plaintext,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._rest.close()

    def push(
        self, label_set: LabelSetDirectory, tag: str, *, progress: Progress = unwatched
    ) -> PushResult:
        """Upload the missing blobs of a label set, and publish it.

        Blobs that the service has are not sent, so a failed push is simply run again; those that it
        finds damaged in its store are sent again. If the connection breaks off or the service
        restarts, the push waits as long as the registry has patience.

        Args:
            label_set: the label set.
            tag: tag to publish under.
            progress: called with (bytes sent, bytes to send).

        Raises:
            InvalidRequestError: the tag is malformed; nothing is sent.
            BlobNotFoundError, DigestMismatchError: a file of the label set is missing or damaged.
            StoreFullError, StoreUnsafeError: the service's store cannot take it.
            DataError: the service found something wrong with the content; nothing is published.
            AuthorizationError: the token does not suffice.
            NetworkError: the service cannot be reached.
        """
        name = tag_from(tag)
        refs = list(label_set.manifest.blobs().values())
        sent = self._send_missing(label_set, progress)
        while True:
            try:
                self._stage(label_set.manifest)
                break
            except (BlobNotFoundError, ChecksumMismatchError, DigestMismatchError):
                # The service has dropped a blob that it found damaged in its store.
                again = self._send_missing(label_set, progress)
                if not again or len(sent) > 2 * len(refs):
                    raise
                sent += again
        digest, total = label_set.digest, sum(ref.size for ref in sent)
        self.tag(name, digest)
        return PushResult(digest, name, len(sent), total, len(refs) - len(set(sent)))

    def _send_missing(
        self, label_set: LabelSetDirectory, progress: Progress
    ) -> tuple[BlobRef, ...]:
        """Upload what the service lacks, and return it."""
        refs = label_set.manifest.blobs().values()
        missing = tuple(ref for ref in refs if not self._has(ref))
        total = sum(ref.size for ref in missing)
        self._get("/v1/capacity", params={"required_bytes": total})
        chunk_bytes, sent = _chunk_bytes(label_set.manifest), 0
        progress(0, total)
        for ref in missing:
            path = label_set.path(ref)
            if (actual := file_digest(path)) != ref.digest:
                raise DigestMismatchError(
                    f"{path} is damaged: its digest is {actual}; encode the label set again",
                    expected=ref.digest,
                    actual=actual,
                )
            upload = BlobUpload(self._rest, ref, path, chunk_bytes.get(ref.digest, CHUNK_BYTES))
            for received in upload.run():
                progress(sent + received, total)
            sent += ref.size
        return missing

    def list(self) -> list[LabelSetSummary]:
        """Every label set in any state, oldest first."""
        body = self._get("/v1/label-sets")
        with understood():
            return [_summary(entry) for entry in body["label_sets"]]

    def inspect(self, reference: str) -> LabelSetDetails:
        """Look up one label set by tag or digest.

        Raises:
            InvalidRequestError: the reference is no text.
            LabelSetNotFoundError: the service does not know it.
            DigestMismatchError: the service shows a manifest that does not match the digest.
        """
        check_reference(reference)
        body = self._get(f"/v1/label-sets/{quote(reference, safe='')}")
        with understood():
            content = to_canonical(body["manifest"])
            details = LabelSetDetails(
                summary=_summary(body),
                manifest=Manifest.from_bytes(content),
                codec_name=str(body["codec"]["name"]),
                store_bytes=_store_bytes(body["store_memory"]["blobs"]),
                report=body["report"],
            )
        if details.manifest.digest != details.summary.digest:
            raise DigestMismatchError("the service shows a manifest that is not the label set's")
        return details

    def retire(self, reference: str) -> None:
        """Stop the delivery of a label set and remove all its tags.

        Raises:
            InvalidRequestError: the reference is no text.
            LabelSetNotFoundError: neither tag nor digest is known.
            TransitionError: it is retired already.
        """
        check_reference(reference)
        # By digest: if the answer to a completed step was lost, the tag is gone.
        tags = self._get("/v1/tags")
        with understood():
            digest = str(tags["tags"].get(reference, reference))
        unanswered = False

        def attempt() -> None:
            nonlocal unanswered
            try:
                self._rest.request("POST", f"/v1/label-sets/{quote(digest, safe='')}/retire")
            except TransitionError as error:
                if not (unanswered and error.facts.get("state") == "retired"):
                    raise
            except LabelcastError:
                unanswered = True
                raise

        self._rest.patience.run(attempt)

    def tag(self, tag: str, digest: str) -> None:
        """Publish a label set under a tag; a tag that points elsewhere moves.

        Raises:
            InvalidRequestError: the tag is malformed.
            LabelSetNotFoundError: there is no such label set.
        """
        name = tag_from(tag)
        check_reference(digest)
        # Any state can become published, so a refused step means that another caller was faster.
        self._rest.patience.run(
            lambda: self._rest.request(
                "PUT", f"/v1/tags/{quote(name, safe='')}", json={"digest": digest}
            ),
            also=(TransitionError,),
        )

    def _get(self, path: str, params: dict[str, str | int] | None = None) -> dict[str, Any]:
        return self._rest.patience.run(lambda: self._rest.request("GET", path, params=params))

    def _has(self, ref: BlobRef) -> bool:
        try:
            self._rest.patience.run(lambda: self._rest.request("HEAD", f"/v1/blobs/{ref.digest}"))
        except BlobNotFoundError:
            return False
        return True

    def _stage(self, manifest: Manifest) -> None:
        total = sum(ref.size for ref in manifest.blobs().values())
        self._rest.patience.run(
            lambda: self._rest.request(
                "PUT",
                f"/v1/label-sets/{manifest.digest}",
                content=manifest.to_bytes(),
                headers={"Content-Type": "application/json"},
                timeout_seconds=self._rest.timeout_seconds + total / VALIDATED_BYTES_A_SECOND,
            )
        )


def _chunk_bytes(manifest: Manifest) -> dict[Digest, int]:
    """Chunk size of every blob of rows; all others are stored in `CHUNK_BYTES`."""
    return {
        shard.data.digest: section.chunk_bytes
        for section in manifest.sections()
        for shard in section.shards
    }


def _store_bytes(blobs: dict[str, Any]) -> dict[Digest, int]:
    return {digest_from(blob): int(size) for blob, size in blobs.items()}


def _summary(body: dict[str, Any]) -> LabelSetSummary:
    return LabelSetSummary(
        digest=digest_from(body["digest"]),
        state=str(body["state"]),
        tags=tuple(tag_from(tag) for tag in body["tags"]),
        created_at=str(body["created_at"]),
        labels=int(body["labels"]),
        num_classes=int(body["num_classes"]),
        payload_bytes=int(body["payload_bytes"]),
        teacher_name=str(body["teacher_name"]),
    )
