"""Inside: means measured in tasks equal those of pooled films, and small numbers do not leave."""

import functools

import keras
import numpy as np
import pytest
from keras import layers

from helpers.explanation import FilmMean, MeanInside, collect_means, explain, pool_means
from helpers.local_mode import Federation
from helpers.models import start_from
from helpers.openers.chest_xray_opener import ChestXrayOpener

pytest.importorskip("xplique")


def build_tiny():
    film = keras.Input((8, 8, 1))
    x = layers.Conv2D(4, 3, activation="relu")(film)
    return keras.Model(film, layers.Dense(1)(layers.GlobalMaxPooling2D()(x)))


MEASURE = functools.partial(explain, method="gradient_input")


def fake(n, label=None):
    rng = np.random.default_rng(n)
    films = rng.integers(0, 256, (n, 8, 8, 1), dtype=np.uint8)
    return {"images": films, "labels": np.arange(n) % 2 if label is None else np.full(n, label)}


def grey(model, films):
    return films[..., 0] / 255


@pytest.mark.slow
def test_means_of_tasks_equal_those_of_pooled_films(tiny_samples):
    keras.utils.set_random_seed(1)
    model = start_from(build_tiny, build_tiny())
    plan = MeanInside(model, MEASURE, label=1)
    with Federation(tiny_samples) as federation:
        compute_plan, _ = federation.execute(plan, num_rounds=1)
        means = collect_means(federation.clients, compute_plan)
        assert len(federation.tasks()) == len(tiny_samples)
    assert list(means) == list(tiny_samples)
    data = ChestXrayOpener().get_data([own["train"] for own in tiny_samples.values()])
    ill = np.asarray(data["labels"]) == 1
    maps = explain(model(), np.asarray(data["images"])[ill], "gradient_input")
    pooled = pool_means(means)
    assert pooled.n_films == ill.sum() == sum(mean.n_films for mean in means.values())
    np.testing.assert_allclose(pooled.value, maps.mean(axis=0), rtol=0, atol=1e-6)
    assert np.abs(pooled.value).max() > 1e-3
    # Hospitals of unequal size: the mean of their means is another one.
    plain = np.mean([mean.value for mean in means.values()], axis=0)
    assert np.abs(plain - pooled.value).max() > 1e-6


def test_films_with_one_label_cannot_be_chosen_by_several():
    data = fake(8)
    data["labels"] = np.zeros((8, 3), np.float32)
    assert (
        MeanInside(build_tiny, grey).measure_films(data_from_opener=data, _skip=True).n_films == 8
    )
    with pytest.raises(ValueError, match="labels of one finding"):
        MeanInside(build_tiny, grey, label=1).measure_films(data_from_opener=data, _skip=True)


def test_a_mean_of_few_films_stays_in_the_hospital():
    plan = MeanInside(build_tiny, grey, label=0, minimum=5)
    few = plan.measure_films(data_from_opener=fake(8), _skip=True)
    assert few == FilmMean(None, None)
    assert plan.measure_films(data_from_opener=fake(8, label=1), _skip=True) == FilmMean(None, 0)
    enough = plan.measure_films(data_from_opener=fake(10), _skip=True)
    np.testing.assert_allclose(enough.value, (fake(10)["images"][::2, ..., 0] / 255).mean(axis=0))
    assert pool_means({"A": few, "B": enough}).n_films == enough.n_films == 5
    with pytest.raises(ValueError, match="Lower minimum"):
        pool_means({"A": few})


def test_a_measure_gives_one_finite_array_for_each_film():
    for wrong in (lambda model, films: films[:2], lambda model, films: films / 0.0 * 0):
        plan = MeanInside(build_tiny, wrong)
        with (
            np.errstate(all="ignore"),
            pytest.raises(ValueError, match="finite array for each of 6 films"),
        ):
            plan.measure_films(data_from_opener=fake(6), _skip=True)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"model": "live"}, TypeError, "Expected model as a function"),
        ({"measure": "occlusion"}, TypeError, "Expected measure as a function"),
        ({"label": 2}, ValueError, "Expected label 0, 1 or None"),
        ({"minimum": 0}, ValueError, "minimum"),
    ],
)
def test_bad_input(arguments, error, match):
    if "model" in arguments:
        arguments = {"model": build_tiny()}
    with pytest.raises(error, match=match):
        MeanInside(**({"model": build_tiny, "measure": grey} | arguments))
