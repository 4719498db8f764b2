r"""Privacy: training with clipped and noised gradients (DP-SGD).

An update that leaves an organization reveals something about its samples. Abadi et al. 2016 bound
how much: each sample's gradient is clipped, noise is added to the sum, and the samples that take
part are drawn at random. The bound is a pair :math:`(\varepsilon, \delta)`. Two sets of samples are
*neighbors* if one has one sample more than the other (add or remove). For neighbors :math:`D, D'`
and every set :math:`S` of what may be sent,
:math:`P(D \in S) \le e^{\varepsilon} P(D' \in S) + \delta`.

It holds for *one sample*. For a patient with :math:`k` samples it is much weaker, and often void;
see :func:`~helpers.algorithms.group_privacy`. With ``unit="patient"`` the samples of a patient are
clipped together, and neighbors differ by one *patient* (as McMahan et al. 2018 do for the users of
mobile phones). Nothing protects the number of samples or patients, which is sent as it is, or the
scores of an evaluation.
"""

import dataclasses
import hashlib
import os
from collections.abc import Callable
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf
from substrafl.index_generator import BaseIndexGenerator

from helpers.algorithms.batch_norm import batch_norm_layers
from helpers.algorithms.index_generators import PoissonIndexGenerator


@dataclasses.dataclass(frozen=True)
class DPSGD:
    r"""Settings of private training (Abadi et al. 2016, Algorithm 1).

    An update of the weights uses, with the expected batch size :math:`B` and the clipping norm
    :math:`C`,

    .. math::

        \tilde g = \frac{1}{B} \left( \sum_i g_i \min(1, C / \lVert g_i \rVert_2)
        + \mathcal{N}(0, \sigma^2 C^2 I) \right)

    in place of the mean gradient. The norm is that of all trainable weights together. The proximal
    term of FedProx depends on no sample: its gradient is added afterwards, as it is.

    With ``unit="patient"`` an element of a batch is a patient, as
    :class:`~helpers.data.PatientDataset` makes it: :math:`g_i` is the mean gradient of the films of
    patient :math:`i`, and is clipped as one; :math:`B` counts patients.

    Parameters
    ----------
    clip_norm : float
        :math:`C`, above 0.
    noise_multiplier : float
        :math:`\sigma`, 0 or more; 0 clips only, and protects nothing.
    seed : int, optional
        By default every organization draws a secret when it first trains, and keeps it in its local
        state, which SubstraFL allows all organizations that test to read. With a number the noise
        follows from it and from the organization's first samples, so that a run can be repeated.
        Nothing is protected from somebody who knows the secret or the number.
    unit : {"sample", "patient"}, default="sample"
        Whose contribution is clipped, and so who is protected.

    Raises
    ------
    ValueError
        If a number is out of its range, or the unit unknown.

    Notes
    -----
    The noise comes from TensorFlow's Philox generator in single precision. It is statistically
    sound; it is not hardened against attacks on generators or on floating-point numbers.
    """

    clip_norm: float
    noise_multiplier: float
    seed: int | None = None
    unit: str = "sample"
    option: ClassVar[str] = "privacy"

    def __post_init__(self) -> None:  # noqa: D105
        if not 0 < self.clip_norm < np.inf:
            raise ValueError(f"Expected a positive, finite clip_norm. Received {self.clip_norm}.")
        if not 0 <= self.noise_multiplier < np.inf:
            raise ValueError(
                "Expected a finite noise_multiplier of 0 or more. Received "
                f"{self.noise_multiplier}."
            )
        if self.unit not in ("sample", "patient"):
            raise ValueError(f"Expected unit 'sample' or 'patient'. Received {self.unit!r}.")

    def start(self, index_generator: BaseIndexGenerator, model: keras.Model) -> "NoisedGradients":
        """Start a private training; refuse one whose privacy cannot be accounted for.

        Parameters
        ----------
        index_generator : substrafl.index_generator.BaseIndexGenerator
            It must be a :class:`~helpers.algorithms.PoissonIndexGenerator`.
        model : keras.Model
            It must have no BatchNorm layer that trains.

        Returns
        -------
        NoisedGradients
            Computes what replaces the gradients.

        Raises
        ------
        ValueError
            If index generator or model is not suitable.
        """
        if not isinstance(index_generator, PoissonIndexGenerator):
            raise ValueError(
                "Expected a PoissonIndexGenerator with privacy: what is spent is accounted for "
                f"batches drawn so. Received {type(index_generator).__name__}."
            )
        mixing = [layer.name for layer in batch_norm_layers(model) if layer.trainable]
        if mixing:
            raise ValueError(
                "Expected a model without BatchNorm with privacy: a sample's gradient would depend "
                f"on the others, and the statistics are not noised. Received {', '.join(mixing)}: "
                "use GroupNorm (batch_norm='group') or freeze them (batch_norm='frozen')."
            )
        return NoisedGradients(self)


class NoisedGradients:
    """Gradients that are clipped sample by sample and noised, with the state of the noise.

    Parameters
    ----------
    settings : DPSGD
        The settings.

    Attributes
    ----------
    memory : keras.Variable of int64, shape (2,)
        A key, which the organization draws when it first trains, and a count of updates; together
        they seed the noise, and no pair is used twice. It belongs in the local state.
    """

    def __init__(self, settings: DPSGD) -> None:
        self.settings = settings
        self._count = 0
        self.memory = keras.Variable([0, 0], trainable=False, dtype="int64", name="noise")

    def begin_round(self, dataset: Any) -> None:
        """Draw the key if there is none yet, and note how many updates were made.

        Parameters
        ----------
        dataset : object
            The organization's samples: with a seed, the first eight distinguish organizations.
        """
        if not self.memory.numpy().any():
            self.memory.assign([_draw_key(self.settings.seed, dataset), 0])
        self._count = int(self.memory.numpy()[1])

    def prediction_inputs(self, x: Any) -> Any:
        """Return the films of a batch without the axis of patients, as a model predicts them.

        Parameters
        ----------
        x : tensor or structure of tensors
            Of shape (n, …), or (n, n_films, …) by patient.

        Returns
        -------
        tensor or structure of tensors
            Of shape (n, …).
        """
        if self.settings.unit == "sample":
            return x
        return tf.nest.map_structure(lambda part: tf.reshape(part, [-1, *part.shape[2:]]), x)

    def end_round(self, num_updates: int) -> None:
        """Refuse a round in which weights may have been updated without noise.

        Parameters
        ----------
        num_updates : int
            Updates that the round should have had.

        Raises
        ------
        ValueError
            If the number of private updates differs.
        """
        found = int(self.memory.numpy()[1]) - self._count
        if found != num_updates:
            raise ValueError(
                f"Expected {num_updates} private updates in a round. Received {found}: with "
                "privacy, do not override _train_step, and call _update_weights once for each "
                "batch in _local_train."
            )

    def __call__(
        self,
        loss_of: Callable[..., tf.Tensor],
        variables: list[keras.Variable],
        batch: tuple,
        batch_size: float,
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Clip the gradient of each sample, add them, add noise, divide by the expected batch size.

        The samples (or patients) are taken one by one, so that a gradient is exactly that of the
        sample alone, whatever the layers of the model are, and a batch may have any size.

        Parameters
        ----------
        loss_of : callable
            Called with the elements of a batch of one sample, or of the films of one patient; it
            returns the loss, shape ().
        variables : list of keras.Variable
            What is trained.
        batch : tuple
            Tensors of shape (n, …), or (n, n_films, …) by patient, or structures of them.
        batch_size : float
            Expected number of samples, or of patients.

        Returns
        -------
        loss : tensor, shape (), float32
            Mean loss over the samples or patients, 0 if there is none. It is not noised, and stays
            local.
        gradients : list of tensor, float32
            They take the place of the mean gradients.
        """
        n_samples = tf.shape(tf.nest.flatten(batch)[0])[0]
        by_patient = self.settings.unit == "patient"

        def add_sample(number, loss_sum, sums):
            one = tf.nest.map_structure(
                lambda part: part[number] if by_patient else part[number, None], batch
            )
            with tf.GradientTape() as tape:
                loss = loss_of(*one)
            gradients = tape.gradient(loss, variables, unconnected_gradients="zero")
            gradients = [tf.cast(tf.convert_to_tensor(g), tf.float32) for g in gradients]
            clipped, _ = tf.clip_by_global_norm(gradients, self.settings.clip_norm)
            sums = [tf.add(*pair) for pair in zip(sums, clipped, strict=True)]
            return number + 1, loss_sum + tf.cast(loss, tf.float32), sums

        start = (0, 0.0, [tf.zeros(variable.shape) for variable in variables])
        _, loss, sums = tf.while_loop(lambda number, *_: number < n_samples, add_sample, start)
        self.memory.assign_add([0, 1])
        sizes = [total.shape.num_elements() for total in sums]
        noise = tf.random.stateless_normal([sum(sizes)], self.memory.value, alg="philox")
        noise *= self.settings.noise_multiplier * self.settings.clip_norm
        gradients = [
            (total + tf.reshape(part, total.shape)) / batch_size
            for total, part in zip(sums, tf.split(noise, sizes), strict=True)
        ]
        return tf.math.divide_no_nan(loss, tf.cast(n_samples, tf.float32)), gradients


def gradient_lengths(
    model: keras.Model, loss: Callable[[Any, Any], Any], dataset: Any
) -> np.ndarray:
    """Measure the length of the gradient of each element, which clipping bounds.

    Parameters
    ----------
    model : keras.Model
        With the weights at which gradients are taken.
    loss : callable
        ``loss(y_true, y_pred)``, such as a Keras loss.
    dataset : Dataset
        Such as :class:`helpers.data.ChestXrayDataset`; ``dataset[[i]]`` is a batch of one element,
        its films and labels.

    Returns
    -------
    numpy.ndarray of float64, shape (n,)
        The Euclidean length over all trainable weights together, as :class:`DPSGD` clips it.
    """

    @tf.function(autograph=False, reduce_retracing=True)
    def measure(x, y):
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=True))
        return tf.linalg.global_norm(tape.gradient(value, model.trainable_variables))

    return np.array([float(measure(*dataset[[number]])) for number in range(len(dataset))])


def _draw_key(seed, dataset):
    """Draw 64 bits from the operating system; with a seed, from it and from the first samples."""
    if seed is None:
        return int.from_bytes(os.urandom(8), "little", signed=True)
    digest = hashlib.sha256(f"{seed} {len(dataset)}".encode())
    for part in tf.nest.flatten(dataset[np.arange(min(8, len(dataset)))]):
        digest.update(np.ascontiguousarray(part).tobytes())
    return int.from_bytes(digest.digest()[:8], "little", signed=True)
