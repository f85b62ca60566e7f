"""Advice on tokens and on what a store keeps is tried, as in test_advice.py beside this."""

import asyncio
import re
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from labelcast.identifiers import tag_from
from labelcast.label_set import CHUNK_BYTES
from labelcast.label_set_directory import LabelSetDirectory
from labelcast_server.access.principal import Principal
from labelcast_server.access.tokens import Tokens
from labelcast_server.delivery.resolving import resolve_readable
from labelcast_server.registry.services import RegistryServices
from labelcast_server.store.blob_store import new_upload_id
from labelcast_server.store.memory import memory_store
from labelcast_server.store.store import Store
from tests.factories.advice import Case, try_advice
from tests.factories.label_sets import make_label_set
from tests.factories.pushed import push, services_over, upload
from tests.server.store.blobs import session

TAG = tag_from("glyphs:v1")
TOKENS = Tokens(admin_token="admin", read_token="reader")


@dataclass(frozen=True)
class Shelf:
    """Two label sets, and an empty store."""

    labels: LabelSetDirectory
    successor: LabelSetDirectory
    store: Store = field(default_factory=memory_store)

    def stage(self, added: bytes = b"") -> object:
        labels = self.labels
        content = labels.manifest.to_bytes() + added
        return run(services_over(self.store).publisher.stage(labels.digest, content))

    def codec(self, damage: bytes = b"") -> object:
        """Upload the codec, with its first bytes replaced."""
        ref = self.labels.manifest.codec
        content = damage + self.labels.read_blob(ref)[len(damage) :]
        return run(upload(self.store, ref.digest, content, CHUNK_BYTES))

    def publish(self, labels: LabelSetDirectory) -> object:
        run(push(self.store, labels))
        return run(services_over(self.store).publisher.publish(labels.digest, TAG))

    def retired(self) -> object:
        self.publish(self.labels)
        run(services_over(self.store).publisher.retire(TAG))
        return self.read(self.labels.digest)

    def read(self, reference: str) -> object:
        return run(resolve_readable(self.store.catalog, reference))

    def blob(self) -> object:
        return run(self.store.blobs.blob(self.labels.manifest.codec.digest))


def run(work: Coroutine[Any, Any, object]) -> object:
    return asyncio.run(work)


def admitted(at: Shelf, *, allow_unsafe_store: bool) -> object:
    services = RegistryServices.over(at.store, allow_unsafe_store=allow_unsafe_store)
    return run(services.admission.check(1))


def two_uploads(at: Shelf, *, draw: bool) -> None:
    first, second = session(b"one"), session(b"another")
    upload_id = new_upload_id() if draw else first.upload_id
    run(at.store.blobs.begin_upload(first))
    run(at.store.blobs.begin_upload(replace(second, upload_id=upload_id)))


def identified(authorization: str | None, principal: Principal) -> Principal:
    found = TOKENS.identify(authorization)
    assert found is principal
    return found


CASES: list[Case[Shelf]] = [
    Case(
        'send "authorization: Bearer TOKEN"',
        lambda _: identified(None, Principal.READER),
        lambda _: identified("Bearer reader", Principal.READER),
    ),
    Case(
        "ask the service's admin for one",
        lambda _: identified("Bearer guessed", Principal.READER),
        lambda _: (
            identified("Bearer reader", Principal.READER),
            identified("Bearer admin", Principal.ADMIN),
        ),
    ),
    Case(
        "or start the service with --allow-unsafe-store",
        lambda at: admitted(at, allow_unsafe_store=False),
        lambda at: admitted(at, allow_unsafe_store=True),
    ),
    Case(
        "send its exact bytes",
        lambda at: at.stage(added=b"\n"),
        lambda at: (run(push(at.store, at.labels, stage=False)), at.stage()),
    ),
    Case(
        "upload it first",
        lambda at: at.stage(),
        lambda at: (run(push(at.store, at.labels, stage=False)), at.stage()),
    ),
    Case(
        "nothing was kept, upload the blob again",
        lambda at: at.codec(damage=b"damage"),
        lambda at: (at.codec(), at.blob()),
    ),
    Case(
        "is not published; publish it under a tag",
        lambda at: (run(push(at.store, at.labels)), at.read(at.labels.digest)),
        lambda at: (at.publish(at.labels), at.read(at.labels.digest)),
    ),
    Case("push it first", lambda at: at.blob(), lambda at: (at.codec(), at.blob())),
    Case(
        "publish it again or use its successor",
        lambda at: at.retired(),
        lambda at: (
            at.publish(at.successor),
            at.read(TAG),
            at.publish(at.labels),
            at.read(at.labels.digest),
        ),
    ),
    Case(
        "draw a new one",
        lambda at: two_uploads(at, draw=False),
        lambda at: two_uploads(at, draw=True),
    ),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[LabelSetDirectory]:
    at = tmp_path_factory.mktemp("made")
    return [make_label_set(at / str(seed), seed=seed)[0] for seed in (0, 1)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: re.sub(r"\W+", "-", case.says)[:50])
def test_the_advice_works(case: Case[Shelf], made: list[LabelSetDirectory]) -> None:
    try_advice(case, Shelf(labels=made[0], successor=made[1]))
