"""What `labelcast info` says of label sets, whatever their report holds."""

import re
from pathlib import Path
from typing import Any

import pytest

from labelcast.cli.app import app
from labelcast.cli.run import exit_code_of
from tests.factories.label_sets import CodecName, make_label_set


def info_of(
    directory: Path, capsys: pytest.CaptureFixture[str], codec: CodecName = "vqae", **options: Any
) -> dict[str, str]:
    make_label_set(directory, codec, **options)
    assert exit_code_of(app, name="labelcast", arguments=["info", str(directory)]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    return dict(re.split(r"  +", line, maxsplit=1) for line in printed.out.splitlines())


def fit_report(**changes: Any) -> dict[str, Any]:
    measured = {
        "kl_nats": 0.25,
        "top1_agreement": 0.75,
        "top5_agreement": 1,
        "perplexities": [10.0, 20.0, 60.0],
    }
    config = {"codes": 3, "codebook_size": 64}
    return {"fit": {"config": config, "unseen": measured, "seen": measured} | changes}


@pytest.mark.parametrize("codec", ["raw", "topk"])
@pytest.mark.parametrize("report", [None, {"kl_nats": 0.0, "top1_agreement": 1.0}])
def test_a_set_that_nobody_fitted_shows_what_there_is(
    tmp_path: Path,
    codec: CodecName,
    report: dict[str, Any] | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = info_of(tmp_path, capsys, codec, report=report)
    assert shown["codec"] == codec
    assert re.fullmatch(r"[\d.]+ k?B", shown["decoder size"])
    assert re.search(r"at 1 M, .* at 10 M, .* at 100 M labels", shown["total bytes a label"])
    expected = None if report is None else "KL 0.000 nats, top-1 agreement 100.0%"
    assert shown.get("over all views") == expected
    assert not any("unseen" in name or "perplexity" in name for name in shown)


def test_a_fit_is_shown_in_full(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = info_of(tmp_path, capsys, report=fit_report())
    assert shown["codec"] == "vqae, 3 codes of 64 codewords"
    assert shown["over unseen views"] == "KL 0.250 nats, top-1 agreement 75.0%, top-5 100.0%"
    assert shown["perplexity per codebook"] == "10, 20, 60 of 64 codewords"


def test_fitted_views_stand_in_where_none_were_held_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = info_of(tmp_path, capsys, report=fit_report(unseen=None))
    assert shown["over fitted views"].startswith("KL 0.250 nats")
    assert "over unseen views" not in shown


def test_many_codebooks_are_summed_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many = {"perplexities": [float(value) for value in range(20, 41)]}
    shown = info_of(tmp_path, capsys, report=fit_report(unseen=many))
    assert shown["perplexity per codebook"] == "20 to 40, mean 30 of 64 codewords"


@pytest.mark.parametrize(
    "report",
    [
        {"fit": [1, 2]},
        {"fit": {"unseen": "good", "config": 3}},
        {"fit": {"unseen": {"kl_nats": "low", "perplexities": ["many"]}, "config": {"codes": []}}},
        {"fit": {"unseen": {"perplexities": []}}, "kl_nats": None, "top1_agreement": True},
        {"fit": {"unseen": {"perplexities": 4}}, "hard_label_agreement": [0.5]},
        {"fit": {"unseen": {"perplexities": [10**400]}}, "kl_nats": 10**400},
    ],
)
def test_a_report_of_another_form_is_no_obstacle(
    tmp_path: Path, report: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = info_of(tmp_path, capsys, report=report)
    assert shown["codec"] == "vqae"
    assert not any(name.startswith(("over", "perplexity", "names")) for name in shown)
