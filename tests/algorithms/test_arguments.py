"""Arguments: each is used, or refused by its name and with the one that was meant."""

import functools
import inspect
import json

import keras
import numpy as np
import pytest

from helpers import algorithms
from helpers.algorithms.arguments import check_flag, describe, name_unknown_arguments

ALGORITHMS = [
    algorithms.TFCyclicAlgo,
    algorithms.TFFedAvgAlgo,
    algorithms.TFFedPCAAlgo,
    algorithms.TFNewtonRaphsonAlgo,
    algorithms.TFScaffoldAlgo,
    algorithms.TFSingleOrganizationAlgo,
]
# Each name, the argument that an algorithm must have for the hint, and the hint.
ELSEWHERE = {
    "criterion": ("loss", "loss, a Keras loss"),
    "scheduler": ("optimizer", "a schedule within the optimizer, such as keras.optimizers.SGD("),
    "use_gpu": ("disable_gpu", "disable_gpu."),
    "device": ("disable_gpu", "disable_gpu."),
    "lr": ("optimizer", "an optimizer with it"),
    "epochs": ("index_generator", "index_generator, such as NpIndexGenerator("),
    "batch_size": ("index_generator", "index_generator, such as NpIndexGenerator("),
    "metrics": ("dataset", "metric_functions of the strategy."),
    "class_weight": ("dataset", "a dataset that returns (x, y, sample_weight)."),
    "loss_weights": ("loss", "losses that hold their weights"),
}
NEAR = {"dateset": "dataset", "disable_gpus": "disable_gpu", "seeds": "seed"}


@pytest.mark.parametrize("cls", ALGORITHMS)
def test_a_misspelled_argument_is_refused_with_the_one_that_was_meant(cls):
    for name, meant in NEAR.items():
        with pytest.raises(TypeError, match=rf"Received '{name}'\. Use {meant}\.$"):
            cls(**{name: None})


@pytest.mark.parametrize("cls", ALGORITHMS)
@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_name_of_torch_or_of_fit_is_refused_with_its_counterpart(cls, name):
    argument, hint = ELSEWHERE[name]
    known = inspect.signature(cls).parameters
    if name in known:
        pytest.skip(f"{cls.__name__} takes {name}")
    with pytest.raises(TypeError, match=f"arguments of {cls.__name__}: ") as error:
        cls(**{name: None})
    # Nothing is said of an argument that this algorithm has not, and nothing else is guessed.
    after = f" Use {hint}" if argument in known else ""
    assert f"Received {name!r}.{after}" in str(error.value)
    assert ("Use" in str(error.value)) == (argument in known)


@pytest.mark.parametrize("cls", ALGORITHMS)
def test_a_class_shows_the_arguments_of_its_constructor(cls):
    shown = list(cls.__signature__.parameters)
    assert shown == list(inspect.signature(cls.__init__).parameters)[1:]
    assert list(inspect.signature(cls).parameters) == shown


def test_an_argument_like_no_other_is_refused_with_the_list_of_all():
    @name_unknown_arguments
    def init(self, first, second=2):
        self.given = first, second

    with pytest.raises(TypeError, match=r"first, second\. Received 'zzz'\.$"):
        init(object(), zzz=1)
    holder = type("Holder", (), {})()
    init(holder, 1, second=3)
    assert holder.given == (1, 3)
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        init(holder)


@pytest.mark.parametrize("value", [None, 0, 1, "False", []])
def test_a_flag_is_true_or_false_and_nothing_else(value):
    with pytest.raises(TypeError, match=r"Expected flag to be True or False\. Received"):
        check_flag("flag", value)


def test_flags_of_numpy_are_flags():
    check_flag("flag", np.bool_(True))
    check_flag("flag", False)


@pytest.mark.parametrize("cls", [one for one in ALGORITHMS if one is not algorithms.TFFedPCAAlgo])
def test_none_is_no_choice_of_batch_norm_parameters(cls):
    given = dict.fromkeys(("model", "loss", "optimizer", "index_generator", "dataset"))
    if cls is algorithms.TFNewtonRaphsonAlgo:
        given = dict.fromkeys(("model", "loss", "batch_size", "dataset"))
    message = "with_batch_norm_parameters to be True or False. Received None"
    if cls is algorithms.TFSingleOrganizationAlgo:  # it shares nothing
        message = "Received 'with_batch_norm_parameters'"
    with pytest.raises(TypeError, match=message):
        cls(**given, with_batch_norm_parameters=None)


class Setting:
    """Something with the address of its place in memory in its repr."""


def function():
    """Do nothing."""


@pytest.mark.parametrize(
    ("value", "described"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (None, None),
        ("text", "text"),
        ((1, [2.0, {"a": Setting()}]), [1, [2.0, {"a": "Setting"}]]),
        ({1: function}, {"1": "function"}),
        (Setting, "Setting"),
        (functools.partial(function, 1), "function"),
        (functools.partial(functools.partial(function), 1), "function"),
        (keras.losses.Huber(), "Huber"),
        (lambda: 0, "<lambda>"),
    ],
)
def test_a_description_is_json_and_the_same_in_every_process(value, described):
    assert json.loads(json.dumps(describe(value))) == described
