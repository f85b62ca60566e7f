"""How clients behave in processes, threads and networks."""

import asyncio
import gc
import multiprocessing
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelcast import AsyncLabelClient, LabelClient, RemoteLabelSet, Representation, Views
from labelcast.errors import DeadlineExceededError, ServiceUnavailableError
from tests.e2e.counting_relay import counting_relay
from tests.e2e.first_rows import codes_of_first_rows
from tests.e2e.label_sets import KnownLabelSet, known_label_set
from tests.e2e.running_service import RunningService, clean_environment, eventually

pytestmark = pytest.mark.e2e

CODES, LOGITS = Representation.codes(), Representation.logits()


@pytest.fixture(scope="module")
def large(service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> KnownLabelSet:
    known = known_label_set(
        tmp_path_factory.mktemp("large"), "vqae", num_samples=2500, num_seeds=4, num_classes=300
    )
    service.push(known.on_disk, "large")
    return known


def test_pickled_client_works_in_another_process(
    service: RunningService, label_sets: dict[str, KnownLabelSet]
) -> None:
    known = label_sets["raw"]
    expected = known.rows[[len(known.rows) // 4 + 1, 0]].tobytes()
    with service.client(rows_in_flight=17) as client:
        client.open("raw")
        copy = pickle.loads(pickle.dumps(client))
        assert copy.wire_bytes.total == 0
        assert codes_of_first_rows(copy) == expected
        # The one with the open channel travels as well as an unused one.
        for method, travelling in (("spawn", client), ("forkserver", copy)):
            with multiprocessing.get_context(method).Pool(1) as pool:
                assert pool.map(codes_of_first_rows, [travelling]) == [expected]
                pool.close()
                pool.join()
    asynchronous = pickle.loads(pickle.dumps(service.async_client()))
    assert isinstance(asynchronous, AsyncLabelClient)


FORK = """
import os, sys, warnings
from labelcast import LabelClient, Representation, Views
from labelcast.errors import ForkedChannelError
warnings.simplefilter("ignore")
address, case = sys.argv[1:]
client = LabelClient(address)

def read(client):
    views = Views.of([10**12], [0])
    return len(client.labels(client.open("raw"), views, Representation.codes()).rows)

if case != "before":
    assert read(client) == 1
if case == "closed":
    client.close()
child = os.fork()
if child == 0:
    status = 99
    try:
        status = read(LabelClient(address) if case == "another" else client)
    except ForkedChannelError as error:
        print(error, flush=True)
        status = 7
    finally:
        os._exit(status)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
# The parent goes on, whatever became of the child.
assert read(client) == 1
sys.exit(status)
"""


@pytest.mark.parametrize(
    ("case", "status"), [("before", 1), ("closed", 7), ("live", 7), ("another", 7)]
)
def test_fork(
    service: RunningService, label_sets: dict[str, KnownLabelSet], case: str, status: int
) -> None:
    assert label_sets
    ended = subprocess.run(
        [sys.executable, "-c", FORK, service.grpc, case],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == status, ended.stderr
    # As the clients of the test before do, and the parent here.
    says = (
        "start workers with multiprocessing_context='forkserver' (or 'spawn'), or fetch labels in"
        " the main process"
    )
    assert (says in ended.stdout) == (status == 7)


@pytest.fixture
def silent_address() -> Iterator[str]:
    """Someone who takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_deadline(silent_address: str) -> None:
    with (
        LabelClient(silent_address, deadline_seconds=0.3) as client,
        pytest.raises(DeadlineExceededError, match="deadline"),
    ):
        client.open("raw")


async def test_deadline_async(silent_address: str) -> None:
    async with AsyncLabelClient(silent_address, deadline_seconds=0.3) as client:
        with pytest.raises(DeadlineExceededError, match="deadline"):
            await client.open("raw")


@pytest.fixture
def nobodys_address() -> Iterator[str]:
    # Held but not listened on: nobody else can be given the port meanwhile.
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


def test_unreachable(
    nobodys_address: str, service: RunningService, label_sets: dict[str, KnownLabelSet]
) -> None:
    with service.client() as client:
        label_set = client.open("raw")
    views = label_sets["raw"].views
    with LabelClient(nobodys_address, reconnect_seconds=0.3) as client:
        for call in (
            lambda: client.open("raw"),
            lambda: client.labels(label_set, views, CODES),
            RemoteLabelSet(client, label_set.manifest, {}).codec,
            lambda: list(client.stream(label_set, [views], CODES)),
        ):
            with pytest.raises(ServiceUnavailableError, match=nobodys_address):
                call()


async def test_unreachable_async(
    nobodys_address: str, service: RunningService, label_sets: dict[str, KnownLabelSet]
) -> None:
    async with service.async_client() as client:
        label_set = await client.open("raw")
    views = label_sets["raw"].views
    async with AsyncLabelClient(nobodys_address, reconnect_seconds=0.3) as client:
        with pytest.raises(ServiceUnavailableError, match=nobodys_address):
            await client.open("raw")
        with pytest.raises(ServiceUnavailableError, match=nobodys_address):
            _ = [batch async for batch in client.stream(label_set, [views], CODES)]


def test_abandoned_stream_leaves_nothing_behind(
    service: RunningService, large: KnownLabelSet
) -> None:
    with service.client(rows_in_flight=200) as client:
        label_set = client.open("large")
        idle = set(threading.enumerate())
        for _ in range(5):
            for batch in client.stream(label_set, large.views.batches(100), LOGITS):
                large.check(batch, np.arange(100), LOGITS)
                assert set(threading.enumerate()) - idle
                break
        gc.collect()
        eventually(lambda: set(threading.enumerate()) <= idle, "threads of streams end")
        # The connection is as good as before.
        at = np.arange(500)
        large.check(client.labels(label_set, large.views[at], LOGITS), at, LOGITS)


async def test_abandoned_async_stream_leaves_nothing_behind(
    service: RunningService, large: KnownLabelSet
) -> None:
    before = asyncio.all_tasks()
    async with service.async_client() as client:
        label_set = await client.open("large")
        for _ in range(5):
            stream = client.stream(label_set, large.views.batches(100), LOGITS)
            large.check(await anext(stream), np.arange(100), LOGITS)
            await stream.aclose()  # type: ignore[attr-defined]
        at = np.arange(500)
        large.check(await client.labels(label_set, large.views[at], LOGITS), at, LOGITS)
        # Not even closed by its caller.
        await anext(client.stream(label_set, endless(), LOGITS))
        async with asyncio.timeout(30):
            while not asyncio.all_tasks() <= before | grpc_tasks():  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.01)


def grpc_tasks() -> set[asyncio.Task[Any]]:
    """Tasks that belong to an open channel of grpc.aio."""
    return {task for task in asyncio.all_tasks() if "AioCall" in repr(task.get_coro())}


def endless() -> Iterator[Views]:
    while True:
        yield Views.of(np.full(100, 10**12, dtype=np.uint64), 0)


def test_endless_batches_are_read_lazily(service: RunningService, large: KnownLabelSet) -> None:
    pulled = 0

    def batches() -> Iterator[Views]:
        nonlocal pulled
        for batch in endless():
            pulled += len(batch)
            yield batch

    with service.client(rows_in_flight=1000) as client:
        stream = client.stream(client.open("large"), batches(), LOGITS)
        for _ in range(30):
            assert len(next(stream).rows) == 100
        # The window, one request beside it, and the batch that begins the next.
        assert pulled <= 3000 + 1000 + 1000 + 100
        stream.close()  # type: ignore[attr-defined]
    assert large.views


def test_closed_client_opens_again(service: RunningService, large: KnownLabelSet) -> None:
    client = service.client()
    for _ in range(3):
        at = np.arange(10)
        large.check(client.labels(client.open("large"), large.views[at], CODES), at, CODES)
        client.close()
        client.close()


@pytest.mark.parametrize(
    ("representation", "share", "slack", "least"),
    [(LOGITS, 0.03, 0, 5_000_000), (CODES, 0.10, 2000, 0)],
)
def test_wire_bytes_are_what_a_relay_counts(
    service: RunningService,
    large: KnownLabelSet,
    representation: Representation,
    share: float,
    slack: int,
    least: int,
) -> None:
    at = np.random.default_rng(6).permutation(len(large.views))
    with counting_relay(service.grpc) as relay, LabelClient(relay.address) as client:
        label_set = client.open("large")
        for batch in client.stream(label_set, large.views[at].batches(100), representation):
            assert len(batch.rows) == 100
        counted = client.wire_bytes.total
    assert relay.total >= least
    assert abs(relay.total - counted) <= share * relay.total + slack


def test_cache_directory_is_shared_by_threads(
    service: RunningService, label_sets: dict[str, KnownLabelSet], tmp_path: Path
) -> None:
    failures: list[BaseException] = []

    def read() -> None:
        try:
            with service.client(cache_directory=tmp_path) as client:
                label_set = client.open("vqae")
                codec = label_set.codec()
                assert codec.row_stride == label_sets["vqae"].codec.row_stride
        except BaseException as error:  # noqa: BLE001 - shown below
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert len(list(tmp_path.glob("sha256-*"))) == 1
