"""Blobs and upload sessions, after the OCI registry: begin, send ranges, finish with a digest."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from labelcast.errors import BlobNotFoundError, InvalidRequestError
from labelcast.identifiers import digest_from, is_digest, is_upload_id
from labelcast_server.access.authorize import Action, Kind
from labelcast_server.admin.access import AdmissionDep, UploadsDep, requires
from labelcast_server.admin.bodies import ContentRange, RangeBody, described_body, json_body
from labelcast_server.admin.schemas import BeginUpload, BlobBody, CapacityBody, UploadBody
from labelcast_server.store.blob_store import BlobInfo
from labelcast_server.store.refusals import upload_id_from

BLOB_SIZE_HEADER = "Labelcast-Blob-Size"

blob_routes = APIRouter(prefix="/v1", tags=["blobs"])
upload_routes = APIRouter(prefix="/v1", tags=["uploads"])

_ANY_UPLOAD = requires(Action.WRITE, Kind.UPLOAD)
_THIS_UPLOAD = requires(Action.WRITE, Kind.UPLOAD, "upload_id")
_THIS_BLOB = requires(Action.INSPECT, Kind.BLOB, "digest")


@upload_routes.get(
    "/capacity", summary="Is there room, and is the store safe?", dependencies=_ANY_UPLOAD
)
async def get_capacity(
    admission: AdmissionDep,
    required_bytes: Annotated[int, Query(ge=0, le=2**60, description="of all blobs to push")] = 0,
) -> CapacityBody:
    """Refuse a push that cannot succeed, before it begins."""
    return CapacityBody.of(await admission.check(required_bytes))


@blob_routes.head(
    "/blobs/{digest}",
    summary="Does the blob exist?",
    dependencies=_THIS_BLOB,
    response_class=Response,
    responses={200: {"headers": {BLOB_SIZE_HEADER: {"schema": {"type": "integer"}}}}},
)
async def head_blob(digest: str, uploads: UploadsDep) -> Response:
    """200 with the blob's size in a header, or 404."""
    blob = await _blob(uploads, digest)
    return Response(headers={BLOB_SIZE_HEADER: str(blob.size)})


@blob_routes.get("/blobs/{digest}", summary="What is known of a blob", dependencies=_THIS_BLOB)
async def get_blob(digest: str, uploads: UploadsDep) -> BlobBody:
    """Size and chunk size; contents are served over gRPC."""
    return BlobBody.of(await _blob(uploads, digest))


@upload_routes.post(
    "/uploads",
    status_code=201,
    summary="Begin an upload",
    dependencies=_ANY_UPLOAD,
    responses={200: {"model": BlobBody, "description": "The blob exists already"}},
    openapi_extra=described_body(
        "application/json", BeginUpload.model_json_schema(), "The blob to upload"
    ),
)
async def begin_upload(
    response: Response,
    uploads: UploadsDep,
    wanted: Annotated[BeginUpload, Depends(json_body(BeginUpload))],
) -> UploadBody | BlobBody:
    """Open a session; its bytes stay invisible until it is finished."""
    digest = digest_from(wanted.digest)
    try:
        known = await uploads.blob(digest)
    except BlobNotFoundError:
        return UploadBody.of(await uploads.begin(digest, wanted.size, wanted.chunk_bytes))
    response.status_code = 200
    return BlobBody.of(known)


@upload_routes.get(
    "/uploads/{upload_id}", summary="Where an upload stands", dependencies=_THIS_UPLOAD
)
async def get_upload(upload_id: str, uploads: UploadsDep) -> UploadBody:
    """`received_bytes` says where to go on."""
    return UploadBody.of(await uploads.session(upload_id_from(upload_id)))


@upload_routes.patch(
    "/uploads/{upload_id}",
    summary="Send bytes",
    dependencies=_THIS_UPLOAD,
    openapi_extra={
        **described_body(
            "application/octet-stream",
            {"type": "string", "format": "binary"},
            "Bytes FIRST to LAST; whole chunks are kept, even if the body breaks off",
        ),
        "parameters": [
            {
                "name": "Content-Range",
                "in": "header",
                "required": True,
                "schema": {"type": "string", "pattern": r"^bytes \d+-\d+/\d+$"},
                "example": "bytes 0-4192255/33554432",
            }
        ],
    },
    responses={416: {"description": "Out of order; continue from `facts.received_bytes`"}},
)
async def send_bytes(upload_id: str, request: Request, uploads: UploadsDep) -> UploadBody:
    """Take the bytes of one range."""
    announced = ContentRange.parse(request.headers.get("content-range"))
    body = RangeBody(request, announced)
    session = upload_id_from(upload_id)
    upload = await uploads.session(session)
    if announced.total != upload.blob.size:
        raise InvalidRequestError(
            f"Content-Range says {announced.total} bytes in all, but this upload is for"
            f" {upload.blob.size}; send the blob that the upload was begun for"
        )
    upload = await uploads.receive(session, announced.first, body.pieces())
    if body.is_short and not body.broke_off:
        raise InvalidRequestError(
            f"{announced.count} bytes were announced and {body.received} came;"
            f" continue from byte {upload.received_bytes}",
            received_bytes=upload.received_bytes,
        )
    return UploadBody.of(upload)


@upload_routes.put("/uploads/{upload_id}", summary="Finish an upload", dependencies=_THIS_UPLOAD)
async def finish_upload(
    upload_id: str,
    uploads: UploadsDep,
    digest: Annotated[str, Query(description="sha256 of the content, verified")],
) -> BlobBody:
    """Verify the bytes and make the blob visible."""
    return BlobBody.of(await uploads.finish(upload_id_from(upload_id), digest))


@upload_routes.delete(
    "/uploads/{upload_id}", status_code=204, summary="Drop an upload", dependencies=_THIS_UPLOAD
)
async def abort_upload(upload_id: str, uploads: UploadsDep) -> None:
    """Forget the session and its bytes; an unknown one is no error."""
    if is_upload_id(upload_id):
        await uploads.abort(upload_id)


async def _blob(uploads: UploadsDep, digest: str) -> BlobInfo:
    if not is_digest(digest):
        raise InvalidRequestError('a blob is named by "sha256:" and 64 lower-case hex digits')
    return await uploads.blob(digest)
