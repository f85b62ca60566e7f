import numpy as np
import pytest
import torch

from labelcast_producers.neural.quantizer import ProductQuantizer, straight_through


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clustered_latents(rows: int = 400) -> torch.Tensor:
    """Latents of 2 slices around 4 points each."""
    points = torch.tensor([[-6.0, -6], [-6, 6], [6, -6], [6, 6]])
    chosen = torch.randint(4, (rows, 2), generator=generator(1))
    return points[chosen] + 0.1 * torch.randn(rows, 2, 2, generator=generator(2))


def test_the_nearest_codeword_is_chosen_whatever_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    quantizer = ProductQuantizer(3, 7, 4)
    quantizer.codebooks.normal_(generator=generator())
    latents = torch.randn(50, 3, 4, generator=generator(1))
    distances = (latents[:, :, None] - quantizer.codebooks[None]).square().sum(dim=3)

    def assert_nearest() -> None:
        chosen = distances.gather(2, quantizer.nearest(latents)[..., None])[..., 0]
        torch.testing.assert_close(chosen, distances.min(dim=2).values, rtol=1e-5, atol=1e-5)

    assert_nearest()
    monkeypatch.setattr("labelcast_producers.neural.quantizer._BLOCK_BYTES", 300)
    assert_nearest()
    assert quantizer.nearest(latents[:0]).shape == (0, 3)


def test_codewords_are_looked_up_in_their_own_book() -> None:
    quantizer = ProductQuantizer(2, 3, 1)
    quantizer.codebooks.copy_(torch.arange(6.0).reshape(2, 3, 1))
    assert quantizer.look_up(torch.tensor([[2, 0], [1, 2]])).squeeze(2).tolist() == [[2, 3], [1, 5]]


def test_kmeans_finds_the_clusters() -> None:
    latents = clustered_latents()
    quantizer = ProductQuantizer(2, 8, 2)
    quantizer.start_from(latents, generator(), batch_rows=64)
    looked_up = quantizer.look_up(quantizer.nearest(latents))
    assert float((looked_up - latents).square().sum(dim=2).mean()) < 0.1
    assert np.allclose(quantizer.counts.sum(dim=1), 64)


@pytest.mark.parametrize("rows", [1, 3])
def test_fewer_latents_than_codewords_are_enough(rows: int) -> None:
    latents = clustered_latents(rows)
    quantizer = ProductQuantizer(2, 8, 2)
    quantizer.start_from(latents, generator(), batch_rows=64)
    assert torch.isfinite(quantizer.codebooks).all()
    torch.testing.assert_close(quantizer.look_up(quantizer.nearest(latents)), latents)


def test_codewords_follow_the_mean_of_their_latents() -> None:
    quantizer = ProductQuantizer(1, 2, 1)
    quantizer.codebooks.copy_(torch.tensor([[[0.0], [10.0]]]))
    quantizer.sums.copy_(quantizer.codebooks)
    latents = torch.tensor([[[1.0]], [[3.0]], [[11.0]]])
    for _ in range(200):
        quantizer.follow(latents, quantizer.nearest(latents), decay=0.9)
    torch.testing.assert_close(quantizer.codebooks.flatten(), torch.tensor([2.0, 11.0]))
    torch.testing.assert_close(quantizer.counts.flatten(), torch.tensor([2.0, 1.0]))


def test_a_codeword_that_nobody_uses_keeps_its_place_until_it_is_revived() -> None:
    quantizer = ProductQuantizer(1, 2, 1)
    quantizer.codebooks.copy_(torch.tensor([[[0.0], [1000.0]]]))
    quantizer.sums.copy_(quantizer.codebooks)
    latents = torch.tensor([[[1.0]], [[3.0]]])
    for _ in range(500):
        quantizer.follow(latents, quantizer.nearest(latents), decay=0.9)
    assert quantizer.codebooks[0, 1, 0] == pytest.approx(1000, rel=1e-3)
    quantizer.revive(latents, generator(), below=0.1)
    assert quantizer.codebooks[0, 1, 0] in (1, 3)
    assert quantizer.codebooks[0, 0, 0] == pytest.approx(2)


def test_the_same_generator_gives_the_same_codebooks() -> None:
    books = []
    for _ in range(2):
        quantizer = ProductQuantizer(2, 8, 2)
        quantizer.start_from(clustered_latents(), generator(5), batch_rows=64)
        quantizer.counts.zero_()
        quantizer.revive(clustered_latents(), generator(6), below=0.1)
        books.append(quantizer.codebooks)
    assert torch.equal(*books)


def test_gradients_pass_straight_through() -> None:
    latents = torch.tensor([[1.0, 2.0]], requires_grad=True)
    codewords = torch.tensor([[0.0, 5.0]])
    output = straight_through(latents, codewords)
    assert output.tolist() == codewords.tolist()
    (output * torch.tensor([[3.0, 4.0]])).sum().backward()
    assert latents.grad is not None
    assert latents.grad.tolist() == [[3, 4]]
