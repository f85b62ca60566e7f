"""The language half of a label contract: whose tokens, and which head made their logits."""

from dataclasses import dataclass
from typing import Any, Self

from labelcast.codec.latent import HeadDtype, HeadSpec
from labelcast.codec.latent.head import MAX_WIDTH
from labelcast.errors import CodecFormatError, ManifestError
from labelcast.identifiers import Digest
from labelcast.label_set.fields import Fields

LANGUAGE_FEATURE = "language"
"""What a manifest requires of its reader if its contract has a language half."""
# The label at a position is the teacher's prediction of the token after it.
_LABELS = "next-token"
_MAX_PADDING = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageContract:
    """What labels of token sequences mean.

    A sample is a sequence, a seed a position in it, and the label at position t is the teacher's
    prediction of token t + 1, made of tokens 0 to t. The classes are the tokens of the tokenizer.

    Attributes:
        tokenizer: digest of the tokenizer, from `tokenizer_digest`.
        tokenizer_name: its name, to show.
        padding: columns of the teacher's logits after the last token, which no token has and no
            label knows.
        head: head that turns states into logits; None if the labels need none.
    """

    tokenizer: Digest
    tokenizer_name: str
    padding: int = 0
    head: HeadSpec | None = None

    def as_json(self) -> dict[str, Any]:
        """JSON value that `from_fields` reads back."""
        return {
            "labels": _LABELS,
            "tokenizer": {"name": self.tokenizer_name, "digest": self.tokenizer},
            "padding": self.padding,
            "head": None if self.head is None else head_as_json(self.head),
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """Read strictly."""
        tokenizer, head = fields.object("tokenizer"), fields.take("head")
        if fields.text("labels") != _LABELS:
            raise ManifestError(f"{fields.path}.labels must be {_LABELS!r}")
        read = cls(
            tokenizer=tokenizer.digest("digest"),
            tokenizer_name=tokenizer.text("name"),
            padding=fields.integer("padding", 0, _MAX_PADDING),
            head=None if head is None else head_from_fields(Fields(head, f"{fields.path}.head")),
        )
        tokenizer.done()
        fields.done()
        return read


def head_as_json(head: HeadSpec) -> dict[str, Any]:
    """JSON value that `head_from_fields` reads back."""
    return {
        "digest": head.digest,
        "width": head.width,
        "dtype": str(head.dtype),
        "bias": head.bias,
        "scale": float(head.scale),
        "softcap": None if head.softcap is None else float(head.softcap),
    }


def head_from_fields(fields: Fields) -> HeadSpec:
    """Read strictly.

    Raises:
        ManifestError: a field is missing, unknown or out of range.
    """
    dtype, bias, softcap = fields.text("dtype"), fields.take("bias"), fields.take("softcap")
    if (
        dtype not in set(HeadDtype)
        or type(bias) is not bool
        or type(softcap) not in {float, type(None)}
    ):
        raise ManifestError(f"{fields.path} has an unknown type, or numbers that are none")
    try:
        head = HeadSpec(
            digest=fields.digest("digest"),
            width=fields.integer("width", 1, MAX_WIDTH),
            dtype=HeadDtype(dtype),
            bias=bias,
            scale=fields.number("scale"),
            softcap=softcap,
        )
    except CodecFormatError as error:
        raise ManifestError(f"{fields.path}: {error.message}") from None
    fields.done()
    return head
