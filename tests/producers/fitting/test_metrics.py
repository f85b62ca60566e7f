import pytest
import torch

from labelcast_producers.fitting.metrics import is_likeliest


@pytest.mark.parametrize(
    ("row", "likeliest"),
    [
        ([0.0, 0.0, 0.0], [True, True, True]),
        ([2.0, -1.0, 2.0], [True, False, True]),
        ([1.0, 3.0, 2.0], [False, True, False]),
        ([1.0, 1.0 + 1e-3, 1.0], [False, True, False]),
    ],
    ids=["constant", "tied", "one", "close"],
)
def test_any_of_the_tied_classes_is_the_likeliest(row: list[float], likeliest: list[bool]) -> None:
    teacher = torch.log_softmax(torch.tensor([row, row]), dim=1)
    classes = torch.tensor([[0, 1, 2], [2, 1, 0]])
    found = is_likeliest(teacher, classes)
    assert found.tolist() == [likeliest, likeliest[::-1]]
