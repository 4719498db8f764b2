import matplotlib.pyplot as plt
import numpy as np
import pytest

from helpers.plots import plot_maps


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_every_film_is_beside_its_maps():
    rng = np.random.default_rng(0)
    films = rng.integers(0, 256, (2, 8, 8, 1), dtype=np.uint8)
    maps = {"grad_cam": rng.random((2, 8, 8)), "nothing": np.zeros((2, 8, 8))}
    axes = plot_maps(films, maps, titles=["Mass", "Nodule"])
    assert axes.shape == (2, 3)
    np.testing.assert_array_equal(axes[1, 0].images[0].get_array(), films[1, ..., 0])
    np.testing.assert_array_equal(axes[1, 1].images[0].get_array(), maps["grad_cam"][1])
    limit = maps["grad_cam"][1].max()
    assert axes[1, 1].images[0].get_clim() == (-limit, limit)  # white is zero
    assert [ax.get_title() for ax in axes[0]] == ["Mass", "grad cam", "nothing"]


def test_the_description_says_what_is_inside_the_outline():
    masks = np.zeros((1, 4, 4), bool)
    masks[0, 1:3, 1:3] = True
    maps = {"good": masks.astype(float), "bad": 1.0 - masks}
    axes = plot_maps(np.zeros((1, 4, 4)), maps, masks=masks)
    said = axes[0, 0].figure.get_label()
    assert said.endswith("positive values in the outline: 0.00 (bad) to 1.00 (good).")
