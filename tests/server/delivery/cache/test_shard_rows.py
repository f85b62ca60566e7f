"""Rows split by the shard that they lie in: every row once, in its place."""

import numpy as np
import pytest

from labelcast.identifiers import digest_from_hash
from labelcast.label_set import BlobRef, Section, Shard
from labelcast_server.delivery.cache.shard_rows import by_owner, by_shard


def section(*shard_rows: int) -> Section:
    ref = BlobRef(digest_from_hash(bytes(32)), 1)
    shards = tuple(Shard(rows, ref, ref) for rows in shard_rows)
    return Section(1, sum(shard_rows), 1, shards)


@pytest.mark.parametrize("shards", [(7,), (7, 7, 1), (1,) * 300], ids=len)
def test_every_row_once_and_in_its_place(shards: tuple[int, ...]) -> None:
    first = np.cumsum([0, *shards])
    split = section(*shards)
    rng = np.random.default_rng(0)
    for count in (1, 2, 100, 5000):
        rows = rng.integers(split.rows, size=count)
        again = np.full(count, -1)
        for part in by_shard(split, rows):
            number = next(at for at, each in enumerate(split.shards) if each is part.shard)
            assert part.rows.max() < shards[number]
            again[part.places] = first[number] + part.rows
        assert np.array_equal(again, rows)


def test_a_sole_owner_takes_it_all() -> None:
    assert list(by_owner(np.full(5, 3), 9)) == [(3, slice(None))]
