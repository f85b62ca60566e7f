"""Label sets through `Registry`: push, look, tag, retire."""

import socket
import threading
from pathlib import Path

import httpx
import numpy as np
import pytest

from labelcast.errors import (
    BlobNotFoundError,
    DigestMismatchError,
    InvalidRequestError,
    LabelcastError,
    LabelSetNotFoundError,
    ServiceUnavailableError,
    TransitionError,
)
from labelcast.registry.client import Registry
from labelcast.registry.upload import BlobUpload
from tests.factories.label_sets import CodecName, make_codec, make_label_set, write_label_set
from tests.factories.recording_proxy import recording_proxy
from tests.factories.state_sets import VOCABULARY, States
from tests.server.admin.cutting_proxy import CuttingProxy
from tests.server.admin.running_admin import ADMIN_TOKEN, RunningAdmin, running_admin


@pytest.mark.parametrize("codec", ["raw", "topk", "vqae"])
def test_a_pushed_label_set_is_shown_whole(
    registry: Registry, tmp_path: Path, codec: CodecName
) -> None:
    label_set, _ = make_label_set(tmp_path, codec, report={"kl": 0.25, "codec": codec})
    blobs, steps = label_set.manifest.blobs(), []
    result = registry.push(label_set, "glyphs:v1", progress=lambda *step: steps.append(step))

    total = sum(ref.size for ref in blobs.values())
    assert (result.digest, result.tag) == (label_set.digest, "glyphs:v1")
    assert (result.uploaded_blobs, result.uploaded_bytes) == (len(blobs), total)
    assert steps[0] == (0, total)
    assert steps[-1] == (total, total)
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)

    (summary,) = registry.list()
    details = registry.inspect("glyphs:v1")
    assert summary == details.summary == registry.inspect(label_set.digest).summary
    assert (summary.digest, summary.state, summary.tags) == (
        label_set.digest,
        "published",
        ("glyphs:v1",),
    )
    assert (summary.labels, summary.num_classes) == (150, 10)
    assert summary.payload_bytes == 150 * label_set.manifest.segments[0].codes.stride
    assert details.manifest == label_set.manifest
    assert details.codec_name == codec
    assert details.report == {"kl": 0.25, "codec": codec}
    assert set(details.store_bytes) == set(blobs)
    assert all(details.store_bytes[digest] >= ref.size for digest, ref in blobs.items())


def test_sequences_are_shown_with_their_tokenizer_and_head(
    registry: Registry, http: httpx.Client, tmp_path: Path
) -> None:
    states = States.make()
    label_set = states.write(tmp_path, shipped=True)
    assert registry.push(label_set, "states:v1").uploaded_blobs == len(label_set.manifest.blobs())
    shown = http.get("/v1/label-sets/states:v1").json()
    assert (shown["labels"], shown["num_classes"]) == (16, VOCABULARY)
    language = shown["manifest"]["contract"]["language"]
    assert language == states.described.language.as_json()
    assert language["head"]["digest"] == states.head.spec.digest
    assert shown["manifest"]["requires"] == ["language", "ragged"]
    assert shown["manifest"]["head"]["rows"] == VOCABULARY
    details = registry.inspect("states:v1")
    assert details.manifest.contract.language == states.described.language
    assert set(details.store_bytes) == set(label_set.manifest.blobs())


def test_many_shards_of_many_pieces(registry: Registry, tmp_path: Path) -> None:
    # 20,000 × 500 × 2 bytes: shards of two pieces of 4 MiB and a rest.
    label_set, _ = make_label_set(
        tmp_path, num_samples=10_000, num_seeds=2, num_classes=500, shard_bytes=9 * 2**20
    )
    assert len(label_set.manifest.segments[0].codes.shards) == 3
    registry.push(label_set, "large")
    assert registry.inspect("large").manifest == label_set.manifest


def test_pushing_again_sends_nothing(registry: Registry, tmp_path: Path) -> None:
    label_set, _ = make_label_set(tmp_path)
    registry.push(label_set, "glyphs:v1")
    again = registry.push(label_set, "glyphs:v2")
    assert (again.uploaded_blobs, again.uploaded_bytes) == (0, 0)
    assert again.known_blobs == len(label_set.manifest.blobs())
    assert registry.inspect(label_set.digest).summary.tags == ("glyphs:v1", "glyphs:v2")


def test_a_later_version_sends_what_it_does_not_share(registry: Registry, tmp_path: Path) -> None:
    first, _ = make_label_set(tmp_path / "one", seed=1)
    second, _ = make_label_set(tmp_path / "two", seed=2)
    registry.push(first, "glyphs:v1")
    result = registry.push(second, "glyphs:v1")
    shared = set(first.manifest.blobs()) & set(second.manifest.blobs())
    assert shared
    assert result.known_blobs == len(shared)
    # The tag moved; the earlier set lives on by its digest.
    assert registry.inspect("glyphs:v1").summary.digest == second.digest
    assert registry.inspect(first.digest).summary.tags == ()
    assert [summary.digest for summary in registry.list()] == [first.digest, second.digest]


def test_two_columns_with_the_same_bytes_in_other_chunks(
    registry: Registry, tmp_path: Path
) -> None:
    # Five hard labels of 4 bytes and one row of 20: the same zeros in chunks of another size.
    codec = make_codec("raw", 10, np.random.default_rng(0))
    rows = np.zeros((5, 20), np.uint8)
    label_set = write_label_set(
        tmp_path,
        codec,
        rows,
        num_samples=5,
        num_seeds=1,
        shard_bytes=20,
        hard_label_bound=1,
    )
    segment = label_set.manifest.segments[0]
    assert segment.hard_labels is not None
    assert segment.hard_labels.chunk_bytes != segment.codes.chunk_bytes
    registry.push(label_set, "zeros")


def test_retired_label_sets_lose_their_tags_and_come_back(
    registry: Registry, http: httpx.Client, tmp_path: Path
) -> None:
    label_set, _ = make_label_set(tmp_path)
    registry.push(label_set, "glyphs:v1")
    registry.tag("glyphs:latest", label_set.digest)
    assert http.get("/v1/tags").json() == {
        "tags": {"glyphs:v1": label_set.digest, "glyphs:latest": label_set.digest}
    }
    registry.retire("glyphs:v1")
    assert http.get("/v1/tags").json() == {"tags": {}}
    assert registry.inspect(label_set.digest).summary.state == "retired"
    with pytest.raises(LabelSetNotFoundError):
        registry.inspect("glyphs:v1")
    with pytest.raises(TransitionError):
        registry.retire(label_set.digest)

    assert registry.push(label_set, "glyphs:v1").uploaded_blobs == 0
    assert registry.inspect("glyphs:v1").summary.state == "published"


def test_what_is_not_there_is_not_found(registry: Registry) -> None:
    digest = "sha256:" + "0" * 64
    for ask in (
        lambda: registry.inspect("nothing:v1"),
        lambda: registry.inspect(digest),
        lambda: registry.retire("nothing:v1"),
        lambda: registry.tag("glyphs:v1", digest),
        lambda: registry.tag("glyphs:v1", "glyphs:v2"),
    ):
        with pytest.raises(LabelSetNotFoundError):
            ask()


def test_tags_are_spelled_strictly(registry: Registry, tmp_path: Path) -> None:
    label_set, _ = make_label_set(tmp_path, num_samples=4)
    for tag in ("", "Upper", "a:b:c", "a/b", "../../etc", "a b", "é", "a" * 65):
        with pytest.raises(InvalidRequestError, match="is no tag"):
            registry.push(label_set, tag)
    assert registry.list() == []


def test_a_missing_or_damaged_file_is_found_before_it_is_sent(
    registry: Registry, tmp_path: Path
) -> None:
    label_set, _ = make_label_set(tmp_path)
    path = label_set.path(label_set.manifest.segments[0].codes.shards[0].data)
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(DigestMismatchError, match="encode the label set again"):
        registry.push(label_set, "glyphs:v1")
    path.write_bytes(content[:-1])
    with pytest.raises(BlobNotFoundError):
        registry.push(label_set, "glyphs:v1")
    path.write_bytes(content)
    registry.push(label_set, "glyphs:v1")


def test_concurrent_pushes_of_one_label_set_agree(admin: RunningAdmin, tmp_path: Path) -> None:
    label_set, _ = make_label_set(tmp_path, "vqae", num_samples=20_000)
    together, failures = threading.Barrier(4), []

    def push(number: int) -> None:
        try:
            with admin.registry() as registry:
                together.wait()
                registry.push(label_set, f"glyphs:v{number}")
        except LabelcastError as error:
            failures.append(error)

    threads = [threading.Thread(target=push, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with admin.registry() as registry:
        assert registry.inspect(label_set.digest).summary.tags == tuple(
            f"glyphs:v{number}" for number in range(4)
        )


def test_steps_whose_answers_were_lost_are_taken_again(admin: RunningAdmin, tmp_path: Path) -> None:
    label_set, _ = make_label_set(tmp_path)
    lost: set[tuple[str, str]] = set()

    def lose_the_first(response: httpx.Response) -> None:
        step = (response.request.method, response.request.url.path)
        if step not in lost:
            lost.add(step)
            raise httpx.ReadError("the connection broke off")

    with admin.registry() as registry:
        registry._rest._client.event_hooks = {"response": [lose_the_first]}
        registry.push(label_set, "glyphs:v1")
        registry.retire("glyphs:v1")
        registry.push(label_set, "glyphs:v1")
        assert registry.inspect("glyphs:v1").manifest == label_set.manifest
    assert {method for method, _ in lost} == {"HEAD", "GET", "POST", "PATCH", "PUT"}
    # Each upload was begun twice, and each blob is there once.
    assert ("POST", "/v1/uploads") in lost
    with admin.registry() as direct:
        assert set(direct.inspect("glyphs:v1").store_bytes) == set(label_set.manifest.blobs())


@pytest.mark.parametrize("by_tag", [True, False])
def test_retiring_is_done_once_though_its_answer_was_lost(
    admin: RunningAdmin, registry: Registry, tmp_path: Path, by_tag: bool
) -> None:
    label_set, _ = make_label_set(tmp_path)
    registry.push(label_set, "glyphs:v1")
    reference = "glyphs:v1" if by_tag else label_set.digest
    # Longer than the question for the tags, shorter than that and the request to retire.
    with (
        CuttingProxy(admin.port, cut_after_bytes=[300]) as proxy,
        Registry(f"http://127.0.0.1:{proxy.port}", ADMIN_TOKEN) as through,
    ):
        through.retire(reference)
        assert proxy.cuts == 1
        assert registry.inspect(label_set.digest).summary.state == "retired"
        # Known to be retired before, it is an error as ever.
        with pytest.raises(TransitionError):
            through.retire(label_set.digest)


def test_a_wrong_address_is_told_long_before_patience_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("labelcast.network.patience._FIRST_CONTACT_SECONDS", 0.2)
    # Held but not listened on: nobody else can be given the port meanwhile.
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        with (
            Registry(url, "token", patience_seconds=86_400) as registry,
            pytest.raises(ServiceUnavailableError, match="check the URL"),
        ):
            registry.list()


def test_a_service_that_has_answered_is_waited_for(redis_url: str) -> None:
    first = RunningAdmin(redis_url, allow_unsafe_store=False, read_token=None)
    first.start()
    with Registry(first.url, ADMIN_TOKEN) as registry:
        assert registry.list() == []
        first.stop()
        found: list[object] = []
        asking = threading.Thread(target=lambda: found.append(registry.list()))
        asking.start()
        with running_admin(redis_url, port=first.port):
            asking.join()
    assert found == [[]]


def test_urls_and_tokens_are_checked_before_anything_is_sent() -> None:
    for url in (
        "",
        "127.0.0.1:7071",
        "ftp://host",
        "http://",
        "http://user:secret@host",
        "http://[",
    ):
        with pytest.raises(InvalidRequestError) as caught:
            Registry(url, "token")
        assert "secret" not in caught.value.message
    with pytest.raises(InvalidRequestError) as caught:
        Registry("http://127.0.0.1:1", "sec\nret")
    assert "sec" not in caught.value.message


def test_a_push_to_this_machine_shows_no_proxy_the_token(
    admin: RunningAdmin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label_set, _ = make_label_set(tmp_path)
    with recording_proxy() as proxy:
        for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(variable, proxy.url)
        with admin.registry() as registry:
            registry.push(label_set, "glyphs:v1")
    assert proxy.requests == []


def test_an_unknown_tag_is_listed_or_pushed_as_the_message_says(
    registry: Registry, tmp_path: Path
) -> None:
    with pytest.raises(LabelSetNotFoundError, match="list the tags or push one"):
        registry.inspect("glyphs:v1")
    assert registry.list() == []
    label_set, _ = make_label_set(tmp_path)
    registry.push(label_set, "glyphs:v1")
    assert registry.inspect("glyphs:v1").summary.digest == label_set.digest
    assert [summary.tags for summary in registry.list()] == [("glyphs:v1",)]


def test_a_shard_in_other_chunks_is_sent_again(registry: Registry, tmp_path: Path) -> None:
    label_set, _ = make_label_set(tmp_path)
    (shard,) = label_set.manifest.segments[0].sample_ids.shards
    upload = BlobUpload(registry._rest, shard.data, label_set.path(shard.data), 8)
    assert max(upload.run()) == shard.data.size
    result = registry.push(label_set, "glyphs:v1")
    assert (result.known_blobs, result.uploaded_blobs) == (0, len(label_set.manifest.blobs()))
