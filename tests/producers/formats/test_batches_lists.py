"""Foreign files, lists of samples and options that do not fit files of mixed batches."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from labelcast.codec.topk import Recovery
from labelcast.errors import InvalidRequestError
from labelcast.views import Views
from labelcast_producers.formats.source import ImportOptions
from tests.producers.formats.batch_refusals import (
    IMPORTERS,
    MIDDLE,
    NAMED,
    SMALL,
    WARM,
    opened,
    refusal,
)
from tests.producers.formats.stored_files import edit
from tests.producers.formats.writers.gvbsm import write_gvbsm
from tests.producers.formats.writers.hald import write_hald
from tests.producers.formats.writers.lpld import write_lpld
from tests.producers.formats.writers.lpqld import write_lpqld
from tests.producers.formats.writers.producer_pixels import write_image_folder
from tests.producers.formats.writers.sre2l import write_sre2l
from tests.producers.formats.writers.truth import Truth

INDICES, BATCH_INDICES = "sampler_indices_epoch.json", "sampler_indices_batch.json"


def test_foreign_files_are_named(tmp_path: Path) -> None:
    write_sre2l(tmp_path, **SMALL)
    for number in range(7):
        (tmp_path / f"note_{number}.txt").write_text("")
    (tmp_path / "epoch_1" / "extra.log").write_text("")
    (tmp_path / "epoch_01").write_text("")
    finding = IMPORTERS["sre2l"].detect(tmp_path)
    assert finding is not None
    assert len(finding.foreign) == 9
    assert "epoch_1/extra.log" in finding.foreign
    assert "epoch_01" in finding.foreign
    message = refusal(tmp_path, "no known layout", "and more; move them away")
    assert message.count(",") == 4


JSON_ERRORS = {
    "empty": ("", "byte 0"),
    "no epochs": ("{}", "it is empty"),
    "list": ("[1, 2]", "byte 0"),
    "nested": ("[" * 100_000, "byte 0"),
    "nested list": ('{"0": ' + "[" * 100_000, "byte 1"),
    "nested dictionary": ('{"0":' * 50_000, "byte 1"),
    "strings": ('{"0": ["a"]}', "byte 1"),
    "negative": ('{"0": [1, -1]}', "byte 1"),
    "fractions": ('{"0": [1.5]}', "byte 1"),
    "no comma": ('{"0": [1 2]}', "list of 0"),
    "two commas": ('{"0": [1,,2]}', "list of 0"),
    "huge number": ('{"0": [' + "1" * 400 + "]}", "list of 0"),
    "huge key": ('{"' + "1" * 400 + '": [1]}', "byte 1"),
    "twice": ('{"0": [1], "0": [2]}', "one twice"),
    "cut off": ('{"0": [1, 2], "1"', "byte 13"),
    "not closed": ('{"0": [1, 2]', "byte 12"),
    "more": ('{"0": [1]} more', "byte 9"),
    "binary": ("\0\1\2", "byte 0"),
}


@pytest.mark.parametrize("name", JSON_ERRORS)
def test_lists_of_samples_that_are_none(name: str, tmp_path: Path) -> None:
    content, expected = JSON_ERRORS[name]
    write_lpld(tmp_path, **SMALL)
    (tmp_path / INDICES).write_text(content)
    message = refusal(tmp_path, INDICES, expected, "fetch or write it again")
    assert len(message) < 500


def test_lists_of_another_length(tmp_path: Path) -> None:
    write_lpld(tmp_path, **SMALL)
    listed = json.loads((tmp_path / INDICES).read_text())
    for change, parts in (
        ({"1": listed["1"][:7]}, [MIDDLE, "ends at view 8", "names 7"]),
        ({"4": listed["2"]}, ["names the samples of epoch 4"]),
        ({"1": [5] * 10}, [INDICES, "epoch 1 names a sample twice"]),
        ({"0": list(range(30))}, [INDICES, "names 30 samples of epoch 0", "2 batches of 4"]),
    ):
        (tmp_path / INDICES).write_text(json.dumps(listed | change))
        refusal(tmp_path, *parts)
    del listed["1"]
    (tmp_path / INDICES).write_text(json.dumps(listed))
    refusal(tmp_path, INDICES, "names no samples of epoch 1")


def test_an_epoch_that_was_broken_off_is_as_long_as_its_list(tmp_path: Path) -> None:
    """LPLD goes on with a whole epoch after the one in which it stored its last batch."""
    truth = write_lpld(tmp_path, **SMALL)
    whole = (tmp_path / INDICES).read_text()
    listed = json.loads(whole)
    second = tmp_path / "epoch_1" / "batch_1.tar"
    stored = second.read_bytes()
    second.unlink()
    says = "epoch 1 ends here, with 1 batches, others have 2; fetch batch 1 and those after it"
    # Without a list nothing tells whether the producer broke off there.
    (tmp_path / INDICES).unlink()
    refusal(tmp_path, f"{says}; if LPLD made these files, put the {INDICES} of this run there")
    # With one, what it names and is not there is missing.
    (tmp_path / INDICES).write_text(whole)
    refusal(tmp_path, f"{says}, or cut its list to the first 4 samples if it was broken off there")
    second.write_bytes(stored)
    assert opened(tmp_path).facts.index.num_rows == len(truth)
    second.unlink()
    (tmp_path / INDICES).write_text(json.dumps(listed | {"1": listed["1"][:4]}))
    source = opened(tmp_path)
    there = np.delete(np.arange(len(truth)), np.s_[12:16])
    views = Views(truth.sample_ids[there], truth.seeds[there])
    rows, present = source.facts.index.rows(views)
    assert present.all()
    assert source.facts.index.num_rows == len(there)
    labels = np.concatenate([source.read(part) for part in source.parts])
    order = np.concatenate([part.rows for part in source.parts])
    np.testing.assert_array_equal(labels[np.argsort(order)][rows], truth.labels[there])


def test_lists_of_batches_of_another_length(tmp_path: Path) -> None:
    write_lpqld(tmp_path, **SMALL)
    listed = json.loads((tmp_path / BATCH_INDICES).read_text())
    for change, parts in (
        ({"1": listed["1"][:3]}, ["batch_1.tar", "has 4 views", "names 3"]),
        ({"6": listed["1"]}, ["names the samples of batch 6"]),
    ):
        (tmp_path / BATCH_INDICES).write_text(json.dumps(listed | change))
        refusal(tmp_path, *parts, options=NAMED)
    del listed["5"]
    (tmp_path / BATCH_INDICES).write_text(json.dumps(listed))
    refusal(tmp_path, BATCH_INDICES, "names no samples of batch 5", options=NAMED)


def test_short_batches_end_their_list(tmp_path: Path) -> None:
    write_lpld(tmp_path, **SMALL, drop_last=False)
    listed = json.loads((tmp_path / INDICES).read_text())
    listed["2"].append(99)
    (tmp_path / INDICES).write_text(json.dumps(listed))
    refusal(tmp_path, "epoch_2/batch_2.tar", "ends at view 10", "names 11")


@pytest.mark.parametrize(
    "value",
    [
        [1, 2],
        {},
        {"a": [1]},
        {0: "abc"},
        {0: [True]},
        {0: [-1]},
        {0: [[[1]]]},
        {0: torch.zeros(3)},
        {0: torch.zeros(3, 3).long()},
        {0: [], "0": []},
        {0: [2**64]},
    ],
)
def test_saved_lists_of_samples_that_are_none(value: object, tmp_path: Path) -> None:
    write_hald(tmp_path, **SMALL)
    torch.save(value, tmp_path / "sampler_indices_dict.pt")
    refusal(tmp_path, "sampler_indices_dict.pt", options=WARM)


@pytest.mark.parametrize("form", ["tensors", "batches", "integers"])
def test_saved_lists_of_samples_come_in_several_forms(form: str, tmp_path: Path) -> None:
    truth = write_hald(tmp_path, **SMALL)
    path = tmp_path / "sampler_indices_dict.pt"
    listed = {int(key): ids for key, ids in torch.load(path).items()}
    forms: dict[str, Callable[[list[int]], object]] = {
        "tensors": torch.tensor,
        "batches": lambda ids: [ids[:4], torch.tensor(ids[4:8]), ids[8:]],
        "integers": list,
    }
    torch.save({key: forms[form](ids) for key, ids in listed.items()}, path)
    index = opened(tmp_path, options=WARM).facts.index
    assert sorted(truth.sample_ids.tolist()[:10]) == index.sample_ids.tolist()


Writer = Callable[..., Truth]


@pytest.mark.parametrize(
    ("write", "name", "file"),
    [
        (write_lpqld, "lpqld", BATCH_INDICES),
        (write_hald, "hald", "sampler_indices_dict.pt"),
        (write_lpld, "lpld", INDICES),
    ],
)
def test_lists_of_samples_must_be_there(
    write: Writer, name: str, file: str, tmp_path: Path
) -> None:
    write(tmp_path, **SMALL)
    (tmp_path / file).unlink()
    options = ImportOptions(temperature=1.0, class_names=NAMED.class_names)
    refusal(tmp_path, f"has no {file}", "put the one of this run there", name=name, options=options)


def test_unfinished_cutouts_name_no_samples(tmp_path: Path) -> None:
    write_lpld(tmp_path, **SMALL, cutout=True, finished=False)
    refusal(tmp_path, f"has no {INDICES}")


def test_what_options_must_say(tmp_path: Path) -> None:
    write_hald(tmp_path / "hald", **SMALL)
    refusal(tmp_path / "hald", "--temperature", error=InvalidRequestError)
    write_lpqld(tmp_path / "lpqld", **SMALL)
    refusal(tmp_path / "lpqld", "--class-names or --images", error=InvalidRequestError)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (ImportOptions(num_samples=9), ["an epoch has 10 views", "--samples count 9"]),
        (ImportOptions(num_samples=11), ["an epoch has 10 views", "--samples count 11"]),
        (ImportOptions(class_names=("a", "b")), ["12 classes", "--class-names 2"]),
        (ImportOptions(recovery=Recovery.ZERO), ["--recovery zero"]),
        (ImportOptions(image_list=Path("nothing/here")), ["cannot read"]),
    ],
)
def test_options_that_contradict_the_files(
    options: ImportOptions, parts: list[str], tmp_path: Path
) -> None:
    write_sre2l(tmp_path, **SMALL)
    refusal(tmp_path, *parts, options=options, error=InvalidRequestError)


def test_other_images(tmp_path: Path) -> None:
    write_image_folder(tmp_path / "images", samples=8, classes=12 // 3)
    write_sre2l(tmp_path / "files", **SMALL | {"classes": 4})
    images = ImportOptions(images=tmp_path / "images")
    refusal(
        tmp_path / "files",
        "an epoch has 10 views",
        f"{tmp_path / 'images'} count 8",
        options=images,
        error=InvalidRequestError,
    )
    contradiction = ImportOptions(images=tmp_path / "images", num_samples=10)
    refusal(tmp_path / "files", "10", "8", options=contradiction, error=InvalidRequestError)
    write_gvbsm(tmp_path / "named", **SMALL | {"classes": 4})
    refusal(tmp_path / "named", "sample 9", "count 8", options=images, error=InvalidRequestError)


def test_a_format_that_is_named_must_fit(tmp_path: Path) -> None:
    write_sre2l(tmp_path, **SMALL)
    for name in ("gvbsm", "edc"):
        refusal(tmp_path, f"is not {name}", name=name)
    for name in ("lpqld", "hald"):
        refusal(tmp_path, "holds no", name=name)
    refusal(tmp_path / "nothing", "holds no", name="sre2l")


def test_epoch_files_hold_lists(tmp_path: Path) -> None:
    write_hald(tmp_path, **SMALL)
    edit(tmp_path / "epoch_1.tar", lambda epoch: epoch.clear())
    refusal(tmp_path, "epoch_1.tar: is list of 0", options=WARM)
    torch.save({"a": 1}, tmp_path / "epoch_1.tar")
    refusal(tmp_path, "epoch_1.tar: is dict", options=WARM)
    torch.save([[1, 2, 3]], tmp_path / "epoch_1.tar")
    refusal(tmp_path, "epoch_1.tar, batch 0: is list of 3", options=WARM)
