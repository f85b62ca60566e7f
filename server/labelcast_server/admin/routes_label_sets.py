"""Label sets and tags."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response

from labelcast.identifiers import is_digest, tag_from
from labelcast.label_set.manifest import MAX_MANIFEST_BYTES
from labelcast_server.access.authorize import Action, Kind
from labelcast_server.admin.access import InspectionDep, PublisherDep, requires
from labelcast_server.admin.bodies import described_body, json_body, read_limited, require_raw
from labelcast_server.admin.schemas import (
    LabelSetBody,
    LabelSetList,
    SetTag,
    StagedBody,
    TagBody,
    TagList,
)
from labelcast_server.registry.inspection import LabelSetDetails
from labelcast_server.store.refusals import label_set_not_found

Reference = Annotated[str, Path(description="tag or digest", examples=["glyphs:v1"])]

router = APIRouter(prefix="/v1", tags=["label sets"])


@router.get(
    "/label-sets",
    summary="All label sets",
    dependencies=requires(Action.INSPECT, Kind.LABEL_SET),
)
async def list_label_sets(inspection: InspectionDep) -> LabelSetList:
    """Every label set in any state, oldest first."""
    found = await inspection.label_sets()
    return await asyncio.to_thread(LabelSetList.of, found)


@router.get(
    "/label-sets/{reference}",
    summary="One label set",
    response_model=LabelSetBody,
    dependencies=requires(Action.INSPECT, Kind.LABEL_SET, "reference"),
)
async def get_label_set(reference: Reference, inspection: InspectionDep) -> Response:
    """Manifest, state, tags, codec, fit report, and the memory that the store spends on it."""
    details = await inspection.inspect(reference)
    # FastAPI would write a manifest of megabytes out on the event loop.
    return Response(await asyncio.to_thread(_as_json, details), media_type="application/json")


@router.put(
    "/label-sets/{digest}",
    status_code=201,
    summary="Record a label set",
    dependencies=requires(Action.STAGE, Kind.LABEL_SET, "digest"),
    openapi_extra=described_body(
        "application/json", {"type": "object"}, "The manifest: canonical JSON, byte for byte"
    ),
)
async def put_label_set(digest: str, request: Request, publisher: PublisherDep) -> StagedBody:
    """Validate a manifest with every blob and row that it names; no tag points to it yet."""
    require_raw(request, "application/json")
    content = await read_limited(request, MAX_MANIFEST_BYTES)
    record = await publisher.stage(digest, content)
    return StagedBody(digest=record.digest, state=record.state)


@router.post(
    "/label-sets/{reference}/retire",
    status_code=204,
    summary="Retire a label set",
    dependencies=requires(Action.RETIRE, Kind.LABEL_SET, "reference"),
)
async def retire_label_set(reference: Reference, publisher: PublisherDep) -> None:
    """Stop serving a label set and remove all its tags; its bytes stay."""
    await publisher.retire(reference)


@router.get("/tags", summary="All tags", dependencies=requires(Action.INSPECT, Kind.TAG))
async def list_tags(inspection: InspectionDep) -> TagList:
    """Tag → digest."""
    found = await inspection.label_sets()
    return TagList(tags={tag: record.digest for record, tags in found for tag in tags})


@router.put(
    "/tags/{tag}",
    summary="Point a tag to a label set",
    dependencies=requires(Action.PUBLISH, Kind.TAG, "tag"),
    openapi_extra=described_body(
        "application/json", SetTag.model_json_schema(), "The label set that the tag points to"
    ),
)
async def put_tag(
    tag: Annotated[str, Path(examples=["glyphs:v1"])],
    publisher: PublisherDep,
    wanted: Annotated[SetTag, Depends(json_body(SetTag))],
) -> TagBody:
    """Publish a label set under a tag; a tag that points elsewhere moves."""
    name = tag_from(tag)
    if not is_digest(wanted.digest):
        raise label_set_not_found(wanted.digest)
    await publisher.publish(wanted.digest, name)
    return TagBody(tag=name, digest=wanted.digest)


def _as_json(details: LabelSetDetails) -> str:
    return LabelSetBody.of_details(details).model_dump_json()
