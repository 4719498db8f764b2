import numpy as np
from substrafl.algorithms.tensorflow import TFSingleOrganizationAlgo
from substrafl.strategies.schemas import StrategyName


def test_two_rounds_are_those_of_numpy(settings, data, weights_of, draw_batches, descend):
    algo, draw = TFSingleOrganizationAlgo(**settings()), draw_batches(20)
    expected = weights_of(algo)
    for _ in range(2):
        shared = algo.train(data_from_opener=data, shared_state=None, _skip=True)
        expected = descend(expected, data, draw())
        for weight, value in zip(weights_of(algo), expected, strict=True):
            np.testing.assert_allclose(weight, value, rtol=0, atol=1e-5)
    assert [array.size for array in shared.values()] == [0]  # nothing leaves


def test_it_serves_one_strategy(settings):
    algo = TFSingleOrganizationAlgo(**settings())
    assert algo.strategies == [StrategyName.SINGLE_ORGANIZATION]
