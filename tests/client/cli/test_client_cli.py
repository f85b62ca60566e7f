"""`labelcast` as people run it: two streams and an exit status."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelcast.cli.app import app
from labelcast.cli.connection import TOKEN_VARIABLE
from labelcast.cli.printing import print_columns, print_pairs
from labelcast.cli.run import exit_code_of
from labelcast.codec import CodecHeader, LabelKind, Precision, RawCodec
from labelcast.errors import InvalidRequestError
from labelcast.label_set_directory import LabelSetDirectory
from tests.factories.command import run_labelcast
from tests.factories.label_sets import make_label_set, write_label_set
from tests.server.admin.running_admin import ADMIN_TOKEN, READ_TOKEN, RunningAdmin, running_admin

Run = Callable[..., "subprocess.CompletedProcess[str]"]
LABELCAST = str(Path(sys.executable).with_name("labelcast"))


@pytest.fixture
def admin(redis_url: str) -> Iterator[RunningAdmin]:
    with running_admin(redis_url) as running:
        yield running


@pytest.fixture
def labelcast(admin: RunningAdmin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command against the server, with the admin token unless told otherwise."""
    monkeypatch.chdir(tmp_path)

    def run(
        *arguments: object, token: str | None = ADMIN_TOKEN
    ) -> "subprocess.CompletedProcess[str]":
        with monkeypatch.context() as patch:
            patch.delenv(TOKEN_VARIABLE, raising=False)
            if token is not None:
                patch.setenv(TOKEN_VARIABLE, token)
            return run_labelcast(*map(str, arguments), "--admin", admin.url)

    return run


@pytest.fixture
def label_set(tmp_path: Path) -> LabelSetDirectory:
    unseen = {
        "kl_nats": 0.25,
        "top1_agreement": 0.75,
        "top5_agreement": 0.95,
        "perplexities": [80.4, 90.6, 85.0, 99.0, 70.0, 75.0],
    }
    config = {"codes": 6, "codebook_size": 100}
    report = {
        "kl_nats": 0.2,
        "hard_label_agreement": 0.5,
        "fit": {"unseen": unseen, "config": config},
    }
    return make_label_set(tmp_path / "label-set", "vqae", num_samples=1000, report=report)[0]


def parsed(result: "subprocess.CompletedProcess[str]") -> Any:
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


def failed(result: "subprocess.CompletedProcess[str]", status: int) -> str:
    """The one line of an error."""
    assert (result.returncode, result.stdout) == (status, "")
    assert re.fullmatch(r"error: [^\n]+\n", result.stderr), result.stderr
    return result.stderr


def test_push_list_info_tag_retire_for_programs(
    labelcast: Run, label_set: LabelSetDirectory
) -> None:
    blobs = label_set.manifest.blobs()
    pushed = parsed(labelcast("push", label_set.directory, "--tag", "glyphs:v1", "--json"))
    assert pushed == {
        "digest": label_set.digest,
        "tag": "glyphs:v1",
        "uploaded_blobs": len(blobs),
        "uploaded_bytes": sum(ref.size for ref in blobs.values()),
        "known_blobs": 0,
    }
    (summary,) = parsed(labelcast("list", "--json"))
    assert (summary["tags"], summary["state"], summary["labels"]) == (
        ["glyphs:v1"],
        "published",
        3000,
    )
    info = parsed(labelcast("info", "glyphs:v1", "--json"))
    assert info["digest"] == label_set.digest
    assert info["segments"] == [{"samples": 1000, "seeds": 3, "labels": 3000}]
    assert info["codec"]["name"] == "vqae"
    assert info["bytes_a_label"]["payload"] == 6
    needed = sum(ref.size for ref in blobs.values()) + len(label_set.manifest.to_bytes())
    assert info["bytes_a_label"]["total"] == pytest.approx(needed / 3000)
    # At a hundred million labels codec, report and manifest weigh nothing.
    manifest = label_set.manifest
    assert manifest.report is not None
    fixed = manifest.codec.size + manifest.report.size + len(manifest.to_bytes())
    growing = (needed - fixed) / 3000
    assert info["bytes_a_label"]["total_at"]["100000000"] == pytest.approx(growing, rel=1e-2)
    assert info["codec"]["bytes"] == label_set.manifest.codec.size
    assert set(info["bytes_a_label"]["total_at"]) == {"1000000", "10000000", "100000000"}
    unseen = info["report"]["fit"]["unseen"]
    figures = [unseen[name] for name in ("kl_nats", "top1_agreement", "top5_agreement")]
    assert figures == [0.25, 0.75, 0.95]
    assert len(unseen["perplexities"]) == 6
    assert info["store_bytes"] > needed

    local = parsed(labelcast("info", label_set.directory, "--json"))
    only_there = {"state", "tags", "created_at", "store_bytes"}
    assert local == {name: value for name, value in info.items() if name not in only_there}

    assert parsed(labelcast("tag", "glyphs:v2", label_set.digest, "--json"))["tag"] == "glyphs:v2"
    retired = parsed(labelcast("retire", "glyphs:v2", "--json"))
    assert retired == {"digest": label_set.digest, "state": "retired"}
    (summary,) = parsed(labelcast("list", "--json"))
    assert (summary["tags"], summary["state"]) == ([], "retired")


def test_the_same_for_people(labelcast: Run, label_set: LabelSetDirectory) -> None:
    pushed = labelcast("push", label_set.directory, "--tag", "glyphs:v1")
    assert (pushed.returncode, pushed.stderr) == (0, "")
    assert pushed.stdout.splitlines()[0] == f"glyphs:v1 is {label_set.digest}"
    listed = labelcast("list")
    head, line = listed.stdout.splitlines()
    assert head.split() == ["TAGS", "STATE", "LABELS", "CLASSES", "PAYLOAD", "TEACHER", "DIGEST"]
    assert line.startswith("glyphs:v1  published  3,000 ")
    assert line.endswith(label_set.digest)
    info = labelcast("info", "glyphs:v1")
    for expected in (
        r"tags +glyphs:v1",
        r"state +published",
        r"labels +3,000 of 10 classes",
        r"samples × seeds +1,000 × 3",
        r"codec +vqae, 6 codes of 100 codewords",
        r"decoder size +[\d.]+ kB",
        r"payload bytes a label +6",
        r"total bytes a label +[\d.]+ \(.* at 1 M, .* at 10 M, .* at 100 M labels\)",
        r"over all views +KL 0.200 nats",
        r"over unseen views +KL 0.250 nats, top-1 agreement 75.0%, top-5 95.0%",
        r"perplexity per codebook +80, 91, 85, 99, 70, 75 of 100 codewords",
        r"names a shown class +50.0% of the labels",
    ):
        assert re.search(expected, info.stdout), expected
    for result in (pushed, listed, info):
        assert "\x1b" not in result.stdout


def test_wrong_tokens_are_one_line_errors(
    labelcast: Run, label_set: LabelSetDirectory, tmp_path: Path
) -> None:
    push = ("push", label_set.directory, "--tag", "glyphs:v1")
    for token in ("wrong-token", READ_TOKEN, None):
        error = failed(labelcast(*push, token=token), 1)
        assert "token" in error
        assert token is None or token not in error
    token_file = tmp_path / "admin.token"
    token_file.write_text(f"{ADMIN_TOKEN}\n")
    # The command line wins over the variable, and the token itself over its file.
    options = ("--token-file", token_file)
    assert labelcast(*push, *options, token="wrong").returncode == 0
    failed(labelcast(*push, *options, "--token", "wrong"), 1)
    missing = failed(labelcast(*push, "--token-file", tmp_path / "missing"), 1)
    assert "No such file" in missing


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("push",),
        ("push", "somewhere"),
        ("push", "somewhere", "--tag"),
        ("publish", "somewhere"),
        ("list", "--colour"),
        ("list", "--timeout", "soon"),
        ("list", "--timeout", "0"),
        ("list", "--timeout", "nan"),
        ("list", "--timeout", "inf"),
        ("list", "--timeout", "1e30"),
        ("info",),
        ("--colour",),
    ],
)
def test_usage_errors_are_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert exit_code_of(app, name="labelcast", arguments=list(arguments)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    # The help of the command where there is one.
    named = [f" {name}" for name in arguments[:1] if name in ("push", "list", "info")]
    asked = "".join(["labelcast", *named])
    assert re.fullmatch(rf"error: [^\n]+ \(see {asked} --help\)\n", printed.err)


def test_usage_errors_end_the_process_with_status_2() -> None:
    failed(subprocess.run([LABELCAST, "push"], capture_output=True, text=True), 2)


def test_other_failures_are_one_line_and_status_1(labelcast: Run, tmp_path: Path) -> None:
    assert "manifest.json" in failed(labelcast("push", tmp_path, "--tag", "a"), 1)
    assert "nothing:v1" in failed(labelcast("info", "nothing:v1"), 1)
    assert "nothing:v1" in failed(labelcast("retire", "nothing:v1"), 1)
    unreachable = subprocess.run(
        [LABELCAST, "list", "--admin", "http://127.0.0.1:1"], capture_output=True, text=True
    )
    assert "no service answers at http://127.0.0.1:1" in failed(unreachable, 1)


def test_pull_takes_its_token_as_the_others_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    given: list[str | None] = []

    def asked(_address: str, *, token: str | None, **_: object) -> None:
        given.append(token)
        raise InvalidRequestError("enough")

    monkeypatch.setattr("labelcast.remote.client.LabelClient", asked)
    token_file = tmp_path / "read.token"
    token_file.write_text("of-the-file\n")
    from_file = ["--token-file", str(token_file)]
    for variable in (None, "of-the-variable"):
        if variable is not None:
            monkeypatch.setenv(TOKEN_VARIABLE, variable)
        for options in ([], from_file, [*from_file, "--token", "given"]):
            arguments = ["pull", "glyphs:v1", "--out", str(tmp_path), *options]
            assert exit_code_of(app, name="labelcast", arguments=arguments) == 1
    assert given == [None, "of-the-file", "given", "of-the-variable", "of-the-file", "given"]


def test_text_from_elsewhere_cannot_steer_a_terminal(
    labelcast: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "\x1b" not in failed(labelcast("info", "\x1b[2J"), 1)
    print_pairs([("teacher", "\x1b[2Jteacher\n\x07")])
    print_columns(("A",), [("\ud800\x1b",)])
    assert capsys.readouterr().out == "teacher  ?[2Jteacher??\nA\n??\n"


def test_help_names_every_command() -> None:
    result = subprocess.run([LABELCAST, "--help"], capture_output=True, text=True)
    assert result.returncode == 0
    for command in ("push", "list", "info", "retire", "tag"):
        assert re.search(rf"^  {command} ", result.stdout, re.MULTILINE)


def test_decode_names_the_file_that_it_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code_of(app, name="labelcast", arguments=["decode", "--help"]) == 0
    assert "Beside labels.npy, labels.views.npy" in " ".join(capsys.readouterr().out.split())
    make_label_set(tmp_path / "set", num_samples=10)
    words = ["decode", str(tmp_path / "set"), "--out", str(tmp_path / "labels.npy")]
    assert exit_code_of(app, name="labelcast", arguments=words) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"set", "labels.npy", "labels.views.npy"}


def test_decode_refuses_what_half_precision_cannot_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codec = RawCodec(CodecHeader(5, LabelKind.LOGITS, None), Precision.FP32)
    rows = np.full((6, 5), 1e5, dtype=np.float32).view(np.uint8)
    write_label_set(tmp_path / "set", codec, rows, num_samples=3, num_seeds=2)
    words = ["decode", str(tmp_path / "set"), "--out", str(tmp_path / "labels.npy")]
    assert exit_code_of(app, name="labelcast", arguments=words) == 1
    assert "65,504; write probabilities with --temperature" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"set"}
    assert exit_code_of(app, name="labelcast", arguments=[*words, "--temperature", "1"]) == 0
    assert np.isfinite(np.load(tmp_path / "labels.npy")).all()


def test_the_server_command_line_can_use_the_wrapper_without_the_commands() -> None:
    code = (
        "import sys, labelcast.cli.run\n"
        "print([name for name in sys.modules if name.startswith(('labelcast.registry', 'httpx'))])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "[]\n"
