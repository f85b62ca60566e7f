"""The upload protocol, byte by byte."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from labelcast.errors import ServiceUnavailableError
from labelcast.label_set import digest_of
from labelcast.registry.client import Registry
from tests.factories.label_sets import make_label_set
from tests.server.admin.cutting_proxy import CuttingProxy
from tests.server.admin.running_admin import ADMIN_TOKEN, RunningAdmin

CHUNK = 1000
CONTENT = bytes(range(256)) * 30  # 7,680 bytes: seven chunks and a rest
DIGEST = digest_of(CONTENT)


def begin(http: httpx.Client, content: bytes = CONTENT, digest: str | None = None) -> str:
    wanted = {"digest": digest or digest_of(content), "size": len(content), "chunk_bytes": CHUNK}
    answer = http.post("/v1/uploads", json=wanted)
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert body["complete"] is False
    assert body["received_bytes"] == 0
    return f"/v1/uploads/{body['upload_id']}"


def send(
    http: httpx.Client, address: str, first: int, last: int, *, total: int = len(CONTENT)
) -> httpx.Response:
    return http.patch(
        address,
        content=CONTENT[first : last + 1],
        headers={
            "Content-Type": "application/octet-stream",
            "Content-Range": f"bytes {first}-{last}/{total}",
        },
    )


def test_a_blob_in_pieces(http: httpx.Client) -> None:
    assert http.head(f"/v1/blobs/{DIGEST}").status_code == 404
    address = begin(http)
    assert send(http, address, 0, 2999).json()["received_bytes"] == 3000
    # Of what is not whole chunks, the rest is sent again.
    assert send(http, address, 3000, 5499).json()["received_bytes"] == 5000
    assert http.get(address).json()["received_bytes"] == 5000
    assert http.head(f"/v1/blobs/{DIGEST}").status_code == 404
    assert send(http, address, 5000, 7679).json()["received_bytes"] == 7680
    answer = http.put(address, params={"digest": DIGEST})
    expected = {"complete": True, "digest": DIGEST, "size": 7680, "chunk_bytes": CHUNK}
    assert answer.json() == expected
    assert http.get(f"/v1/blobs/{DIGEST}").json() == expected
    head = http.head(f"/v1/blobs/{DIGEST}")
    assert (head.status_code, head.headers["Labelcast-Blob-Size"]) == (200, "7680")

    again = http.post("/v1/uploads", json={"digest": DIGEST, "size": 7680, "chunk_bytes": CHUNK})
    assert (again.status_code, again.json()) == (200, expected)
    assert http.get(address).status_code == 404


def test_out_of_order_ranges_say_where_to_go_on(http: httpx.Client) -> None:
    address = begin(http)
    send(http, address, 0, 1999)
    for first in (0, 1000, 3000):
        answer = send(http, address, first, 7679)
        assert answer.status_code == 416
        assert answer.json()["reason"] == "upload_offset"
        assert answer.json()["facts"]["received_bytes"] == "2000"
        assert "the upload stands at 2000; go on from there" in answer.json()["message"]
    assert send(http, address, 2000, 7679).status_code == 200
    assert http.put(address, params={"digest": DIGEST}).status_code == 200


def test_wrong_digest_drops_the_session(http: httpx.Client) -> None:
    address = begin(http, digest="sha256:" + "0" * 64)
    send(http, address, 0, 7679)
    answer = http.put(address, params={"digest": "sha256:" + "0" * 64})
    assert (answer.status_code, answer.json()["reason"]) == (422, "digest_mismatch")
    assert http.get(address).json()["reason"] == "upload_not_found"
    assert http.head("/v1/blobs/sha256:" + "0" * 64).status_code == 404
    assert http.head(f"/v1/blobs/{DIGEST}").status_code == 404


def test_finishing_needs_every_byte_and_the_announced_digest(http: httpx.Client) -> None:
    address = begin(http)
    send(http, address, 0, 6999)
    missing = http.put(address, params={"digest": DIGEST})
    assert (missing.status_code, missing.json()["facts"]["received_bytes"]) == (416, "7000")
    assert "bytes are missing; continue after 7000 of 7680 bytes" in missing.json()["message"]
    other = http.put(address, params={"digest": "sha256:" + "0" * 64})
    assert (other.status_code, other.json()["reason"]) == (400, "invalid_request")
    assert send(http, address, 7000, 7679).status_code == 200
    assert http.put(address, params={"digest": DIGEST}).status_code == 200


def test_dropping_a_session(http: httpx.Client) -> None:
    address = begin(http)
    send(http, address, 0, 4999)
    assert http.delete(address).status_code == 204
    assert http.delete(address).status_code == 204
    gone = send(http, address, 5000, 7679).json()
    assert gone["reason"] == "upload_not_found"
    assert "finished, aborted or expired; begin a new one" in gone["message"]
    assert send(http, begin(http), 0, 7679).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=0-999/7680",
        "bytes 0-999",
        "bytes 0-999/*",
        "bytes */7680",
        "bytes 00-999/7680",
        "bytes +0-999/7680",
        "bytes  0-999/7680",
        "Bytes 0-999/7680",
        "bytes 0-9_99/7680",
        "bytes ٠-999/7680",
        "bytes 999-0/7680",
        "bytes 0-7680/7680",
        "bytes 0-999/7681",
        "bytes 0-998/7680",
        "bytes 0-1000/7680",
        "bytes 0-999/" + "9" * 400,
    ],
)
def test_content_range_is_read_strictly(
    http: httpx.Client, admin: RunningAdmin, header: str | None
) -> None:
    address = begin(http)
    headers: list[tuple[bytes, bytes]] = [(b"Content-Type", b"application/octet-stream")]
    if header is not None:
        headers.append((b"Content-Range", header.encode()))
    answer = http.patch(address, content=CONTENT[:1000], headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (400, "invalid_request")
    assert http.get(address).json()["received_bytes"] == 0


@pytest.mark.parametrize("kind", [None, "multipart/form-data; boundary=x", "text/plain"])
def test_other_kinds_of_body_are_refused(http: httpx.Client, kind: str | None) -> None:
    address = begin(http)
    headers = {"Content-Range": "bytes 0-7679/7680"} | ({"Content-Type": kind} if kind else {})
    answer = http.patch(address, content=CONTENT, headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (400, "invalid_request")
    encoded = http.patch(
        address,
        content=CONTENT,
        headers={
            "Content-Range": "bytes 0-7679/7680",
            "Content-Type": "application/octet-stream",
            "Content-Encoding": "gzip",
        },
    )
    assert encoded.status_code == 400


def chunked(pieces: list[bytes]) -> Iterator[bytes]:
    yield from pieces


def test_more_and_fewer_bytes_than_announced(http: httpx.Client) -> None:
    address = begin(http)
    headers = {"Content-Type": "application/octet-stream", "Content-Range": "bytes 0-3999/7680"}
    more = http.patch(address, content=chunked([CONTENT[:4000], b"x"]), headers=headers)
    assert (more.status_code, more.json()["reason"]) == (400, "invalid_request")
    at = http.get(address).json()["received_bytes"]
    assert at == 0
    fewer = http.patch(address, content=chunked([CONTENT[:2500]]), headers=headers)
    assert fewer.status_code == 400
    assert fewer.json()["facts"]["received_bytes"] == "2000"
    assert "were announced and 2500 came; continue from byte 2000" in fewer.json()["message"]
    assert send(http, address, 2000, 7679).status_code == 200


def test_a_body_that_breaks_off_keeps_its_whole_chunks(
    admin: RunningAdmin, http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    content = np.random.default_rng(0).bytes(4 * 2**20)
    address = begin(http, content)
    head = (
        f"PATCH {address} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {len(content)}\r\n"
        f"Content-Range: bytes 0-{len(content) - 1}/{len(content)}\r\n\r\n"
    )
    sent = 3 * 2**20
    with socket.create_connection(("127.0.0.1", admin.port)) as connection:
        connection.sendall(head.encode() + content[:sent])
    assert admin.uploads.received.wait(100)
    at = http.get(address).json()["received_bytes"]
    # Uvicorn drops what it holds at that moment: one read of 256 KiB and 64 KiB before it.
    assert sent - 320 * 1024 - CHUNK < at <= sent
    assert at % CHUNK == 0
    rest = http.patch(
        address,
        content=content[at:],
        headers={
            "Content-Type": "application/octet-stream",
            "Content-Range": f"bytes {at}-{len(content) - 1}/{len(content)}",
        },
    )
    assert rest.status_code == 200
    assert http.put(address, params={"digest": digest_of(content)}).status_code == 200
    noisy = [
        record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))
    ]
    assert noisy == []


def test_a_push_takes_up_a_connection_that_is_cut(admin: RunningAdmin, tmp_path: Path) -> None:
    label_set, _ = make_label_set(tmp_path, num_samples=6000, num_seeds=2, num_classes=500)
    with CuttingProxy(admin.port, cut_after_bytes=[5 * 2**20, 3 * 2**20]) as proxy:
        with Registry(f"http://127.0.0.1:{proxy.port}", ADMIN_TOKEN) as registry:
            result = registry.push(label_set, "glyphs:v1")
        assert proxy.cuts == 2
        # Less than two pieces came twice.
        assert proxy.forwarded_bytes < result.uploaded_bytes + 8 * 2**20
    with admin.registry() as registry:
        assert registry.inspect("glyphs:v1").manifest == label_set.manifest


def test_a_push_gives_up_when_every_connection_is_cut(admin: RunningAdmin, tmp_path: Path) -> None:
    label_set, _ = make_label_set(tmp_path, num_samples=2000, num_seeds=6, num_classes=500)
    # Never a whole chunk of the codes; all that is smaller passes.
    with CuttingProxy(admin.port, cut_after_bytes=[60_000] * 100) as proxy:
        with (
            Registry(f"http://127.0.0.1:{proxy.port}", ADMIN_TOKEN, patience_seconds=1) as registry,
            pytest.raises(ServiceUnavailableError),
        ):
            registry.push(label_set, "glyphs:v1")
        assert 2 < proxy.cuts < 100
    with admin.registry() as registry:
        assert registry.list() == []
        first = registry.push(label_set, "glyphs:v1")
        assert first.uploaded_blobs < len(label_set.manifest.blobs())


@pytest.mark.parametrize(
    "name", ["sha256:" + "A" * 64, "sha256:" + "0" * 63, "..", "%2e%2e%2f", os.devnull, "md5:0"]
)
def test_blobs_are_named_by_digests_only(http: httpx.Client, name: str) -> None:
    assert http.get(f"/v1/blobs/{name}").status_code in (400, 404)
    answer = http.post("/v1/uploads", json={"digest": name, "size": 10, "chunk_bytes": 10})
    assert (answer.status_code, answer.json()["reason"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"digest":"sha256:0","size":"10","chunk_bytes":10}',
        b'{"digest":"sha256:0","size":10}',
        b'{"digest":"sha256:0","size":10,"chunk_bytes":10,"more":1}',
        b'{"digest":"sha256:0","size":0,"chunk_bytes":10}',
        b'{"digest":"sha256:0","size":1e400,"chunk_bytes":10}',
        b" " * 70_000,
    ],
)
def test_requests_to_begin_are_read_strictly(http: httpx.Client, body: bytes) -> None:
    answer = http.post("/v1/uploads", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["reason"]) == (400, "invalid_request")
