"""`labelcast budget`."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labelcast.cli.app import app
from labelcast.cli.run import exit_code_of
from tests.factories.label_sets import make_label_set

Run = Callable[..., Any]


@pytest.fixture
def budget(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command and returns its JSON, or its text for `text=True`."""

    def run(*words: object, text: bool = False) -> Any:
        arguments = ["budget", *map(str, words), *([] if text else ["--json"])]
        assert exit_code_of(app, name="labelcast", arguments=arguments) == 0
        printed = capsys.readouterr()
        assert printed.err == ""
        return printed.out if text else json.loads(printed.out)

    return run


def test_without_arguments_all_published_settings_stand_beside_ours(budget: Run) -> None:
    found = budget()
    assert len(found["settings"]) == 5 * (7 + 4)
    for one in found["settings"]:
        split, bits = one["bytes_a_label"], one["bits"]
        assert sum(v for k, v in split.items() if k != "total") == pytest.approx(split["total"])
        assert sum(v for k, v in bits.items() if k not in {"labels", "samples"}) == bits["labels"]
        assert one["labels_gb"] * 10**9 == pytest.approx(one["labels_gib"] * 2**30)
    reproduction = found["reproduction"]
    assert (reproduction["reproduced"], reproduction["published"]) == (24, 25)
    [missed] = reproduction["not_reproduced"]
    assert (missed["name"], missed["images_per_class"], missed["gib"]) == ("lpld-40", 200, 2.85)


def test_the_table_says_what_does_not_reproduce(budget: Run) -> None:
    text = budget(text=True)
    assert "113.33 =" in text
    assert "2.85 ≠ 2.86" in text
    assert "24 of 25 published sizes reproduced" in text
    assert "published 2.85, found 2.857 GiB (+0.25%)" in text
    assert "labelcast-1" in text
    assert "…" not in text  # nothing cut short


def test_one_published_setting(budget: Run) -> None:
    [one] = budget("--setting", "sre2l", "--ipc", 10)["settings"]
    assert one["labels"] == 3_000_000
    assert one["published"]["gib"] == 5.67
    assert one["published"]["reproduced"] is True
    assert one["times_smaller_than_reference"] == 1
    text = budget("--setting", "sre2l", text=True)
    assert "published: 5.67 GiB" in text
    assert "samples: their own bits" in text


def test_knobs(budget: Run) -> None:
    knobs = {
        "--images-per-class": 7,
        "--classes": 100,
        "--sample-bytes": "32x32x3x8",
        "--views": 40,
        "--prune": 2.5,
        "--label": "top-k:5:16:7",
        "--augmentation-bits": 75,
        "--batch": 50,
        "--container-bytes": 11,
        "--codec-bytes": 1000,
    }
    [one] = budget(*(word for knob in knobs.items() for word in knob))["settings"]
    labels = 700 * 16
    assert one["labels"] == labels
    assert one["stored_views"] == 16
    assert one["bits"] == {
        "payload": labels * 115,
        "augmentation": labels * 75,
        "container": 16 * 14 * (8 * 11 + 4),  # 50 × 190 bits are 1,187.5 bytes
        "codec": 8000,
        "labels": labels * 190 + 16 * 14 * 92 + 8000,
        "samples": 700 * 32 * 32 * 3 * 8,
    }
    assert one["published"] is None


def test_codes_start_from_labelcast_and_bring_their_decoder(budget: Run) -> None:
    [plain] = budget("--label", "codes:8:256")["settings"]
    [named] = budget("--setting", "labelcast-8")["settings"]
    assert plain["bits"] == named["bits"]
    [in_files] = budget("--setting", "sre2l", "--label", "codes:8:256")["settings"]
    assert in_files["bits"]["codec"] == plain["bits"]["codec"] > 8 * 10**6
    assert in_files["bits"]["augmentation"] == 200 * in_files["labels"]
    [raw] = budget("--setting", "labelcast-8", "--label", "fp16")["settings"]
    assert raw["bits"]["codec"] == 0


def test_another_reference_and_other_samples(budget: Run) -> None:
    [one] = budget("--setting", "labelcast-4", "--reference", "labelcast-8")["settings"]
    assert 1.8 < one["times_smaller_than_reference"] < 2
    assert one["reference"] == "labelcast-8"
    found = budget("--ipc", 3, "--classes", 200, "--sample-bytes", 0)["settings"]
    assert {one["samples"] for one in found} == {600}
    assert {one["published"] for one in found} == {None}
    budget("--ipc", 3, "--classes", 200, "--sample-bytes", 0, text=True)


def test_a_label_set_on_disk(budget: Run, tmp_path: Path) -> None:
    label_set, _ = make_label_set(tmp_path, "vqae", report={"kl": 1})
    found = budget("--label-set", tmp_path)["label_set"]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert found["bytes"]["total"] == sum(path.stat().st_size for path in files)
    assert found["digest"] == label_set.digest
    assert list(found["bytes_a_label_at"]) == ["1000000", "10000000", "100000000"]
    text = budget("--label-set", tmp_path, text=True)
    assert label_set.digest in text
    assert "chunk indexes" in text


@pytest.mark.parametrize(
    "words",
    [
        ["--setting", "nope"],
        ["--reference", "nope"],
        ["--setting", "labelcast-0"],
        ["--ipc", "0"],
        ["--classes", "-1"],
        ["--views", "0"],
        ["--prune", "0.5"],
        ["--prune", "nan"],
        ["--prune", "inf"],
        ["--label", "fp17"],
        ["--label", "top-k:1001"],
        ["--augmentation-bits", "-1"],
        ["--batch", "0"],
        ["--container-bytes", "-1"],
        ["--block-bytes", "1000"],
        ["--codec-bytes", "-1"],
        ["--sample-bytes", "big"],
        ["--sample-bytes", "1x2x3"],
        ["--views", str(10**20)],
        ["--setting", "lpld-40", "--classes", "1", "--ipc", "1"],
        ["--label-set", ".", "--ipc", "10"],
    ],
)
def test_impossible_values_are_one_line(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code_of(app, name="labelcast", arguments=["budget", *words]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1


def test_the_work_needs_no_torch() -> None:
    code = (
        "import sys; from labelcast.cli.run import exit_code_of;"
        "from labelcast.cli.app import app;"
        "exit_code_of(app, name='x', arguments=['budget', '--help']);"
        "exit_code_of(app, name='x', arguments=['budget', '--json']);"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False", done.stderr
    assert "--augmentation-bits" in done.stdout
