"""`RedisCatalog`: label set records and tags in one Redis."""

import contextlib
from collections.abc import AsyncGenerator, Sequence

from labelcast.errors import StoreUnsafeError
from labelcast.identifiers import Digest, Tag, digest_from
from labelcast_server.store import refusals
from labelcast_server.store.catalog import Catalog, LabelSetRecord, State
from labelcast_server.store.redis import entries, keys, scripts
from labelcast_server.store.redis.disk import RedisDisk
from labelcast_server.store.redis.health import online_replicas, persistence_problems_from
from labelcast_server.store.redis.link import RedisLink


class RedisCatalog(Catalog):
    """Keeps the catalog in one Redis, shared by any number of services.

    Args:
        link: connection to it.
        disk: disk that it writes to.
    """

    def __init__(self, link: RedisLink, disk: RedisDisk) -> None:
        self._link = link
        self._disk = disk

    async def put_label_set(self, record: LabelSetRecord) -> None:
        async with self._disk.write(len(record.manifest)):
            await self._link.script(
                scripts.PUT_LABEL_SET,
                [keys.label_set_key(record.digest), keys.LABEL_SETS],
                [record.digest, record.manifest, record.state, repr(record.created_at)],
            )

    async def label_set(self, digest: Digest) -> LabelSetRecord:
        fields = await self._link.command("HGETALL", keys.label_set_key(digest), repeatable=True)
        if not fields:
            raise refusals.label_set_not_found(digest)
        return _record(digest, fields)

    async def label_set_state(self, digest: Digest) -> State:
        state = await self._link.command(
            "HGET", keys.label_set_key(digest), "state", repeatable=True
        )
        if state is None:
            raise refusals.label_set_not_found(digest)
        return State(state.decode())

    async def label_sets(self) -> list[LabelSetRecord]:
        members = await self._link.command("SMEMBERS", keys.LABEL_SETS, repeatable=True)
        digests = [member.decode() for member in members]
        replies = await self._link.pipeline(
            (("HGETALL", keys.label_set_key(digest)) for digest in digests), repeatable=True
        )
        records = [
            _record(digest, fields)
            for digest, fields in zip(digests, replies, strict=True)
            if fields
        ]
        return sorted(records, key=lambda record: (record.created_at, record.digest))

    async def transition(
        self, digest: Digest, *, expected: State, new: State, tag: Tag | None = None
    ) -> None:
        """Take one step of the life cycle, and check before and after that it cannot be lost.

        Before: Redis must be able to write to its disk, and every replica that is online must have
        confirmed all earlier writes; otherwise nothing is changed. After: the same replicas confirm
        the step itself.

        Raises:
            LabelSetNotFoundError: unknown digest.
            TransitionError: its state is not `expected`.
            StoreUnsafeError: a check failed; the message says whether the step was taken.
            StoreFullError: the disk is full; nothing was changed.
        """
        refusals.check_transition(new, tag)
        async with self._disk.write():
            await self._transition(digest, expected, new, tag)

    async def _transition(
        self, digest: Digest, expected: State, new: State, tag: Tag | None
    ) -> None:
        info = await self._link.info()
        if problems := persistence_problems_from(info):
            raise StoreUnsafeError(f"nothing was changed: {problems[0]}")
        replicas = online_replicas(info)
        if replicas:
            await self._confirmed(replicas, ("SET", keys.FENCE, digest), "nothing was changed")
        found = await self._confirmed(
            replicas,
            scripts.call(
                scripts.TRANSITION,
                [keys.label_set_key(digest), keys.TAGS, keys.CHANGES],
                [digest, expected, new, tag or "", "1" if new is State.RETIRED else ""],
            ),
            f"the label set is {new} now",
        )
        if found is not None:
            if found == b"":
                raise refusals.label_set_not_found(digest)
            raise refusals.wrong_state(digest, found.decode(), expected)

    async def tags(self) -> dict[Tag, Digest]:
        return entries.tags_from(await self._link.hash_fields(keys.TAGS))

    async def changes(self) -> AsyncGenerator[Digest | None, None]:
        async with contextlib.aclosing(self._link.messages(keys.CHANGES)) as messages:
            async for message in messages:
                yield None if message is None else digest_from(message.decode())

    async def _confirmed(
        self, replicas: int, command: Sequence[str | bytes | int], so_far: str
    ) -> bytes | None:
        """Send a write, and wait until `replicas` replicas have it and everything before it."""
        # Shorter than the time limit of the connection, which would hide the count.
        wait_ms = int(self._link.timeout_seconds * 500)
        commands = [command, ("WAIT", replicas, wait_ms)] if replicas else [command]
        reply, *confirmations = await self._link.pipeline(commands)
        if confirmations and confirmations[0] < replicas:
            raise StoreUnsafeError(
                f"only {confirmations[0]} of {replicas} replicas of Redis confirmed within"
                f" {wait_ms} ms; {so_far}; look at the replicas and try again"
            )
        return reply  # type: ignore[no-any-return]


def _record(digest: Digest, fields: dict[bytes, bytes]) -> LabelSetRecord:
    return LabelSetRecord(
        digest=digest,
        manifest=fields[b"manifest"],
        state=State(fields[b"state"].decode()),
        created_at=float(fields[b"created_at"]),
    )
