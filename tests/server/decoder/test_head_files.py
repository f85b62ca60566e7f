"""A head reaches the decoder process by the names of its files, whole or not at all."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from labelcast.codec.latent import HeadDtype, HeadSpec, head_digest
from labelcast.errors import CodecFormatError, InvalidRequestError, ServiceUnavailableError
from labelcast.label_set import digest_of
from labelcast_server.decoder.heads import HeadFiles, decoder_key
from labelcast_server.decoder.protocol import pack_load, unpack_load

ROWS = np.arange(60, dtype=np.uint8).reshape(10, 6)


@pytest.fixture
def files(tmp_path: Path) -> HeadFiles:
    """Ten rows in two files, which go on with something else."""
    for name, rows in (("one", ROWS[:7]), ("two", ROWS[7:])):
        (tmp_path / name).write_bytes(rows.tobytes() + b"and an index")
    digest = head_digest(10, 3, HeadDtype.FP16, [ROWS])
    spec = HeadSpec(digest=digest, width=3, dtype=HeadDtype.FP16, softcap=30.0)
    return HeadFiles(spec, ((tmp_path / "one", 7), (tmp_path / "two", 3)))


def test_it_is_read_whole(files: HeadFiles) -> None:
    assert HeadFiles.from_bytes(files.to_bytes()) == files
    head = files.read()
    np.testing.assert_array_equal(np.concatenate(head.parts), ROWS)
    assert head.spec == files.spec


def test_files_that_are_gone_are_asked_for_again(files: HeadFiles, tmp_path: Path) -> None:
    (tmp_path / "two").unlink()
    with pytest.raises(
        ServiceUnavailableError, match=r"no longer in this machine's cache.*; retry"
    ):
        files.read()


def test_files_that_were_cut_or_changed_are_no_head(files: HeadFiles, tmp_path: Path) -> None:
    content = (tmp_path / "one").read_bytes()
    for other in (content[:15], b"x" + content[1:], b""):
        (tmp_path / "one").write_bytes(other)
        with pytest.raises(CodecFormatError, match="use the teacher's own"):
            files.read()


@pytest.mark.parametrize("content", [b"", b"[]", b'{"head": {}, "parts": []}', b"\xff"])
def test_what_names_no_files_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="no files of a head"):
        HeadFiles.from_bytes(content)


def test_a_decoder_is_its_codec_and_its_head(files: HeadFiles) -> None:
    codec, other = digest_of(b"codec"), digest_of(b"other")
    assert decoder_key(codec, None) == codec
    keys = {
        decoder_key(codec, files.spec),
        decoder_key(other, files.spec),
        decoder_key(codec, replace(files.spec, softcap=None)),
        decoder_key(codec, replace(files.spec, digest=other)),
    }
    assert len(keys | {codec, other}) == 6


def test_a_load_that_is_cut_is_refused() -> None:
    packed = pack_load(b"files", b"artifact")
    assert unpack_load(packed) == (b"files", b"artifact")
    for cut in (b"", packed[:3], packed[:8], b"\xff\xff\xff\xff" + packed[4:]):
        with pytest.raises(InvalidRequestError, match="to load"):
            unpack_load(cut)
