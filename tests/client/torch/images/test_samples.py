"""What a data set must be, and what gives it its identity."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from labelcast.errors import InvalidRequestError
from labelcast.torch import SampleDataset, SampleTable
from tests.factories.pictures import Pictures


def with_ids(ids: Any) -> Pictures:
    data = Pictures(4)
    data.sample_ids = ids
    return data


def lacking(name: str) -> Pictures:
    data = Pictures(4)
    delattr(data, name)
    return data


def same_but(change: Callable[[Pictures], object]) -> Pictures:
    data = Pictures(4)
    change(data)
    return data


def test_pictures_are_a_sample_dataset() -> None:
    assert isinstance(Pictures(4), SampleDataset)


@pytest.mark.parametrize(
    "dataset",
    [lacking("sample_ids"), lacking("class_names"), [1, 2, 3], None, torch.zeros(3)],
    ids=["no IDs", "no classes", "a list", "nothing", "a tensor"],
)
def test_what_lacks_an_attribute_is_refused(dataset: Any) -> None:
    with pytest.raises(InvalidRequestError, match="sample_ids and class_names"):
        SampleTable(dataset)


@pytest.mark.parametrize(
    "ids",
    [
        np.array([1, 2, 3, 1]),
        np.array([1, 2, 3]),
        np.arange(5),
        np.array([1, 2, 3, -1]),
        np.array([1.5, 2.0, 3.0, 4.0]),
        np.arange(4).reshape(4, 1),
        ["a", "b", "c", "d"],
        [0, 1, 2, 2**64],
    ],
    ids=["repeated", "too few", "too many", "negative", "fractions", "matrix", "text", "too large"],
)
def test_ids_that_are_not_distinct_unsigned_integers_are_refused(ids: Any) -> None:
    with pytest.raises(InvalidRequestError):
        SampleTable(with_ids(ids))


def test_an_empty_data_set_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="no items"):
        SampleTable(Pictures(0))


@pytest.mark.parametrize("ids", [[3, 1, 2**63, 2**64 - 1], np.array([3, 1, 2, 0], dtype=np.int32)])
def test_any_unsigned_integers_will_do(ids: Any) -> None:
    assert SampleTable(with_ids(ids)).sample_ids.tolist() == sorted(int(value) for value in ids)


def test_images_and_labels_follow_their_ids() -> None:
    data = Pictures(9)
    table = SampleTable(data)
    assert (np.diff(table.sample_ids.astype(np.int64)) > 0).all()
    wanted = table.sample_ids[[4, 0, 4, 8]]
    for image, sample_id in zip(table.images(wanted), wanted, strict=True):
        assert torch.equal(image, data.picture(int(sample_id)))
    by_id = dict(zip(data.sample_ids.tolist(), data.labels, strict=True))
    expected = [by_id[sample_id] for sample_id in table.sample_ids.tolist()]
    assert table.hard_labels().tolist() == expected
    known: Any = data
    known.hard_labels = data.labels
    assert SampleTable(known).hard_labels().tolist() == expected


@pytest.mark.parametrize("keep_bytes", [0, 9 * 2 * 36 * 4 - 1, 9 * 2 * 36 * 4, 2**30])
def test_a_reader_gives_the_same_images_from_memory(keep_bytes: int) -> None:
    table = SampleTable(Pictures(9))
    wanted = table.sample_ids[[8, 3, 3, 0]]
    assert torch.equal(table.reader(keep_bytes=keep_bytes)(wanted), table.images(wanted))


def test_images_of_several_sizes_are_refused() -> None:
    class Uneven(Pictures):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            image, label = super().__getitem__(index)
            return image[:, : 3 + index % 2], label

    with pytest.raises(InvalidRequestError, match="one size"):
        SampleTable(Uneven(4)).images(Uneven(4).sample_ids)


def reordered(data: Pictures) -> None:
    order = [2, 0, 3, 1]
    data.pixels, data.sample_ids = data.pixels[order], data.sample_ids[order]
    data.labels = [data.labels[at] for at in order]


def nudged(data: Pictures) -> None:
    data.pixels[3, 1, 5, 5] = torch.nextafter(data.pixels[3, 1, 5, 5], torch.tensor(2.0))


def swapped(data: Pictures) -> None:
    data.sample_ids = data.sample_ids[[1, 0, 2, 3]]


def renumbered(data: Pictures) -> None:
    data.sample_ids[2] += 1


def reshaped(data: Pictures) -> None:
    data.pixels = data.pixels.reshape(4, 2, 4, 9)


def shortened(data: Pictures) -> None:
    data.pixels, data.sample_ids = data.pixels[:3], data.sample_ids[:3]


def test_the_digest_does_not_depend_on_order_or_memory() -> None:
    digest = SampleTable(Pictures(4)).digest()
    assert digest == "sha256:" + FINGERPRINTS_GOLDEN
    assert SampleTable(Pictures(4)).pixels_digest() == "sha256:" + GOLDEN
    assert SampleTable(same_but(reordered)).digest() == digest
    transposed = Pictures(4)
    transposed.pixels = transposed.pixels.transpose(2, 3).contiguous().transpose(2, 3)
    assert SampleTable(transposed).digest() == digest


def test_the_digest_depends_on_every_pixel_id_and_shape() -> None:
    changes = [nudged, swapped, renumbered, reshaped, shortened]
    digests = {SampleTable(same_but(change)).digest() for change in changes}
    digests.add(SampleTable(Pictures(4)).digest())
    assert len(digests) == len(changes) + 1


def test_the_class_list_is_ordered() -> None:
    digests = set()
    for names in (["a", "b"], ["b", "a"], ["ab"], ["a", "b", ""], ["a", "B"]):
        data = Pictures(4)
        data.class_names = names
        digests.add(SampleTable(data).class_list())
    assert len(digests) == 5


# Changing it is a breaking change: label sets would refuse the data sets they were made for.
FINGERPRINTS_GOLDEN = "4d4ee13776b2f86136adc905df1a4857c817bc99cb689606480991a4c6f4e87a"
GOLDEN = "aad49ec01ef827c2d563ebf4c33dde521636ff3381d6136a45f40af8de95c980"
