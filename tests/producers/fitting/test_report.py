"""What a report says beyond what was measured."""

from pathlib import Path

import pytest

from labelcast_producers.fitting import FitReport
from labelcast_producers.fitting.report import read_report
from labelcast_producers.neural.fitted_files import REPORT_FILE
from tests.factories.fitted import SAMPLES, SEEDS, fit_file, write_labels


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> FitReport:
    directory = tmp_path_factory.mktemp("fit")
    return fit_file(write_labels(directory), directory / "out", steps=2).report


def measured(report: FitReport, *, seen: float, unseen: float | None) -> FitReport:
    """The report with other figures."""
    kept = report.seen
    other = None if unseen is None else kept.model_copy(update={"kl_nats": unseen})
    seen_metrics = kept.model_copy(update={"kl_nats": seen})
    return report.model_copy(update={"seen": seen_metrics, "unseen": other, "fitted_rows": 10_000})


def test_rows_that_were_fitted_are_counted(report: FitReport) -> None:
    assert report.fitted_rows == (SEEDS - SEEDS // 6) * SAMPLES


@pytest.mark.parametrize(
    ("seen", "unseen", "wanted"),
    [
        (0.2, 0.4, 100_000),
        (0.2, 0.23, 15_000),
        (0.2, 0.219, None),
        # So little more is no more.
        (0.2, 0.2200001, None),
        (0.2, 0.1, None),
        # Where nothing is lost, a tenth of it is too little to ask for.
        (0.0, 0.005, None),
        (0.0, 0.02, 20_000),
        (0.2, None, None),
    ],
)
def test_a_gap_asks_for_more_labels(
    report: FitReport, seen: float, unseen: float | None, wanted: int | None
) -> None:
    assert measured(report, seen=seen, unseen=unseen).labels_wanted == wanted


def test_reports_of_earlier_versions_are_read_and_ask_for_nothing(
    tmp_path: Path, report: FitReport
) -> None:
    values = report.model_dump(mode="json", exclude={"fitted_rows", "context_choice"})
    earlier = FitReport.model_validate(values)
    (tmp_path / REPORT_FILE).write_bytes(earlier.to_json())
    again = read_report(tmp_path / REPORT_FILE)
    assert again.context_choice is None
    assert (
        measured(report, seen=0.1, unseen=0.5)
        .model_copy(update={"fitted_rows": again.fitted_rows})
        .labels_wanted
        is None
    )
