"""Judges what Redis or Valkey reports in INFO: room left, and ways to lose data.

INFO rather than CONFIG GET, which managed services forbid. Pure functions over the parsed reply.
Valkey gives the version of the last Redis that it is compatible with as `redis_version`.
"""

from collections.abc import Mapping
from typing import Any

from labelcast_server.store.blob_store import Capacity

Info = Mapping[str, Any]

OLDEST_VERSION = (6, 2)

# Left free below a limit: replication and client buffers count towards maxmemory too. Without
# maxmemory, Redis shares the machine, and the fork that rewrites the append-only file copies pages.
_MAXMEMORY_RESERVE = 1 / 32
_SYSTEM_RESERVE = 1 / 8


def capacity_from(info: Info) -> Capacity:
    """Room left: up to maxmemory if it is set, else up to the machine's memory, minus a reserve."""
    used = _number(info, "used_memory")
    limits = (
        ("maxmemory", "maxmemory", _MAXMEMORY_RESERVE),
        ("total_system_memory", "system memory", _SYSTEM_RESERVE),
    )
    for field, bound, reserve in limits:
        limit = _number(info, field)
        if limit > 0:
            return Capacity(used, max(0, limit - int(limit * reserve) - used), bound)
    return Capacity(used, None, "nothing that Redis reports")


def safety_problems_from(info: Info) -> list[str]:
    """Reasons why this Redis could lose labels, one actionable line each."""
    problems = []
    version = version_of(info)
    if version < OLDEST_VERSION:
        problems.append(
            f"Redis {info.get('redis_version', 'of unknown version')} is too old; use 6.2 or later,"
            " or Valkey"
        )
    policy = info.get("maxmemory_policy")
    if policy is None:
        problems.append("Redis does not report its maxmemory-policy; see that it is noeviction")
    elif policy != "noeviction":
        problems.append(
            f"maxmemory-policy is {policy}, so Redis may drop labels when memory is short;"
            " CONFIG SET maxmemory-policy noeviction"
        )
    if not _number(info, "aof_enabled"):
        problems.append(
            "there is no append-only file, so a restart loses what was written;"
            " CONFIG SET appendonly yes"
        )
    if info.get("role") in ("slave", "replica"):
        problems.append("this Redis is a replica; point the store URL at the primary")
    if _number(info, "cluster_enabled"):
        problems.append("Redis Cluster is not supported; use a Redis without cluster mode")
    return problems + persistence_problems_from(info)


def persistence_problems_from(info: Info) -> list[str]:
    """Reasons why Redis cannot write to its disk right now."""
    problems = []
    if _number(info, "loading"):
        problems.append("Redis is still loading its data; wait until it is done")
    for field, what in (
        ("aof_last_write_status", "the append-only file"),
        ("aof_last_bgrewrite_status", "a rewrite of the append-only file"),
        ("rdb_last_bgsave_status", "a snapshot"),
    ):
        if info.get(field, "ok") != "ok":
            problems.append(
                f"Redis failed to write {what}; free disk space and memory, look at its log"
                " (vm.overcommit_memory should be 1)"
            )
    return problems


def online_replicas(info: Info) -> int:
    """Replicas that follow the primary now; one that is still copying does not count."""
    count = _number(info, "connected_slaves")
    states = (info.get(f"slave{number}") for number in range(count))
    return sum(isinstance(state, Mapping) and state.get("state") == "online" for state in states)


def version_of(info: Info) -> tuple[int, ...]:
    """(major, minor) of the server; (0,) if it does not say."""
    parts = str(info.get("redis_version", "0")).split(".")[:2]
    return tuple(int(part) if part.isdigit() else 0 for part in parts)


def _number(info: Info, field: str) -> int:
    value = info.get(field, 0)
    return int(value) if isinstance(value, int | float) else 0
