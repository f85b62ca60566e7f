"""What labels of token sequences mean besides what every label set says."""

from labelcast.label_set.language.contract import LANGUAGE_FEATURE, LanguageContract
from labelcast.label_set.language.next_token import NextTokenFigure, NextTokenMeter
from labelcast.label_set.language.tokenizer import tokenizer_digest

__all__ = [
    "LANGUAGE_FEATURE",
    "LanguageContract",
    "NextTokenFigure",
    "NextTokenMeter",
    "tokenizer_digest",
]
