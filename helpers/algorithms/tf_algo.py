"""Local training of a Keras model inside one SubstraFL task: the base of all algorithms here."""

import abc
import copy
import functools
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any, Self

import cloudpickle
import keras
import numpy as np
import tensorflow as tf
from substrafl.algorithms.algo import Algo
from substrafl.exceptions import BatchSizeNotFoundError, OptimizerValueError
from substrafl.index_generator import BaseIndexGenerator

from helpers.algorithms.arguments import (
    SignatureOfInit,
    check_flag,
    describe,
    describe_settings,
    name_unknown_arguments,
)
from helpers.algorithms.local_state import assign_variables, model_variables, read_variables
from helpers.algorithms.loss_checks import check_loss, check_targets
from helpers.algorithms.model_checks import (
    check_builder,
    check_dataset,
    check_index_generator,
    check_model,
    check_optimizer,
)
from helpers.algorithms.pickling import check_that_it_travels, pickle_whole_objects
from helpers.algorithms.process_settings import build_as_in_a_task, grow_gpu_memory
from helpers.algorithms.randomness import get_random_state, set_random_state, with_seed
from helpers.algorithms.traces import Traces
from helpers.exchange import exchanged_variables


class TFAlgo(Algo):
    """Base of the TensorFlow algorithms, the twin of SubstraFL's ``TorchAlgo``.

    A child class adds a ``train`` method for its strategy and lists in ``strategies`` the
    strategies that it serves. Every hook of ``TorchAlgo`` exists under the same name: ``train``,
    ``predict``, ``_local_train``, ``_local_predict``, ``_get_state_to_save``,
    ``_update_from_checkpoint``, ``summary``, ``strategies`` and ``model``.

    Parameters
    ----------
    model : callable
        A function without arguments that builds and returns the Keras model. It is called again
        in every task; a live model would have to travel with the code.
    loss : keras.losses.Loss or str
        What Keras' ``compile`` takes as loss (``criterion`` in the PyTorch interface); every task
        trains with the object itself, not with a copy made by ``get_config``. It must fit the
        model's outputs, see :func:`helpers.algorithms.loss_checks.check_loss`.
    index_generator : substrafl.index_generator.BaseIndexGenerator or None
        Draws the indices of each batch, and how many batches a round has.
    dataset : type
        A class with ``__init__(self, data_from_opener, is_inference)``, ``__len__`` (number of
        samples) and ``__getitem__``, which takes an array of indices and returns one batch:
        ``(x, y)`` or ``(x, y, sample_weight)`` for training, ``x`` for inference.
    optimizer : keras.optimizers.Optimizer or str, optional
        A new one, not used with any model. Every task uses a copy with all its settings, and
        then loads its slots. A learning-rate schedule is part of the optimizer,
        as always in Keras. With a policy of ``mixed_float16`` Keras' ``compile`` wraps it in a
        loss scale.
    seed : int, optional
        Seeds Python, NumPy and TensorFlow when the algorithm is built. With None these keep their
        states, but the *initial weights* are still drawn with seed 0: organizations that start
        from different weights cannot be averaged. Without a seed no result is cached.
    disable_gpu : bool, default=False
        Stay on the CPU. Otherwise a GPU is used when there is one, and takes only the memory
        that it needs.

    Raises
    ------
    TypeError
        If an argument is unknown, cannot travel to a task, or is a model in place of its builder.
    ValueError
        If the model does not fit its loss, is not built, has nothing to train, was compiled by its
        builder, or has its own training or prediction step, which no algorithm would run; if the
        optimizer was used before; or if this process has settings that a task would not have.

    Notes
    -----
    A round corresponds to one call of ``Model.fit``: it ends with the optimizer's
    ``finalize_variable_values``, so that with ``use_ema=True`` the averaged weights are shared.

    The training step is traced once at each organization, as by ``tf.function``: a Python value
    that it reads keeps its value of the first round. What changes from round to round belongs
    in a ``keras.Variable``, which ``_step_variables`` lists and ``_get_state_to_save`` keeps.

    ``simulate_experiment`` runs all organizations in one process. Draws from the *global*
    generators of Python, NumPy or TensorFlow (inside a dataset, say) are interleaved there, and
    differ from those of real tasks. Dropout and the index generator have their own generators and
    do not differ.
    """

    # Attributes that a class keeps between tasks, besides those of _get_state_to_save and of the
    # classes that it inherits from.
    _own_state = ()
    _with_batch_norm_parameters = False
    __signature__ = SignatureOfInit()  # for help() and editors, which else see that of __new__

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Record the arguments, from which SubstraFL recreates the algorithm in every task."""
        algo = super().__new__(cls)
        algo.args, algo.kwargs = args, kwargs
        return algo

    @name_unknown_arguments
    def __init__(
        self,
        model: Callable[[], keras.Model],
        loss: keras.losses.Loss | str | None,
        index_generator: BaseIndexGenerator | None,
        dataset: type,
        optimizer: keras.optimizers.Optimizer | str | None = None,
        seed: int | None = None,
        disable_gpu: bool = False,
    ) -> None:
        check_dataset(dataset)
        check_builder(model)
        check_index_generator(index_generator, is_trained=optimizer is not None)
        check_optimizer(optimizer)
        check_flag("disable_gpu", disable_gpu)
        pickle_whole_objects()
        check_that_it_travels({"model": model, "loss": loss, "optimizer": optimizer})
        # Copies: training must not change the caller's objects, nor they the training.
        args, kwargs = copy.deepcopy((self.args, self.kwargs))
        super().__init__(*args, **kwargs)
        self.seed, self.disable_gpu = seed, disable_gpu
        self._build_model = model
        self._loss, self._given_optimizer, self._index_generator = copy.deepcopy(
            (loss, optimizer, index_generator)
        )
        self._dataset = dataset
        self._traces = Traces()
        grow_gpu_memory()
        self._model = with_seed(seed, self._build)

    def _build(self):
        """Build the model, ready to train."""
        pickle_whole_objects()  # in the process of a copy, too
        with tf.device(self._device):
            model = build_as_in_a_task(self._build_model)
            check_model(model, is_trained=self._given_optimizer is not None)
            if self._loss is not None:
                check_loss(model, self._loss)
            if self._given_optimizer is not None:
                optimizer = copy.deepcopy(self._given_optimizer)
                model.compile(optimizer=optimizer, loss=self._loss, jit_compile=False)
                model.optimizer.build(model.trainable_variables)
        return model

    def __getstate__(self) -> dict[str, Any]:
        """Copy (deepcopy) and pickle everything but the network, of which only the values travel.

        Cached properties belong to this network, and are not copied.
        """
        pickle_whole_objects()
        state = {
            name: value
            for name, value in vars(self).items()
            if not isinstance(getattr(type(self), name, None), functools.cached_property)
        }
        if "_model" in vars(self):
            state["_values"] = read_variables(self._variables())
        return state

    @functools.cached_property
    def _model(self):
        """Build the network of a copy on first use, which an aggregation never makes."""
        self._model = with_seed(None, self._build)
        assign_variables(self._variables(), vars(self).pop("_values"))
        return self._model

    def _variables(self):
        """List all variables of model and optimizer."""
        optimizer = self._optimizer
        return model_variables(self._model) + ([] if optimizer is None else optimizer.variables)

    @property
    def model(self) -> keras.Model:
        """keras.Model: the model, as ``download_algo_state`` returns it."""
        return self._model

    @property
    def _optimizer(self):
        """The optimizer that trains: a copy of the given one, perhaps wrapped in a loss scale."""
        return None if self._given_optimizer is None else self._model.optimizer

    @functools.cached_property
    def _exchanged(self):
        """The variables that are exchanged, by their names."""
        return exchanged_variables(self._model, self._with_batch_norm_parameters)

    @property
    def tensor_names(self) -> list[str]:
        """List of str: names of the exchanged tensors, in the order in which they are sent."""
        return list(self._exchanged)

    @property
    def _device(self):
        """Name of the device that trains: the first GPU, unless there is none or it is disabled."""
        has_gpu = bool(tf.config.list_physical_devices("GPU"))
        return "/GPU:0" if has_gpu and not self.disable_gpu else "/CPU:0"

    def trace(self, data_from_opener: Any) -> None:
        """Trace training and prediction now, so that no copy of this algorithm has to.

        A simulation copies the algorithm for every hospital, and each copy takes half a second to
        trace. It pays if many experiments are simulated. Nothing is trained or drawn, and the
        results are the same.

        Parameters
        ----------
        data_from_opener : dict
            What the opener's ``get_data`` returns, of any hospital.

        Raises
        ------
        ValueError
            If there is no sample.
        """
        batch = self._open(data_from_opener)[np.arange(1)]
        with tf.device(self._device):
            self._trace_step(tf.nest.map_structure(tf.convert_to_tensor, batch))

    @abc.abstractmethod
    def train(self, data_from_opener: Any, shared_state: Any = None) -> Any:
        """Train for one round; each child class does what its strategy requires.

        Parameters
        ----------
        data_from_opener : dict
            What the opener's ``get_data`` returns.
        shared_state : object, optional
            What the aggregation sent; None in the first round.
        """
        raise NotImplementedError

    def predict(self, data_from_opener: Any, shared_state: Any = None) -> np.ndarray | list | dict:
        """Predict every sample of the opener's data.

        Parameters
        ----------
        data_from_opener : dict
            What the opener's ``get_data`` returns.
        shared_state : object, optional
            Not used.

        Returns
        -------
        numpy.ndarray, shape (n, n_outputs), float32
            The model's outputs, logits or probabilities as the model was built; a list or
            dictionary of arrays when the model has several outputs.
        """
        return self._local_predict(self._open(data_from_opener, is_inference=True))

    def _open(self, data_from_opener, *, is_inference=False):
        """Make a dataset of the opener's data; refuse one without any sample."""
        dataset = self._dataset(data_from_opener, is_inference=is_inference)
        if not len(dataset):
            raise ValueError(
                f"Expected at least one sample (film) to {'predict' if is_inference else 'train'} "
                f"on. Received none: {self._dataset.__name__} has the length 0 with this "
                "organization's data."
            )
        return dataset

    def _local_predict(self, predict_dataset):
        """Predict a dataset made for inference, in batches of the index generator's size.

        Returns an array of shape (n, n_outputs), float32, or a structure of such arrays.
        """
        if self._index_generator is None:
            raise BatchSizeNotFoundError(
                "No batch size to predict with: give the algorithm an index_generator, or "
                "override its _local_predict method."
            )
        n_samples = len(predict_dataset)
        size = self._index_generator.batch_size or n_samples
        with tf.device(self._device):
            batches = [
                self._predict_batch(predict_dataset[np.arange(start, min(start + size, n_samples))])
                for start in range(0, n_samples, size)
            ]
        return tf.nest.map_structure(lambda *parts: np.concatenate(parts), *batches)

    def _predict_batch(self, batch):
        """Run the traced model on one batch of the dataset."""
        batch = tf.nest.map_structure(tf.convert_to_tensor, batch)
        return self._trace_prediction(batch)(batch)

    def _trace_prediction(self, batch):
        """Return the prediction as a graph."""
        # Some layers, such as RandomFlip, are in training mode by default.
        return self._traces.get(
            "prediction",
            lambda x: self._model(x, training=False),
            (batch,),
            lambda: model_variables(self._model),
        )

    def _local_train(self, train_dataset):
        """Train on ``num_updates`` batches of the index generator.

        Override it for another training loop; the batches of ``train_dataset`` must come from
        ``self._index_generator``, so that they continue where the last round stopped.
        """
        if self._optimizer is None:
            raise OptimizerValueError(
                "No optimizer found: give the algorithm one, or override its _local_train method."
            )
        with tf.device(self._device):
            for indices in self._index_generator:
                self._update_weights(train_dataset[indices])

    def _train_round(self, train_dataset):
        """Train for one round: all batches of the index generator, or SubstraFL's error."""
        if self._index_generator.n_samples is None:
            self._index_generator.n_samples = len(train_dataset)
        self._index_generator.reset_counter()
        self._local_train(train_dataset)
        self._index_generator.check_num_updates()
        if self._optimizer is not None:  # as Keras' fit ends
            self._optimizer.finalize_variable_values(self._model.trainable_variables)

    def _train_step(self, x, y, sample_weight=None):
        """Make one update of the weights on one batch; traced once by TensorFlow.

        The graph is part of the local state, so that the next round need not trace it.

        Parameters
        ----------
        x, y : tensor, shape (n, …)
            Samples and targets, or structures of them.
        sample_weight : tensor, shape (n,), optional
            Weight of each sample in the loss.

        Returns
        -------
        tensor, shape (), float32
            The loss before the update, without penalty.
        """
        loss, gradients = self._compute_gradients(x, y, sample_weight)
        self._optimizer.apply(gradients, self._model.trainable_variables)
        return loss

    def _compute_gradients(self, x, y, sample_weight=None):
        """Return the loss, and the gradients of the trained weights as the optimizer takes them."""
        with tf.GradientTape() as tape:
            loss = self._compute_loss(x, y, sample_weight)
            penalty = self._penalty()
            total = self._optimizer.scale_loss(loss if penalty is None else loss + penalty)
        return loss, tape.gradient(total, self._model.trainable_variables)

    def _compute_loss(self, x, y, sample_weight=None):
        """Return the model's loss on a batch, shape (), as in training, without penalty."""
        predictions = self._model(x, training=True)
        check_targets(y, predictions, self._loss)
        compute_loss = self._model.compute_loss
        # As in Keras, whose compute_loss of a model need not take the argument training.
        mode = {"training": True} if "training" in signature(compute_loss).parameters else {}
        return compute_loss(x, y, predictions, sample_weight, **mode)

    def _penalty(self):
        """Return what a child class adds to the loss: a tensor of shape (), or None."""
        return None

    def _step_variables(self):
        """List all Keras variables that the training step reads or writes."""
        return self._variables()

    def _update_weights(self, batch):
        """Run the traced training step on one batch of the dataset."""
        batch = tf.nest.map_structure(tf.convert_to_tensor, batch)
        return self._trace_step(batch)(*batch)

    def _trace_step(self, batch):
        """Return the training step as a graph."""
        step = self._traces.get("step", self._train_step, batch, self._step_variables)
        if "prediction" not in self._traces:
            # For the evaluating tasks, which cannot pass a trace on to each other.
            self._trace_prediction(self._prediction_inputs(batch[0]))
        return step

    def _prediction_inputs(self, x):
        """Return the inputs of a training batch in the form that a prediction takes."""
        return x

    def _get_state_to_save(self):
        """Collect everything that the next task needs to continue as without interruption.

        A child class adds its own entries, and pops them in ``_update_from_checkpoint``.
        """
        return {
            "values": read_variables(self._variables()),
            "index_generator": self._index_generator,
            "disable_gpu": self.disable_gpu,
            "random_state": get_random_state(),
            "traces": self._traces,
        } | {name: getattr(self, name) for name in self._state_names()}

    def _update_from_checkpoint(self, path):
        """Load a file of :meth:`save_local_state`, and return the entries that are not used yet.

        A child class pops its own entries from what this method returns.
        """
        path = Path(path)
        if not path.is_file():
            raise ValueError(f"Expected a saved local state. There is no file {path.name}.")
        with path.open("rb") as file:
            checkpoint = cloudpickle.load(file)
        self.disable_gpu = checkpoint.pop("disable_gpu")
        assign_variables(self._variables(), checkpoint.pop("values"))
        self._index_generator = checkpoint.pop("index_generator")
        set_random_state(checkpoint.pop("random_state"))
        self._traces = checkpoint.pop("traces")
        for name in self._state_names():
            setattr(self, name, checkpoint.pop(name))
        return checkpoint

    @classmethod
    def _state_names(cls):
        """List the own state of every class in the order of inheritance."""
        return [name for base in cls.__mro__ for name in vars(base).get("_own_state", ())]

    def save_local_state(self, path: Path) -> None:
        """Write the local state, which is not part of any update.

        SubstraFL allows the organization itself and all that test to read it, as one that does not
        train needs a model to test.

        Parameters
        ----------
        path : pathlib.Path
            The file to write.
        """
        with Path(path).open("wb") as file:
            cloudpickle.dump(self._get_state_to_save(), file)

    def load_local_state(self, path: Path) -> Self:
        """Load what :meth:`save_local_state` wrote.

        Parameters
        ----------
        path : pathlib.Path
            The file to read.

        Returns
        -------
        TFAlgo
            The algorithm itself.

        Raises
        ------
        ValueError
            If the state belongs to another model, or an entry of it was not used.
        """
        left = self._update_from_checkpoint(Path(path))
        if left:
            raise ValueError(
                f"Entries of the local state were saved but not loaded: {sorted(left)}. Pop each "
                "of them in _update_from_checkpoint."
            )
        return self

    def summary(self) -> dict[str, Any]:
        """Describe the algorithm for SubstraFL's experiment summary.

        Returns
        -------
        dict
            JSON-serializable.
        """
        optimizer = self._optimizer
        return super().summary() | {
            "model": describe(self._build_model),
            "loss": getattr(self._loss, "name", None) or describe(self._loss),
            "optimizer": None
            if optimizer is None
            else {"type": str(type(optimizer)), "parameters": describe_settings(optimizer)},
        }
