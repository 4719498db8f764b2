"""Contribution: Shapley's axioms, games whose values are known, and a real small federation."""

import itertools
import math
from fractions import Fraction
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from substrafl.index_generator import NpIndexGenerator
from substrafl.strategies import FedAvg

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset
from helpers.evaluation import auc
from helpers.exchange import exchanged_variables, get_parameters, set_parameters
from helpers.explanation import (
    bootstrap_contributions,
    leave_one_out,
    list_coalitions,
    rebuild_coalition,
    shapley_values,
    train_coalition,
)
from helpers.local_mode import Federation
from helpers.openers.chest_xray_opener import ChestXrayOpener

PLAYERS = ["A", "B", "C", "D"]
GROUPS = list_coalitions(PLAYERS)
games = st.lists(
    st.floats(-1e6, 1e6, allow_nan=False), min_size=len(GROUPS), max_size=len(GROUPS)
).map(lambda values: dict(zip(GROUPS, values, strict=True)))


def test_coalitions_are_listed_once_and_in_the_order_of_the_players():
    assert list_coalitions(["C", "A", "B"]) == [
        (), ("C",), ("A",), ("B",), ("C", "A"), ("C", "B"), ("A", "B"), ("C", "A", "B"),
    ]  # fmt: skip
    assert len(list_coalitions(range(5))) == len(set(list_coalitions(range(5)))) == 32


def test_each_coalition_is_valued_once():
    seen = []
    shapley_values(PLAYERS, lambda group: seen.append(group) or len(group))
    assert sorted(seen) == sorted(GROUPS)


# Games that are solved by hand ------------------------------------------------------------------


def test_glove_game():
    # One left and two right gloves; a pair is worth 1. L adds 1 unless it comes first: 4 of the 6
    # orders. A right glove adds 1 only directly after L alone: 1 of 6.
    value = {
        group: float("L" in group and len(group) > 1)
        for group in list_coalitions(["L", "R1", "R2"])
    }
    shares = shapley_values(["L", "R1", "R2"], value.__getitem__)
    assert shares == {"L": 4 / 6, "R1": 1 / 6, "R2": 1 / 6}


def test_airport_game():
    # A runway is as long as the longest aircraft needs; each part is paid in equal parts by those
    # who use it (Littlechild & Owen 1973): 8/4; 8/4 + 3/3; 8/4 + 3/3 + 2/2; 8/4 + 3/3 + 2/2 + 5.
    needs = {"A": 8, "B": 11, "C": 13, "D": 18}
    shares = shapley_values(PLAYERS, lambda group: max((needs[p] for p in group), default=0))
    assert shares == {"A": 2.0, "B": 3.0, "C": 4.0, "D": 9.0}


def test_voting_game():
    # A has 4 votes, B, C and D have 2, 1 and 1, and 5 win. A decides unless it comes first, 18 of
    # 24 orders; each of the others only directly after A alone, 2 of 24.
    votes = {"A": 4, "B": 2, "C": 1, "D": 1}
    shares = shapley_values(PLAYERS, lambda group: float(sum(votes[p] for p in group) >= 5))
    assert shares == {"A": 0.75, "B": 2 / 24, "C": 2 / 24, "D": 2 / 24}


@given(games)
def test_the_formula_is_the_mean_over_all_orders(value):
    by_orders = dict.fromkeys(PLAYERS, Fraction(0))
    for order in itertools.permutations(PLAYERS):
        for place, player in enumerate(order):
            before, after = (tuple(sorted(order[:end])) for end in (place, place + 1))
            by_orders[player] += (Fraction(value[after]) - Fraction(value[before])) / 24
    shares = shapley_values(PLAYERS, value.__getitem__)
    assert shares == {player: float(share) for player, share in by_orders.items()}


def test_leave_one_out_misses_nobody_who_can_be_replaced():
    value = lambda group: float(len(group) > 0) + ("D" in group)  # noqa: E731
    assert leave_one_out(PLAYERS, value) == {"A": 0, "B": 0, "C": 0, "D": 1}
    shares = shapley_values(PLAYERS, value)
    assert shares == {"A": 0.25, "B": 0.25, "C": 0.25, "D": 1.25}


# Axioms -------------------------------------------------------------------------------------------


@given(games)
def test_efficiency_to_the_last_digit(value):
    shares = shapley_values(PLAYERS, value.__getitem__)
    gain = Fraction(value[tuple(PLAYERS)]) - Fraction(value[()])
    rounding = sum(Fraction(math.ulp(share)) / 2 for share in shares.values())
    assert abs(sum(map(Fraction, shares.values())) - gain) <= rounding


@given(games)
def test_symmetry_to_the_last_bit(value):
    def replaceable(group):  # B alone is worth what A alone is, in any company
        return value[group if "A" in group else tuple("A" if p == "B" else p for p in group)]

    shares = shapley_values(PLAYERS, replaceable)
    assert shares["A"] == shares["B"]


@given(games)
def test_a_null_player_gets_nothing(value):
    shares = shapley_values(PLAYERS, lambda group: value[tuple(p for p in group if p != "C")])
    assert shares["C"] == 0.0


@given(games)
def test_a_dummy_gets_what_it_reaches_alone(value):
    def with_dummy(group):
        return Fraction(value[tuple(p for p in group if p != "C")]) + (7 if "C" in group else 0)

    exact = {group: with_dummy(group) for group in GROUPS}
    share = shapley_values(PLAYERS, exact.__getitem__)["C"]
    assert share == pytest.approx(7, abs=1e-9)


@given(games, games)
def test_additivity(one, other):
    together = shapley_values(PLAYERS, lambda group: one[group] + other[group])
    ours, theirs = (shapley_values(PLAYERS, game.__getitem__) for game in (one, other))
    for player in PLAYERS:
        assert together[player] == pytest.approx(ours[player] + theirs[player], abs=1e-8)


@given(games, st.permutations(PLAYERS))
def test_the_order_of_the_players_does_not_matter(value, order):
    ours = shapley_values(PLAYERS, value.__getitem__)
    theirs = shapley_values(order, lambda group: value[tuple(sorted(group))])
    assert ours == theirs


# Bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("players", "error", "message"),
    [
        ("ABC", TypeError, "list of names"),
        ([], ValueError, "1 to 12 players"),
        (["A", "A"], ValueError, "each player once"),
        (range(13), ValueError, "Received 13"),
    ],
)
def test_players_that_form_no_coalitions_are_refused(players, error, message):
    for function in (shapley_values, leave_one_out):
        with pytest.raises(error, match=message):
            function(players, len)


@pytest.mark.parametrize("worth", [float("nan"), float("inf"), None, "many"])
def test_a_value_that_is_no_finite_number_names_the_coalition(worth):
    with pytest.raises(ValueError, match=r"finite number as the value of \('B',\)"):
        shapley_values(["A", "B"], lambda group: worth if group == ("B",) else 1)


# Intervals ----------------------------------------------------------------------------------------


def _scored(n_films=60):
    rng = np.random.default_rng(0)
    labels = np.arange(n_films) % 2
    return labels, {
        group: rng.normal(size=n_films) + len(group) * labels
        for group in list_coalitions(["A", "B", "C"])[1:]
    }


def test_contributions_are_those_of_the_metric_and_intervals_are_paired():
    labels, scores = _scored()
    found = bootstrap_contributions(auc, labels, scores, np.arange(60), n=50)
    table = found.set_index(["arm", "hospital"])
    values = {(): 0.5} | {group: auc(labels, own) for group, own in scores.items()}
    for arm, expected in {
        "Shapley": shapley_values(["A", "B", "C"], values.__getitem__),
        "leave one out": leave_one_out(["A", "B", "C"], values.__getitem__),
        "alone": {player: values[player,] - 0.5 for player in "ABC"},
    }.items():
        assert table.loc[arm, "value"].to_dict() == expected
    assert (found["low"] <= found["value"]).all()
    assert (found["value"] <= found["high"]).all()
    # A network that a player does not change has a contribution of zero in every resample.
    free_rider = {group: scores["A",] for group in scores}
    free_rider |= {("B",): np.zeros(60), ("C",): np.zeros(60), ("B", "C"): np.zeros(60)}
    found = bootstrap_contributions(auc, labels, free_rider, np.arange(60), n=50)
    rest = found[(found["arm"] == "Shapley") & (found["hospital"] != "A")]
    assert (rest[["value", "low", "high"]] == 0).all(axis=None)


def test_contributions_need_all_coalitions_of_the_same_films():
    labels, scores = _scored()
    with pytest.raises(ValueError, match=r"Received none of \[\('A', 'B'\)\]"):
        bootstrap_contributions(
            auc, labels, {g: s for g, s in scores.items() if g != ("A", "B")}, np.arange(60)
        )
    with pytest.raises(ValueError, match="B"):
        bootstrap_contributions(auc, labels, scores | {("B",): np.zeros(5)}, np.arange(60))
    with pytest.raises(ValueError, match="1 to 12 players"):
        bootstrap_contributions(auc, labels, {}, np.arange(60))


# Reconstruction -----------------------------------------------------------------------------------


def _sent(n_samples, *update):
    return SimpleNamespace(n_samples=n_samples, parameters_update=[np.float32(update)])


def test_rebuilding_by_hand():
    start = {"w": np.float32([1, 1])}
    rounds = [
        {"A": _sent(10, 1, 0), "B": _sent(30, 0, 4)},
        {"A": _sent(10, 2, 2), "B": _sent(30, 0, 0)},
    ]
    assert rebuild_coalition(start, rounds, ())["w"].tolist() == [1, 1]
    assert rebuild_coalition(start, rounds, ("A",))["w"].tolist() == [4, 3]
    assert rebuild_coalition(start, rounds, ("A", "B"))["w"].tolist() == [1.75, 4.5]
    assert start["w"].tolist() == [1, 1]


def test_an_update_that_is_missing_or_does_not_fit_names_its_hospital():
    start, rounds = {"w": np.float32([1, 1])}, [{"A": _sent(10, 1, 0)}]
    with pytest.raises(ValueError, match=r"Received none of \['B'\]"):
        rebuild_coalition(start, rounds, ("A", "B"))
    with pytest.raises(ValueError, match="the update of A"):
        rebuild_coalition({"w": np.float32([1])}, rounds, ("A",))


# A real federation --------------------------------------------------------------------------------


def _build():
    films = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(4, 3, 2, activation="relu")(films)
    return keras.Model(films, keras.layers.Dense(1)(keras.layers.Flatten()(x)))


def _make():
    return TFFedAvgAlgo(
        model=_build,
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(1e-2),
        index_generator=NpIndexGenerator(batch_size=4, num_updates=4, seed=0),
        dataset=ChestXrayDataset,
        seed=0,
    )


def _weights(algo):
    return get_parameters(exchanged_variables(algo.model))


def _films(*folders):
    return ChestXrayOpener().get_data(list(folders))


@pytest.fixture(scope="module")
def runs(tiny_samples):
    """Train every coalition of two hospitals and a copy of the first for two rounds."""
    first, second = list(tiny_samples)[:2]
    origin = {first: first, "copy": first, second: second}
    films = {player: _films(tiny_samples[name]["train"]) for player, name in origin.items()}
    algo, scorer = _make(), _make()
    algo.trace(films[first])
    start = _weights(algo)
    judged = _films(*(own["train"] for own in tiny_samples.values()))
    rounds = {
        group: train_coalition(algo, {player: films[player] for player in group}, num_rounds=2)
        for group in list_coalitions(list(films))[1:]
    }

    def score(rounds, group):
        set_parameters(exchanged_variables(scorer.model), rebuild_coalition(start, rounds, group))
        return auc(judged, scorer.predict(judged))

    return SimpleNamespace(players=list(films), start=start, rounds=rounds, score=score)


@pytest.mark.slow
def test_a_copied_hospital_gets_the_same_value_as_its_original(runs):
    values = {(): 0.5} | {group: runs.score(own, group) for group, own in runs.rounds.items()}
    first, copy, _ = runs.players
    shares = shapley_values(runs.players, values.__getitem__)
    assert shares[first] == shares[copy]
    assert math.fsum(shares.values()) == pytest.approx(values[tuple(runs.players)] - 0.5, abs=1e-15)
    out = leave_one_out(runs.players, values.__getitem__)
    assert out[first] == out[copy]


@pytest.mark.slow
def test_after_one_round_the_guess_of_one_run_is_exact(runs):
    everybody = tuple(runs.players)
    one_run = runs.rounds[everybody][:1]
    for group, own in runs.rounds.items():
        guessed, trained = (
            rebuild_coalition(runs.start, rounds, group) for rounds in (one_run, own[:1])
        )
        np.testing.assert_equal(guessed, trained)
    exact, guessed = (
        shapley_values(runs.players, lambda g, pick=pick: 0.5 if not g else runs.score(pick(g), g))
        for pick in (lambda group: runs.rounds[group][:1], lambda group: one_run)
    )
    assert exact == guessed


@pytest.mark.slow
def test_after_two_rounds_the_guess_is_exact_for_everybody_alone(runs):
    everybody = tuple(runs.players)

    def distance(group):
        guessed, trained = (
            rebuild_coalition(runs.start, runs.rounds[of], group) for of in (everybody, group)
        )
        return max(np.abs(guessed[name] - trained[name]).max() for name in guessed)

    assert distance(everybody) == 0
    assert distance(everybody[-1:]) > 1e-3


@pytest.mark.slow
def test_a_coalition_trains_as_a_simulated_federation_does(tiny_samples, runs):
    group = tuple(player for player in runs.players if player != "copy")
    algo = _make()
    before = _weights(algo)
    with Federation(tiny_samples) as federation:
        states, _ = federation.simulate(
            FedAvg(algo=algo, metric_functions={"auc": auc}), train_on=group, num_rounds=2
        )
        simulated = _weights(federation.algos(states)[group[0], 2])
    ours = rebuild_coalition(runs.start, runs.rounds[group], group)
    for name, tensor in ours.items():
        np.testing.assert_allclose(tensor, simulated[name], rtol=0, atol=1e-6)
        assert not np.array_equal(tensor, before[name])


def test_a_coalition_needs_members_and_rounds():
    with pytest.raises(ValueError, match="at least one hospital"):
        train_coalition(None, {}, num_rounds=1)
    with pytest.raises(ValueError, match="num_rounds to be at least 1"):
        train_coalition(None, {"A": {}}, num_rounds=0)
