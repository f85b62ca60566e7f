"""Every fault of the benchmark of control views stops a conditioned set's loader; none, nothing."""

from collections.abc import Sequence

import pytest

from benchmarks.control_views.faults import FAULTS, Fault, Start
from benchmarks.control_views.made import Made, make_all
from benchmarks.control_views.starts import begin, is_refused
from labelcast import Representation
from labelcast.torch import LabelSetSource

CONDITIONED = 1
# It moves a mean of one view in sixty by 2/255: whether one is among those kept is chance.
BY_CHANCE = {"resized bicubically"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    (only,) = make_all(tmp_path_factory.mktemp("made"), only=[CONDITIONED])
    assert only.label_set().contract.context is not None
    return only


def start(made: Made) -> Start:
    return made.dataset(), LabelSetSource(made.label_set(), Representation.codes())


def test_without_a_fault_nothing_is_noticed(made: Made) -> None:
    outcome = begin(start(made), compared=True)
    assert (outcome.alarm, outcome.noticed, outcome.views) == (False, 0, 64)
    assert outcome.pixels is not None
    assert outcome.pixels < 0.6
    assert outcome.labels < 0.5


def possible(faults: Sequence[Fault]) -> list[Fault]:
    return [fault for fault in faults if fault.name not in BY_CHANCE]


@pytest.mark.parametrize("fault", possible(FAULTS), ids=lambda fault: fault.name)
def test_every_fault_is_noticed(made: Made, fault: Fault) -> None:
    faulty = fault.start(made)
    assert faulty is not None
    assert is_refused(faulty, compared=False)
