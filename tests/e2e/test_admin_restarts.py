"""A push through an admin process that is killed again and again."""

from pathlib import Path

import numpy as np
import psutil

from labelcast import Representation
from tests.e2e.label_sets import known_label_set
from tests.e2e.running_service import running_service

CODES = Representation.codes()
KILLS = 3


def test_a_push_goes_through_an_admin_process_that_is_killed(tmp_path: Path) -> None:
    known = known_label_set(
        tmp_path / "set", "raw", num_samples=20_000, num_classes=80, shard_bytes=3 * 2**20
    )
    assert len(known.on_disk.manifest.segments[0].codes.shards) > KILLS
    killed: list[psutil.Process] = []

    with running_service(tmp_path) as service:

        def kill(done: int, total: int) -> None:
            # Spread over the push; the last one while the manifest is about to be validated.
            if len(killed) < KILLS and done >= total * (len(killed) + 1) // KILLS:
                killed.append(service.processes().admin)
                killed[-1].kill()

        with service.registry() as registry:
            registry.push(known.on_disk, "set:v1", progress=kill)
            assert len({process.pid for process in killed}) == KILLS
            service.processes().admin.kill()
            registry.tag("set:v2", known.on_disk.digest)
            service.processes().admin.kill()
            (found,) = registry.list()
            assert found.tags == ("set:v1", "set:v2")
            manifest = registry.inspect("set:v2").manifest
            assert manifest == known.on_disk.manifest

        everything = np.random.default_rng(0).permutation(len(known.rows))
        with service.client() as client:
            label_set = client.open("set:v1")
            for at in np.array_split(everything, 4):
                known.check(client.labels(label_set, known.views[at], CODES), at, CODES)
