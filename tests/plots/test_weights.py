import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

from helpers.plots import hospital_colors, plot_distances


@pytest.fixture(autouse=True)
def no_window():
    mpl.use("agg")
    yield
    plt.close("all")


def test_each_hospital_has_a_tooth_a_round_and_the_model_a_square_a_step():
    ax = plot_distances({"A": [0, 1, 0, 2], "B": [0, 3, 0, 4]}, [0.5])
    first, second, steps = ax.lines
    assert first.get_xdata().tolist() == [0, 0.5, 1, 1.5]
    assert first.get_color() == hospital_colors("AB")["A"]
    assert second.get_ydata().tolist() == [0, 3, 0, 4]
    assert (list(steps.get_xdata()), list(steps.get_ydata())) == ([1], [0.5])
