"""PEM files of certificates and keys, checked before they are used.

The TLS libraries say of an unusable file that there was a "PEM lib" error, or only close the
connection later.
"""

import ssl
from os import PathLike
from pathlib import Path

from labelcast.errors import InvalidRequestError

PathText = str | PathLike[str]

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_KEY = b"PRIVATE KEY-----"
_ENCRYPTED = b"ENCRYPTED"


def read_certificates(path: PathText) -> bytes:
    """Content of a PEM file with one certificate or more.

    Raises:
        InvalidRequestError: it cannot be read, or holds no certificate.
    """
    content = _read(path)
    if _CERTIFICATE not in content:
        raise InvalidRequestError(
            f"{path} holds no certificate; give a PEM file with BEGIN CERTIFICATE in it"
        )
    return content


def read_key(path: PathText) -> bytes:
    """Content of a PEM file with a private key.

    Raises:
        InvalidRequestError: it cannot be read, or holds no key, or an encrypted one.
    """
    content = _read(path)
    if _KEY not in content:
        raise InvalidRequestError(
            f"{path} holds no private key; give a PEM file with BEGIN PRIVATE KEY in it"
        )
    if _ENCRYPTED in content:
        raise InvalidRequestError(
            f"the key {path} is encrypted, and nobody is there to type its passphrase; decrypt it"
            f" with: openssl pkey -in {path} -out plain.key"
        )
    return content


def load_pair(context: ssl.SSLContext, certificate: PathText, key: PathText) -> None:
    """Make a context prove its identity with a certificate chain and the key to it.

    Raises:
        InvalidRequestError: one cannot be read, or they do not belong together.
    """
    read_certificates(certificate)
    read_key(key)
    try:
        # Without a password, OpenSSL would ask the terminal for one.
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise InvalidRequestError(
                f"{key} is not the key of the certificate {certificate}; give the two files that"
                " were made together"
            ) from None
        raise InvalidRequestError(
            f"{certificate} or {key} is damaged; copy both files again from where they were made"
        ) from None


def load_authorities(context: ssl.SSLContext, path: PathText) -> None:
    """Make a context trust the authorities in a PEM file.

    Raises:
        InvalidRequestError: it cannot be read, or holds no certificate.
    """
    read_certificates(path)
    try:
        context.load_verify_locations(cafile=path)
    except ssl.SSLError:
        raise InvalidRequestError(
            f"{path} is damaged; copy it again from where it was made"
        ) from None


def _read(path: PathText) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidRequestError(
            f"{path} cannot be read ({error.strerror}); give a file that this user may read"
        ) from None
