"""Checks of a Redis that is given."""

from labelcast.errors import LabelcastError
from labelcast_server.doctor.finding import Finding, gib
from labelcast_server.store.open_store import open_store

_STORE_TIMEOUT_SECONDS = 5.0
_LITTLE_MEMORY_BYTES = 256 * 2**20


async def check_store(store_url: str) -> list[Finding]:
    """Check that the store answers, is safe and has room."""
    try:
        store = open_store(store_url, timeout_seconds=_STORE_TIMEOUT_SECONDS)
        try:
            await store.ping()
            problems = await store.blobs.safety_problems()
            capacity = await store.blobs.capacity()
        finally:
            await store.close()
    except LabelcastError as error:
        return [Finding("store", "error", error.message, "start Redis, or correct the store URL")]
    findings = [Finding("store", "ok", "the store answers")]
    findings += [
        Finding(
            "store-safety",
            "error",
            problem,
            "change how Redis is set up, or allow an unsafe store on purpose",
        )
        for problem in problems
    ] or [Finding("store-safety", "ok", "the store keeps what is written to it")]
    headroom = capacity.headroom_bytes
    if headroom is None:
        findings.append(Finding("store-room", "ok", f"bounded by {capacity.bound}"))
    elif headroom < _LITTLE_MEMORY_BYTES:
        findings.append(
            Finding(
                "store-room",
                "warning",
                f"only {gib(headroom)} left under {capacity.bound}",
                "raise maxmemory or add memory",
            )
        )
    else:
        findings.append(Finding("store-room", "ok", f"{gib(headroom)} left under {capacity.bound}"))
    return findings
