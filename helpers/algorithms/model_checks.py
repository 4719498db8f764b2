"""Checks of what an algorithm is given: each part is used, or refused with its name."""

import inspect
from collections.abc import Callable

import keras
from substrafl.exceptions import (
    DatasetSignatureError,
    DatasetTypeError,
    NumUpdatesValueError,
)
from substrafl.index_generator import BaseIndexGenerator

# Methods of a model that Keras' fit and predict would call, and the algorithm does not.
_STEPS = (
    *("train_step", "predict_step", "make_train_function", "make_predict_function"),
    "_compute_loss",  # Keras' own way from the step to compute_loss
)


def check_model(model: keras.Model, *, is_trained: bool) -> None:
    """Refuse a model with a part that would not be used.

    Parameters
    ----------
    model : keras.Model
        What the builder returned.
    is_trained : bool
        Whether it must have weights to train.

    Raises
    ------
    TypeError
        If it is not a Keras model.
    ValueError
        If it is not built, has its own steps, is compiled, or has nothing to train.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"Expected model to return a keras.Model. Received {type(model).__name__}.")
    if not model.built:
        raise ValueError(
            f"Expected a built model. Received {model.name!r} without variables: in the builder, "
            "call model.build((None, 64, 64, 1)) with the shape of its inputs, or the model on one "
            "batch."
        )
    own = [
        name
        for name in _STEPS
        if getattr(type(model), name, None) is not getattr(keras.Model, name, None)
    ]
    if own:
        raise ValueError(
            f"Expected a model whose steps are Keras' own. Received {type(model).__name__} with "
            f"its own {', '.join(own)}, which no algorithm calls: override _train_step or "
            "_local_predict of the algorithm, or compute_loss of the model."
        )
    if model.compiled:
        config = model.get_compile_config()
        given = [name for name, value in config.items() if value not in (None, False, "auto", 1)]
        raise ValueError(
            f"Expected a builder that does not compile the model. Received {model.name!r}, "
            f"compiled with {', '.join(given)}: give loss and optimizer to the algorithm; weights "
            "of several losses belong in the losses, or in compute_loss of the model."
        )
    if is_trained and not model.trainable_variables:
        raise ValueError(
            f"Expected a model with weights to train. Received {model.name!r}, in which every "
            "layer is frozen or has none."
        )


def _find(cls, name):
    """Look an attribute up; None if it is not there."""
    return getattr(cls, name, None)


def check_builder(model: Callable[[], keras.Model]) -> None:
    """Refuse a model in place of the function that builds it.

    Parameters
    ----------
    model : callable
        What was given.

    Raises
    ------
    TypeError
        If it is a model, or cannot be called.
    """
    if isinstance(model, keras.Model) or not callable(model):
        raise TypeError(
            "Expected model to be a function that builds the Keras model, for example "
            f"model=build_cnn. Received {type(model).__name__}: a live model would travel with "
            "the code and be shared by the organizations of a simulation."
        )


def check_dataset(dataset: type) -> None:
    """Refuse what cannot serve as dataset class, with SubstraFL's exceptions.

    Parameters
    ----------
    dataset : type
        What was given.

    Raises
    ------
    substrafl.exceptions.DatasetTypeError
        If it is not a class, or has no length or no batches.
    substrafl.exceptions.DatasetSignatureError
        If its constructor takes other arguments.
    """
    if not inspect.isclass(dataset):
        raise DatasetTypeError(
            "Expected dataset to be a class, so that dataset(data_from_opener, "
            f"is_inference=False) makes a dataset. Received {dataset!r}."
        )
    missing = [name for name in ("__len__", "__getitem__") if not hasattr(dataset, name)]
    if missing:
        raise DatasetTypeError(f"Expected {dataset.__name__} to define {' and '.join(missing)}.")
    parameters = inspect.signature(dataset.__init__).parameters
    missing = [name for name in ("data_from_opener", "is_inference") if name not in parameters]
    if missing:
        raise DatasetSignatureError(
            f"Expected {dataset.__name__}.__init__ to have the parameters data_from_opener and "
            f"is_inference. Received {list(parameters)}."
        )


def check_optimizer(optimizer: keras.optimizers.Optimizer | str | None) -> None:
    """Refuse an optimizer that was used before.

    Parameters
    ----------
    optimizer : keras.optimizers.Optimizer, str or None
        What was given.

    Raises
    ------
    ValueError
        If it belongs to a model already.
    """
    if getattr(optimizer, "built", False):
        raise ValueError(
            "Expected a new optimizer. Received one that belongs to a model already: its slots "
            "would be those of another training. Make one for each algorithm."
        )


def check_index_generator(index_generator: object, *, is_trained: bool) -> None:
    """Refuse what is not an index generator, or makes no update.

    Parameters
    ----------
    index_generator : substrafl.index_generator.BaseIndexGenerator or None
        What was given; None for an algorithm with its own loop.
    is_trained : bool
        Whether a round must have updates.

    Raises
    ------
    TypeError
        If it is something else.
    substrafl.exceptions.NumUpdatesValueError
        If a round would have no update.
    """
    if not isinstance(index_generator, BaseIndexGenerator | None):
        raise TypeError(
            "Expected index_generator such as NpIndexGenerator(batch_size=32, num_updates=20). "
            f"Received {type(index_generator).__name__}."
        )
    if is_trained and index_generator is not None and index_generator.num_updates <= 0:
        raise NumUpdatesValueError(
            f"Expected num_updates of at least 1. Received {index_generator.num_updates}."
        )
