"""A service that asks clients for certificates, and changes its own as a test wants."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from labelcast import Tls
from labelcast_glyphs.certificates import Authority, Pair, options_of
from tests.e2e.label_sets import KnownLabelSet, known_label_set
from tests.e2e.running_service import RunningService, running_service

NO_PATIENCE = {"reconnect_seconds": 0, "deadline_seconds": 10}


@dataclass(frozen=True)
class Guarded:
    """A service that asks clients for certificates, and the files that its own comes from."""

    service: RunningService
    clients: Authority
    shown: Pair
    directory: Path
    known: KnownLabelSet

    def authority(self, name: str, *hosts: str, days: float = 90) -> Authority:
        """A new authority, which issues the certificate that new connections get."""
        made = Authority(self.directory, name)
        self.renew(made, *hosts, days=days)
        return made

    def renew(self, authority: Authority, *hosts: str, days: float = 90) -> None:
        """Have an authority issue the certificate that new connections get."""
        authority.issue(self.shown.certificate.stem, *hosts, days=days)

    def tls(self, trusted: Authority, shown: Pair | None = None) -> Tls:
        return trusted.trusted(shown or self.clients.issue("student", "student.example.org"))

    def read(self, tls: Tls) -> str:
        with self.service.client(tls=tls, **NO_PATIENCE) as client:
            return client.open("known").digest

    def listed(self, tls: Tls) -> int:
        with self.service.registry(tls=tls, patience_seconds=0) as registry:
            return len(registry.list())

    def warnings(self) -> list[str]:
        sign = "new connections still get the certificate from before"
        return [line for line in self.service.log().splitlines() if sign in line]


@contextmanager
def guarded_service(directory: Path) -> Iterator[Guarded]:
    """Start one that holds a label set under the tag `known`.

    Args:
        directory: where its data, certificates and label set go; empty.
    """
    pems = directory / "pems"
    pems.mkdir()
    clients, authority = Authority(pems, "clients"), Authority(pems, "first")
    shown = authority.issue("service")
    known = known_label_set(directory / "known", "vqae", num_samples=400)
    with running_service(directory, *options_of(shown, clients)) as service:
        found = Guarded(service, clients, shown, pems, known)
        with service.registry(tls=found.tls(authority)) as registry:
            registry.push(known.on_disk, "known")
        yield found
