"""The label contract: what a student and a label set must agree on before a label is used."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from labelcast.augmentation import PositionPolicy, ViewPolicy, policy_from_json
from labelcast.codec import LabelKind, TemperatureRange
from labelcast.errors import ContractMismatchError, InvalidRequestError, ManifestError
from labelcast.identifiers import Digest
from labelcast.label_set.canonical_json import to_canonical
from labelcast.label_set.digests import digest_of
from labelcast.label_set.fields import Fields
from labelcast.label_set.language import LanguageContract

ID_SCHEME = "uint64"
# The manifest's name for the derivation in `labelcast.context.view_context`; another derivation
# gets another name.
CONTEXT_NAME = "view/1"


class SampleOrder(StrEnum):
    """How the sample IDs of a label set are known."""

    GIVEN = "given"  # by the maker of the labels
    VERIFIED = "verified"  # derived, and confirmed by a teacher on some views
    UNVERIFIED = "unverified"  # derived from a sampler's seed, on trust


def policy_digest(policy: ViewPolicy | None) -> Digest:
    """Digest of an augmentation policy; None is the policy of unaugmented samples."""
    return digest_of(to_canonical(None if policy is None else policy.as_json()))


@dataclass(frozen=True, slots=True)
class ContextRef:
    """How the context of the labels is derived, and a proof of the derivation.

    Attributes:
        digest: digest over derived context rows (`labelcast.context.view_context`), so that a
            reader which derives anything else refuses the label set.
        name: name of the derivation.
    """

    digest: Digest
    name: str = CONTEXT_NAME

    def as_json(self) -> dict[str, Any]:
        """JSON value that `from_fields` reads back."""
        return {"name": self.name, "digest": self.digest}

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """Read strictly."""
        read = cls(fields.digest("digest"), fields.text("name"))
        fields.done()
        if read.name != CONTEXT_NAME:
            raise ManifestError(
                f"contract.context.name {read.name!r} is unknown; this labelcast derives"
                f" {CONTEXT_NAME!r}"
            )
        return read


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelContract:
    """The part of a manifest that gives labels their meaning.

    Attributes:
        teacher: digest of the teacher's weights, or of its name if there are none.
        teacher_name: name of the teacher, to show.
        dataset: digest over sample IDs and contents.
        num_classes: number of classes, C.
        class_list: digest of the ordered class names.
        policy: policy that makes the views; None for unaugmented samples.
        label_kind: kind of the labels, logits or probabilities.
        temperatures: temperatures at which the labels are valid; None for any.
        codec: digest of the codec artifact.
        context: context that decoding needs besides the codes; None if it needs none.
        sample_order: how the sample IDs are known.
        language: what labels of token sequences mean besides; None for others.
    """

    teacher: Digest
    teacher_name: str
    dataset: Digest
    num_classes: int
    class_list: Digest
    policy: ViewPolicy | None
    label_kind: LabelKind
    temperatures: TemperatureRange | None
    codec: Digest
    context: ContextRef | None = None
    sample_order: SampleOrder = SampleOrder.GIVEN
    language: LanguageContract | None = None

    def as_json(self) -> dict[str, Any]:
        """JSON value that `from_fields` reads back."""
        ends = self.temperatures
        value = {
            "teacher": {"name": self.teacher_name, "digest": self.teacher},
            "dataset": {"digest": self.dataset, "id_scheme": ID_SCHEME},
            "classes": {"count": self.num_classes, "digest": self.class_list},
            "augmentation": {
                "policy": None if self.policy is None else self.policy.as_json(),
                "digest": policy_digest(self.policy),
            },
            "label_kind": str(self.label_kind),
            "temperatures": None
            if ends is None
            else {"low": float(ends.low), "high": float(ends.high)},
            "codec": self.codec,
        }
        if self.context is not None:
            value["context"] = self.context.as_json()
        if self.sample_order is not SampleOrder.GIVEN:
            value["sample_order"] = str(self.sample_order)
        if self.language is not None:
            value["language"] = self.language.as_json()
        return value

    @classmethod
    def from_fields(cls, contract: Fields) -> Self:
        """Read strictly."""
        teacher, dataset = contract.object("teacher"), contract.object("dataset")
        classes, augmentation = contract.object("classes"), contract.object("augmentation")
        policy_json, ends = augmentation.take("policy"), contract.take("temperatures")
        context = contract.optional_object("context")
        language = contract.optional_object("language")
        order = contract.optional_text("sample_order") or SampleOrder.GIVEN
        if order not in set(SampleOrder):
            raise ManifestError(f"contract.sample_order {order!r} is unknown")
        read = cls(
            teacher=teacher.digest("digest"),
            teacher_name=teacher.text("name"),
            dataset=dataset.digest("digest"),
            num_classes=classes.integer("count", 1, 2**20),
            class_list=classes.digest("digest"),
            policy=None if policy_json is None else policy_from_json(policy_json),
            label_kind=_label_kind(contract.text("label_kind")),
            temperatures=None if ends is None else _temperatures(Fields(ends, "temperatures")),
            codec=contract.digest("codec"),
            context=None if context is None else ContextRef.from_fields(context),
            sample_order=SampleOrder(order),
            language=None if language is None else LanguageContract.from_fields(language),
        )
        if read.language is not None and not isinstance(read.policy, PositionPolicy):
            raise ManifestError("contract.language is of token positions, the policy is not")
        if dataset.text("id_scheme") != ID_SCHEME:
            raise ManifestError(f"contract.dataset.id_scheme must be {ID_SCHEME!r}")
        if augmentation.digest("digest") != policy_digest(read.policy):
            raise ManifestError("contract.augmentation.digest is not that of the policy beside it")
        for part in (teacher, dataset, classes, augmentation, contract):
            part.done()
        return read

    def require(self, expected: "Expectation") -> None:
        """Refuse a label set that the student was not made for.

        Raises:
            ContractMismatchError: the first field that differs, with both values.
            InvalidRequestError: no expectation.
        """
        if not isinstance(expected, Expectation):
            raise InvalidRequestError(
                f"what is expected of a label set must be an Expectation, not {expected!r:.80};"
                " give Expectation(dataset=digest) and the like"
            )
        actual = {
            "teacher": self.teacher,
            "dataset": self.dataset,
            "class_list": self.class_list,
            "num_classes": self.num_classes,
            "augmentation": policy_digest(self.policy),
            "label_kind": self.label_kind,
            "codec": self.codec,
            "tokenizer": None if self.language is None else self.language.tokenizer,
        }
        for name, value in actual.items():
            wanted = getattr(expected, name)
            if wanted is not None and wanted != value:
                _refuse(name, wanted, value)
        if expected.temperature is not None:
            self.require_temperature(expected.temperature)

    def require_temperature(self, temperature: float) -> None:
        """Refuse a softmax temperature at which the labels are wrong.

        Raises:
            ContractMismatchError: it is outside the label set's range.
        """
        ends = self.temperatures
        if ends is not None and temperature not in ends:
            _refuse("temperature", temperature, f"{ends.low:g} to {ends.high:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What a student expects of a label set; None accepts anything.

    Attributes:
        teacher: digest of the teacher.
        dataset: digest of the data set, from `SampleTable.digest` or `labelcast info`.
        class_list: digest of the class names.
        num_classes: number of classes (C).
        augmentation: digest of the policy, from `policy_digest`.
        label_kind: logits or probabilities.
        codec: digest of the codec's artifact.
        tokenizer: digest of the tokenizer, from `tokenizer_digest`.
        temperature: softmax temperature of the student.
    """

    teacher: Digest | None = None
    dataset: Digest | None = None
    class_list: Digest | None = None
    num_classes: int | None = None
    augmentation: Digest | None = None
    label_kind: LabelKind | None = None
    codec: Digest | None = None
    tokenizer: Digest | None = None
    temperature: float | None = None


def _refuse(field: str, expected: object, actual: object) -> None:
    raise ContractMismatchError(
        f"the label set's {field} is {actual}, this student expects {expected};"
        " use the label set that was made for it",
        field=field,
        expected=expected,
        actual=actual,
    )


def _label_kind(text: str) -> LabelKind:
    try:
        return LabelKind(text)
    except ValueError:
        raise ManifestError(f"contract.label_kind {text!r} is unknown") from None


def _temperatures(ends: Fields) -> TemperatureRange:
    read = ends.number("low"), ends.number("high")
    ends.done()
    if not 0 < read[0] <= read[1] < float("inf"):
        raise ManifestError("contract.temperatures must be a range above 0")
    return TemperatureRange(*read)
