"""The formula: its parts add up, and more of anything never weighs less."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from labelcast.errors import InvalidRequestError
from labelcast_producers.budget import (
    Codes,
    Container,
    Dense,
    Hard,
    LabelForm,
    Samples,
    Setting,
    TopK,
    budget_of,
    parse_form,
)

FORMS: st.SearchStrategy[LabelForm] = st.one_of(
    st.builds(Dense, st.integers(1, 64)),
    st.builds(TopK, st.integers(1, 4), st.integers(1, 32), st.integers(12, 32)),
    st.builds(Codes, st.integers(1, 64), st.integers(2, 65_536)),
    st.just(Hard()),
)
SIZES = st.integers(0, 5_000)


@st.composite
def settings(draw: st.DrawFn) -> Setting:
    samples = Samples(
        classes=draw(st.integers(4, 2_000)),
        images_per_class=draw(st.integers(1, 300)),
        bits_a_sample=draw(SIZES),
    )
    container = Container(
        batch=draw(st.integers(1, 3_000)),
        bytes_a_batch=draw(SIZES),
        drop_last=draw(st.booleans()),
        order_bytes_a_label=Fraction(draw(SIZES), 1_000),
        bytes_a_sample=draw(st.integers(0, 20)),
        fixed_bytes=draw(SIZES),
        block_bytes=2 ** draw(st.integers(0, 13)),
        epoch_directories=draw(st.booleans()),
    )
    assume(not container.drop_last or samples.count >= container.batch)
    views = draw(st.integers(1, 400))
    return Setting(
        name="drawn",
        samples=samples,
        views=views,
        pruning=Fraction(draw(st.integers(1, views))),
        form=draw(FORMS),
        augmentation_bits=draw(st.integers(0, 300)),
        container=container,
        codec_bytes=draw(SIZES),
    )


def bits(setting: Setting) -> int:
    return budget_of(setting).label_bits


@given(settings())
def test_the_split_sums_to_the_total(setting: Setting) -> None:
    budget = budget_of(setting)
    assert budget.label_bits == sum(budget.parts.values())
    assert min(budget.parts.values()) >= 0
    view = setting.form.payload_bits(setting.samples.classes) + setting.augmentation_bits
    assert budget.payload_bits + budget.augmentation_bits == budget.labels * view
    assert budget.codec_bits == 8 * setting.codec_bytes
    assert budget.sample_bits == setting.samples.count * setting.samples.bits_a_sample


@given(settings())
def test_the_sheets_formula(setting: Setting) -> None:
    """bits = N·E·(C·b_value + b_aug) + batches·b_container + b_codec, but for padding to bytes."""
    plain = Container(batch=setting.container.batch, bytes_a_batch=setting.container.bytes_a_batch)
    setting = replace(setting, container=plain, pruning=Fraction(1))
    budget = budget_of(setting)
    view = setting.form.payload_bits(setting.samples.classes) + setting.augmentation_bits
    expected = (
        setting.samples.count * setting.views * view
        + budget.batches * 8 * plain.bytes_a_batch
        + 8 * setting.codec_bytes
    )
    assert expected <= budget.label_bits < expected + 8 * budget.batches


@given(settings(), st.data())
def test_more_of_anything_never_weighs_less(setting: Setting, data: st.DataObject) -> None:
    more = data.draw(st.integers(1, 1_000), label="more")
    box, samples = setting.container, setting.samples
    larger = {
        "views": setting.views + more,
        "augmentation_bits": setting.augmentation_bits + more,
        "codec_bytes": setting.codec_bytes + more,
        "pruning": max(setting.pruning - Fraction(more, 10), Fraction(1)),
    }
    for name, value in larger.items():
        assert bits(replace(setting, **{name: value})) >= bits(setting), name  # type: ignore[arg-type]
    larger_box: dict[str, Any] = {
        "bytes_a_batch": box.bytes_a_batch + more,
        "order_bytes_a_label": box.order_bytes_a_label + more,
        "bytes_a_sample": box.bytes_a_sample + more,
        "fixed_bytes": box.fixed_bytes + more,
        "block_bytes": box.block_bytes * 2,
        "drop_last": False,
    }
    for name, value in larger_box.items():
        assert bits(replace(setting, container=replace(box, **{name: value}))) >= bits(setting), (
            name
        )
    richer = replace(setting, samples=replace(samples, bits_a_sample=samples.bits_a_sample + more))
    assert budget_of(richer).sample_bits > budget_of(setting).sample_bits
    assert bits(richer) == bits(setting)


@given(settings(), st.integers(1, 100))
def test_more_samples_never_weigh_less(setting: Setting, more: int) -> None:
    # With drop_last, a larger set may drop more; padding may take in what is added.
    setting = replace(setting, container=replace(setting.container, drop_last=False))
    samples = setting.samples
    grown = replace(samples, images_per_class=samples.images_per_class + more)
    assert bits(replace(setting, samples=grown)) >= bits(setting)
    wider = replace(samples, classes=samples.classes + more)
    if not isinstance(setting.form, TopK):  # whose indexes may become too narrow
        assert bits(replace(setting, samples=wider)) >= bits(setting)


@given(settings(), st.integers(2, 5))
def test_larger_batches_need_less_container(setting: Setting, times: int) -> None:
    box = replace(setting.container, drop_last=False, block_bytes=1)
    many = budget_of(replace(setting, container=box))
    few = budget_of(replace(setting, container=replace(box, batch=box.batch * times)))
    assert few.batches <= many.batches
    assert few.container_bits <= many.container_bits


@pytest.mark.parametrize(
    ("text", "classes", "expected"),
    [
        ("fp16", 1000, 16_000),
        ("fp32", 10, 320),
        ("top-k:10", 1000, 320),
        ("top-k:10:16:10", 1000, 260),
        ("codes:8:256", 1000, 64),
        ("codes:6:100", 1000, 48),  # 42 bits in a stride of six bytes
        ("codes:1:257", 1000, 16),
        ("hard", 1000, 10),
        ("hard", 1, 1),
    ],
)
def test_forms(text: str, classes: int, expected: int) -> None:
    form = parse_form(text)
    assert form.payload_bits(classes) == expected
    assert parse_form(str(form)) == form


@pytest.mark.parametrize(
    "text",
    [
        *("", "fp8", "fp16:1", "hard:1", "top-k", "top-k:0", "top-k:-1", "top-k:1:0:1"),
        *("top-k:9999999999999", "codes:8", "codes:0:256", "codes:8:1", "codes:８:256"),
        "codes:8:256:1",
    ],
)
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        parse_form(text)


def test_impossible_settings_are_refused() -> None:
    samples = Samples(classes=10, images_per_class=1, bits_a_sample=0)
    good = Setting(name="good", samples=samples, views=3, form=Dense(16))
    assert budget_of(good).label_bits == 10 * 3 * 160
    for form in (TopK(11), TopK(2, 16, 3)):
        with pytest.raises(InvalidRequestError):
            budget_of(replace(good, form=form))
    with pytest.raises(InvalidRequestError, match="no label"):
        budget_of(replace(good, container=Container(drop_last=True)))
    with pytest.raises(InvalidRequestError, match="no label"):
        budget_of(replace(good, pruning=Fraction(31)))
    for build in (
        lambda: replace(samples, classes=0),
        lambda: replace(samples, bits_a_sample=-1),
        lambda: replace(good, views=0),
        lambda: replace(good, pruning=Fraction(1, 2)),
        lambda: replace(good, augmentation_bits=-1),
        lambda: Container(batch=0),
        lambda: Container(block_bytes=3000),
    ):
        with pytest.raises(InvalidRequestError):
            build()
