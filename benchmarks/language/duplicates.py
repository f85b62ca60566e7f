"""Leaves out what was there before: licences and copyright files say the same things again."""

import re
from dataclasses import dataclass, replace

from benchmarks.language.sources import Document

# Shorter ones are headings and braces, which texts have in common without being copies.
MIN_PARAGRAPH = 40
SHINGLE_WORDS = 8
# Of the shingles of a paragraph that may have been there before.
MAX_SHARE = 0.5
# What is left of a document must be worth reading.
MIN_DOCUMENT = 400

_WORD = re.compile(r"\w+")


@dataclass
class Left:
    """What was left out of a source, and what was kept.

    Attributes:
        documents: read.
        documents_left_out: had too little text once their copies were gone.
        paragraphs: read, those too short to compare not counted.
        equal_paragraphs: left out: all their words were there before, in the same order.
        similar_paragraphs: left out: most runs of their words were there before.
    """

    documents: int = 0
    documents_left_out: int = 0
    paragraphs: int = 0
    equal_paragraphs: int = 0
    similar_paragraphs: int = 0


class Duplicates:
    """Remembers all paragraphs that it was shown."""

    def __init__(self) -> None:
        self._paragraphs: set[int] = set()
        self._shingles: set[int] = set()

    def without(self, document: Document, left: Left) -> Document | None:
        """A document without what earlier ones said; None if little is left.

        Args:
            document: which.
            left: counts of its source; changed.
        """
        left.documents += 1
        kept = [
            paragraph
            for paragraph in re.split(r"\n\s*\n", document.text.strip("\n"))
            if self._is_new(paragraph, left)
        ]
        text = "\n\n".join(kept)
        if len(text) < MIN_DOCUMENT:
            left.documents_left_out += 1
            return None
        return replace(document, text=text)

    def _is_new(self, paragraph: str, left: Left) -> bool:
        if len(paragraph.strip()) < MIN_PARAGRAPH:
            return True
        left.paragraphs += 1
        words = _WORD.findall(paragraph.lower())
        whole = hash(tuple(words))
        if whole in self._paragraphs:
            left.equal_paragraphs += 1
            return False
        self._paragraphs.add(whole)
        last = len(words) - SHINGLE_WORDS + 1
        shingles = {hash(tuple(words[at : at + SHINGLE_WORDS])) for at in range(last)}
        known = len(shingles & self._shingles)
        self._shingles |= shingles
        if shingles and known > MAX_SHARE * len(shingles):
            left.similar_paragraphs += 1
            return False
        return True
