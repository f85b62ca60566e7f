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
    found = Certificates.of(settings)
    try:
        if found is not None:
            found.load()
    except InvalidRequestError as error:
        raise SettingsError(error.message) from None
    return found
