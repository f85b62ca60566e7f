"""Advice that only a running service can be asked about is tried against one."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from labelcast import Representation, Views
from labelcast.codec import Precision
from labelcast.registry.client import Registry
from tests.e2e.running_service import RunningService, running_service
from tests.factories.advice import Case, try_advice
from tests.factories.label_sets import make_label_set

SAMPLE = 10**12
MANY = 2**14


@dataclass(frozen=True)
class Site:
    """A service, and an empty directory of each test's own."""

    service: RunningService
    directory: Path

    def push(self, tag: str, *, damaged: bool = False, num_classes: int = 10) -> str:
        """Encode a label set and push it; damaged on its way if asked."""
        label_set, _ = make_label_set(self.directory, num_classes=num_classes)
        if damaged:
            path = label_set.path(label_set.manifest.codec)
            path.write_bytes(b"\0" * path.stat().st_size)
        return self.service.push(label_set, tag)

    def open(self, reference: str, deadline_seconds: float = 30.0) -> str:
        with self.service.client(deadline_seconds=deadline_seconds) as client:
            return client.open(reference).digest

    def read(self, tag: str, count: int, *, stream: bool = False) -> int:
        """Ask for `count` labels at once; the number that came."""
        views, form = Views.of([SAMPLE] * count, 0), Representation.logits(Precision.FP32)
        with self.service.client() as client:
            labels = client.open(tag)
            if stream:
                return sum(len(each.rows) for each in client.stream(labels, [views], form))
            return len(client.labels(labels, views, form).rows)

    def retired(self) -> None:
        digest = self.push("retired")
        with self.service.registry() as registry:
            registry.retire(digest)
        self.open(digest)


@contextmanager
def other_site() -> Iterator[str]:
    """The URL of a web server that is no service."""
    with HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def listed_elsewhere() -> None:
    with other_site() as url, Registry(url) as registry:
        registry.list()


def listed(at: Site) -> None:
    with at.service.registry() as registry:
        registry.list()


CASES: list[Case[Site]] = [
    Case(
        "is no labelcast admin API; check the URL",
        lambda _: listed_elsewhere(),
        listed,
    ),
    Case(
        "encode the label set again",
        lambda at: at.push("damaged", damaged=True),
        lambda at: at.push("damaged"),
    ),
    Case(
        "within the deadline; raise it",
        lambda at: (at.push("late"), at.open("late", deadline_seconds=1e-6)),
        lambda at: at.open("late"),
    ),
    Case(
        "stream more (StreamLabels; in Python: stream)",
        lambda at: (at.push("many", num_classes=1000), at.read("many", MANY)),
        lambda at: at.read("many", MANY, stream=True),
    ),
    Case(
        "publish it again",
        lambda at: at.retired(),
        lambda at: at.open(at.push("retired")),
    ),
]


@pytest.fixture(scope="module")
def own_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with running_service(tmp_path_factory.mktemp("advice")) as started:
        yield started


@pytest.mark.parametrize("case", CASES, ids=lambda case: re.sub(r"\W+", "-", case.says)[:50])
def test_the_advice_works(case: Case[Site], own_service: RunningService, tmp_path: Path) -> None:
    try_advice(case, Site(own_service, tmp_path))
