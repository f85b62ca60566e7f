"""A push is refused whose control views are malformed, or of views that are not in it."""

from pathlib import Path

import pytest

from labelcast import Views
from labelcast.errors import ManifestError
from labelcast_server.store.memory import memory_store
from tests.factories.label_sets import make_label_set, with_control_views
from tests.factories.pushed import push


async def test_those_of_its_own_views_are_taken(tmp_path: Path) -> None:
    await push(memory_store(), with_control_views(make_label_set(tmp_path)[0]))


async def test_others_are_refused(tmp_path: Path) -> None:
    label_set, _ = make_label_set(tmp_path)
    strange = with_control_views(label_set, Views.of([1], 0))
    with pytest.raises(ManifestError, match=r"parts\.control_views: .*sample ID 1"):
        await push(memory_store(), strange)
    with pytest.raises(ManifestError, match="another format"):
        await push(memory_store(), with_control_views(label_set, content=b"damaged"))
