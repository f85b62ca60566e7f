"""What a client says about TLS before it connects is tried: files, addresses, permission."""

import os
import re
import ssl
from pathlib import Path
from unittest.mock import patch

import pytest

from labelcast import LabelClient, Tls
from labelcast.network import tls as tls_module
from labelcast.registry.client import Registry
from labelcast_glyphs.certificates import Authority, Pair
from tests.factories.advice import Case, try_advice

NAME, URL = "labels.example.invalid:7070", "http://labels.example.invalid:7071"


def a_pair(at: Path, name: str = "student") -> Pair:
    return Authority(at).issue(name)


def read(at: Path, certificate: Path | None = None, key: Path | None = None) -> None:
    """Read the files of TLS as a new channel does."""
    pair = a_pair(at)
    Tls(at / "authority.pem", certificate or pair.certificate, key or pair.key).pems()


def cut(at: Path) -> Path:
    """A certificate of which the end is missing."""
    path = at / "cut.pem"
    path.write_text("-----BEGIN CERTIFICATE-----\nMII")
    return path


def of_the_system(certificates: str) -> ssl.SSLContext:
    """TLS on a system that keeps no authorities, with a value of SSL_CERT_FILE."""
    elsewhere = patch.object(tls_module, "_SYSTEM_ROOTS", ())
    with patch.dict(os.environ, SSL_CERT_FILE=certificates), elsewhere:
        return Tls().context()


CASES: list[Case[Path]] = [
    Case(
        "use TLS (tls=True or tls=Tls(ca=…), --tls or --tls-ca; https:// for the admin API)",
        lambda _: LabelClient(NAME),
        lambda at: (
            LabelClient(NAME, tls=True),
            LabelClient(NAME, tls=Tls(Authority(at).file)),
            Registry(URL.replace("http:", "https:"), tls=Tls(Authority(at).file)),
        ),
    ),
    Case(
        "in a network that you trust, allow_plaintext=True (--allow-plaintext)",
        lambda _: Registry(URL),
        lambda _: (
            LabelClient(NAME, allow_plaintext=True),
            Registry(URL, allow_plaintext=True),
        ),
    ),
    Case(
        "the admin URL says http://; write it with https://",
        lambda at: Registry(URL, tls=Tls(Authority(at).file)),
        lambda at: Registry(URL.replace("http:", "https:"), tls=Tls(Authority(at).file)),
    ),
    Case(
        "a certificate and its key come together: give both, or neither",
        lambda at: Tls(certificate=a_pair(at).certificate),
        lambda at: (Tls(certificate=a_pair(at).certificate, key=a_pair(at).key), Tls()),
    ),
    Case(
        "give a file that this user may read",
        lambda at: read(at, certificate=at / "missing.pem"),
        read,
    ),
    Case(
        "give a PEM file with BEGIN CERTIFICATE in it",
        lambda at: read(at, certificate=a_pair(at).key),
        read,
    ),
    Case(
        "give a PEM file with BEGIN PRIVATE KEY in it",
        lambda at: read(at, key=a_pair(at).certificate),
        read,
    ),
    Case(
        "give the two files that were made together",
        lambda at: read(at, key=Authority(at, "other").issue("other").key),
        read,
    ),
    Case(
        "copy both files again from where they were made",
        lambda at: read(at, certificate=cut(at)),
        read,
    ),
    Case(
        "is damaged; copy it again from where it was made",
        lambda at: Tls(cut(at)).context(),
        lambda at: Tls(Authority(at).file).context(),
    ),
    Case(
        "with Tls(ca=…) or --tls-ca, or a file of authorities with the variable SSL_CERT_FILE",
        lambda at: of_the_system(str(at / "missing.pem")),
        lambda at: (Tls(Authority(at).file).context(), of_the_system(str(Authority(at).file))),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: re.sub(r"\W+", "-", case.says)[:50])
def test_the_advice_works(case: Case[Path], tmp_path: Path) -> None:
    try_advice(case, tmp_path)
