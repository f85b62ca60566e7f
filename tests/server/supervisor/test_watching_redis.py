"""A Redis that cannot be brought back for a while."""

import time
from pathlib import Path

import psutil
import pytest

from labelcast_server.store.embedded.data_dir_lock import lock_holder
from labelcast_server.store.embedded.process import EmbeddedRedis
from labelcast_server.supervisor.watching import Grace, WatchedRedis
from tests.e2e.running_service import eventually


def test_it_is_tried_again_until_it_comes_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data_dir, away = tmp_path / "data", tmp_path / "away"
    with EmbeddedRedis(data_dir) as redis:
        watched, grace, url = WatchedRedis(redis), Grace(), redis.url
        # Nothing can start in a directory that is a file.
        (data_dir / "redis").rename(away)
        (data_dir / "redis").write_text("in the way")
        psutil.Process(redis.pid).kill()

        def look_until(times: int) -> bool:
            watched.look(time.monotonic(), grace)
            return caplog.text.count("redis ended; it restarts") >= times

        eventually(lambda: look_until(3), "two attempts have failed")
        watched.settle()
        assert not redis.is_running()
        assert "in 1 s" in caplog.text
        # Nobody else may take the directory between two attempts.
        assert lock_holder(data_dir) is not None

        (data_dir / "redis").unlink()
        away.rename(data_dir / "redis")

        def is_back() -> bool:
            watched.look(time.monotonic(), grace)
            watched.settle()
            return redis.is_running()

        eventually(is_back, "it is back")
        assert redis.url == url
