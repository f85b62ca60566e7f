"""Torch decoders against the numpy reference, on every device that the machine has."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from labelcast.codec import TOLERANCES, Codec, Precision, pack_codes
from labelcast.errors import CodecError, CodecFormatError, CodeRangeError, GoldenRowsError
from labelcast.torch.decoding import TorchDecoder, load_decoder, unpack_codes
from labelcast.torch.precision import exact_fp32
from tests.factories.codecs import NUM_CLASSES, SAMPLES, Sample, vqae

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
every_device = pytest.mark.parametrize("device", DEVICES)
every_sample = pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)


def agree(
    actual: torch.Tensor, expected: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
) -> bool:
    return TOLERANCES[Precision.FP32].accepts(actual.cpu().numpy(), expected)


@every_device
@every_sample
def test_labels_are_those_of_numpy(sample: Sample, device: str) -> None:
    decoder = load_decoder(sample.artifact, device)
    labels = decoder(sample.rows)
    assert (labels.shape, labels.dtype) == ((len(sample.rows), NUM_CLASSES), torch.float32)
    assert labels.device.type == device
    assert agree(labels, sample.codec.decode(sample.rows))


@every_device
@pytest.mark.parametrize("bits", range(1, 17))
@given(data=st.data())
def test_unpacking_is_that_of_numpy(device: str, bits: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12))
    code = st.integers(0, 2**bits - 1)
    codes = np.array([data.draw(st.lists(code, min_size=count, max_size=count))])
    packed = torch.from_numpy(pack_codes(codes, bits=bits)).to(device)
    assert unpack_codes(packed, bits=bits, count=count).tolist() == codes.tolist()


@every_sample
def test_rows_may_be_read_only_strided_misaligned_or_tensors(sample: Sample) -> None:
    decoder = TorchDecoder.from_codec(sample.codec, "cpu")
    expected = sample.codec.decode(sample.rows)
    read_only = np.frombuffer(b"\0" + sample.rows.tobytes(), np.uint8)[1:].reshape(
        sample.rows.shape
    )
    wide = np.zeros((len(sample.rows), sample.codec.row_stride + 1), np.uint8)
    wide[:, 1:] = sample.rows
    tensor = torch.from_numpy(wide)[:, 1:]
    flat = torch.from_numpy(np.concatenate([[np.uint8(0)], sample.rows.ravel()]))
    misaligned = flat[1:].reshape(sample.rows.shape)
    for rows in (read_only, wide[:, 1:], sample.rows[::-1][::-1], tensor, misaligned):
        assert agree(decoder(rows), expected)


@every_sample
def test_any_bytes_are_accepted_or_refused_as_by_numpy(sample: Sample) -> None:
    decoder = TorchDecoder.from_codec(sample.codec, "cpu")
    generator = np.random.default_rng(0)
    for _ in range(100):
        rows = generator.integers(0, 256, (2, sample.codec.row_stride), dtype=np.uint8)
        assert _outcome(sample.codec, decoder, rows)


def _outcome(
    codec: Codec, decoder: TorchDecoder, rows: np.ndarray[tuple[int, int], np.dtype[np.uint8]]
) -> bool:
    try:
        expected = codec.decode(rows)
    except CodecError as error:
        with pytest.raises(type(error)):
            decoder(rows)
        return True
    return agree(decoder(rows), expected)


@every_sample
def test_no_rows_give_no_labels(sample: Sample) -> None:
    assert TorchDecoder.from_codec(sample.codec, "cpu")(sample.rows[:0]).shape == (0, NUM_CLASSES)


@every_sample
def test_wrong_rows_are_refused(sample: Sample) -> None:
    decoder = TorchDecoder.from_codec(sample.codec, "cpu")
    for rows in (sample.rows[:, :-1], sample.rows[0], torch.from_numpy(sample.rows).int()):
        with pytest.raises(CodecFormatError):
            decoder(rows)


@every_device
def test_a_code_outside_its_codebook_is_refused(device: str) -> None:
    decoder = TorchDecoder.from_codec(vqae(codebook_size=5).codec, device)
    with pytest.raises(CodeRangeError):
        decoder(pack_codes(np.array([[0, 5, 0]]), bits=3))


@every_sample
def test_blocks_make_no_difference(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = TorchDecoder.from_codec(sample.codec, "cpu")
    whole = decoder(sample.rows)
    monkeypatch.setattr("labelcast.torch.decoding._MAX_BLOCK_ROWS", 2)
    assert agree(decoder(sample.rows), whole.numpy())


def test_a_decoder_that_strays_is_refused() -> None:
    sample = SAMPLES["vqae"]
    codec = vqae().codec
    decoder = TorchDecoder.from_codec(codec, "cpu")
    decoder.prove(sample.artifact)
    other = vqae(hidden=(6,), precision=Precision.FP32).codec
    with pytest.raises(GoldenRowsError):
        TorchDecoder.from_codec(other, "cpu").prove(sample.artifact)


def test_labels_serve_a_loss_and_carry_no_gradient() -> None:
    sample = SAMPLES["vqae"]
    labels = TorchDecoder.from_codec(sample.codec, "cpu")(sample.rows)
    student = torch.zeros_like(labels, requires_grad=True)
    loss = (student * labels).sum()
    loss.backward()
    assert not labels.requires_grad
    torch.testing.assert_close(student.grad, labels)


@every_device
def test_less_than_fp32_in_the_training_script_does_not_reach_the_decoder(device: str) -> None:
    sample = vqae(hidden=(256, 256), count=64)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast(device, torch.bfloat16):
            labels = TorchDecoder.from_codec(sample.codec, device)(sample.rows)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    expected = sample.codec.decode(sample.rows)
    assert float(np.abs(labels.cpu().numpy() - expected).max()) < 1e-4 * np.abs(expected).max()


def product_error() -> float:
    """Error of a product at the precision that is allowed right now."""
    values = torch.rand(256, 256, generator=torch.Generator().manual_seed(0))
    return float((values @ values - (values.double() @ values.double())).abs().max())


def test_precision_is_given_back_when_the_last_thread_leaves() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    coarse = product_error() > 1e-3  # only where the CPU multiplies bf16
    inside, leave = threading.Event(), threading.Event()

    def linger() -> None:
        with exact_fp32(torch.device("cpu")):
            inside.set()
            leave.wait(60)

    try:
        thread = threading.Thread(target=linger)
        thread.start()
        assert inside.wait(60)
        with exact_fp32(torch.device("cpu")):
            pass
        assert product_error() < 1e-3
        leave.set()
        thread.join()
        assert (product_error() > 1e-3) == coarse
    finally:
        torch.set_float32_matmul_precision(before)
