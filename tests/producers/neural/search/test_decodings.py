"""What all searches judge codes by."""

import pytest
import torch

from labelcast_producers.neural.search.decodings import log_sum_exp


def test_the_level_makes_no_difference_and_never_flatters() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 10 * torch.randn((4, 3, 50), generator=generator)
    exact = logits.logsumexp(dim=2)
    for shift in (-40.0, 0.0, 40.0):
        found = log_sum_exp(logits.clone(), exact.mean(dim=1) + shift)
        torch.testing.assert_close(found, exact)


@pytest.mark.parametrize("far", [-1000.0, -200.0, -90.0, 90.0, 200.0, 1000.0])
def test_logits_far_from_the_level_look_no_better_than_they_are(far: float) -> None:
    logits = far + torch.tensor([[[0.0, 1.0, 2.0]]])
    found = log_sum_exp(logits.clone(), torch.zeros(1))
    assert found.item() >= logits.logsumexp(dim=2).item() - 1e-3
    assert not found.isnan().any()
