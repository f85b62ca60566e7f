"""Shapes of the admin API's JSON."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from labelcast.identifiers import Digest, Tag, UploadId
from labelcast.label_set import Manifest
from labelcast_server.registry.inspection import LabelSetDetails
from labelcast_server.store.blob_store import BlobInfo, Capacity, Upload
from labelcast_server.store.catalog import LabelSetRecord, State

_EXAMPLE_DIGEST = "sha256:" + "0123456789abcdef" * 4

# Of what is asked for: text that nothing has checked.
DigestText = Annotated[str, Field(examples=[_EXAMPLE_DIGEST])]
KnownDigest = Annotated[Digest, Field(examples=[_EXAMPLE_DIGEST])]
KnownTag = Annotated[Tag, Field(examples=["glyphs:v1"])]


class ErrorBody(BaseModel):
    """Every error: a stable reason for programs, a one-line message for people, and facts."""

    reason: str = Field(examples=["upload_offset"])
    message: str = Field(examples=["bytes came from 0 on, the upload stands at 65504"])
    facts: dict[str, str] = Field(examples=[{"received_bytes": "65504"}])


class Health(BaseModel):
    """Whether the service can reach its store."""

    status: Literal["ok", "unavailable"]


class CapacityBody(BaseModel):
    """Room in the store."""

    used_bytes: int = Field(examples=[1_048_576])
    headroom_bytes: int | None = Field(description="null if nothing bounds it", examples=[2**30])
    bound: str = Field(description="limit that sets the headroom", examples=["maxmemory"])

    @classmethod
    def of(cls, capacity: Capacity) -> Self:
        """Make it from the store's value."""
        return cls(
            used_bytes=capacity.used_bytes,
            headroom_bytes=capacity.headroom_bytes,
            bound=capacity.bound,
        )


class BlobBody(BaseModel):
    """A complete blob."""

    complete: Literal[True] = True
    digest: KnownDigest
    size: int = Field(examples=[33_554_432])
    chunk_bytes: int = Field(examples=[65_504])

    @classmethod
    def of(cls, blob: BlobInfo) -> Self:
        """Make it from the store's value."""
        return cls(digest=blob.digest, size=blob.size, chunk_bytes=blob.chunk_bytes)


class BeginUpload(BaseModel):
    """A blob to upload."""

    model_config = ConfigDict(extra="forbid", strict=True)

    digest: DigestText = Field(description="sha256 of the content")
    size: int = Field(description="bytes of the content", examples=[33_554_432])
    chunk_bytes: int = Field(
        description="bytes that the store keeps together; for a shard, its section's chunk size",
        examples=[65_504],
    )


class UploadBody(BaseModel):
    """State of an upload session."""

    complete: Literal[False] = False
    upload_id: UploadId = Field(examples=["Jx0mIu5nOcJbH3vF"])
    digest: KnownDigest
    size: int = Field(examples=[33_554_432])
    chunk_bytes: int = Field(examples=[65_504])
    received_bytes: int = Field(description="offset to continue from", examples=[65_504])
    expires_at: AwareDatetime

    @classmethod
    def of(cls, upload: Upload) -> Self:
        """Make it from the store's value."""
        return cls(
            upload_id=upload.upload_id,
            digest=upload.blob.digest,
            size=upload.blob.size,
            chunk_bytes=upload.blob.chunk_bytes,
            received_bytes=upload.received_bytes,
            expires_at=datetime.fromtimestamp(upload.expires_at, UTC),
        )


class LabelSetSummary(BaseModel):
    """One label set in a list."""

    digest: KnownDigest
    state: State
    tags: list[KnownTag]
    created_at: AwareDatetime
    labels: int = Field(description="views that have a label", examples=[3_000_000])
    num_classes: int = Field(examples=[1000])
    payload_bytes: int = Field(description="size of the codes alone", examples=[48_000_000])
    teacher_name: str = Field(examples=["resnet18"])

    @classmethod
    def of(cls, record: LabelSetRecord, tags: tuple[Tag, ...]) -> Self:
        """Make it from the store's record."""
        return cls(**_summary(record, Manifest.from_bytes(record.manifest), tags))


class StagedBody(BaseModel):
    """A label set that is validated and recorded."""

    digest: KnownDigest
    state: State


class LabelSetList(BaseModel):
    """All label sets, oldest first."""

    label_sets: list[LabelSetSummary]

    @classmethod
    def of(cls, found: list[tuple[LabelSetRecord, tuple[Tag, ...]]]) -> Self:
        """From the store's words; parses every manifest, so run it in a thread."""
        return cls(label_sets=[LabelSetSummary.of(record, tags) for record, tags in found])


class CodecSummary(BaseModel):
    """How rows become labels."""

    name: str = Field(examples=["vqae"])
    row_stride: int = Field(description="payload bytes of one label", examples=[16])
    artifact_bytes: int = Field(examples=[262_144])


class StoreMemory(BaseModel):
    """Memory that a label set takes in the store; other sets may share its blobs."""

    total_bytes: int = Field(examples=[50_331_648])
    blobs: dict[KnownDigest, int]


class LabelSetBody(LabelSetSummary):
    """One label set with everything that the service knows about it."""

    manifest: dict[str, Any]
    codec: CodecSummary
    store_memory: StoreMemory
    report: dict[str, Any] | None = Field(description="fit report, if there is one")

    @classmethod
    def of_details(cls, details: LabelSetDetails) -> Self:
        """From the registry's words."""
        manifest, memory = details.manifest, details.memory_bytes
        return cls(
            **_summary(details.record, manifest, details.tags),
            manifest=json.loads(details.record.manifest),
            codec=CodecSummary(
                name=details.codec_name,
                row_stride=manifest.segments[0].codes.stride,
                artifact_bytes=manifest.codec.size,
            ),
            store_memory=StoreMemory(total_bytes=sum(memory.values()), blobs=memory),
            report=details.report,
        )


class SetTag(BaseModel):
    """The label set that a tag points to."""

    model_config = ConfigDict(extra="forbid", strict=True)

    digest: DigestText


class TagBody(BaseModel):
    """The label set that a tag points to."""

    tag: KnownTag
    digest: KnownDigest


class TagList(BaseModel):
    """All tags."""

    tags: dict[KnownTag, KnownDigest]


def _summary(record: LabelSetRecord, manifest: Manifest, tags: tuple[Tag, ...]) -> dict[str, Any]:
    return {
        "digest": record.digest,
        "state": record.state,
        "tags": list(tags),
        "created_at": datetime.fromtimestamp(record.created_at, UTC),
        "labels": manifest.num_labels,
        "num_classes": manifest.contract.num_classes,
        "payload_bytes": sum(segment.codes.payload_bytes for segment in manifest.segments),
        "teacher_name": manifest.contract.teacher_name,
    }
