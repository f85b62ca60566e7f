"""Text and token files become numbered sequences; what cannot is refused in one line."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest

from labelcast.errors import InvalidRequestError, LabelFileError
from labelcast_producers.relabel.language.text.documents import DocumentPer
from labelcast_producers.relabel.language.text.read_text import read_sequences
from labelcast_producers.relabel.language.text.sequences import TokenSequences
from labelcast_producers.relabel.language.text.tokenizer import Tokenizer

# A token for each byte.
BYTES = Tokenizer("bytes", tuple(map(chr, range(256))), lambda text: list(text.encode()))


def read(*paths: Path, length: int = 8, **options: Any) -> list[bytes]:
    found = read_sequences(list(paths), BYTES, length, **options)
    return [bytes(tokens.tolist()) for tokens in found]


def test_documents_are_numbered_by_path_and_cut(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "z.txt").write_text("first of all")
    (tmp_path / "c.txt").write_text("second")
    (tmp_path / "d.md").write_text("no text of this pattern")
    assert read(tmp_path) == [b"first of", b" all", b"second"]
    assert read(tmp_path / "c.txt", tmp_path / "b") == [b"second", b"first of", b" all"]
    assert read(tmp_path, pattern="*.md", length=30) == [b"no text of this pattern"]


def test_a_document_may_be_a_line_or_a_paragraph(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one\n\n two\nthree\n \n\n")
    assert read(file, per=DocumentPer.LINE) == [b"one", b" two", b"three"]
    assert read(file, per=DocumentPer.PARAGRAPH, length=20) == [b"one", b" two\nthree"]
    assert read(file, length=30) == [b"one\n\n two\nthree\n \n\n"]


def refused(path: Path, says: str, **options: Any) -> None:
    with pytest.raises(LabelFileError, match=says):
        read(path, **options)


def test_unusable_texts_are_named(tmp_path: Path) -> None:
    (file := tmp_path / "a.txt").write_bytes(b"caf\xe9 au lait")
    refused(tmp_path, "not UTF-8 at byte 3; convert it with iconv -t UTF-8, or leave it out")
    file.write_bytes("café au lait".encode())
    assert read(tmp_path, length=20)
    refused(tmp_path, "say which with --pattern, such as", pattern="*.md")
    refused(tmp_path / "none", "is not there; give a file or directory of text")
    file.write_text("x")
    refused(tmp_path, "to be checked with; give longer texts")


@pytest.mark.parametrize("per", DocumentPer)
def test_files_without_text_are_left_out_and_named(per: DocumentPer, tmp_path: Path) -> None:
    for name, text in (("a", ""), ("b", "text"), ("c", " \n\n \n"), ("d", "more text")):
        (tmp_path / f"{name}.txt").write_text(text)
    found = read_sequences([tmp_path], BYTES, 20, per=per)
    assert [bytes(tokens.tolist()) for tokens in found] == [b"text", b"more text"]
    assert found.without_text == (tmp_path / "a.txt", tmp_path / "c.txt")
    refused(tmp_path / "c.txt", "the data set holds no sequence; give one with some text", per=per)


def save(path: Path, **arrays: Any) -> Path:
    if path.suffix == ".npy":
        np.save(path, arrays["tokens"])
    elif path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        pq.write_table(pa.table(arrays), path)
    return path


def read_tokens(path: Path, length: int = 8, tokenizer: Tokenizer = BYTES) -> list[list[int]]:
    found: TokenSequences = read_sequences([path], tokenizer, length)
    return [tokens.tolist() for tokens in found]


def test_layouts_of_token_files(tmp_path: Path) -> None:
    rows, wanted = [[1, 2, 3], [4, 5]], [[1, 2, 3], [4, 5]]
    stream = np.arange(11)
    assert read_tokens(save(tmp_path / "a.npy", tokens=stream), 5) == [
        [0, 1, 2, 3, 4],
        [5, 6, 7, 8, 9],
        [10],
    ]
    assert read_tokens(save(tmp_path / "b.npy", tokens=np.ones((2, 3), int))) == [[1, 1, 1]] * 2
    joined = np.array([1, 2, 3, 4, 5])
    assert read_tokens(save(tmp_path / "c.npz", tokens=joined, lengths=np.array([3, 2]))) == wanted
    ids, mask = np.array([[1, 2, 3], [4, 5, -1]]), np.array([[1, 1, 1], [1, 1, 0]])
    assert read_tokens(save(tmp_path / "d.npz", input_ids=ids, attention_mask=mask)) == wanted
    assert read_tokens(save(tmp_path / "e.parquet", input_ids=rows, other=["x", "y"])) == wanted
    assert read_tokens(save(tmp_path / "f.parquet", tokens=rows)) == wanted


@pytest.mark.parametrize(
    ("name", "arrays", "says"),
    [
        ("a.npy", {"tokens": np.zeros((2, 9), int)}, "0 has 9 tokens, the longest may have 8"),
        ("a.npy", {"tokens": np.zeros((1, 2, 3), int)}, "give token IDs as a .npy of shape"),
        ("a.npy", {"tokens": np.zeros((2, 3))}, "give token IDs, integers"),
        ("a.npy", {"tokens": np.array([[1, -100]])}, "holds -100, which is no token; leave pad"),
        ("a.npy", {"tokens": np.array([[1, 256]])}, "give the tokenizer that made these tokens"),
        ("a.npy", {"tokens": np.zeros((2, 0), int)}, "sequence 0 is empty; leave it out"),
        ("a.npy", {"tokens": np.zeros(0, int)}, "holds no sequence; give one with some text"),
        (
            "a.npz",
            {"tokens": np.ones(3, int), "lengths": np.array([2])},
            "there are 3 tokens",
        ),
        ("a.npz", {"x": np.ones(3, int)}, "give token IDs as a .npy of shape"),
        ("a.parquet", {"input_ids": [[1, 2], None]}, "sequence 1 is empty; leave it out"),
        ("a.parquet", {"input_ids": [[1, 2], [3, None]]}, "holds nulls"),
        ("a.parquet", {"text": ["a"]}, "give token IDs as a .npy of shape"),
    ],
)
def test_unusable_token_files_are_refused(
    name: str, arrays: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(LabelFileError, match=says):
        read_tokens(save(tmp_path / name, **arrays))


def test_rows_that_are_too_long_may_be_cut_as_a_stream(tmp_path: Path) -> None:
    long = save(tmp_path / "a.npy", tokens=np.arange(18).reshape(2, 9))
    with pytest.raises(LabelFileError, match="cut it, or give the tokens as one stream"):
        read_tokens(long)
    assert len(read_tokens(save(tmp_path / "b.npy", tokens=np.arange(18)))) == 3


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.parquet"])
def test_damaged_token_files_are_refused(name: str, tmp_path: Path) -> None:
    path = save(tmp_path / name, tokens=[[1, 2], [3, 4]])
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(LabelFileError, match=r"cannot be read .*: it is damaged"):
        read_tokens(path)


def test_a_token_file_is_a_data_set_of_its_own(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npy", tokens=np.ones((2, 3), int))
    with pytest.raises(InvalidRequestError, match="give it alone, and other --text to another"):
        read(path, path)
    assert read(path)


def test_a_sequence_has_at_most_a_million_tokens(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npy", tokens=np.ones((1, 2**20 + 1), np.uint8))
    with pytest.raises(LabelFileError, match="more than 1048576 tokens; cut it"):
        read_tokens(path, 2**21)
