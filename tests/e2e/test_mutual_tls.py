"""Clients that must prove who they are, and a certificate that is renewed meanwhile."""

import time

import numpy as np
import pytest

from labelcast import Representation
from labelcast.errors import NetworkError, ServiceUnavailableError, TlsError
from labelcast_glyphs.certificates import Authority
from tests.e2e.guarded_service import NO_PATIENCE, Guarded
from tests.e2e.running_service import run_command

CODES = Representation.codes()
SOON = 15.0


def test_a_client_with_a_certificate_reads_and_lists(guarded: Guarded) -> None:
    tls = guarded.tls(guarded.authority("good"))
    assert guarded.read(tls) == guarded.known.on_disk.digest
    assert guarded.listed(tls) == 1


@pytest.mark.parametrize("shown", ["nothing", "of another authority", "out of date"])
def test_a_client_without_one_is_refused(guarded: Guarded, shown: str) -> None:
    trusted = guarded.authority("strict")
    stranger = Authority(guarded.directory, "stranger").issue("stranger", "a.example.org")
    old = guarded.clients.issue("old", "a.example.org", days=-1)
    tls = {
        "nothing": trusted.trusted(),
        "of another authority": trusted.trusted(stranger),
        "out of date": trusted.trusted(old),
    }[shown]
    with pytest.raises(ServiceUnavailableError, match="certificate") as over_grpc:
        guarded.read(tls)
    assert ("--tls-key" if shown == "nothing" else "its authority") in over_grpc.value.message
    with pytest.raises(
        NetworkError, match=r"this client's certificate|asks clients for a certificate"
    ):
        guarded.listed(tls)


def test_a_new_certificate_is_shown_and_an_old_stream_goes_on(guarded: Guarded) -> None:
    before, views = guarded.authority("before"), guarded.known.views
    with guarded.service.client(tls=guarded.tls(before), rows_in_flight=64, **NO_PATIENCE) as old:
        batches = (np.arange(start, start + 50) for start in range(0, len(views), 50))
        stream = old.stream(old.open("known"), (views[each] for each in batches), CODES)
        rows = [next(stream).rows]
        after = guarded.authority("after")
        assert guarded.read(guarded.tls(after)) == guarded.known.on_disk.digest
        assert guarded.listed(guarded.tls(after)) == 1
        for ask in (guarded.read, guarded.listed):
            with pytest.raises(TlsError, match="authority that is not trusted here"):
                ask(guarded.tls(before))
        # To connect again it would have to trust the new authority.
        rows += [each.rows for each in stream]
    np.testing.assert_array_equal(np.concatenate(rows), guarded.known.rows)


def test_a_half_written_pair_is_never_shown(guarded: Guarded) -> None:
    before = guarded.authority("whole")
    guarded.read(guarded.tls(before))
    guarded.listed(guarded.tls(before))
    said, key = len(guarded.warnings()), guarded.shown.key.read_bytes()
    after = guarded.authority("half")
    new_key = guarded.shown.key.read_bytes()
    guarded.shown.key.write_bytes(key)
    for _ in range(3):
        guarded.read(guarded.tls(before))
        guarded.listed(guarded.tls(before))
    warnings = guarded.warnings()[said:]
    # One each of worker and admin API.
    assert len(warnings) == 2
    assert all("is not the key of the certificate" in line for line in warnings)
    guarded.shown.key.write_bytes(new_key)
    guarded.read(guarded.tls(after))
    guarded.listed(guarded.tls(after))
    assert len(guarded.warnings()) == said + 2


def test_clients_of_a_new_authority_are_accepted_and_of_the_old_refused(guarded: Guarded) -> None:
    trusted, kept = guarded.authority("steady"), guarded.clients.file.read_bytes()
    other = Authority(guarded.directory, "others")
    theirs = guarded.tls(trusted, other.issue("theirs", "a.example.org"))
    guarded.clients.file.write_bytes(other.file.read_bytes())
    try:
        assert guarded.read(theirs) == guarded.known.on_disk.digest
        assert guarded.listed(theirs) == 1
        for ask in (guarded.read, guarded.listed):
            with pytest.raises(NetworkError, match="certificate"):
                ask(guarded.tls(trusted))
    finally:
        guarded.clients.file.write_bytes(kept)


def test_health_is_asked_with_the_certificate_of_the_settings(guarded: Guarded) -> None:
    guarded.authority("healthy", "*.example.org")
    settings = {
        "LABELCAST_TLS_CERTIFICATE": str(guarded.shown.certificate),
        "LABELCAST_TLS_KEY": str(guarded.shown.key),
        "LABELCAST_TLS_CLIENT_CA": str(guarded.clients.file),
    }
    asked = run_command("health", "--address", guarded.service.grpc, environment=settings)
    assert (asked.returncode, asked.stdout) == (0, "serving\n"), asked.stderr
    asked = run_command("health", "--address", guarded.service.grpc)
    assert asked.returncode == 1


def test_health_does_not_take_another_certificate_for_its_own(guarded: Guarded) -> None:
    guarded.authority("right")
    other = Authority(guarded.directory, "wrong").issue("other")
    settings = {"LABELCAST_TLS_CERTIFICATE": str(other.certificate)}
    settings |= {"LABELCAST_TLS_KEY": str(other.key)}
    asked = run_command("health", "--address", guarded.service.grpc, environment=settings)
    assert asked.returncode == 1
    assert "authority that is not trusted" in asked.stderr


def test_a_certificate_that_ends_is_refused_until_it_is_renewed(guarded: Guarded) -> None:
    ends = time.time() + SOON
    authority = guarded.authority("ending", days=SOON / 86_400)
    tls = guarded.tls(authority)
    assert guarded.read(tls) == guarded.known.on_disk.digest
    assert guarded.listed(tls) == 1
    time.sleep(max(0.0, ends + 1 - time.time()))
    for ask in (guarded.read, guarded.listed):
        with pytest.raises(TlsError, match="is not valid today; have the service's certificate"):
            ask(tls)
    guarded.renew(authority)
    assert guarded.read(tls) == guarded.known.on_disk.digest
    assert guarded.listed(tls) == 1
