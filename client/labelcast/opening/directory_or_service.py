"""`labelcast.open`: opens a label set from a directory or a service."""

from collections.abc import Sequence
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelcast.errors import InvalidRequestError
from labelcast.label_set import Expectation
from labelcast.opening.label_set import LabelSet

if TYPE_CHECKING:
    from labelcast.network.tls import Tls


def open(  # noqa: A001 - a label set is opened as a file is
    reference: str | PathLike[str],
    *,
    address: str | Sequence[str] | None = None,
    token: str | None = None,
    tls: "Tls | bool" = False,
    allow_plaintext: bool = False,
    expect: Expectation | None = None,
    cache_directory: str | PathLike[str] | bool | None = None,
) -> LabelSet:
    """Open a label set from a directory, or from a service if its address is given.

    Args:
        reference: directory from `labelcast encode` or `labelcast pull`; with an address, a tag or
            a digest.
        address: host:port of a service, [v6]:port or unix:path; several, see `LabelClient`.
        token: token for a service that needs one for reading.
        tls: True or a `Tls` to speak TLS with the service, see `LabelClient`.
        allow_plaintext: whether labels and token may leave this machine without TLS.
        expect: what the student expects of the labels.
        cache_directory: directory of a cache that keeps what is fetched for all processes of this
            machine, see `LabelClient`; True for the user's own; None for none.

    Raises:
        InvalidRequestError: there is no such directory, and no address was given.
        ManifestError, DataError: the label set is damaged.
        ContractMismatchError: the label set is not as expected; names the field.
        NotFoundError, NetworkError: the service reported an error, or did not answer.
    """
    if address is None:
        return _from_directory(Path(reference), expect)
    # With a directory alone, grpc may not be installed.
    client: Any = import_module("labelcast.remote.client")
    opened: LabelSet = client.LabelClient(
        address,
        token=token,
        tls=tls,
        allow_plaintext=allow_plaintext,
        cache_directory=cache_directory,
    ).open(str(reference), expect=expect)
    return opened


def _from_directory(directory: Path, expect: Expectation | None) -> LabelSet:
    if not directory.is_dir():
        raise InvalidRequestError(
            f"{directory} is no directory; for a label set that a service has, give its address,"
            ' such as labelcast.open("mine:v1", address="127.0.0.1:7070")'
        )
    home: Any = import_module("labelcast.label_set_directory")
    opened: LabelSet = home.LabelSetDirectory(directory)
    if expect is not None:
        opened.manifest.require(expect)
    return opened
