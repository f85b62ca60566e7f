"""Shared pieces of the Glyphs tests: one tiny teacher, trained once."""

from __future__ import annotations

import pytest

from labelcast_glyphs import Teacher, TeacherSettings, train_or_load_teacher

TINY = TeacherSettings(num_classes=20, width=8, epochs=1, batch_size=30)


@pytest.fixture(scope="session")
def tiny_teacher(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    """A barely trained teacher of 20 classes with its cache entry."""
    cache = tmp_path_factory.mktemp("teachers")
    return train_or_load_teacher(TINY, cache, show_progress=False)
