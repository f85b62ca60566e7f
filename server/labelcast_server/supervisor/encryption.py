"""Whether a service listens with TLS, decided and checked before it takes a port."""

from labelcast.errors import InvalidRequestError
from labelcast_server.access.certificates import Certificates
from labelcast_server.settings import ServerSettings, SettingsError, require_private


def certificates_of(settings: ServerSettings) -> Certificates | None:
    """The certificate that the settings name; None to listen in plain text.

    Raises:
        SettingsError: the files are of no use, or plain text would leave this machine and nobody
            allowed that.
    """
    require_private(settings)
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    found = Certificates(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)
    try:
        found.load()
    except InvalidRequestError as error:
        raise SettingsError(error.message) from None
    return found
