"""Pickling: losses and optimizers arrive with every setting."""

import cloudpickle
import keras

from helpers.algorithms.pickling import pickle_whole_objects


def test_settings_that_keras_configuration_leaves_out_arrive():
    pickle_whole_objects()
    given = keras.losses.Huber(delta=0.1)
    arrived = cloudpickle.loads(cloudpickle.dumps(given))
    assert vars(arrived) == vars(given)
    assert float(arrived([[1.0]], [[0.0]])) == float(given([[1.0]], [[0.0]]))
