"""What a service says of its work to Prometheus."""

import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from prometheus_client import generate_latest

from labelcast import Representation
from labelcast.errors import LabelSetNotFoundError
from tests.e2e.label_sets import KnownLabelSet
from tests.e2e.running_service import RunningService, eventually
from tests.e2e.scraping import samples, scrape

pytestmark = pytest.mark.e2e

CODES, LOGITS = Representation.codes(), Representation.logits()


@pytest.fixture(scope="module")
def vqae(fragile: RunningService, label_sets: dict[str, KnownLabelSet]) -> KnownLabelSet:
    fragile.push(label_sets["vqae"].on_disk, "vqae")
    return label_sets["vqae"]


def test_what_was_delivered_is_counted_once(fragile: RunningService, vqae: KnownLabelSet) -> None:
    views, before = vqae.views, scrape(fragile)
    at = np.arange(len(views))
    with fragile.client() as client:
        label_set = client.open("vqae")
        vqae.check(client.labels(label_set, views, CODES), at, CODES)
        for batch in client.stream(label_set, [views], LOGITS):
            vqae.check(batch, at, LOGITS)
        with pytest.raises(LabelSetNotFoundError):
            client.open("another")

    def ended() -> bool:
        name = "labelcast_calls_total,stream_labels,ok"
        return scrape(fragile).get(name, 0) == before.get(name, 0) + 1

    eventually(ended, "the stream has ended")
    now = scrape(fragile)
    grown = {name: value - before.get(name, 0) for name, value in now.items()}
    assert grown["labelcast_labels_total,codes"] == len(views)
    assert grown["labelcast_labels_total,logits"] == len(views)
    assert grown["labelcast_label_bytes_total,codes"] == vqae.rows.nbytes
    assert grown["labelcast_label_bytes_total,logits"] == vqae.labels.size * 2
    assert grown["labelcast_calls_total,get_labels,ok"] == 1
    assert grown["labelcast_calls_total,get_label_set,label_set_not_found"] == 1
    assert grown["labelcast_unit_rows_sum,codes"] == len(views)
    assert grown["labelcast_unit_rows_sum,logits"] == len(views)
    assert grown["labelcast_decode_seconds_count"] >= 1
    # Besides these, the supervisor has known labels decoded now and then.
    assert grown["labelcast_turn_rows_sum"] >= len(views)
    assert now["labelcast_queued_units"] == 0
    assert grown["labelcast_gather_seconds_sum"] > 0
    assert grown["labelcast_cache_events_total,loaded"] >= 1
    assert now["labelcast_open_streams"] == 0


def test_a_stream_that_its_client_leaves_is_no_longer_open(
    fragile: RunningService, vqae: KnownLabelSet
) -> None:
    def ended(now: dict[str, float]) -> float:
        # Which of the two it is depends on what gRPC notices first.
        name = "labelcast_calls_total,stream_labels,"
        return now.get(f"{name}cancelled", 0) + now.get(f"{name}ok", 0)

    before = ended(scrape(fragile))
    with fragile.client(rows_in_flight=10) as client:
        stream = client.stream(client.open("vqae"), vqae.views.batches(5), LOGITS)
        next(stream)
        eventually(lambda: scrape(fragile)["labelcast_open_streams"] == 1, "the stream is counted")

    def left() -> bool:
        now = scrape(fragile)
        return ended(now) == before + 1 and now["labelcast_open_streams"] == 0

    eventually(left, "the stream is counted as ended")


def test_a_dead_worker_leaves_its_counts_and_takes_its_streams(
    fragile: RunningService, vqae: KnownLabelSet
) -> None:
    with fragile.client(rows_in_flight=10) as client:
        stream = client.stream(client.open("vqae"), vqae.views.batches(5), CODES)
        next(stream)
        eventually(lambda: scrape(fragile)["labelcast_open_streams"] == 1, "the stream is counted")
        before = scrape(fragile)
        (worker,) = fragile.processes().workers
        worker.kill()
    eventually(lambda: not scrape(fragile).get("labelcast_open_streams"), "its streams are gone")
    assert scrape(fragile)["labelcast_labels_total,codes"] >= before["labelcast_labels_total,codes"]


def test_units_that_wait_for_a_decoder_are_counted(
    fragile: RunningService, dense: KnownLabelSet
) -> None:
    seen = threading.Event()

    def read(part: int) -> None:
        # Other rows in each thread: the same ones at once are decoded once.
        views = dense.views[part::4]
        with fragile.client() as client:
            label_set = client.open("dense")
            while not seen.is_set():
                for _ in client.stream(label_set, views.batches(50), LOGITS):
                    pass

    with ThreadPoolExecutor(4) as pool:
        reading = [pool.submit(read, part) for part in range(4)]
        try:
            eventually(lambda: scrape(fragile)["labelcast_queued_units"] > 0, "units wait")
        finally:
            seen.set()
        for each in reading:
            each.result()
    eventually(lambda: scrape(fragile)["labelcast_queued_units"] == 0, "none waits")


def test_metrics_need_a_token(fragile: RunningService) -> None:
    answer = httpx.get(f"{fragile.admin}/metrics", timeout=100)
    assert (answer.status_code, answer.json()["reason"]) == (401, "unauthenticated")


def client_samples() -> dict[str, float]:
    found = samples(generate_latest().decode())
    return {name: value for name, value in found.items() if name.startswith("labelcast_client_")}


def test_a_client_counts_what_it_got_and_what_failed(
    fragile: RunningService, vqae: KnownLabelSet
) -> None:
    at = np.arange(len(vqae.views))
    with fragile.client(metrics=True) as client:
        before = client_samples()
        label_set = client.open("vqae")
        vqae.check(client.labels(label_set, vqae.views, CODES), at, CODES)
        began = time.monotonic()
        for batch in client.stream(label_set, [vqae.views], LOGITS):
            vqae.check(batch, at, LOGITS)
        took = time.monotonic() - began
        with pytest.raises(LabelSetNotFoundError):
            client.open("another")
    grown = {name: value - before.get(name, 0) for name, value in client_samples().items()}
    assert grown["labelcast_client_labels_total,codes"] == len(at)
    assert grown["labelcast_client_labels_total,logits"] == len(at)
    assert grown["labelcast_client_label_bytes_total,codes"] == vqae.rows.nbytes
    assert grown["labelcast_client_label_bytes_total,logits"] == vqae.labels.size * 2
    assert 0 < grown["labelcast_client_stall_seconds_total"] <= took
    assert grown["labelcast_client_failures_total,label_set_not_found"] == 1


async def test_an_asynchronous_client_counts_too(
    fragile: RunningService, vqae: KnownLabelSet
) -> None:
    before, at = client_samples(), np.arange(len(vqae.views))
    async with pickle.loads(pickle.dumps(fragile.async_client(metrics=True))) as client:
        label_set = await client.open("vqae")
        async for batch in client.stream(label_set, [vqae.views], CODES):
            vqae.check(batch, at, CODES)
    grown = {name: value - before.get(name, 0) for name, value in client_samples().items()}
    assert grown["labelcast_client_labels_total,codes"] == len(at)
    assert grown["labelcast_client_stall_seconds_total"] > 0


def test_metrics_that_nobody_asked_for_are_not_imported() -> None:
    code = (
        "import sys, labelcast; labelcast.LabelClient('127.0.0.1:1');"
        "sys.exit('prometheus_client' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_is_missing_for_metrics_is_named() -> None:
    code = (
        "import sys; sys.modules['prometheus_client'] = None; import labelcast\n"
        "try: labelcast.LabelClient('127.0.0.1:1', metrics=True)\n"
        "except labelcast.LabelcastError as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "pip install 'labelcast[metrics]'" in said.stdout
    assert len(said.stdout.splitlines()) == 1
