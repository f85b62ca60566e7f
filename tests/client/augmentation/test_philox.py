"""Philox against the vectors that Random123 publishes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from labelcast.augmentation import philox

Block = tuple[int, int, int, int]
WORDS = st.integers(0, 2**32 - 1)
KEYS = st.integers(0, 2**64 - 1)


def columns(*blocks: Block) -> tuple[NDArray[np.uint32], ...]:
    return tuple(np.array(column, dtype=np.uint32) for column in zip(*blocks, strict=True))


def draw(key: int, *blocks: Block) -> list[list[int]]:
    first, second, third, fourth = columns(*blocks)
    drawn = philox((first, second, third, fourth), key)
    assert drawn.dtype == np.uint32
    assert drawn.shape == (4, len(blocks))
    return [[int(word) for word in block] for block in drawn.T]


def reference(block: Block, key: int) -> list[int]:
    """The paper's text in Python integers, which cannot overflow."""
    a, b, c, d = block
    low, high = key % 2**32, key // 2**32
    for number in range(10):
        weyl = (low + number * 0x9E3779B9) % 2**32, (high + number * 0xBB67AE85) % 2**32
        left, right = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (
            (right // 2**32) ^ b ^ weyl[0],
            right % 2**32,
            (left // 2**32) ^ d ^ weyl[1],
            left % 2**32,
        )
    return [a, b, c, d]


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((2**32 - 1,) * 4, 2**64 - 1, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            0x299F31D0_A4093822,
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
    ids=["zeros", "ones", "pi"],
)
def test_known_answers_of_random123(counter: Block, key: int, expected: str) -> None:
    assert draw(key, counter) == [[int(word, 16) for word in expected.split()]]


@given(st.lists(st.tuples(WORDS, WORDS, WORDS, WORDS), min_size=1, max_size=5), KEYS)
def test_every_counter_is_drawn_as_if_it_were_alone(blocks: list[Block], key: int) -> None:
    assert draw(key, *blocks) == [reference(block, key) for block in blocks]


def test_counters_are_broadcast_and_left_alone() -> None:
    counter = columns((1, 2, 3, 4), (5, 6, 7, 8))
    first, second, third, fourth = (column.copy() for column in counter)
    seed = np.array([3], dtype=np.uint32)
    drawn = philox((first, second, seed, fourth), 9)
    assert drawn.T.tolist() == draw(9, (1, 2, 3, 4), (5, 6, 3, 8))
    for kept, column in zip((first, second, third, fourth), counter, strict=True):
        assert kept.tolist() == column.tolist()


def test_no_counters_give_no_words() -> None:
    none = np.empty(0, dtype=np.uint32)
    assert philox((none, none, none, none), 1).shape == (4, 0)
