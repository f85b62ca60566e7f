"""Hidden states over a service: labels by the head of their label set, or codes where it is not."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from labelcast import Precision, Representation
from labelcast.codec.latent import Head
from labelcast.errors import CodecFormatError, ManifestError, UnsupportedFormError
from tests.e2e.running_service import RunningService
from tests.factories.state_sets import VOCABULARY, States

pytestmark = pytest.mark.e2e


def likeliest(logits: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """The k likeliest tokens of each row, as a set."""
    return np.sort(np.argsort(-logits, axis=1, kind="stable")[:, :k], axis=1)


@pytest.mark.parametrize("vocabulary", [VOCABULARY, 2**18])
def test_clients_without_torch_get_labels_of_states(
    service: RunningService, tmp_path: Path, vocabulary: int
) -> None:
    """The service makes them by the head that the label set has, in slices of a turn."""
    states = States.make(vocabulary)
    made = states.write(tmp_path, shipped=True)
    service.push(made, f"states-of-{vocabulary}")
    views, exact = made.index().segments[0].views(), states.head.logits(states.latents)
    backwards = np.arange(len(views))[::-1]
    with service.client() as client:
        label_set = client.open(made.digest)
        logits = client.labels(label_set, views[backwards], Representation.logits(Precision.FP32))
        np.testing.assert_allclose(logits.values, exact[backwards], rtol=1e-4, atol=1e-4)
        streamed = label_set.stream(views.batches(5), Representation.top_k(3, 1.0))
        named = [batch.top_k() for batch in streamed]
        ids = np.sort(np.concatenate([ids for ids, _ in named]), axis=1)
        np.testing.assert_array_equal(ids, likeliest(exact, 3))
        weights = np.exp(exact.astype(np.float64))
        shares = weights / weights.sum(axis=1, keepdims=True)
        best = np.sort(np.concatenate([values for _, values in named]), axis=1)
        np.testing.assert_allclose(best, np.sort(shares, axis=1)[:, -3:], rtol=2e-3, atol=1e-6)
        # Where the head comes to the client, it decodes the codes itself.
        own = label_set.labels(views.sample_ids, views.seeds)
    np.testing.assert_allclose(own, exact, rtol=1e-5, atol=1e-5)


def test_one_codec_goes_with_several_heads(service: RunningService, tmp_path: Path) -> None:
    """Codes of the same bytes are labels of the head of their own label set."""
    plain, capped = States.make(), States.make(softcap=1.5)
    sets = [plain.write(tmp_path / "a", shipped=True), capped.write(tmp_path / "b", shipped=True)]
    assert sets[0].contract.codec == sets[1].contract.codec
    for number, made in enumerate(sets):
        service.push(made, f"head-{number}")
    views = sets[0].index().segments[0].views()
    with service.client() as client:
        for _ in range(2):
            for made, states in zip(sets, (plain, capped), strict=True):
                label_set = client.open(made.digest)
                got = client.labels(label_set, views, Representation.logits(Precision.FP32))
                exact = states.head.logits(states.latents)
                np.testing.assert_allclose(got.values, exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "form",
    [Representation.logits(Precision.FP16), Representation.top_k(3, 1.0)],
    ids=["logits", "top-k"],
)
def test_states_whose_head_is_only_named_are_sent_as_codes(
    service: RunningService, tmp_path: Path, form: Representation
) -> None:
    states = States.make()
    made = states.write(tmp_path, shipped=False)
    service.push(made, "headless")
    views = made.index().segments[0].views()
    with service.client() as client:
        label_set = client.open(made.digest)
        with pytest.raises(UnsupportedFormError, match=r"read codes, and decode them where the h"):
            client.labels(label_set, views, form)
        with pytest.raises(CodecFormatError, match=r"the teacher's head is not at hand; give it w"):
            label_set.labels(views.sample_ids, views.seeds)
        # What the errors say: with label_set.use_head(head).
        label_set.use_head(states.head)
        labels = label_set.labels(views.sample_ids, views.seeds)
    np.testing.assert_allclose(labels, states.head.logits(states.latents), rtol=1e-5, atol=1e-5)


async def test_an_asynchronous_client_decodes_states_alike(
    service: RunningService, tmp_path: Path
) -> None:
    states = States.make()
    whole = states.write(tmp_path / "whole", shipped=True)
    headless = states.write(tmp_path / "headless", shipped=False)
    service.push(whole, "whole-states")
    service.push(headless, "headless-states")
    views, exact = whole.index().segments[0].views(), states.head.logits(states.latents)
    async with service.async_client() as client:
        label_set = await client.open(whole.digest)
        codes = await client.labels(label_set, views, Representation.codes())
        labels = (await label_set.decoder()).decode(codes.rows, views)
        np.testing.assert_allclose(labels, exact, rtol=1e-5, atol=1e-5)
        label_set = await client.open(headless.digest)
        assert await label_set.head() is None
        with pytest.raises(CodecFormatError, match=r"give it with label_set.use_head\(head\)"):
            (await label_set.decoder()).decode(codes.rows, views)
        another = Head(states.head.spec, [np.roll(states.head.parts[0], 1, axis=0)])
        with pytest.raises(CodecFormatError, match="this head of 50 tokens is sha256:"):
            await label_set.use_head(another)
        # What the first error says.
        await label_set.use_head(states.head)
        labels = (await label_set.decoder()).decode(codes.rows, views)
        np.testing.assert_allclose(labels, exact, rtol=1e-5, atol=1e-5)


def test_a_head_that_is_another_is_refused_when_it_is_pushed(
    service: RunningService, tmp_path: Path
) -> None:
    states = States.make()
    swapped = np.ascontiguousarray(np.roll(states.head.parts[0], 1, axis=0))
    # As a producer that lies about its digest would.
    lying = states.write(tmp_path, shipped=True, head=Head(states.head.spec, [swapped]))
    with pytest.raises(ManifestError, match="the shipped head is sha256:"):
        service.push(lying, "swapped")
