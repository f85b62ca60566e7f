"""Certificates of no use are refused before a port is taken; what to do instead is tried."""

import os
import re
import shlex
import subprocess
import time
from pathlib import Path, PosixPath
from unittest.mock import patch

import pytest

from labelcast_glyphs.certificates import Authority, Pair
from labelcast_server.access.certificates import Certificates, Loaded
from labelcast_server.settings import load_settings
from labelcast_server.supervisor.encryption import certificates_of
from tests.e2e.running_service import run_command
from tests.factories.advice import Case, try_advice

ELSEWHERE = "192.0.2.1"  # no address of this machine, so that nothing could listen there


def load(pair: Pair) -> Loaded:
    return Certificates(pair.certificate, pair.key).load()


def load_two_days_ago(pair: Pair) -> Loaded:
    """Load where this machine's clock is behind."""
    then = time.time() - 2 * 24 * 3600
    with patch("labelcast_server.access.certificates.time.time", lambda: then):
        return load(pair)


def issued(at: Path, *, days: float = 90) -> Pair:
    return Authority(at).issue("service", days=days)


def openssl(command: str) -> None:
    subprocess.run(["openssl", *shlex.split(command)], check=True, capture_output=True)


def with_passphrase(at: Path) -> Pair:
    pair = issued(at)
    openssl(f"pkey -in {pair.key} -aes256 -passout pass:secret -out {at}/locked.key")
    return Pair(pair.certificate, at / "locked.key")


def decrypted(at: Path) -> Pair:
    """What the message says, with the passphrase that it would ask for."""
    openssl(f"pkey -in {at}/locked.key -out {at}/plain.key -passin pass:secret")
    return Pair(at / "service.pem", at / "plain.key")


def made_for(at: Path, purpose: str) -> Pair:
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 9 -subj /CN=labels"
        f" -addext extendedKeyUsage={purpose} -keyout {at}/made.key -out {at}/made.pem"
    )
    return Pair(at / "made.pem", at / "made.key")


class Restless(PosixPath):
    """A file that somebody writes to whenever it is looked at: a thread might not get its turn."""

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        later = super().stat().st_mtime_ns + 10**9
        os.utime(self, ns=(later, later))
        return super().stat(follow_symlinks=follow_symlinks)


def written_while_read(pair: Pair) -> Loaded:
    """Load a pair that somebody writes to all the time."""
    return load(Pair(pair.certificate, Restless(pair.key)))


def renamed(at: Path) -> Loaded:
    elsewhere = at / "new"
    elsewhere.mkdir()
    new, old = Authority(elsewhere).issue("service"), Pair(at / "service.pem", at / "service.key")
    new.certificate.rename(old.certificate)
    new.key.rename(old.key)
    return load(old)


def started(at: Path, **settings: object) -> Certificates | None:
    return certificates_of(load_settings(data_dir=at, **settings))


CASES: list[Case[Path]] = [
    Case(
        "not today; renew it, or set this machine's clock",
        lambda at: load(issued(at, days=-1)),
        lambda at: (load_two_days_ago(issued(at, days=-1)), load(issued(at))),
    ),
    Case(
        "decrypt it with: openssl pkey -in",
        lambda at: load(with_passphrase(at)),
        lambda at: load(decrypted(at)),
    ),
    Case(
        "have one made for server authentication",
        lambda at: load(made_for(at, "clientAuth")),
        lambda at: load(made_for(at, "serverAuth")),
    ),
    Case(
        "write them elsewhere and rename them",
        lambda at: written_while_read(issued(at)),
        renamed,
    ),
    Case(
        "in plain text; give --tls-certificate and --tls-key, or listen on 127.0.0.1 (a container:"
        " publish its ports there, and set LABELCAST_PUBLISHED_HOST=127.0.0.1), or, in a network"
        " that you trust, give --allow-plaintext",
        lambda at: started(at, host=ELSEWHERE),
        lambda at: (
            started(
                at,
                host=ELSEWHERE,
                tls_certificate=issued(at).certificate,
                tls_key=at / "service.key",
            ),
            started(at, host="127.0.0.1"),
            started(at, host=ELSEWHERE, published_host="127.0.0.1"),
            started(at, host=ELSEWHERE, allow_plaintext=True),
        ),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: re.sub(r"\W+", "-", case.says)[:50])
def test_the_advice_works(case: Case[Path], tmp_path: Path) -> None:
    try_advice(case, tmp_path)


@pytest.mark.parametrize("command", ["serve", "worker", "admin"])
def test_no_command_listens_in_plain_text_elsewhere(command: str, tmp_path: Path) -> None:
    refused = run_command(command, "--host", ELSEWHERE, "--data-dir", str(tmp_path / "data"))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"error: other machines reach {ELSEWHERE}")
    assert not (tmp_path / "data").exists()
