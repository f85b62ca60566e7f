"""Tags: what they look like, and that a push of anything else sends nothing."""

from pathlib import Path

import pytest

from labelcast.errors import InvalidRequestError
from labelcast.identifiers import tag_from
from labelcast.registry.client import Registry
from tests.factories.label_sets import make_label_set

NO_TAGS = ["", " ", "Glyphs", "glyphs:", ":v1", "a:b:c", "-a", "a" * 65, "a\n", "a/b", "\ud800"]


@pytest.mark.parametrize("tag", ["a", "0", "glyphs:v1", "a.b_c-d:0.1", "a" * 64 + ":" + "b" * 64])
def test_tags(tag: str) -> None:
    assert tag_from(tag) == tag


@pytest.mark.parametrize("tag", NO_TAGS, ids=ascii)
def test_what_is_no_tag_is_refused_before_the_first_byte(tag: str, tmp_path: Path) -> None:
    label_set, _ = make_label_set(tmp_path)
    # Nobody listens there: whatever was sent would fail otherwise.
    with Registry("http://127.0.0.1:1") as registry:
        with pytest.raises(InvalidRequestError, match="is no tag"):
            registry.push(label_set, tag)
        with pytest.raises(InvalidRequestError, match="is no tag"):
            registry.tag(tag, label_set.digest)
