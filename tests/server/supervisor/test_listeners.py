"""Ports: one service has one, its workers share it, and a second service is told."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator

import grpc
import pytest

from labelcast.errors import BusyError
from labelcast_server.supervisor.listeners import bind_shared, reserve_port

HOST = "127.0.0.1"


@pytest.fixture
def reserved() -> Iterator[socket.socket]:
    with reserve_port(HOST, 0) as holder:
        yield holder


def port_of(holder: socket.socket) -> int:
    port: int = holder.getsockname()[1]
    return port


def test_port_0_takes_a_free_one_each_time(reserved: socket.socket) -> None:
    with reserve_port(HOST, 0) as other:
        assert port_of(reserved) > 0
        assert port_of(other) not in (0, port_of(reserved))


def test_a_second_reservation_is_refused(reserved: socket.socket) -> None:
    port = port_of(reserved)
    for _ in range(2):
        with pytest.raises(BusyError) as caught:
            reserve_port(HOST, port)
        assert caught.value.facts == {"host": HOST, "port": str(port)}
        assert f"{HOST}:{port}" in caught.value.message


def test_it_is_refused_while_workers_listen_too(reserved: socket.socket) -> None:
    with bind_shared(HOST, port_of(reserved)) as worker:
        worker.listen()
        with pytest.raises(BusyError):
            reserve_port(HOST, port_of(reserved))


def test_a_port_that_another_program_listens_on_is_refused() -> None:
    with socket.create_server((HOST, 0)) as other, pytest.raises(BusyError):
        reserve_port(HOST, other.getsockname()[1])


def test_another_program_cannot_take_a_reserved_port(reserved: socket.socket) -> None:
    with pytest.raises(OSError, match="in use"):
        socket.create_server((HOST, port_of(reserved)))


def test_a_port_is_free_again_once_it_is_given_back() -> None:
    with reserve_port(HOST, 0) as first:
        port = port_of(first)
    with reserve_port(HOST, port) as second:
        assert port_of(second) == port


def test_workers_share_the_port_and_get_every_connection(reserved: socket.socket) -> None:
    port = port_of(reserved)
    with bind_shared(HOST, port) as one, bind_shared(HOST, port) as two:
        for worker in (one, two):
            worker.listen()
            worker.setblocking(False)
        clients = [socket.create_connection((HOST, port)) for _ in range(20)]
        accepted = []
        for worker in (one, two):
            while True:
                try:
                    accepted.append(worker.accept()[0])
                except BlockingIOError:
                    break
        assert len(accepted) == 20  # the reservation itself swallowed none
        for connection in [*clients, *accepted]:
            connection.close()


def test_nobody_is_connected_before_a_worker_listens(reserved: socket.socket) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, port_of(reserved)))


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "::1%nosuch"])
def test_an_address_of_another_machine_is_refused(host: str) -> None:
    with pytest.raises(BusyError, match=f"cannot listen on {host}: .* or 127.0.0.1 for this"):
        reserve_port(host, 0)
    reserve_port("127.0.0.1", 0).close()


def test_a_worker_that_cannot_bind_leaves_no_socket_open() -> None:
    with socket.create_server((HOST, 0)) as other, pytest.raises(OSError, match="in use"):
        bind_shared(HOST, other.getsockname()[1])


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_ipv6() -> None:
    try:
        probe = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError as error:
        pytest.skip(f"no IPv6 loopback here: {error}")
    probe.close()
    with reserve_port("::1", 0) as holder, pytest.raises(BusyError):
        reserve_port("::1", port_of(holder))


def test_remains_of_connections_do_not_count(reserved: socket.socket) -> None:
    """A client that stays connected, and one that has gone, when the service ends."""
    port = port_of(reserved)
    with bind_shared(HOST, port) as worker:
        worker.listen()
        clients = [socket.create_connection((HOST, port)) for _ in range(2)]
        for _ in clients:
            worker.accept()[0].close()
    clients[1].close()
    reserved.close()
    with clients[0], reserve_port(HOST, port), bind_shared(HOST, port) as again:
        again.listen()
        socket.create_connection((HOST, port)).close()


def test_remains_of_another_program_do_not_count() -> None:
    with socket.create_server((HOST, 0)) as other:
        port = port_of(other)
        client = socket.create_connection((HOST, port))
        other.accept()[0].close()
    with client, reserve_port(HOST, port), bind_shared(HOST, port) as worker:
        worker.listen()
        with pytest.raises(BusyError):
            reserve_port(HOST, port)


async def test_remains_of_grpc_connections_do_not_count(reserved: socket.socket) -> None:
    port = port_of(reserved)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 1)])
    server.add_insecure_port(f"{HOST}:{port}")
    await server.start()
    with socket.create_connection((HOST, port)) as idle:
        async with grpc.aio.insecure_channel(f"{HOST}:{port}") as channel:
            await asyncio.wait_for(channel.channel_ready(), 60)
            with pytest.raises(BusyError):
                reserve_port(HOST, port)
            await server.stop(0)
            reserved.close()
            assert idle.getsockname()
            with reserve_port(HOST, port), bind_shared(HOST, port) as again:
                again.listen()


def test_of_services_that_start_together_one_gets_the_port() -> None:
    with reserve_port(HOST, 0) as first:
        port = port_of(first)
    winners_of_rounds = []
    for _ in range(20):
        start, won = threading.Barrier(6), list[socket.socket]()

        def take(start: threading.Barrier = start, won: list[socket.socket] = won) -> None:
            start.wait()
            with contextlib.suppress(BusyError):
                won.append(reserve_port(HOST, port))

        threads = [threading.Thread(target=take) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        winners_of_rounds.append(len(won))
        for holder in won:
            holder.close()
    assert max(winners_of_rounds) == 1
