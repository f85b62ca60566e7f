"""What the commands' bar shows of progress."""

import pytest

from labelcast_producers.cli.progress_bar import progress_bar


def shown(capsys: pytest.CaptureFixture[str], *steps: tuple[int, int], quiet: bool = False) -> str:
    with progress_bar("encode", "label", quiet=quiet) as progress:
        for step in steps:
            progress(*step)
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_a_bar_ends_where_its_work_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert "100%" in shown(capsys, (0, 40), (7, 40), (40, 40)).rpartition("\r")[2]
    assert "| 30/40 [" in shown(capsys, (30, 40)).rpartition("\r")[2]


def test_what_earlier_runs_did_is_not_taken_for_speed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "?label/s" in shown(capsys, (30, 40)).rpartition("\r")[2]


def test_work_that_never_begins_shows_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys) == ""
    with progress_bar("fit", "step", quiet=False) as progress:
        progress.write("8 bytes a label")
    assert capsys.readouterr().err == "8 bytes a label\n"


def test_quiet_commands_show_no_bar_and_keep_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, (0, 40), (40, 40), quiet=True) == ""
    with progress_bar("fit", "step", quiet=True) as progress:
        progress.show_fit({"kl": 0.25, "perplexity": 12})
        progress.write("8 bytes a label")
    assert capsys.readouterr().err == "8 bytes a label\n"


def test_a_fit_shows_how_well_labels_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("fit", "step", quiet=False) as progress:
        progress(1, 2)
        progress.show_fit({"kl": 0.25, "perplexity": 12})
    assert "kl=0.250, perplexity=12" in capsys.readouterr().err


def test_a_bar_tells_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("tqdm.std.time", lambda: clock[0])
    with progress_bar("encode", "label", quiet=False) as progress:
        progress(0, 4000)
        clock[0] = 90.0
        progress(1000, 4000)
    assert "1000/4000 [01:30<04:30" in capsys.readouterr().err
