"""Requests to the admin API; exceptions of httpx and errors of the service become ours."""

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from labelcast.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    LabelcastError,
    ManifestError,
    ProtocolError,
    ServiceUnavailableError,
    error_from_reason,
)
from labelcast.network.endpoint import check_token
from labelcast.network.patience import PATIENCE_SECONDS, Patience
from labelcast.network.proxies import Proxy, http_proxy
from labelcast.network.tls import Tls, refuse_plaintext
from labelcast.network.tls_failures import closed_early, tls_error

_CONNECT_SECONDS = 10.0
_DEFAULT_PORTS = {"http": 80, "https": 443}
_REASON_HEADER = "Labelcast-Reason"
# Names and addresses; httpx lets other characters pass.
_HOST = re.compile(r"[\w.:-]+")


class RestLink:
    """One service's admin API.

    Args:
        base_url: URL of the admin API, like http://127.0.0.1:7071.
        token: bearer token; None sends none.
        timeout_seconds: seconds to wait for each response.
        patience_seconds: seconds to wait for a service that is unavailable, see `Patience`.
        tls: how a service at https:// is checked; None trusts the system's authorities.
        allow_plaintext: whether http:// may leave this machine.

    Attributes:
        patience: for callers that repeat a request; `request` itself tries once.

    Raises:
        InvalidRequestError: an impossible URL or token, plain text that is not allowed, or a proxy
            of the environment that cannot be used; the message repeats nobody's secrets.
    """

    def __init__(
        self,
        base_url: str,
        token: str | None,
        *,
        timeout_seconds: float,
        patience_seconds: float = PATIENCE_SECONDS,
        tls: Tls | None = None,
        allow_plaintext: bool = False,
    ) -> None:
        self.origin, base = _checked_url(base_url)
        self._tls = _chosen_tls(base, tls, allow_plaintext=allow_plaintext)
        self.patience = Patience(patience_seconds)
        self.timeout_seconds = timeout_seconds
        check_token(token)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        port = base.port or _DEFAULT_PORTS[base.scheme]
        proxy = http_proxy(base.scheme, base.host, port)
        self._way = "" if proxy is None else proxy.note
        self._client = httpx.Client(
            base_url=base,
            headers=headers | {"Accept": "application/json"},
            follow_redirects=False,
            # One that is given keeps httpx from choosing a proxy itself.
            transport=_transport(proxy, self._tls),
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str | int] | None = None,
        json: object = None,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> dict[str, Any]:
        """Send one request.

        Args:
            method: HTTP method.
            path: below the base URL, quoted.
            params: query.
            json: body, if it is JSON.
            content: body, if it is bytes.
            headers: headers besides the usual ones.
            timeout_seconds: seconds to wait for this response, if it takes longer than usual.

        Returns:
            The JSON object of the answer; {} for an answer without body.

        Raises:
            ServiceUnavailableError: nobody answers, a proxy lets nobody through, or the connection
                broke off.
            DeadlineExceededError: no answer in time.
            ProtocolError: the answer is not that of a labelcast admin API.
            LabelcastError: what the service reported, as the class it raised.
        """
        limit = timeout_seconds or self.timeout_seconds
        timeout = httpx.Timeout(limit, connect=min(limit, _CONNECT_SECONDS))
        try:
            response = self._client.request(
                method,
                path,
                params=params,
                json=json,
                content=content,
                headers=headers,
                timeout=timeout,
                extensions=self._extensions,
            )
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise tls_error(str(error), self.origin) or ServiceUnavailableError(
                f"no service answers at {self.origin}; check the URL, and that the service runs"
                f"{self._way}"
            ) from None
        except httpx.TimeoutException:
            raise DeadlineExceededError(
                f"{self.origin} gave no answer within {limit:g} s; wait longer, or start it again"
                f"{self._way}"
            ) from None
        except httpx.ProxyError as error:
            raise ServiceUnavailableError(
                f"the proxy opens no connection to {self.origin} and says: {str(error)[:200]}"
                f"{self._way}"
            ) from None
        except httpx.HTTPError as error:
            raise tls_error(str(error), self.origin) or ServiceUnavailableError(
                f"the connection to {self.origin} broke off; try again"
                f"{self._likeliest()}{self._way}"
            ) from None
        self.patience.answered()
        if method == "HEAD" and response.is_error and response.status_code != 404:
            # An answer to HEAD has no body and so no message: the same question with GET has.
            return self.request("GET", path, params=params, timeout_seconds=timeout_seconds)
        return self._answer(response)

    @property
    def _extensions(self) -> dict[str, str]:
        """The name that the certificate must be for, as httpx takes it."""
        named = None if self._tls is None else self._tls.server_name
        return {} if named is None else {"sni_hostname": named}

    def _likeliest(self) -> str:
        if self.patience.has_answered:
            return ""
        proves_itself = self._tls is not None and self._tls.certificate is not None
        return closed_early(encrypted=self._tls is not None, proves_itself=proves_itself)

    def _answer(self, response: httpx.Response) -> dict[str, Any]:
        if response.is_success and not response.content:
            return {}
        try:
            body = response.json() if response.content else {}
        except ValueError:
            body = None
        if response.is_success and isinstance(body, dict):
            return body
        raise self._reported(response, body)

    def _reported(self, response: httpx.Response, body: object) -> LabelcastError:
        reason = response.headers.get(_REASON_HEADER)
        if reason is None or response.is_success or not isinstance(body, dict):
            return ProtocolError(
                f"{self.origin} answered {response.status_code} and is no labelcast admin API;"
                f" check the URL{self._way}"
            )
        facts = body.get("facts")
        # The constructor's own parameters cannot be facts.
        kept = {
            str(name): str(value)
            for name, value in (facts.items() if isinstance(facts, dict) else ())
            if name not in ("self", "message")
        }
        message = str(body.get("message") or f"the service refused with {reason}")
        return error_from_reason(reason, message, kept)


@contextmanager
def understood() -> Iterator[None]:
    """Turn an answer of an unexpected shape into `ProtocolError`."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, InvalidRequestError, ManifestError):
        raise ProtocolError(
            "the service's answer is not what this labelcast understands; compare versions"
        ) from None


def _checked_url(text: str) -> tuple[str, httpx.URL]:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        url = httpx.URL()
    if len(re.findall(r"https?://", text)) > 1:
        raise InvalidRequestError(
            "a registry is that of one server; give one admin URL, like http://127.0.0.1:7071, and"
            " push to each server that keeps label sets of its own"
        )
    proper = url.scheme in ("http", "https") and _HOST.fullmatch(url.host) is not None
    if not proper or url.userinfo or url.query:
        raise InvalidRequestError(
            "the admin URL must be like http://127.0.0.1:7071, without credentials or query"
        )
    return f"{url.scheme}://{url.netloc.decode('ascii')}", url


def _chosen_tls(base: httpx.URL, tls: Tls | None, *, allow_plaintext: bool) -> Tls | None:
    if base.scheme == "https":
        return tls or Tls()
    if tls is not None:
        raise InvalidRequestError(
            "TLS was asked for, and the admin URL says http://; write it with https://"
        )
    if not allow_plaintext:
        refuse_plaintext(base.host)
    return None


def _transport(proxy: Proxy | None, tls: Tls | None) -> httpx.HTTPTransport:
    # Without TLS nothing is verified, and httpx need not read a file of authorities.
    verify: ssl.SSLContext | bool = False if tls is None else tls.context()
    if proxy is None:
        return httpx.HTTPTransport(verify=verify)
    try:
        return httpx.HTTPTransport(verify=verify, proxy=proxy.url)
    except ImportError:
        raise InvalidRequestError(
            f"{proxy.variable} names a SOCKS proxy, which needs another package;"
            f" pip install 'httpx[socks]', or {proxy.way_around}"
        ) from None
    except (ValueError, httpx.InvalidURL):
        raise InvalidRequestError(
            f"{proxy.variable} holds no URL of a proxy; write it like http://proxy.example.org:3128,"
            f" or {proxy.way_around}"
        ) from None
