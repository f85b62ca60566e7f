"""Teachers as people bring them: what they give, the type of their weights, what wraps them."""

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from labelcast.errors import InvalidRequestError, LabelValueError
from labelcast.torch import SampleTable
from labelcast_producers.dense.labels import DenseLabels
from labelcast_producers.relabel.relabeller import relabel
from labelcast_producers.relabel.teacher import Teacher, module_digest
from tests.factories.pictures import CLASSES, Pictures

IMAGES = torch.randn(8, 2, 6, 6, generator=torch.Generator().manual_seed(1))
WIDTH = 3
Pair = namedtuple("Pair", ["logits", "aux_logits"])
Single = namedtuple("Single", ["scores"])


@dataclass
class ModelOutput:
    """As language and vision libraries return it."""

    logits: Tensor
    hidden_states: tuple[Tensor, ...] | None = None


class MappedOutput(OrderedDict[str, Any]):
    """A dict whose values are attributes too."""

    def __init__(self, **values: Any) -> None:
        super().__init__(values)
        vars(self).update(values)


@dataclass(slots=True)
class SlottedOutput:
    """Has no `__dict__`."""

    hidden: Tensor | None
    logits: Tensor


class Network(nn.Module):
    """A normalised linear layer; `wrap` makes its output of (logits, features)."""

    def __init__(
        self,
        wrap: Callable[[Tensor, Tensor], object] = lambda logits, _: logits,
        *,
        channels: int = 2,
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(channels * 36, len(CLASSES))
        self.norm = nn.BatchNorm2d(channels)
        self._wrap = wrap

    def forward(self, images: Tensor) -> object:
        seen = self.norm(images).flatten(1)
        return self._wrap(self.head(seen), seen[:, :WIDTH])


def asked(network: nn.Module, **options: Any) -> Tensor:
    return Teacher(network.eval(), "tiny", **options).logits(IMAGES)


EXPECTED = asked(Network())

PLAIN: dict[str, Callable[[Tensor, Tensor], object]] = {
    "tensor": lambda logits, _: logits,
    "tuple of one": lambda logits, _: (logits,),
    "list of one": lambda logits, _: [logits],
    "named tuple": Pair,
    "dict": lambda logits, features: {"features": features, "logits": logits},
    "dict of one": lambda logits, _: {"out": logits, "loss": None},
    "model output": lambda logits, features: ModelOutput(logits, (features,)),
    "mapped output": lambda logits, features: MappedOutput(hidden=features, logits=logits),
    "slotted output": lambda logits, features: SlottedOutput(features, logits),
    "with class numbers": lambda logits, _: (logits, logits.argmax(dim=1)),
    "with a loss": lambda logits, _: {"loss": logits.mean(), "out": logits},
    "named tuple of one": lambda logits, _: Single(logits),
    "tuple in a tuple": lambda logits, _: ((logits,), None),
    "dict in a dict": lambda logits, _: {"outputs": {"logits": logits}},
    "object in a list": lambda logits, _: [SlottedOutput(None, logits)],
    "at the top and below": lambda logits, features: {"logits": logits, "aux": [features]},
}


@pytest.mark.parametrize("wrap", PLAIN.values(), ids=PLAIN)
def test_logits_are_found_in_every_usual_container(
    wrap: Callable[[Tensor, Tensor], object],
) -> None:
    assert torch.equal(asked(Network(wrap)), EXPECTED)


SEVERAL: list[tuple[Callable[[Tensor, Tensor], object], str]] = [
    (lambda logits, features: (logits, features), "0"),
    (lambda logits, features: [features, logits], "1"),
    (lambda logits, features: {"features": features, "scores": logits}, "scores"),
    (lambda logits, features: {7: features, 8: logits}, "8"),
    (lambda logits, _: ((logits,), logits.flip(1)), "0.0"),
    (lambda logits, _: {"outputs": {"logits": logits}, "aux": logits.flip(1)}, "outputs.logits"),
    (lambda logits, features: {"logits": [features, logits]}, "logits.1"),
    (lambda logits, features: [ModelOutput(logits, (features,))], "0.logits"),
    (lambda logits, features: (SlottedOutput(features, logits),), "0.logits"),
    (lambda logits, features: (logits[:, :, None, None], Pair(features, logits)), "1.1"),
    (lambda logits, features: Pair(features, logits), "aux_logits"),
    (lambda logits, features: ModelOutput(features, None), "logits"),
]


@pytest.mark.parametrize(("wrap", "name"), SEVERAL[:-2])
def test_of_several_tensors_the_message_offers_those_that_can_be_named(
    wrap: Callable[[Tensor, Tensor], object], name: str
) -> None:
    with pytest.raises(InvalidRequestError, match="--teacher-output") as caught:
        asked(Network(wrap))
    assert f"{name} (8, {len(CLASSES)})" in caught.value.message
    assert torch.equal(asked(Network(wrap), output=name), EXPECTED)
    with pytest.raises(InvalidRequestError, match="no one tensor named 'absent'") as caught:
        asked(Network(wrap), output="absent")
    assert f"{name} (8, {len(CLASSES)})" in caught.value.message


@pytest.mark.parametrize(("wrap", "name"), SEVERAL[-2:])
def test_what_is_named_wins_over_logits(
    wrap: Callable[[Tensor, Tensor], object], name: str
) -> None:
    given = asked(Network(wrap), output=name)
    assert given.shape[1] == (len(CLASSES) if name == "aux_logits" else WIDTH)


def test_a_name_for_the_part_of_a_tensor_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match=r"leave --teacher-output .* out$"):
        asked(Network(), output="0")
    assert torch.equal(asked(Network()), EXPECTED)


class Returning(nn.Module):
    """Takes one part of what another teacher gives, as messages advise."""

    def __init__(self, inner: nn.Module, part: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.inner, self.part = inner, part

    def forward(self, images: Tensor) -> Tensor:
        return self.part(self.inner(images))


def test_a_path_that_means_two_tensors_is_refused_and_wrapping_helps() -> None:
    network = Network(lambda logits, features: {"a.b": logits, "a": {"b": features}})
    with pytest.raises(
        InvalidRequestError, match="or wrap the teacher in a torch module"
    ) as caught:
        asked(network, output="a.b")
    assert "no one tensor named 'a.b'" in caught.value.message
    assert torch.equal(asked(Returning(network, lambda given: given["a.b"])), EXPECTED)


def test_many_tensors_are_one_short_line() -> None:
    with pytest.raises(InvalidRequestError, match=r"11 \(8, 3\) and 29 more; or wrap") as caught:
        asked(Network(lambda _, features: [features.clone() for _ in range(41)]))
    assert len(caught.value.message) < 500


def test_an_output_that_holds_itself_and_its_network_is_read_once() -> None:
    def tangled(logits: Tensor, _: Tensor) -> object:
        given: dict[str, object] = {"out": logits, "network": network}
        given["self"] = given
        return given

    network = Network(tangled)
    assert torch.equal(asked(network), EXPECTED)


SHAPES: list[Callable[[Tensor], Tensor]] = [
    Tensor.mean,
    lambda logits: logits.sigmoid().mean(),
    Tensor.flatten,
    lambda logits: logits[:-1],
    lambda logits: logits[:, :, None, None],
]


@pytest.mark.parametrize("change", SHAPES)
def test_logits_of_another_shape_are_one_line(change: Callable[[Tensor], Tensor]) -> None:
    network = Network(lambda logits, _: {"logits": change(logits)})
    with pytest.raises(InvalidRequestError, match="a torch module that returns its logits so"):
        asked(network)
    wide = Network(lambda logits, _: logits[:, :, None, None])
    assert torch.equal(asked(Returning(wide, lambda given: given[:, :, 0, 0])), EXPECTED)


NO_LOGITS: dict[str, Callable[[Tensor, Tensor], object]] = {
    "None": lambda *_: None,
    "text": lambda *_: "logits",
    "empty": lambda *_: (),
    "nothing inside": lambda *_: {"logits": None},
    "class numbers": lambda logits, _: logits.argmax(dim=1),
    "class numbers inside": lambda logits, _: ((logits.argmax(dim=1),),),
}


@pytest.mark.parametrize("wrap", NO_LOGITS.values(), ids=NO_LOGITS)
def test_no_logits_at_all_is_one_line(wrap: Callable[[Tensor, Tensor], object]) -> None:
    with pytest.raises(InvalidRequestError, match=r"one floating number per class$"):
        asked(Network(wrap))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_images_take_the_type_of_the_weights(dtype: torch.dtype) -> None:
    given = asked(Network().to(dtype))
    assert given.dtype == torch.float32
    assert torch.allclose(given, EXPECTED, atol=0.05)


def test_a_network_without_weights_gets_plain_images() -> None:
    assert asked(nn.Flatten()).shape == (8, 72)


def test_images_that_a_teacher_refuses_are_one_line() -> None:
    with pytest.raises(InvalidRequestError, match=r"shape \(8, 2, 6, 6\)") as caught:
        asked(Network(channels=3))
    assert "trained on" in caught.value.message
    assert caught.value.__cause__ is not None
    wide = IMAGES.repeat(1, 2, 1, 1)[:, :3]
    assert Teacher(Network(channels=3).eval(), "tiny").logits(wide).shape == (8, len(CLASSES))


def run(out: Path, teacher: object, **options: Any) -> DenseLabels:
    return relabel(
        teacher,  # type: ignore[arg-type]
        SampleTable(Pictures(9)),
        None,
        seeds=2,
        out=out,
        teacher_name="tiny",
        device="cpu",
        batch_rows=4,
        **options,
    )


def softmaxed(logits: Tensor, _: Tensor) -> Tensor:
    return logits.softmax(dim=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_softmax_inside_is_noticed_and_both_ways_out_work(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    with pytest.raises(LabelValueError, match="take its softmax away, or say --from-prob"):
        run(tmp_path, Network(softmaxed).to(dtype))
    logits = run(tmp_path / "taken away", Network().to(dtype)).rows.read(0, 18)
    announced = run(tmp_path / "said", Network(softmaxed).to(dtype), from_probabilities=True)
    difference = announced.rows.read(0, 18).astype(np.float32) - logits.astype(np.float32)
    # Logits mean the same whatever is added to a row.
    assert np.ptp(difference, axis=1).max() < (0.01 if dtype == torch.float32 else 0.1)


def test_a_sigmoid_inside_is_noticed_and_both_ways_out_work(tmp_path: Path) -> None:
    with pytest.raises(LabelValueError, match="take its sigmoid away, or subtract 1") as caught:
        run(tmp_path, Network(lambda logits, _: logits.sigmoid()))
    assert "tiny" in caught.value.message
    away = run(tmp_path / "taken away", Network()).rows.read(0, 18)
    assert away.min() < 0
    lower = run(tmp_path / "lower", Network(lambda logits, _: logits.sigmoid() - 1))
    assert lower.rows.read(0, 18).max() < 0


def test_logits_are_not_taken_for_probabilities_that_were_announced(tmp_path: Path) -> None:
    with pytest.raises(LabelValueError, match="leave --from-probabilities"):
        run(tmp_path, Network(), from_probabilities=True)
    run(tmp_path, Network())


def test_a_probability_of_nothing_stays_finite(tmp_path: Path) -> None:
    certain = Network(lambda logits, _: (1e4 * logits).softmax(dim=1))
    labels = run(tmp_path, certain, from_probabilities=True).rows.read(0, 18)
    assert np.isfinite(labels).all()
    assert labels.min() < -80


def test_a_later_row_may_look_like_probabilities(tmp_path: Path) -> None:
    calls: list[int] = []

    def late(logits: Tensor, _: Tensor) -> Tensor:
        calls.append(len(logits))
        return logits if len(calls) == 1 else logits.softmax(dim=1)

    assert run(tmp_path, Network(late)).rows.num_rows == 18


def test_other_outputs_are_other_runs(tmp_path: Path) -> None:
    class Stops(Network):
        def forward(self, images: Tensor) -> object:
            if len(calls) == 2:
                raise KeyboardInterrupt
            calls.append(len(images))
            return super().forward(images)

    calls: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Stops(SEVERAL[0][0]), output="0", save_seconds=0)
    with pytest.raises(InvalidRequestError, match="start over with --fresh"):
        run(tmp_path, Network(lambda logits, _: (-logits, logits)), output="1")
    other = run(tmp_path, Network(lambda a, _: (-a, a)), output="1", fresh=True)
    assert other.rows.num_rows == 18


@pytest.mark.parametrize("given", [{"weight": 1}, (Network(), "preprocess"), Network])
def test_what_is_no_module_says_what_to_name(given: object, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="a module, or a function that returns one"):
        run(tmp_path, given)


class Wrapped(nn.Module):
    """What distributed training puts around a network."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


class WithModuleInside(Wrapped):
    """A network of which one part happens to have that name."""

    def __init__(self) -> None:
        super().__init__(Network())
        self.head = nn.Linear(2, 2)


def compiled_inside() -> nn.Module:
    network = Network()
    network.head = torch.compile(network.head, backend="eager")  # type: ignore[assignment]
    return network


@pytest.mark.parametrize(
    "wrap",
    [
        lambda: nn.DataParallel(Network()),
        lambda: Wrapped(Network()),
        lambda: torch.compile(Network(), backend="eager"),
        lambda: torch.compile(Wrapped(Network()), backend="eager"),
        lambda: Wrapped(torch.compile(Network(), backend="eager")),  # type: ignore[arg-type]
        compiled_inside,
    ],
)
def test_wrappers_do_not_make_it_another_teacher(wrap: Callable[[], nn.Module]) -> None:
    assert module_digest(wrap()) == module_digest(Network())


def test_digests_without_a_wrapper_are_what_they_were() -> None:
    plain = nn.Linear(2, 3)
    with torch.no_grad():
        plain.weight.copy_(torch.arange(6.0).reshape(3, 2))
        plain.bias.zero_()
    assert module_digest(plain) == (
        "sha256:2056fd422540fb2fc3c2c072ad6e071671f906ab158932b33a563b6c17468f0b"
    )
    inside = WithModuleInside()
    renamed = nn.ModuleDict({"other": inside.module, "head": inside.head})
    assert module_digest(inside) != module_digest(renamed)
