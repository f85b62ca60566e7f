"""The language benchmark: clean texts, no document on both sides, and honest arithmetic."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.language import sources
from benchmarks.language.corpus import CorpusSize, Sequences, read_corpus
from benchmarks.language.duplicates import Duplicates, Left
from benchmarks.language.label_sets import views_of
from benchmarks.language.place import Place
from benchmarks.language.plain_text import text_of_html
from benchmarks.language.preparation import prepare
from benchmarks.language.results import derive, merged, paired, shares
from benchmarks.language.settings import QUICK
from benchmarks.language.sources import Document
from benchmarks.language.table import corpus_table, fidelity_table, students_table

SENTENCE = "every file names the person who wrote it and the year in which that was done"


def words(number: int, count: int) -> str:
    return " ".join(f"w{number}x{place}" for place in range(count))


def test_pages_lose_their_markup_and_navigation() -> None:
    page = """<html><head><title>no</title></head><body><div id="banner">no</div>
      <div role="navigation"><ul><li>no<br></li></ul></div><h1>A &amp; B<a class="headerlink">¶</a>
      </h1><p>One
      <b>two</b>.</p><pre>if x:
    y</pre><script>no</script><p>Last</body></html>"""
    assert text_of_html(page) == "A & B\n\nOne two.\n\nif x:\n    y\n\nLast"


def test_copies_are_left_out() -> None:
    duplicates, left = Duplicates(), Left()
    first = Document("licences", "a", f"{SENTENCE}\n\n{words(1, 80)}")
    again = Document("licences", "b", f"{SENTENCE.upper()}!\n\n{words(2, 80)}\n\n{words(1, 79)}")
    copy = Document("licences", "c", f"{SENTENCE}\n\n{words(1, 80)}")
    assert duplicates.without(first, left) == first
    kept = duplicates.without(again, left)
    assert kept is not None
    assert kept.text == words(2, 80)
    assert duplicates.without(copy, left) is None
    assert left == Left(3, 1, paragraphs=7, equal_paragraphs=3, similar_paragraphs=1)


def test_parts_share_no_document(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def read(source: str, cache: Path) -> Any:
        for number in range(40):
            name = f"{source}{number}"
            yield Document(source, name, f"{name} " * 5 + words(hash(name) % 10**9, 100))

    monkeypatch.setattr("benchmarks.language.corpus.documents", read)
    known: dict[str, int] = {}

    def encode(text: str) -> list[int]:
        return [known.setdefault(word, len(known)) for word in text.split()]

    size = CorpusSize(train=2000, held_out=500, sequence=32, document=90)
    corpus = read_corpus(size, tmp_path, encode)
    for part, tokens in ((corpus.train, 2000), (corpus.held_out, 500)):
        assert part.lengths.max() <= 32
        assert part.lengths.min() > 1
        assert tokens - 32 <= len(part.tokens) == part.lengths.sum() <= tokens
    assert not set(corpus.train.tokens.tolist()) & set(corpus.held_out.tokens.tolist())
    by_source = corpus.facts["train"]["by_source"]
    assert set(by_source) == set(sources.SOURCES)
    counts = [found["tokens"] for found in by_source.values()]
    assert max(counts) - min(counts) <= 90
    corpus.train.save(tmp_path / "train.npz")
    assert Sequences.load(tmp_path / "train.npz").digest == corpus.train.digest
    rows = corpus_table({"corpus": corpus.facts}).splitlines()
    assert len({row.count("|") for row in rows}) == 1


def test_views_are_all_positions_of_the_sequences_asked_for() -> None:
    views = views_of(np.array([5, 2]), np.array([3, 2]))
    assert views.sample_ids.tolist() == [5, 5, 5, 2, 2]
    assert views.seeds.tolist() == [0, 1, 2, 0, 1]


def test_points_of_other_settings_are_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(json.dumps(QUICK.as_json() | {"epochs": 9}))
    with pytest.raises(ValueError, match="other settings; delete it"):
        prepare(Place(QUICK, tmp_path), tmp_path / "teacher", tmp_path, jobs=1)


def point(name: str, *losses: list[float]) -> dict[str, Any]:
    spread = {"mean": None, "infinite": 0.5, "quantiles": {"0.5": 1e-4, "1": None}}
    fidelity = {"kl": spread, "reverse_kl": spread | {"mean": 0.2}, "top1_agreement": 0.9}
    sizes = {f"{part}_bytes_per_token": 36.0 for part in ("payload", "rest", "wire")}
    speeds = {f"{way}_tokens_per_second": 10.0 for way in ("encode", "read", "decode")}
    students = [
        {"seed": seed, "held_out_nats": nats, "tokens_per_second": 9.0, "peak_rss_bytes": 2**20}
        for seed, nats in enumerate(losses)
    ]
    labels = sizes | speeds | {"fidelity": fidelity, "encode_peak_rss_bytes": None}
    if name == "hard":
        labels = {"payload_bytes_per_token": 0}
    return {"name": name, "title": name, "labels": labels, "students": students}


def result(*points: dict[str, Any]) -> dict[str, Any]:
    figure = {"mean_log_probability": -3.0}
    relabel = {"tokens_per_second": 190.0, "peak_rss_bytes": 2**30, "next_token": figure}
    return {"protocol": {"epochs": 2}, "relabel": {"held_out": relabel}, "points": [*points]}


def test_hard_labels_have_their_best_epoch_and_others_their_last() -> None:
    found = derive(
        result(
            point("hard", [7.0, 8.0], [7.2, 9.0]),
            point("dense", [6.5, 6.0], [6.9, 6.2]),
            point("rskd-36", [7.0, 6.5], [7.0, 6.7]),
        )
    )
    hard, dense, sampled = found["points"]
    assert hard["held_out_nats"] == pytest.approx(7.1)
    assert dense["perplexity"] == pytest.approx(math.exp(6.1))
    assert dense["share_of_gain"] == {"mean": 1.0, "standard_error": 0.0}
    assert sampled["share_of_gain"]["mean"] == pytest.approx(0.5)
    assert found["undecided"] == []
    assert len(students_table(found).splitlines()) == 5
    assert len(fidelity_table(found).splitlines()) == 4
    assert "∞" in fidelity_table(found)
    # There are no int8 states, so that nothing is said of them.
    assert [row.get("reached", "unrun") for row in found["measures"]][:2] == [True, "unrun"]


def test_no_share_is_given_where_dense_labels_do_not_beat_hard_ones() -> None:
    found = derive(result(point("hard", [7.0], [6.0]), point("dense", [6.0], [6.9])))
    assert [one["share_of_gain"] for one in found["points"]] == [None, None]
    assert found["undecided"] == [["hard", "dense"]]
    assert found["measures"][0]["reached"] is False
    assert paired({0: 7.0}, {0: 6.0}) is None
    assert shares({1: 7.0}, {0: 8.0}, {0: 6.0}) is None


def test_points_of_an_earlier_run_of_the_same_protocol_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "language.json"
    path.write_text(json.dumps(result(point("hard", [7.0]), point("dense", [6.0]))))
    again = result(point("dense", [5.0]))
    kept = merged(path, again)["points"]
    assert [one["name"] for one in kept] == ["hard", "dense"]
    assert kept[1]["students"][0]["held_out_nats"] == [5.0]
    other = again | {"protocol": {"epochs": 3}}
    assert merged(path, other) == other
