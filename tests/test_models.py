"""The pages' network: size, output, normalization."""

import numpy as np
import pytest

from helpers.algorithms.pairing import has_logits
from helpers.exchange import parameter_names
from helpers.models import build_cnn


def test_size_and_output():
    model = build_cnn()
    # Convolutions 3·3·(1·16 + 16·32 + 32·64 + 64·64) and biases, norms, the last layer.
    channels = 16 + 32 + 64 + 64
    assert model.count_params() == 9 * (16 + 512 + 2048 + 4096) + channels * 3 + 65 == 60641
    assert model(np.zeros((2, 64, 64, 1), "float32")).shape == (2, 1)
    assert has_logits(model)


def test_normalization_decides_what_has_statistics():
    extra = {
        kind: len(parameter_names(build_cnn(normalization=kind), True))
        - len(parameter_names(build_cnn(normalization=kind)))
        for kind in ("group", "batch", None)
    }
    assert extra == {"group": 0, "batch": 8, None: 0}
    with pytest.raises(ValueError, match=r"'group', 'batch' or None\. Received 'layer'"):
        build_cnn(normalization="layer")
