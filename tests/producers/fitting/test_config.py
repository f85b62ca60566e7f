import pytest

from labelcast.errors import InvalidRequestError
from labelcast_producers.fitting import FitConfig, parse_fit_config
from labelcast_producers.fitting.steps import learning_rate
from labelcast_producers.neural.compute import Compute


def test_settings_survive_json() -> None:
    config = parse_fit_config({"codes": 4, "decoder_hidden": [7, 8]})
    assert FitConfig.model_validate_json(config.model_dump_json()) == config
    assert parse_fit_config(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"codes": -1}, "codes"),
        ({"class_width": -1}, "class_width"),
        ({"class_width": 1025}, "class_width"),
        ({"codes": 300}, "codes"),
        ({"codebook_size": 1}, "codebook_size"),
        ({"steps": "many"}, "steps"),
        ({"learning_rate": -1}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"ema_decay": 1}, "ema_decay"),
        ({"temperature": 0}, "temperature"),
        ({"decoder_hidden": [0]}, "decoder_hidden"),
        ({"decoder_hidden": [8] * 9}, "decoder_hidden"),
        ({"holdout_every": 1}, "holdout_every"),
        ({"codes": 256, "codeword_width": 100}, "codeword_width"),
        ({"compute": "fp8"}, "compute"),
        ({"colour": 1}, "colour"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(settings: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidRequestError, match=named) as caught:
        parse_fit_config(settings)
    assert "\n" not in caught.value.message


def test_the_learning_rate_rises_then_falls_to_a_fiftieth() -> None:
    config = FitConfig(steps=1000, warmup_steps=100, compute=Compute.FP32)
    rates = [learning_rate(config, step) for step in range(config.steps)]
    peak = rates.index(max(rates))
    assert 90 <= peak <= 110
    assert rates[0] < 0.02 * config.learning_rate
    assert rates == sorted(rates[:peak]) + sorted(rates[peak:], reverse=True)
    assert rates[-1] == pytest.approx(0.02 * config.learning_rate, rel=0.01)


@pytest.mark.parametrize("codes", [0, 1, 4, 8, 16, 24, 25, 32, 48, 49, 64, 256])
@pytest.mark.parametrize("rounds", [0, 1, 2, 5])
def test_a_search_drops_rounds_before_it_exceeds_its_trials(codes: int, rounds: int) -> None:
    search = FitConfig(codes=codes, search_rounds=rounds, search_linearised=False).search
    trials = codes * search.rounds * search.candidates
    assert search.candidates >= 2
    assert (search.rounds > 0) == (rounds > 0)
    assert search.rounds <= rounds
    assert trials <= max(96, 2 * codes)
    if search.rounds < rounds:
        assert 2 * codes * (search.rounds + 1) > 96


def test_searches_that_are_given_or_usual_stay_as_they_are() -> None:
    eight = FitConfig(codes=8, search_linearised=False).search
    assert (eight.candidates, eight.rounds) == (6, 2)
    many = FitConfig(codes=256, search_linearised=False).search
    assert (many.candidates, many.rounds) == (2, 1)
    given = FitConfig(codes=256, search_candidates=5, search_linearised=False).search
    assert (given.candidates, given.rounds) == (5, 2)


@pytest.mark.parametrize("codes", [0, 1, 8, 256])
def test_a_linearised_search_tries_as_many_for_each_code_whatever_their_number(codes: int) -> None:
    usual = FitConfig(codes=codes).search
    assert (usual.candidates, usual.rounds, usual.linearised) == (16, 2, True)
    given = FitConfig(codes=codes, search_candidates=5, search_rounds=0).search
    assert (given.candidates, given.rounds, given.linearised) == (5, 0, True)
