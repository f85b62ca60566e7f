"""Labels in anyone's DataLoader, and after anyone's fork: right, or one line that says why not."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.label_sets import KnownLabelSet, identity_label_set
from tests.e2e.loader_workers import MAIN, RIGHT
from tests.e2e.running_service import RunningService, clean_environment

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guides" / "dataloader.md"
SAYS_WHAT_TO_DO = (
    "start workers with multiprocessing_context='forkserver' (or 'spawn'), or fetch labels in the"
    " main process"
)


@pytest.fixture(scope="module")
def names(service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> KnownLabelSet:
    """A label set whose every label names its view."""
    directory = tmp_path_factory.mktemp("names")
    known = identity_label_set(directory, 5, num_samples=24, num_seeds=3)
    service.push(known.on_disk, "names")
    return known


def promised() -> dict[tuple[str, str], dict[str, str]]:
    """What the guide says of (where labels are asked, whether a client was used before)."""
    rows = re.findall(r"^\| (.+) \|$", GUIDE.read_text(), re.MULTILINE)
    head, *body = [row.split(" | ") for row in rows]
    methods = [method.strip("`") for method in head[2:]]
    return {
        (place, before): dict(zip(methods, cells, strict=True)) for place, before, *cells in body
    }


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=clean_environment(variables),
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_every_way_to_ask_ends_as_the_guide_says(
    service: RunningService, names: KnownLabelSet, method: str
) -> None:
    directory = str(names.on_disk.directory)
    done = run("-m", "tests.e2e.loader_workers", service.grpc, "names", directory, method)
    assert done.returncode == 0, done.stderr
    table = promised()
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(cases) == (2 if method == "spawn" else 8)
    for case in cases:
        assert_ended_as_promised(case, [table[row][method] for row in rows_of(case)])


def rows_of(case: dict[str, Any]) -> list[tuple[str, str]]:
    before = "yes" if case["opened"] else "no"
    return [(place, "either" if place == MAIN else before) for place in case["places"]]


def assert_ended_as_promised(case: dict[str, Any], promises: list[str]) -> None:
    if not case["workers"] or set(promises) == {"works"}:
        assert case["ended"] == RIGHT, case
        return
    assert set(promises) == {"`ForkedChannelError`"}, case
    assert case["ended"].startswith("ForkedChannelError: "), case
    assert SAYS_WHAT_TO_DO in case["ended"]
    assert "\n" not in case["ended"]


# What else of gRPC there is in a process that uses labelcast in its forked children alone.
OTHERS = {
    "imported": "",
    "channel": "channel = grpc.insecure_channel(address); call(channel)",
    "closed": """
channel = grpc.insecure_channel(address); call(channel); channel.close()
deadline = time.monotonic() + 30
while len(os.listdir('/proc/self/task')) > threads and time.monotonic() < deadline:
    time.sleep(0.05)
""",
    "asynchronous": """
async def ask():
    channel = grpc.aio.insecure_channel(address)
    await channel.channel_ready()
    return channel
channel = asyncio.new_event_loop().run_until_complete(ask())
""",
    "server": "server = grpc.server(ThreadPoolExecutor(1)); server.start()",
    "frozen": "channel = grpc.insecure_channel(address); call(channel); gc.freeze()",
    "child of a child": """
channel = grpc.insecure_channel(address); call(channel)
between = os.fork()
if between:
    os._exit(os.waitstatus_to_exitcode(os.waitpid(between, 0)[1]))
""",
}
FORK = """
import asyncio, gc, os, sys, time, warnings
from concurrent.futures import ThreadPoolExecutor
import grpc
import labelcast
warnings.simplefilter("ignore")
address = sys.argv[1]
threads = len(os.listdir("/proc/self/task"))

def call(channel):
    grpc.channel_ready_future(channel).result(timeout=30)

{other}
child = os.fork()
if child == 0:
    status = 99
    try:
        label_set = labelcast.open("names", address=address)
        status = len(label_set.labels([10**12], [0]))
    except labelcast.LabelcastError as error:
        print(f"{{type(error).__name__}}: {{error}}", flush=True)
        status = 7
    finally:
        os._exit(status)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads of a process are listed on Linux")
@pytest.mark.parametrize("other", OTHERS)
def test_grpc_of_another_library_is_named_in_a_forked_child(
    service: RunningService, names: KnownLabelSet, other: str
) -> None:
    assert len(names.views)
    # Without gRPC's own handlers a child that used it would hang each time; with them, a fork of a
    # fork crashes now and then before anybody asks.
    code = FORK.format(other=OTHERS[other])
    done = run("-c", code, service.grpc, GRPC_ENABLE_FORK_SUPPORT="0")
    if other in ("imported", "closed"):
        assert (done.returncode, done.stdout) == (1, ""), done.stderr
        return
    assert done.returncode == 7, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith("ForkedChannelError: ")
    assert "another library had a gRPC channel or server open" in line
    assert SAYS_WHAT_TO_DO in line
