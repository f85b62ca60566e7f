"""What is given in place of a label set, views or a form, and what the message says to give."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import labelcast
from labelcast import AsyncLabelClient, Expectation, LabelClient, Representation, Views
from labelcast.errors import CodecFormatError, ContractMismatchError, InvalidRequestError
from labelcast.label_set import MissingViews, class_list_digest
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.opening.delivered import DeliveredLabels
from labelcast.torch import LabelSetSource, SampleTable
from tests.factories.label_sets import context_of, make_label_set
from tests.factories.pictures import Pictures

CODES, TOP_K = Representation.codes(), Representation.top_k(2, 1.0)
SAMPLE = 10**12
NO_SERVICE = "127.0.0.1:1"


@pytest.fixture(scope="module")
def label_set(tmp_path_factory: pytest.TempPathFactory) -> LabelSetDirectory:
    return make_label_set(tmp_path_factory.mktemp("plain"), "vqae")[0]


@pytest.fixture(scope="module")
def conditioned(tmp_path_factory: pytest.TempPathFactory) -> LabelSetDirectory:
    return make_label_set(tmp_path_factory.mktemp("conditioned"), "vqae-context")[0]


def refused(call: Callable[[], object], says: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        call()
    assert says in caught.value.message


OPEN_FIRST = "open it first, with client.open(tag) or labelcast.open(directory)"
BUILD_VIEWS = "build them with Views.of(sample_ids, seeds), of pairs with Views.of(*zip(*pairs))"
MAKE_FORM = "give Representation.codes(), logits(), probabilities(temperature) or top_k("
# Anything: the point is what the types forbid.
TAG: Any = "mine:v1"
PAIRS: Any = [(SAMPLE, 0), (SAMPLE + 7, 3)]
TEXT: Any = "codes"


def test_a_tag_where_a_label_set_is_asked_for(label_set: LabelSetDirectory) -> None:
    views = Views.of([SAMPLE], 0)
    with LabelClient(NO_SERVICE) as client:
        refused(lambda: client.labels(TAG, views, CODES), OPEN_FIRST)
        refused(lambda: list(client.stream(TAG, [views], CODES)), OPEN_FIRST)
        refused(lambda: client.resolve(TAG, views, MissingViews.DROP), OPEN_FIRST)
        refused(lambda: client.read_blob(TAG, label_set.manifest.codec), OPEN_FIRST)
    refused(lambda: LabelSetSource(TAG, CODES), OPEN_FIRST)
    opened = labelcast.open(label_set.directory)
    assert LabelSetSource(opened, CODES).label_kind is label_set.contract.label_kind


async def test_the_asynchronous_client_says_the_same(label_set: LabelSetDirectory) -> None:
    async with AsyncLabelClient(NO_SERVICE) as client:
        with pytest.raises(InvalidRequestError, match="open it first"):
            await client.labels(TAG, PAIRS, CODES)
        with pytest.raises(InvalidRequestError, match="build them with"):
            await client.labels(label_set, PAIRS, CODES)


def test_pairs_where_views_are_asked_for(label_set: LabelSetDirectory) -> None:
    with LabelClient(NO_SERVICE) as client:
        refused(lambda: client.labels(label_set, PAIRS, CODES), BUILD_VIEWS)
        refused(lambda: client.resolve(label_set, PAIRS, MissingViews.DROP), BUILD_VIEWS)
    refused(lambda: list(label_set.stream([PAIRS], CODES)), BUILD_VIEWS)
    refused(lambda: label_set.resolve(PAIRS, MissingViews.DROP), BUILD_VIEWS)
    refused(lambda: label_set.labels(PAIRS, 0), "with Views.of(*zip(*pairs))")
    views = Views.of(*zip(*PAIRS, strict=True))
    assert len(label_set.resolve(views, MissingViews.REFUSE)[0]) == 2


def test_views_where_columns_are_asked_for(label_set: LabelSetDirectory) -> None:
    views: Any = Views.of([SAMPLE, SAMPLE + 7], [0, 3])
    refused(lambda: label_set.labels(views, 0), "sample_ids=views.sample_ids")
    labels = label_set.labels(sample_ids=views.sample_ids, seeds=views.seeds)
    assert len(labels) == 2


def test_one_batch_where_batches_are_asked_for(label_set: LabelSetDirectory) -> None:
    views: Any = Views.of([SAMPLE, SAMPLE + 7], [0, 3])
    with LabelClient(NO_SERVICE) as client:
        refused(lambda: list(client.stream(label_set, views, CODES)), "give views.batches(size)")
    refused(lambda: list(label_set.stream(views, CODES)), "give views.batches(size)")
    assert [len(batch.rows) for batch in label_set.stream(views.batches(1), CODES)] == [1, 1]


@pytest.mark.parametrize("wrong", [TEXT, None, Representation.codes])
def test_no_form(label_set: LabelSetDirectory, wrong: Any) -> None:
    views = Views.of([SAMPLE], 0)
    with LabelClient(NO_SERVICE) as client:
        refused(lambda: client.labels(label_set, views, wrong), MAKE_FORM)
    refused(lambda: list(label_set.stream([views], wrong)), MAKE_FORM)
    refused(lambda: LabelSetSource(label_set, wrong), MAKE_FORM)
    for form in (CODES, Representation.logits(), Representation.probabilities(1.0), TOP_K):
        assert len(list(label_set.stream([views], form))) == 1


def test_what_becomes_of_missing_views_is_never_guessed(label_set: LabelSetDirectory) -> None:
    missing, text = Views.of([SAMPLE], 1), "refuse"
    with pytest.raises(labelcast.errors.ViewNotFoundError):
        label_set.resolve(missing, text)  # type: ignore[arg-type]
    wrong: Any = "draw all"
    refused(lambda: label_set.resolve(missing, wrong), "one of refuse, drop, draw, draw-all")
    with LabelClient(NO_SERVICE) as client:
        refused(lambda: client.resolve(label_set, missing, wrong), "one of refuse, drop, draw")
    assert len(label_set.resolve(missing, MissingViews("draw"))[0]) == 1


def test_no_views_at_all(label_set: LabelSetDirectory) -> None:
    with LabelClient(NO_SERVICE) as client:
        refused(lambda: client.labels(label_set, Views.of([], 0), CODES), "at least one view")
    refused(lambda: label_set.labels([], 0), "at least one view")


def test_a_reference_and_an_expectation_of_another_kind(label_set: LabelSetDirectory) -> None:
    number: Any = 5
    with LabelClient(NO_SERVICE) as client:
        refused(lambda: client.open(number), "named by its tag or digest, a text, not by 5")
    digest: Any = label_set.contract.dataset
    refused(
        lambda: labelcast.open(label_set.directory, expect=digest),
        "give Expectation(dataset=digest)",
    )
    labelcast.open(label_set.directory, expect=Expectation(dataset=digest))
    with pytest.raises(ContractMismatchError):
        labelcast.open(label_set.directory, expect=Expectation(dataset=label_set.digest))


def test_codes_that_context_belongs_to_are_decoded_as_the_messages_say(
    conditioned: LabelSetDirectory,
) -> None:
    (batch,) = conditioned.stream([Views.of([SAMPLE], 0)], CODES)
    advice = "label_set.decoder().decode(rows, views)"
    with pytest.raises(CodecFormatError) as caught:
        conditioned.codec().decode(batch.rows)
    assert advice in caught.value.message
    refused(lambda: batch.values, advice)
    refused(lambda: CODES.dtype, advice)
    context = context_of(conditioned)
    assert context is not None
    expected = conditioned.codec().decode(batch.rows, context[:1])
    assert np.array_equal(conditioned.decoder().decode(batch.rows, batch.views), expected)


def test_top_k_is_taken_as_the_message_says(label_set: LabelSetDirectory) -> None:
    batch: DeliveredLabels
    (batch,) = label_set.stream([Views.of([SAMPLE], 0)], TOP_K)
    refused(lambda: batch.values, "take them with top_k()")
    assert batch.top_k()[0].shape == (1, 2)


@pytest.mark.parametrize("ids", [[], [1, 1, 2], [1, 2]])
def test_sample_ids_that_are_not_one_an_item(ids: list[int]) -> None:
    dataset = Pictures(3)
    dataset.sample_ids = np.array(ids, dtype=np.uint64)
    refused(
        lambda: SampleTable(dataset),
        f"sample_ids holds {len(ids)} IDs, {len(set(ids))} distinct ones, for 3 items",
    )
    dataset.sample_ids = np.arange(len(dataset), dtype=np.uint64)
    assert len(SampleTable(dataset)) == 3


@pytest.mark.parametrize(
    ("name", "says"),
    [("caf\udce9", r"the class name 'caf\udce9' is not UTF-8; rename"), (7, "give str(name)")],
)
def test_class_names_that_are_no_text(name: Any, says: str) -> None:
    dataset = Pictures(3)
    dataset.class_names = [name, "other"]
    refused(lambda: SampleTable(dataset).class_list(), says)
    dataset.class_names = ["café", str(7)]
    assert SampleTable(dataset).class_list() == class_list_digest(["café", "7"])


def test_a_tag_without_an_address(tmp_path: Path) -> None:
    refused(lambda: labelcast.open("mine:v1"), 'labelcast.open("mine:v1", address=')
    with pytest.raises(labelcast.errors.NetworkError):
        LabelClient(NO_SERVICE, reconnect_seconds=0, deadline_seconds=1).open("mine:v1")
