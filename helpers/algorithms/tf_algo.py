"""Local training of a Keras model inside one SubstraFL task: what all our algorithms share."""

import abc
import copy
import functools
import inspect
import tempfile
from pathlib import Path

import cloudpickle
import keras
import numpy as np
import tensorflow as tf
from substrafl.algorithms.algo import Algo
from substrafl.exceptions import (
    BatchSizeNotFoundError,
    DatasetSignatureError,
    DatasetTypeError,
    OptimizerValueError,
)
from substrafl.index_generator import NpIndexGenerator

from helpers.algorithms.arguments import describe, name_unknown_arguments
from helpers.algorithms.pairing import check_pairing, check_targets
from helpers.algorithms.pickling import check_that_it_travels, pickle_whole_objects
from helpers.algorithms.process_settings import build_as_in_a_task
from helpers.algorithms.randomness import get_random_state, set_random_state, with_seed
from helpers.algorithms.traces import TracedFunction
from helpers.exchange import (
    check_parameters,
    get_parameters,
    increment_parameters,
    name_parameters,
    parameter_names,
    set_parameters,
    subtract_parameters,
)


class TFAlgo(Algo):
    """Base of the TensorFlow algorithms, the twin of SubstraFL's ``TorchAlgo``.

    A child class adds a ``train`` method for its strategy and says in ``strategies`` which
    strategies it serves. Every hook of ``TorchAlgo`` is here under the same name: ``train``,
    ``predict``, ``_local_train``, ``_local_predict``, ``_get_state_to_save``,
    ``_update_from_checkpoint``, ``summary``, ``strategies`` and ``model``.

    Parameters
    ----------
    model : callable
        A function without arguments that builds and returns the Keras model. It is called anew
        in every task; a model that lives outside would have to travel with the code.
    loss : keras.losses.Loss or str
        What Keras' ``compile`` takes as loss (``criterion`` in the PyTorch interface); the object
        itself trains in every task, not what its ``get_config`` says of it. It must fit the
        model's outputs, see :func:`helpers.algorithms.pairing.check_pairing`.
    index_generator : substrafl.index_generator.BaseIndexGenerator or None
        Draws the indices of each batch, and how many batches a round has.
    dataset : type
        A class with ``__init__(self, data_from_opener, is_inference)``, ``__len__`` (number of
        films) and ``__getitem__``, which takes an array of indices and returns one batch:
        ``(x, y)`` or ``(x, y, sample_weight)`` for training, ``x`` for inference.
    optimizer : keras.optimizers.Optimizer or str, optional
        A new one, that no model was trained with. Every task works with a copy of it, with all
        its settings, and then loads its slots. A learning-rate schedule is part of the optimizer,
        as always in Keras. With a policy of ``mixed_float16`` Keras' ``compile`` wraps it in a
        loss scale.
    seed : int, optional
        Seeds Python, NumPy and TensorFlow when the algorithm is built. With None these stay as
        they are, but the *initial weights* are drawn with seed 0 all the same: hospitals that
        start from different weights cannot be averaged.
    disable_gpu : bool, default=False
        Stay on the CPU. Otherwise a GPU is used when there is one, and takes only the memory
        that it needs.

    Raises
    ------
    TypeError
        If an argument is unknown, cannot travel to a task, or is a model in place of its builder.
    ValueError
        If the model does not fit its loss, is not built, has nothing to train, was compiled by its
        builder, or has a training or prediction step of its own, which no algorithm would run; if
        the optimizer was used before; or if this process has settings that a task would not have.

    Notes
    -----
    A round is what one call of ``Model.fit`` would be: it ends with the optimizer's
    ``finalize_variable_values``, so that with ``use_ema=True`` the averaged weights are shared.

    ``simulate_experiment`` runs all hospitals in one process. Draws from the *global* generators
    of Python, NumPy or TensorFlow (inside a dataset, say) are interleaved there, and differ from
    those of real tasks. Dropout and the index generator have generators of their own and do not.
    """

    def __new__(cls, *args, **kwargs):
        """Record the arguments, so that a task can build the same algorithm again."""
        algo = super().__new__(cls)
        algo._arguments = (args, kwargs)
        algo._traces = {}
        return algo

    @name_unknown_arguments
    def __init__(
        self,
        model,
        loss,
        index_generator,
        dataset,
        optimizer=None,
        seed=None,
        disable_gpu=False,
    ):
        super().__init__()
        pickle_whole_objects()
        # SubstraFL pickles these, and makes the algorithm from them in every task.
        self.args, self.kwargs = self._arguments
        _check_dataset(dataset)
        _check_builder(model)
        if not self._is_arriving:
            check_that_it_travels({"model": model, "loss": loss, "optimizer": optimizer})
        _grow_gpu_memory()

        self.disable_gpu = disable_gpu
        self._build_model = model
        self._loss = loss
        self._dataset = dataset
        # Copies: what the caller holds must not change under a training.
        self._index_generator = copy.deepcopy(index_generator)
        self._optimizer = _copy_optimizer(optimizer)
        with tf.device(self._device):
            self._model = with_seed(
                seed, functools.partial(build_as_in_a_task, model), again=self._is_arriving
            )
            _check_model(self._model)
            if loss is not None:
                check_pairing(self._model, loss)
            if self._optimizer is not None:
                if not self._model.trainable_variables:
                    raise ValueError(
                        "Expected a model with weights to train. Received "
                        f"{self._model.name!r}, in which every layer is frozen or has none."
                    )
                self._model.compile(optimizer=self._optimizer, loss=loss, jit_compile=False)
                self._optimizer = self._model.optimizer  # perhaps wrapped in a loss scale
                self._optimizer.build(self._model.trainable_variables)

    @property
    def model(self):
        """keras.Model: the model, as the user gets it from ``download_algo_state``."""
        return self._model

    @property
    def tensor_names(self):
        """List of str: names of the exchanged tensors, for whoever reads what is sent."""
        return parameter_names(self._model, getattr(self, "_with_batch_norm_parameters", False))

    @abc.abstractmethod
    def train(self, data_from_opener, shared_state=None):
        """Train for one round; each child class does what its strategy asks for.

        Parameters
        ----------
        data_from_opener : dict
            What the opener's ``get_data`` returns.
        shared_state : object, optional
            What the aggregation sent; None in the first round.
        """
        raise NotImplementedError

    def predict(self, data_from_opener, shared_state=None):
        """Predict every film of the opener's data.

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
        """Predict a dataset batch by batch.

        Parameters
        ----------
        predict_dataset : object
            An instance of ``dataset`` made for inference.

        Returns
        -------
        numpy.ndarray, shape (n, n_outputs), float32
            Or a structure of such arrays.

        Raises
        ------
        substrafl.exceptions.BatchSizeNotFoundError
            If there is no index generator to tell the batch size.
        """
        if self._index_generator is None:
            raise BatchSizeNotFoundError(
                "No batch size to predict with: give the algorithm an index_generator, or "
                "override its _local_predict method."
            )
        n_films = len(predict_dataset)
        size = self._index_generator.batch_size or n_films
        with tf.device(self._device):
            batches = [
                self._predict_batch(predict_dataset[np.arange(start, min(start + size, n_films))])
                for start in range(0, n_films, size)
            ]
        return tf.nest.map_structure(lambda *parts: np.concatenate(parts), *batches)

    def _predict_batch(self, batch):
        """Run the traced model on one batch of the dataset."""
        batch = tf.nest.map_structure(tf.convert_to_tensor, batch)
        if self._traced_prediction is None:
            self._traced_prediction = self._trace_prediction(batch)
        return self._traced_prediction(batch)

    def _trace_prediction(self, batch):
        """Trace the model for prediction, or recall a trace that fits."""
        return self._trace(
            "prediction",
            # Some layers, such as RandomFlip, train unless they are told not to.
            lambda x: self._model(x, training=False),
            (batch,),
            _model_variables(self._model),
        )

    def _local_train(self, train_dataset):
        """Train on ``num_updates`` batches of the index generator.

        Override it for another training loop; the batches must come from
        ``self._index_generator``, so that they continue where the last round stopped.

        Parameters
        ----------
        train_dataset : object
            An instance of ``dataset`` made for training.

        Raises
        ------
        substrafl.exceptions.OptimizerValueError
            If the algorithm has no optimizer.
        """
        if self._optimizer is None:
            raise OptimizerValueError(
                "No optimizer found: give the algorithm one, or override its _local_train method."
            )
        with tf.device(self._device):
            for indices in self._index_generator:
                self._update_weights(train_dataset[indices])

    def _train_round(self, train_dataset):
        """Train for one round: the index generator's batches, all of them.

        Parameters
        ----------
        train_dataset : object
            An instance of ``dataset`` made for training.

        Raises
        ------
        substrafl.exceptions.IndexGeneratorUpdateError
            If an overridden ``_local_train`` did not take every batch.
        """
        if self._index_generator.n_samples is None:
            self._index_generator.n_samples = len(train_dataset)
        self._index_generator.reset_counter()
        self._local_train(train_dataset)
        self._index_generator.check_num_updates()
        if self._optimizer is not None:  # as Keras' fit ends
            self._optimizer.finalize_variable_values(self._model.trainable_variables)

    def _train_for_update(self, train_dataset, average=None, *, with_batch_norm_parameters=False):
        """Go to the global weights, train for one round, and set the weights back.

        The local state of every hospital, and whatever is evaluated with it, is so the global
        model of this round.

        Parameters
        ----------
        train_dataset : object
            An instance of ``dataset`` made for training.
        average : list of numpy.ndarray, optional
            What the aggregation made of all hospitals' updates: it leads from the global weights
            of the last round to those of this one. None in the first round.
        with_batch_norm_parameters : bool, default=False
            Whether moving means and variances are part of both.

        Returns
        -------
        dict of str to numpy.ndarray
            Weights after the training minus weights before, by name.

        Raises
        ------
        ValueError
            If the average does not fit the model, or the training diverged.
        """
        if average is not None:
            self._add_update(average, with_batch_norm_parameters)
        global_parameters = get_parameters(self._model, with_batch_norm_parameters)
        self._train_round(train_dataset)
        local_parameters = get_parameters(self._model, with_batch_norm_parameters)
        check_parameters(
            local_parameters, global_parameters, origin="the weights after local training"
        )
        set_parameters(self._model, global_parameters, with_batch_norm_parameters)
        return subtract_parameters(local_parameters, global_parameters)

    def _add_update(self, update, with_batch_norm_parameters=False):
        """Bring the weights from one global model to the next.

        Parameters
        ----------
        update : list of numpy.ndarray
            What the aggregation sent, in the order of :func:`helpers.exchange.parameter_names`.
        with_batch_norm_parameters : bool, default=False
            Whether moving means and variances are part of it.

        Raises
        ------
        ValueError
            If the update does not fit the model.
        """
        current = get_parameters(self._model, with_batch_norm_parameters)
        update = cast_arrays(update, current)
        updates = name_parameters(update, current, origin="the averaged update")
        updates |= self._server_step(updates)
        increment_parameters(
            self._model, updates, with_batch_norm_parameters=with_batch_norm_parameters
        )

    def _server_step(self, updates):
        """Return what is added instead of some of the averaged updates, by their names."""
        return {}

    def _train_step(self, x, y, sample_weight=None):
        """Make one update of the weights on one batch; traced once by TensorFlow.

        The graph goes on with the local state, so that the next round need not trace it. A child
        class that defines anything but its constructor has its own reasons, and traces anew in
        every task: there, Python values that change from round to round may be used.

        Parameters
        ----------
        x, y : tensor, shape (n, …)
            Films and targets, or structures of them.
        sample_weight : tensor, shape (n,), optional
            Weight of each film in the loss.

        Returns
        -------
        tensor, shape (), float32
            The loss before the update, without penalty.
        """
        variables = self._model.trainable_variables
        with tf.GradientTape() as tape:
            loss = self._compute_loss(x, y, sample_weight)
            penalty = self._penalty()
            total = loss if penalty is None else loss + penalty
            scaled_loss = self._optimizer.scale_loss(total)
        self._optimizer.apply(tape.gradient(scaled_loss, variables), variables)
        return loss

    def _compute_loss(self, x, y, sample_weight=None):
        """Return the model's loss on a batch, shape (), as in training, without penalty."""
        predictions = self._model(x, training=True)
        check_targets(y, predictions, self._loss)
        return self._model.compute_loss(x, y, predictions, sample_weight, training=True)

    def _penalty(self):
        """Return what a child class adds to the loss: a tensor of shape (), or None."""
        return None

    def _step_variables(self):
        """List all Keras variables that the training step reads or writes."""
        return _model_variables(self._model) + self._optimizer.variables

    def _update_weights(self, batch):
        """Run the traced training step on one batch of the dataset."""
        batch = tf.nest.map_structure(tf.convert_to_tensor, batch)
        if self._traced_step is None:
            self._traced_step = self._trace("step", self._train_step, batch, self._step_variables())
            # For the tasks that evaluate, which can keep nothing for each other.
            if self._traces.get("step") and "prediction" not in self._traces:
                self._trace_prediction(batch[0])
        return self._traced_step(*batch)

    def _trace(self, name, function, batch, variables):
        """Trace a function, or recall its trace: of an earlier task, or another copy's."""
        traced = TracedFunction(function, batch, variables, self._traces.get(name))
        if _only_constructs(type(self)):
            self._traces[name] = traced.save()
        return traced

    # Attributes that the algorithms of this package keep from task to task, besides these below.
    _own_state = ()
    _is_arriving = False
    _traced_step = None
    _traced_prediction = None

    @functools.cached_property
    def _device(self):
        """Name of the device that trains: the first GPU, unless there is none or it is disabled."""
        has_gpu = bool(tf.config.list_physical_devices("GPU"))
        return "/GPU:0" if has_gpu and not self.disable_gpu else "/CPU:0"

    def _get_state_to_save(self):
        """Collect everything that the next task needs to go on as if there had been no pause.

        Returns
        -------
        dict
            A child class adds its own entries, and pops them in ``_update_from_checkpoint``.
        """
        state = {
            "model": [_value(variable) for variable in _model_variables(self._model)],
            "index_generator": self._index_generator,
            "disable_gpu": self.disable_gpu,
            "random_state": get_random_state(),
            "traces": self._traces,
        } | {name: getattr(self, name) for name in self._own_state}
        if self._optimizer is not None:
            state["optimizer"] = [_value(variable) for variable in self._optimizer.variables]
        return state

    def _update_from_checkpoint(self, path):
        """Load a checkpoint and pop from it every entry that was used.

        Parameters
        ----------
        path : pathlib.Path
            File written by :meth:`save_local_state`.

        Returns
        -------
        dict
            What is left; a child class pops its own entries from it.
        """
        path = Path(path)
        if not path.is_file():
            raise ValueError(f"Expected a saved local state. There is no file {path.name}.")
        with path.open("rb") as file:
            checkpoint = cloudpickle.load(file)
        self.disable_gpu = checkpoint.pop("disable_gpu")
        assign_variables(_model_variables(self._model), checkpoint.pop("model"))
        if self._optimizer is not None:
            assign_variables(self._optimizer.variables, checkpoint.pop("optimizer"))
        self._index_generator = checkpoint.pop("index_generator")
        set_random_state(checkpoint.pop("random_state"))
        self._traces.update(checkpoint.pop("traces"))
        for name in self._own_state:
            setattr(self, name, checkpoint.pop(name))
        return checkpoint

    def save_local_state(self, path):
        """Write the local state; it never leaves the hospital.

        Parameters
        ----------
        path : pathlib.Path
            The file to write.
        """
        with Path(path).open("wb") as file:
            cloudpickle.dump(self._get_state_to_save(), file)

    def load_local_state(self, path):
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
        self._wake_up(with_state=False)  # the file holds all of it
        left = self._update_from_checkpoint(Path(path))
        if left:
            raise ValueError(
                f"Entries of the local state were saved but not loaded: {sorted(left)}. Pop each "
                "of them in _update_from_checkpoint."
            )
        return self

    def __reduce__(self):
        """Travel to tasks (cloudpickle) and copies (deepcopy) as recipe plus local state."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "state"
            self.save_local_state(path)
            arguments = cloudpickle.dumps(self._arguments)
            return _rebuild, (type(self), arguments, path.read_bytes())

    def __deepcopy__(self, memo):
        """Copy as pickling does; the hospitals of a simulation are copies, and trace once."""
        rebuild, arguments = self.__reduce__()
        copied = rebuild(*arguments)
        copied._traces = self._traces
        return copied

    def __getattr__(self, name):
        """Build the model of an algorithm that has just arrived, when it is first asked for.

        A strategy carries its algorithm into tasks that have no use for it, such as the
        aggregation; they need not build a network.
        """
        if "_saved_state" not in self.__dict__ or name.startswith("__"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self._wake_up()
        return getattr(self, name)

    def _wake_up(self, *, with_state=True):
        """Build what a copy that has just arrived is to be; do nothing otherwise."""
        if "_saved_state" not in self.__dict__:
            return
        state = self.__dict__.pop("_saved_state")
        self._arguments = cloudpickle.loads(self.__dict__.pop("_saved_arguments"))
        args, kwargs = self._arguments
        self._is_arriving = True
        self.__init__(*args, **kwargs)
        self._is_arriving = False
        if not with_state:
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "state"
            path.write_bytes(state)
            self.load_local_state(path)

    def summary(self):
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
            else {"type": str(type(optimizer)), "parameters": _describe_settings(optimizer)},
        }


def _rebuild(cls, arguments, state):
    """Make the algorithm that was pickled or copied; it wakes up when it is used."""
    algo = cls.__new__(cls)
    algo._saved_arguments, algo._saved_state = arguments, state
    return algo


def index_all_films(n_films, batch_size):
    """Make an index generator that goes through all films in order, once in a round.

    Parameters
    ----------
    n_films : int
        Number of films.
    batch_size : int or None
        Films of a batch, so that memory suffices; None takes all at once.

    Returns
    -------
    substrafl.index_generator.NpIndexGenerator
        It knows the number of films already.
    """
    n_batches = -(-n_films // (batch_size or n_films))
    generator = NpIndexGenerator(batch_size, n_batches, shuffle=False, drop_last=False)
    generator.n_samples = n_films
    return generator


def cast_arrays(arrays, parameters):
    """Give arrays the dtypes of a model: SubstraFL's average of float32 may be float64.

    Parameters
    ----------
    arrays : list of numpy.ndarray
        What an aggregation sent.
    parameters : dict of str to numpy.ndarray
        The model's tensors, in the same order.

    Returns
    -------
    list of numpy.ndarray
        The arrays as they are if their number is wrong: the check that follows names the fault.
    """
    if len(arrays) != len(parameters):
        return arrays
    return [
        array.astype(value.dtype) for array, value in zip(arrays, parameters.values(), strict=True)
    ]


def _only_constructs(cls):
    """Tell whether a class outside this package adds nothing to ours but a constructor."""
    ours = TFAlgo.__module__.rpartition(".")[0]
    added = {
        name
        for child in cls.__mro__[: cls.__mro__.index(TFAlgo)]
        if child.__module__.rpartition(".")[0] != ours
        for name in vars(child)
    }
    return all(name.startswith("__") or name == "_abc_impl" for name in added)


def _model_variables(model):
    """List all variables that make up a model: weights and seed generators, but no metrics."""
    metrics = {id(variable) for metric in model.metrics for variable in metric.variables}
    return [variable for variable in model.variables if id(variable) not in metrics]


def _value(variable):
    """Copy the value of a Keras variable."""
    return np.array(variable.numpy())


def assign_variables(variables, values):
    """Give variables their saved values; refuse those of another model.

    Parameters
    ----------
    variables : list of keras.Variable
        What is assigned to.
    values : list of numpy.ndarray
        One for each.

    Raises
    ------
    ValueError
        If their number or a shape differs.
    """
    expected = [(variable.path, tuple(variable.shape)) for variable in variables]
    if len(values) != len(expected):
        raise ValueError(
            f"The local state is of another model: expected {len(expected)} tensors, "
            f"received {len(values)}."
        )
    for (path, shape), variable, value in zip(expected, variables, values, strict=True):
        if shape != value.shape:
            raise ValueError(
                f"The local state is of another model: expected shape {shape} for {path}, "
                f"received {value.shape}."
            )
        variable.assign(value)


def _copy_optimizer(optimizer):
    """Copy an optimizer, or make the one that is named; refuse one that was used."""
    if optimizer is None:
        return None
    optimizer = copy.deepcopy(keras.optimizers.get(optimizer))
    if optimizer.built:
        raise ValueError(
            "Expected a new optimizer. Received one that belongs to a model already: its slots "
            "would be those of another training. Make one for each algorithm."
        )
    return optimizer


def _check_model(model):
    """Refuse a model of which a part would not be used."""
    if not isinstance(model, keras.Model):
        raise TypeError(f"Expected model to return a keras.Model. Received {type(model).__name__}.")
    if not model.built:
        raise ValueError(
            f"Expected a built model. Received {model.name!r} without variables: in the builder, "
            "call model.build((None, 64, 64, 1)) with the shape of its inputs, or the model on one "
            "batch."
        )
    own = [name for name in _STEPS if getattr(type(model), name) is not getattr(keras.Model, name)]
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


# What of a model Keras' fit and predict would call in place of the algorithm.
_STEPS = ("train_step", "predict_step", "make_train_function", "make_predict_function")


def _check_builder(model):
    """Refuse a model in place of the function that builds it."""
    if isinstance(model, keras.Model) or not callable(model):
        raise TypeError(
            "Expected model to be a function that builds the Keras model, for example "
            f"model=build_cnn. Received {type(model).__name__}: a live model would travel with "
            "the code and be shared by the hospitals of a simulation."
        )


def _check_dataset(dataset):
    """Refuse what cannot serve as dataset class, in the words of SubstraFL's exceptions."""
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


def _grow_gpu_memory():
    """Let TensorFlow take GPU memory as it needs it, so that several tasks fit on one GPU."""
    for gpu in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            return  # the GPU is in use already; the choice was made before us


def _describe_settings(optimizer):
    """List the settings of an optimizer, as far as it tells them."""
    try:
        settings = optimizer.get_config()
    except (NotImplementedError, AttributeError, TypeError, ValueError):  # a class of the user's
        settings = {name: one for name, one in vars(optimizer).items() if name[0] != "_"}
    return {name: describe(one) for name, one in settings.items() if name != "name"}
