"""Settings: variables, overrides, and the admin token that is kept."""

import os
import re
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError

from labelcast_server.settings import (
    ServerSettings,
    SettingsError,
    load_settings,
    make_data_dir,
    require_private,
    resolve_admin_token,
)
from tests.factories.odd_file_systems import without_links


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith("LABELCAST_"):
            monkeypatch.delenv(name)


def test_defaults() -> None:
    settings = load_settings()
    assert settings.model_dump() == {
        "host": "127.0.0.1",
        "grpc_port": 7070,
        "admin_port": 7071,
        "data_dir": Path(".labelcast"),
        "redis_url": None,
        "admin_token": None,
        "read_token": None,
        "allow_unsafe_store": False,
        "tls_certificate": None,
        "tls_key": None,
        "tls_client_ca": None,
        "allow_plaintext": False,
        "published_host": None,
        "workers": 1,
        "device": "auto",
        "decoders": 0,
        "disk_reserve_bytes": None,
        "cache_dir": None,
        "cache_mib": None,
        "decoder_threads": 0,
        "drain_seconds": 10.0,
        "max_streams": 512,
        "unsent_mib": 256,
        "log_level": "info",
        "metrics_port": None,
    }
    assert settings.chunk_cache_dir == Path(".labelcast/cache")


def test_every_setting_has_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "host": "::1",
        "grpc_port": "0",
        "admin_port": "65535",
        "data_dir": "/data",
        "redis_url": "redis://:password@redis:6379/0",
        "admin_token": "an-admin",
        "read_token": "a-reader",
        "allow_unsafe_store": "true",
        "tls_certificate": "/tls/service.pem",
        "tls_key": "/tls/service.key",
        "tls_client_ca": "/tls/clients.pem",
        "allow_plaintext": "true",
        "published_host": "203.0.113.7",
        "workers": "4",
        "device": "cuda:1",
        "decoders": "2",
        "disk_reserve_bytes": "1000000",
        "cache_dir": "/cache",
        "cache_mib": "100",
        "decoder_threads": "3",
        "drain_seconds": "2.5",
        "max_streams": "8",
        "unsent_mib": "16",
        "log_level": "debug",
        "metrics_port": "9090",
    }
    assert set(values) == set(ServerSettings.model_fields)
    for name, value in values.items():
        monkeypatch.setenv(f"LABELCAST_{name.upper()}", value)
    settings = load_settings()
    assert (settings.grpc_port, settings.workers, settings.drain_seconds) == (0, 4, 2.5)
    assert settings.allow_unsafe_store is True
    assert settings.chunk_cache_dir == Path("/cache")
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == values["redis_url"]
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert not [secret for secret in ("password", "an-admin", "a-reader") if secret in shown]


def test_arguments_win_over_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABELCAST_GRPC_PORT", "1")
    monkeypatch.setenv("LABELCAST_HOST", "0.0.0.0")
    settings = load_settings(grpc_port=2, host=None, data_dir=Path("/x"))
    assert (settings.grpc_port, settings.host, settings.data_dir) == (2, "0.0.0.0", Path("/x"))
    with pytest.raises(ValidationError, match="frozen"):
        settings.host = "::"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("LABELCAST_GRCP_PORT", "LABELCAST_GRPC_PORT"),
        ("LABELCAST_PORT", "LABELCAST_GRPC_PORT"),
        ("LABELCAST_REDIS", "LABELCAST_REDIS_URL"),
        ("LABELCAST_TOKN", "LABELCAST_TOKEN"),
        ("LABELCAST_ADMINTOKEN", "LABELCAST_ADMIN_TOKEN"),
        ("labelcast_worker", "LABELCAST_WORKERS"),
        ("LABELCAST_", None),
        ("LABELCAST_XYZZY", None),
    ],
)
def test_unknown_variables_are_named_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch, name: str, nearest: str | None
) -> None:
    monkeypatch.setenv(name, "a-secret-perhaps")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert name in caught.value.message
    assert "a-secret-perhaps" not in caught.value.message
    assert caught.value.exit_code == 2
    if nearest is not None:
        assert caught.value.facts == {"variable": name, "nearest": nearest}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LABELCAST_TOKEN", "the client's"),
        ("LABELCAST_BIND", "the compose file's"),
        ("LABELCAST_PORT", "tcp://10.0.0.1:7070"),
        ("LABELCAST_SERVICE_HOST", "10.0.0.1"),
        ("LABELCAST_SERVICE_PORT_GRPC", "7070"),
        ("LABELCAST_PORT_7070_TCP_ADDR", "10.0.0.1"),
        ("LABELCAST_REDIS_SERVICE_PORT", "6379"),
        ("LABELCASTER", "nobody's"),
    ],
)
def test_variables_of_others_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GRPC_PORT", "70000"),
        ("GRPC_PORT", "a-secret"),
        ("ADMIN_PORT", "-1"),
        ("WORKERS", "0"),
        ("DEVICE", "gpu"),
        ("LOG_LEVEL", "loud"),
        ("DRAIN_SECONDS", "-1"),
        ("DRAIN_SECONDS", "nan"),
        ("DRAIN_SECONDS", "inf"),
        ("DECODERS", "-1"),
        ("DECODER_THREADS", "-1"),
        ("HOST", ""),
        ("REDIS_URL", ""),
        ("READ_TOKEN", ""),
        ("ADMIN_TOKEN", "a secret"),
        ("ADMIN_TOKEN", "sécret"),
        ("ALLOW_UNSAFE_STORE", "perhaps"),
    ],
)
def test_impossible_values_name_the_variable_and_hide_the_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"LABELCAST_{name}", value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert caught.value.message.startswith(f"LABELCAST_{name}: ")
    assert "\n" not in caught.value.message
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("device", ["gpu", "", "cuda:", "cuda:1\n", "CPU", "cpu,", "cpu, cpu"])
def test_the_devices_that_can_be_are_listed(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.setenv("LABELCAST_DEVICE", device)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert caught.value.message == (
        "LABELCAST_DEVICE: must be auto, cpu, cuda or cuda:N, or several with commas between them"
    )


def test_decoders_take_the_devices_in_turn() -> None:
    assert load_settings().decoder_devices == ("auto",)
    assert load_settings(device="cuda:0,cuda:1").decoder_devices == ("cuda:0", "cuda:1")
    three = load_settings(device="cuda:0,cuda:1", decoders=3)
    assert three.decoder_devices == ("cuda:0", "cuda:1", "cuda:0")
    with pytest.raises(SettingsError, match="at least one for each device"):
        load_settings(device="cuda:0,cuda:1", decoders=1)


def test_unknown_arguments_and_one_token_for_both_scopes_are_refused() -> None:
    with pytest.raises(SettingsError):
        load_settings(grcp_port=1)
    with pytest.raises(SettingsError, match="must differ") as caught:
        load_settings(admin_token="hunter22", read_token="hunter22")
    assert "hunter22" not in caught.value.message


PUBLIC = ["0.0.0.0", "::", "192.0.2.7", "2001:db8::1", "labels.test", "localhost.test"]
PRIVATE = ["127.0.0.1", "127.8.9.1", "::1", "localhost", "::ffff:127.0.0.1"]


@pytest.mark.parametrize("host", PUBLIC)
def test_plain_text_is_refused_where_other_machines_connect(host: str) -> None:
    with pytest.raises(SettingsError, match=f"^other machines reach {re.escape(host)}"):
        require_private(load_settings(host=host))
    with pytest.raises(SettingsError, match=f"^other machines reach {re.escape(host)}"):
        require_private(load_settings(host="127.0.0.1", published_host=host))
    require_private(load_settings(host=host, allow_plaintext=True))
    require_private(load_settings(host=host, tls_certificate="a.pem", tls_key="a.key"))
    require_private(load_settings(host=host, published_host="127.0.0.1"))


@pytest.mark.parametrize("host", PRIVATE)
def test_plain_text_is_for_this_machine(host: str) -> None:
    require_private(load_settings(host=host))
    require_private(load_settings(host="0.0.0.0", published_host=host))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"tls_certificate": "a.pem"}, "give both, or neither"),
        ({"tls_key": "a.key"}, "give both, or neither"),
        ({"tls_client_ca": "ca.pem"}, "needs tls_certificate and tls_key"),
    ],
)
def test_half_of_tls_is_refused(given: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load_settings(**given)


def test_the_admin_token_is_generated_once_and_kept(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path / "data")
    token = resolve_admin_token(settings)
    path = tmp_path / "data" / "admin.token"
    assert len(token) >= 32
    assert path.read_text() == token + "\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["admin.token"]
    assert resolve_admin_token(settings) == token
    assert resolve_admin_token(load_settings(data_dir=tmp_path / "other")) != token


def test_a_given_admin_token_is_not_written_anywhere(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path, admin_token="given")
    assert resolve_admin_token(settings) == "given"
    assert list(tmp_path.iterdir()) == []


def test_services_that_start_together_agree_on_one_token(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path)
    with ThreadPoolExecutor(16) as pool:
        tokens = set(pool.map(lambda _: resolve_admin_token(settings), range(16)))
    assert len(tokens) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["admin.token"]


@pytest.mark.parametrize("content", [b"", b"\n", b"two words\n", b"\xff\xfe"])
def test_a_damaged_token_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "admin.token"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(SettingsError, match="holds no token"):
        resolve_admin_token(load_settings(data_dir=tmp_path))


def test_a_token_file_open_to_everyone_is_an_error(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path)
    resolve_admin_token(settings)
    (tmp_path / "admin.token").chmod(0o644)
    with pytest.raises(SettingsError, match="every user"):
        resolve_admin_token(settings)


def test_a_data_directory_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="LABELCAST_ADMIN_TOKEN"):
        resolve_admin_token(load_settings(data_dir=tmp_path / "file"))


def test_a_directory_without_links_says_what_works(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as odd:
        without_links(odd)
        with pytest.raises(SettingsError, match=f"cannot be kept in {tmp_path}/admin.token"):
            resolve_admin_token(load_settings(data_dir=tmp_path))
        odd.setenv("LABELCAST_ADMIN_TOKEN", "s3cret")
        assert resolve_admin_token(load_settings(data_dir=tmp_path)) == "s3cret"
    assert list(tmp_path.iterdir()) == []
    assert resolve_admin_token(load_settings(data_dir=tmp_path_factory.mktemp("elsewhere")))


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_data_directory_that_is_a_file(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=rf"{tmp_path / place} cannot .* --data-dir"):
        make_data_dir(load_settings(data_dir=tmp_path / place))
    make_data_dir(load_settings(data_dir=tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "b").is_dir()


def test_a_command_ends_with_one_line_and_status_2() -> None:
    code = (
        "from labelcast.cli.run import new_app, run\n"
        "from labelcast_server.settings import load_settings\n"
        "app = new_app('x')\n"
        "app.command()(lambda: load_settings())\n"
        "run(app, name='labelcast-server')\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "LABELCAST_GRPC_PROT": "1"},
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        "error: the variable LABELCAST_GRPC_PROT is unknown; did you mean LABELCAST_GRPC_PORT?\n"
    )


@pytest.mark.parametrize(
    ("given", "kept"),
    [("[::1]", "::1"), ("::1", "::1"), ("[fe80::1%lo]", "fe80::1%lo"), ("localhost", "localhost")],
)
def test_an_ipv6_host_may_have_brackets(given: str, kept: str) -> None:
    assert load_settings(host=given).host == kept


@pytest.mark.parametrize(
    "given", ["127.0.0.1:7070", "[::1]:7070", "[localhost]", "[::1", "http://x"]
)
def test_a_host_with_a_port_says_where_ports_go(given: str) -> None:
    with pytest.raises(SettingsError, match="ports are given by grpc_port and admin_port"):
        load_settings(host=given)
    assert load_settings(host="localhost", grpc_port=7070).grpc_port == 7070
