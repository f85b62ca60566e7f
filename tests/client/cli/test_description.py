"""What `labelcast info` says of label sets, whatever their report holds."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelcast.cli.app import app
from labelcast.cli.run import exit_code_of
from labelcast.label_set.language import tokenizer_digest
from tests.factories.label_sets import CodecName, make_label_set
from tests.factories.sequence_sets import TOKENS, make_sequence_set
from tests.factories.state_sets import WIDTH, States


def info_of(
    directory: Path, capsys: pytest.CaptureFixture[str], codec: CodecName = "vqae", **options: Any
) -> dict[str, str]:
    make_label_set(directory, codec, **options)
    return lines_of(directory, capsys)


def lines_of(directory: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    printed = printed_by(capsys, "info", str(directory))
    return dict(re.split(r"  +", line, maxsplit=1) for line in printed.splitlines())


def printed_by(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert exit_code_of(app, name="labelcast", arguments=list(arguments)) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    return printed.out


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


def test_sequences_show_whose_tokens_they_are_and_how_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, _ = make_sequence_set(tmp_path, labelled=np.arange(18) % 4 != 2)
    shown = lines_of(tmp_path, capsys)
    tokenizer = tokenizer_digest(TOKENS)
    assert shown["labels"] == "14 of 300 classes"
    assert shown["sequences"] == "4 of up to 9 tokens, 14 labelled"
    assert shown["tokenizer"] == f"three hundred, {tokenizer}"
    assert shown["head"] == "none"
    assert shown["fingerprints"] == "of tokens"
    assert "samples × seeds" not in shown
    told = json.loads(printed_by(capsys, "info", str(tmp_path), "--json"))
    assert told["labels"] == 14
    assert told["segments"] == [{"samples": 4, "seeds": 9, "labels": 14}]
    assert told["language"] == {
        "labels": "next-token",
        "tokenizer": {"name": "three hundred", "digest": tokenizer},
        "padding": 0,
        "head": None,
        "head_is_shipped": False,
    }
    assert told["digest"] == made.digest


@pytest.mark.parametrize(("shipped", "where"), [(True, "shipped"), (False, "named only")])
def test_a_head_is_shown_and_whether_it_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shipped: bool, where: str
) -> None:
    states = States.make(softcap=20.0)
    language = replace(states.described.language, padding=14)
    padded = replace(states, described=replace(states.described, language=language))
    padded.write(tmp_path, shipped=shipped)
    shown, digest = lines_of(tmp_path, capsys), states.head.spec.digest
    assert shown["head"] == f"{WIDTH} channels, fp16, {where}, {digest}"
    assert shown["tokenizer"].startswith("numbers, without 14 columns of padding, sha256:")
    told = json.loads(printed_by(capsys, "info", str(tmp_path), "--json"))["language"]
    assert told["head"]["softcap"] == 20
    assert told["head_is_shipped"] == shipped
