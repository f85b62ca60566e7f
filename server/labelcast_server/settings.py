"""The service's settings, and the only place that reads the environment.

Every field of `ServerSettings` is a variable with the prefix ``LABELCAST_``; keyword arguments of
`load_settings`, which the command line passes, win over variables.
"""

import difflib
import ipaddress
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from labelcast.errors import RequestError
from labelcast.network.proxies import is_loopback

PREFIX = "LABELCAST_"
ADMIN_TOKEN_NAME = "admin.token"  # noqa: S105 - a file's name

# The client's token and the compose file's address share our prefix and may be set too.
_VARIABLES_OF_OTHERS = {"LABELCAST_TOKEN", "LABELCAST_BIND"}
# Kubernetes describes a service named `labelcast` or `labelcast-…` to every pod in such variables.
_KUBERNETES_NAME = re.compile(r"LABELCAST_.*(SERVICE_HOST|SERVICE_PORT.*|PORT_\d+_[A-Z]+.*)")
_KUBERNETES_VALUE = re.compile(r"(tcp|udp|sctp)://")
_TOKEN = re.compile(r"[!-~]{1,4096}")
_BRACKET_PORT_OR_PATH = re.compile(r"[\[\]/]|^[^:]*:[^:]*$")
_DEVICE = r"(auto|cpu|cuda(:[0-9]{1,3})?)"
_DEVICES = re.compile(f"{_DEVICE}(,{_DEVICE})*")


class SettingsError(RequestError):
    """A setting of the service is invalid; commands end with exit status 2."""

    reason = "settings"
    exit_code: ClassVar[int] = 2


def _token(secret: SecretStr) -> SecretStr:
    # An empty token would disable the check; other characters cannot be sent.
    if _TOKEN.fullmatch(secret.get_secret_value()) is None:
        raise ValueError("must be 1 to 4096 visible ASCII characters; unset it to go without")
    return secret


def _host(host: str) -> str:
    """Addresses with IPv6 literals are written with brackets, and so are hosts, then."""
    if not _BRACKET_PORT_OR_PATH.search(host):
        return host
    try:
        return str(ipaddress.IPv6Address(host[1:-1] if host[0] + host[-1] == "[]" else host))
    except ValueError:
        raise ValueError(
            "must be a host alone, like 0.0.0.0, ::1 or localhost; ports are given by grpc_port"
            " and admin_port"
        ) from None


def _devices(names: str) -> str:
    if _DEVICES.fullmatch(names) is None:
        raise ValueError("must be auto, cpu, cuda or cuda:N, or several with commas between them")
    return names


def _url(secret: SecretStr) -> SecretStr:
    if not secret.get_secret_value():
        raise ValueError("is empty; unset it to use the embedded Redis")
    return secret


Token = Annotated[SecretStr, AfterValidator(_token)]
Host = Annotated[str, Field(min_length=1), AfterValidator(_host)]
Port = Annotated[int, Field(ge=0, le=65535)]


class ServerSettings(BaseSettings):
    """The service's settings; build them with `load_settings`.

    Attributes:
        host: address that both ports are bound to.
        grpc_port: port for students; 0 picks a free one.
        admin_port: port of the admin API; 0 picks a free one.
        data_dir: directory of the embedded Redis, the admin token and the cache.
        redis_url: Redis to use; None starts an embedded one.
        admin_token: token that grants everything; None generates one, see `resolve_admin_token`.
        read_token: token that grants reading; None lets everyone read who reaches the ports.
        allow_unsafe_store: accept a Redis that could forget labels.
        tls_certificate: PEM file of the certificate that both ports show, followed by its
            intermediates; None for plain text.
        tls_key: PEM file of the private key to it, not encrypted.
        tls_client_ca: PEM file of the authorities that issue certificates to clients; with it, a
            client without such a certificate is refused (mutual TLS).
        allow_plaintext: listen without TLS on an address that other machines reach.
        published_host: address of the machine under which a container's engine publishes both
            ports; decides in place of `host` whether other machines reach them.
        workers: number of I/O worker processes.
        device: devices that decode labels, with commas between them: auto, cpu, cuda or cuda:N.
        decoders: number of decoder processes, which take the devices in turn; 0 is one for each.
        disk_reserve_bytes: space kept free on the disk of the embedded Redis, which refuses writes
            below it; None is 64 MiB, or a sixteenth of a small disk.
        cache_dir: directory of the chunk cache, which outlives the service; None is
            `data_dir`/cache, see `chunk_cache_dir`.
        cache_mib: mebibytes that the cache may take; None is half of what its disk would have free
            without it.
        decoder_threads: CPU threads of each decoder; 0 gives them half of the cores together, since
            a student or an I/O worker often runs on the same machine.
        drain_seconds: time for running requests to end when the service stops.
        max_streams: label streams that one worker serves at once; further ones are told to retry.
        metrics_port: port for Prometheus, without a token, of a process that runs alone; None for
            none. A whole service has its metrics under /metrics of the admin API.
        unsent_mib: mebibytes of replies that one worker prepares before gRPC takes them.
        log_level: lowest severity that is logged.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    host: Host = "127.0.0.1"
    grpc_port: Port = 7070
    admin_port: Port = 7071
    data_dir: Path = Path(".labelcast")
    redis_url: Annotated[SecretStr, AfterValidator(_url)] | None = None
    admin_token: Token | None = None
    read_token: Token | None = None
    allow_unsafe_store: bool = False
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    allow_plaintext: bool = False
    published_host: Host | None = None
    workers: int = Field(1, ge=1, le=256)
    device: Annotated[str, AfterValidator(_devices)] = "auto"
    decoders: int = Field(0, ge=0, le=256)
    disk_reserve_bytes: int | None = Field(None, ge=0, le=2**50)
    cache_dir: Path | None = None
    cache_mib: int | None = Field(None, ge=1, le=2**30)
    decoder_threads: int = Field(0, ge=0, le=1024)
    drain_seconds: float = Field(10.0, ge=0, allow_inf_nan=False)
    max_streams: int = Field(512, ge=1, le=65_536)
    metrics_port: Port | None = None
    unsent_mib: int = Field(256, ge=1, le=2**20)
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def chunk_cache_dir(self) -> Path:
        """Directory where chunks are cached."""
        return self.data_dir / "cache" if self.cache_dir is None else self.cache_dir

    @property
    def decoder_devices(self) -> tuple[str, ...]:
        """Device of each decoder process."""
        devices = self.device.split(",")
        return tuple(devices[n % len(devices)] for n in range(self.decoders or len(devices)))

    @model_validator(mode="after")
    def _check_every_device_decodes(self) -> Self:
        if 0 < self.decoders < self.device.count(",") + 1:
            raise ValueError("decoders must be 0, or at least one for each device that is named")
        return self

    @model_validator(mode="after")
    def _check_tokens_differ(self) -> Self:
        if self.admin_token is not None and self.admin_token == self.read_token:
            raise ValueError("read_token must differ from admin_token: readers would be admins")
        return self

    @model_validator(mode="after")
    def _check_tls_is_whole(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key come together: give both, or neither")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError("tls_client_ca needs tls_certificate and tls_key beside it")
        return self


def load_settings(**overrides: Any) -> ServerSettings:
    """Read settings from the environment.

    Args:
        **overrides: values from the command line, by field; None leaves a field to its variable.

    Raises:
        SettingsError: a variable with our prefix is unknown, or a value is impossible; the message
            names the variable and never repeats a value.
    """
    _refuse_unknown(os.environ)
    try:
        return ServerSettings(**{name: v for name, v in overrides.items() if v is not None})
    except ValidationError as error:
        problems = [
            f"{PREFIX + str(found['loc'][0]).upper() if found['loc'] else 'settings'}:"
            f" {found['msg'].removeprefix('Value error, ')}"
            for found in error.errors(include_url=False, include_input=False)
        ]
        raise SettingsError("; ".join(problems)) from None


def require_private(settings: ServerSettings) -> None:
    """Refuse to listen in plain text where other machines could connect, unless told to.

    Raises:
        SettingsError: other machines reach the ports, there is no certificate, and nobody allowed
            plain text.
    """
    reached = settings.published_host or settings.host
    if settings.tls_certificate is None and not (settings.allow_plaintext or is_loopback(reached)):
        raise SettingsError(
            f"other machines reach {reached}, and labels and tokens would cross the network in"
            " plain text; give --tls-certificate and --tls-key, or listen on 127.0.0.1 (a"
            f" container: publish its ports there, and set {PREFIX}PUBLISHED_HOST=127.0.0.1), or,"
            f" in a network that you trust, give --allow-plaintext ({PREFIX}ALLOW_PLAINTEXT=true)"
        )


def make_data_dir(settings: ServerSettings) -> None:
    """Create the data directory if it is missing.

    Raises:
        SettingsError: it is a file, or cannot be created.
    """
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"{settings.data_dir} cannot be the data directory ({error.strerror}); give a"
            f" directory that you may write as --data-dir or {PREFIX}DATA_DIR"
        ) from None


def resolve_admin_token(settings: ServerSettings) -> str:
    """Return the admin token: the one that is set, else one generated at the first start and kept.

    The generated one is in `<data_dir>/admin.token`, readable by its owner only. Services that
    start together use the same one.

    Raises:
        SettingsError: the file is damaged, readable by everyone, or cannot be written.
    """
    if settings.admin_token is not None:
        return settings.admin_token.get_secret_value()
    path = settings.data_dir / ADMIN_TOKEN_NAME
    try:
        if not path.exists():
            _keep_new_token(path)
        if path.stat().st_mode & stat.S_IRWXO:
            raise SettingsError(
                f"{path} is readable by every user of this machine; delete it to get a new token"
            )
        token = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise SettingsError(
            f"the admin token cannot be kept in {path} ({error.strerror});"
            f" choose another data directory or set {PREFIX}ADMIN_TOKEN"
        ) from None
    if _TOKEN.fullmatch(token) is None:
        raise SettingsError(f"{path} holds no token; delete it to get a new one")
    return token


def _keep_new_token(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # mkstemp opens with 0600; the link appears whole, and only if no other service was faster.
    descriptor, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(secrets.token_urlsafe(32) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        with suppress(FileExistsError):
            os.link(partial, path)
    finally:
        Path(partial).unlink()


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    known = {PREFIX + name.upper() for name in ServerSettings.model_fields}
    for name in sorted(environ):
        upper = name.upper()
        if not upper.startswith(PREFIX) or upper in known | _VARIABLES_OF_OTHERS:
            continue
        if _KUBERNETES_NAME.fullmatch(upper) or _KUBERNETES_VALUE.match(environ[name]):
            continue
        names = [each.removeprefix(PREFIX) for each in sorted(known | _VARIABLES_OF_OTHERS)]
        (near,) = difflib.get_close_matches(upper.removeprefix(PREFIX), names, n=1, cutoff=0)
        raise SettingsError(
            f"the variable {name} is unknown; did you mean {PREFIX}{near}?",
            variable=name,
            nearest=PREFIX + near,
        )
