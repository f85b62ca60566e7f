"""Codes for a loss, from a label set: the right rows, their context, and nobody else's."""

import pickle
from pathlib import Path

import pytest
import torch

from labelcast import Plan
from labelcast.codec import TOLERANCES, Precision
from labelcast.errors import ContractMismatchError, InvalidRequestError
from labelcast.torch import CodedLabels, coded_label_loss, soft_label_loss
from tests.factories.label_sets import MIXING_POLICY, POLICY, CodecName, make_label_set


@pytest.mark.parametrize("codec", ["raw", "topk", "vqae", "vqae-context"])
def test_a_loop_of_three_lines(tmp_path: Path, codec: CodecName) -> None:
    label_set, _ = make_label_set(tmp_path, codec)
    policy = label_set.contract.policy
    read = label_set.code_reader(policy=policy)
    decoded = label_set.reader(policy=policy, device="cpu")
    seeds = label_set.index().segments[0].seeds.tolist()
    batches = Plan(label_set.index().sample_ids, seeds=seeds).batches(16)
    for codes, soft in zip(read.over(batches), decoded.over(batches), strict=True):
        assert isinstance(codes, CodedLabels)
        student = torch.randn(len(codes), label_set.contract.num_classes)
        loss = coded_label_loss(student, codes)
        expected = soft_label_loss(student, soft, label_set.contract.label_kind)
        torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)


def test_many_views_come_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    label_set, labels = make_label_set(tmp_path, "vqae-context")
    monkeypatch.setattr("labelcast.opening.label_reader._BATCH_ROWS", 16)
    codes = label_set.code_reader(policy=MIXING_POLICY)(label_set.index().segments[0].views())
    assert TOLERANCES[Precision.FP32].accepts(codes.decode().numpy(), labels)


def test_how_views_are_rendered_must_be_known(tmp_path: Path) -> None:
    label_set, _ = make_label_set(tmp_path, "vqae")
    views = label_set.index().segments[0].views()[:4]
    with pytest.raises(ContractMismatchError, match="another policy"):
        label_set.code_reader(policy=MIXING_POLICY)
    read = label_set.code_reader()
    with pytest.raises(InvalidRequestError, match="or give the reader policy="):
        read(views)
    with pytest.raises(InvalidRequestError, match="or give the reader policy="):
        next(read.over([views]))
    assert len(read(label_set.views(views.sample_ids, views.seeds))) == 4
    told = label_set.code_reader(policy=POLICY)
    assert len(next(told.over([views]))) == 4


def test_a_worker_proves_the_decoder_anew(tmp_path: Path) -> None:
    label_set, _ = make_label_set(tmp_path, "vqae")
    read = label_set.code_reader(policy=POLICY)
    views = label_set.index().segments[0].views()[:4]
    here, there = read(views), pickle.loads(pickle.dumps(read))(views)
    assert torch.equal(here.decode(), there.decode())
    assert here.decoder is not there.decoder
