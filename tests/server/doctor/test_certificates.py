"""What the doctor says of a certificate, before clients say it."""

import json
import subprocess
from pathlib import Path

import pytest

from labelcast_glyphs.certificates import Authority, Pair, options_of
from labelcast_server.access.certificates import Certificates
from labelcast_server.doctor.certificates import check_certificates
from labelcast_server.doctor.finding import Finding
from tests.e2e.running_service import run_command

ANYWHERE = "0.0.0.0"


def check(pair: Pair, address: str = ANYWHERE, client_ca: Path | None = None) -> dict[str, Finding]:
    found = check_certificates(Certificates(pair.certificate, pair.key, client_ca), address)
    return {finding.check: finding for finding in found}


def authority_valid_for(at: Path, days: int) -> Path:
    path = at / f"for-{days}-days.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-noenc", "-days", str(days), "-subj", "/CN=people", "-keyout", str(at / "ca.key")]
    subprocess.run([*command, "-out", str(path)], check=True, capture_output=True)
    return path


def test_a_certificate_for_a_while(tmp_path: Path) -> None:
    found = check(Authority(tmp_path).issue("service", "labels.example.org"))
    assert {each.level for each in found.values()} == {"ok"}
    assert "labels.example.org" in found["certificate-names"].message


def test_one_that_ends_soon(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    assert check(authority.issue("late", days=14.5))["certificate"].level == "ok"
    found = check(authority.issue("soon", days=13.5))["certificate"]
    assert found.level == "warning"
    assert "expires in 1" in found.message
    assert found.remedy is not None


def test_one_of_no_use(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    service, other = authority.issue("service"), authority.issue("other")
    for pair, sign in (
        (authority.issue("ended", days=-1), "not today"),
        (Pair(service.certificate, other.key), "is not the key of"),
        (Pair(tmp_path / "missing.pem", service.key), "cannot be read"),
    ):
        (found,) = check(pair).values()
        assert found.level == "error"
        assert sign in found.message


@pytest.mark.parametrize(
    ("names", "address", "level"),
    [
        (["labels.example.org"], "labels.example.org", "ok"),
        (["*.example.org"], "labels.example.org", "ok"),
        (["labels.example.org"], "other.example.org", "warning"),
        (["labels.example.org"], "192.0.2.7", "warning"),
        (["192.0.2.7"], "192.0.2.7", "ok"),
        (["::1"], "::1", "ok"),
        (["labels.example.org"], ".example.org", "warning"),
        (["labels.example.org"], "::", "ok"),
    ],
)
def test_names(tmp_path: Path, names: list[str], address: str, level: str) -> None:
    found = check(Authority(tmp_path).issue("service", *names), address)["certificate-names"]
    assert found.level == level


def test_an_authority_of_clients_that_ends_soon(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("service")
    for days, level in ((30, "ok"), (3, "warning")):
        found = check(pair, client_ca=authority_valid_for(tmp_path, days))["authority"]
        assert found.level == level
        assert "people" in found.message
    found = check(pair, client_ca=tmp_path / "missing.pem")["certificate"]
    assert found.level == "error"


def test_the_command_asks_for_a_name(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("service", "labels.example.org")
    place = ("--data-dir", str(tmp_path / "data"), "--json", *options_of(pair))
    done = run_command("doctor", "--address", "other.test", *place)
    levels = {found["check"]: found["level"] for found in json.loads(done.stdout)}
    assert levels["certificate"] == "ok"
    assert levels["certificate-names"] == "warning"
