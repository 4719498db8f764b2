"""The algorithms compared with their references: every difference, in one table.

The page on exactness shows one comparison in detail; the others are computed here in the same way.
The references are those of :mod:`helpers.numpy_reference` and, where PyTorch is installed,
SubstraFL's own classes.
"""

import copy
import functools
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from substrafl.algorithms.algo import Algo
from substrafl.index_generator import NpIndexGenerator
from substrafl.remote import remote_data
from substrafl.strategies import (
    FedAvg,
    FedPCA,
    NewtonRaphson,
    Scaffold,
    SingleOrganization,
    Strategy,
)

from helpers.algorithms import (
    DPSGD,
    FedAdagrad,
    FedAdam,
    FedAvgM,
    FedYogi,
    PoissonIndexGenerator,
    TFCyclicAlgo,
    TFFedAvgAlgo,
    TFFedPCAAlgo,
    TFNewtonRaphsonAlgo,
    TFScaffoldAlgo,
    TFSingleOrganizationAlgo,
)
from helpers.data import ChestXrayDataset
from helpers.evaluation.metrics import labels_of
from helpers.exchange import Int8, TopK
from helpers.local_mode import Federation
from helpers.numpy_reference import (
    LinearHospitals,
    cyclic_transfer,
    fed_avg,
    fed_avg_with_feedback,
    fed_opt,
    fed_pca,
    fed_prox,
    keep_largest,
    multi_krum,
    newton_raphson,
    robust_fed_avg,
    round_to_int8,
    scaffold,
    train_alone,
    trimmed,
)
from helpers.openers.chest_xray_opener import ChestXrayOpener
from helpers.strategies import (
    CyclicTransfer,
    FedMedian,
    FedTrimmedMean,
    MultiKrum,
    Participation,
)
from helpers.strategies.participation import draw_participants

SIZE, SEED = 8, 0
RATE, N_UPDATES, N_ROUNDS = 0.05, 4, 3
NUMPY, TORCH = 1e-6, 1e-4  # tolerances; PyTorch computes in single precision, like Keras
HAS_TORCH = importlib.util.find_spec("torch") is not None
TWINS = ("FedAvg", "Scaffold", "SingleOrganization", "NewtonRaphson", "FedPCA")
HOSTILE = 1  # its index among the hospitals


def draw_indices(n_updates: int = N_UPDATES, batch_size: int | None = 5) -> NpIndexGenerator:
    """Make the index generator of the comparisons.

    Parameters
    ----------
    n_updates : int, default=4
        Updates in a round.
    batch_size : int or None, default=5
        Films in a batch; all of them if None.

    Returns
    -------
    substrafl.index_generator.NpIndexGenerator
        The generator, with the seed of the comparisons.
    """
    return NpIndexGenerator(batch_size=batch_size, num_updates=n_updates, seed=SEED)


def weights_of(algo: Algo) -> np.ndarray:
    """Return all weights of an algorithm's model as one row.

    Parameters
    ----------
    algo : substrafl.algorithms.algo.Algo
        An algorithm with a Keras model.

    Returns
    -------
    numpy.ndarray, shape (n_weights,)
        The weights.
    """
    return np.concatenate([np.ravel(weight) for weight in algo.model.get_weights()])


class HostileAlgo(TFFedAvgAlgo):
    """Federated averaging in which one hospital sends its update multiplied by -100."""

    n_films = None  # identifies the hostile hospital

    @remote_data
    def train(self, data_from_opener: Any, shared_state: Any = None) -> Any:
        """Train as usual, and change the update of one hospital."""
        state = super().train(
            data_from_opener=data_from_opener, shared_state=shared_state, _skip=True
        )
        if state.n_samples == HostileAlgo.n_films:
            state.parameters_update = [-100 * value for value in state.parameters_update]
        return state


class Exactness:
    """Comparisons of algorithms with their references.

    Parameters
    ----------
    federation : helpers.local_mode.Federation
        Five hospitals or more with ``train`` and ``test``; three of them train where five are not
        needed.
    samples : dict of str to dict of str to path
        Hospital, split and folder.
    settings : callable
        ``settings(**changes)`` returns the arguments of :class:`~helpers.algorithms.TFFedAvgAlgo`
        for a linear model of films of 8 × 8 pixels, with ``mse`` and plain SGD at ``RATE``.

    Attributes
    ----------
    rows : list of (numpy.ndarray, numpy.ndarray)
        Of each hospital the training films as rows, and their labels.
    start : numpy.ndarray
        The initial weights.
    averaged : numpy.ndarray
        The weights after federated averaging, one row for each hospital.
    """

    def __init__(
        self,
        federation: Federation,
        samples: Mapping[str, Mapping[str, Path]],
        settings: Callable[..., dict[str, Any]],
    ) -> None:
        self.hospitals = list(samples)
        self._federation = federation
        self._settings = settings
        opened = [ChestXrayOpener().get_data([own["train"]]) for own in samples.values()]
        self.rows = [
            (data["images"].reshape(len(data["labels"]), -1) / 255, np.float64(labels_of(data)))
            for data in opened
        ]
        self.start = weights_of(TFFedAvgAlgo(**settings())).astype(np.float64)
        self._noted = []
        HostileAlgo.n_films = len(self.rows[HOSTILE][1])
        self.averaged = self.weights_after(FedAvg(algo=TFFedAvgAlgo(**settings())))

    def in_numpy(
        self, rows: Sequence | None = None, uniform: bool = False, **changes: Any
    ) -> LinearHospitals:
        """Make the hospitals of a reference: the same films in the same batches.

        Parameters
        ----------
        rows : sequence of (numpy.ndarray, numpy.ndarray), optional
            Films and labels of each hospital; those of the first three by default.
        uniform : bool, default=False
            Whether hospitals count equally; otherwise by their films.
        **changes
            Other arguments for :func:`draw_indices`.

        Returns
        -------
        helpers.numpy_reference.LinearHospitals
            The hospitals.
        """
        rows = self.rows[:3] if rows is None else rows
        batches = [_batches_of(len(y), draw_indices(**changes)) for _, y in rows]
        return LinearHospitals(rows, batches, RATE, uniform=uniform)

    def simulate(
        self,
        strategy: Strategy,
        n_rounds: int = N_ROUNDS,
        train_on: Sequence[str] | None = None,
    ) -> list[Algo]:
        """Simulate a strategy and return the algorithms after the last round.

        Parameters
        ----------
        strategy : substrafl.strategies.Strategy
            The strategy.
        n_rounds : int, default=3
            Number of rounds.
        train_on : sequence of str, optional
            The hospitals that train; the first three by default.

        Returns
        -------
        list of substrafl.algorithms.algo.Algo
            One for each hospital.
        """
        states, _ = self._federation.simulate(
            strategy,
            train_on=train_on or self.hospitals[:3],
            test_on=self.hospitals[:1],
            num_rounds=n_rounds,
            eval_every=n_rounds,
        )
        return [
            state.algo
            for state, number in zip(states.state, states.round_idx, strict=True)
            if number == n_rounds
        ]

    def weights_after(self, strategy: Strategy, **options: Any) -> np.ndarray:
        """Simulate a strategy and return one row of weights per hospital; see :meth:`simulate`."""
        return np.array([weights_of(algo) for algo in self.simulate(strategy, **options)])

    def note(
        self,
        algorithm: str,
        equation: str,
        reference: str,
        found: ArrayLike,
        expected: ArrayLike,
        tolerance: float = NUMPY,
    ) -> None:
        """Add a comparison to the table: the largest difference and its tolerance."""
        difference = float(np.abs(np.asarray(found, np.float64) - expected).max())
        self._noted.append((algorithm, equation, reference, difference, tolerance))

    def table(self) -> pd.DataFrame:
        """Return all comparisons so far.

        Returns
        -------
        pandas.DataFrame
            ``algorithm``, ``equation``, ``reference``, ``difference``, ``tolerance``, ``holds``.
        """
        columns = ["algorithm", "equation", "reference", "difference", "tolerance"]
        table = pd.DataFrame(self._noted, columns=columns)
        return table.assign(holds=table["difference"] <= table["tolerance"])

    def compare_training(self) -> None:
        """Compare FedProx and the server optimizers."""
        found = self.weights_after(FedAvg(algo=TFFedAvgAlgo(**self._settings(proximal_mu=2.0))))
        expected = fed_prox(self.in_numpy(), self.start, N_ROUNDS, mu=2.0)
        self.note("FedProx", "g + μ (y − w)", "NumPy", found, expected)

        for optimizer, kind, equation in (
            (FedAvgM(), "avgm", "v ← β v + Δ"),
            (FedAdagrad(), "adagrad", "v ← v + Δ²"),
            (FedAdam(), "adam", "v ← β₂ v + (1 − β₂) Δ²"),
            (FedYogi(), "yogi", "v ← v − (1 − β₂) Δ² sign(v − Δ²)"),
        ):
            found = self.weights_after(
                FedAvg(algo=TFFedAvgAlgo(**self._settings(server_optimizer=optimizer)))
            )
            expected = fed_opt(self.in_numpy(), self.start, N_ROUNDS, kind)
            self.note(type(optimizer).__name__, equation, "NumPy", found, expected)

    def compare_sending(self) -> None:
        """Compare clipping, as in private training but without noise, and compression."""
        drawn = PoissonIndexGenerator(batch_size=5, num_updates=N_UPDATES, seed=SEED)
        clipped = self._settings(
            index_generator=drawn, privacy=DPSGD(clip_norm=0.5, noise_multiplier=0.0)
        )
        found = self.weights_after(FedAvg(algo=TFFedAvgAlgo(**clipped)))
        poisson = [_batches_of(len(y), drawn) for _, y in self.rows[:3]]
        some = LinearHospitals(self.rows[:3], poisson, RATE, clip_norm=0.5, batch_size=5)
        self.note(
            "DPSGD",
            "g ← 1/B Σ gᵢ min(1, C/‖gᵢ‖)",
            "NumPy",
            found,
            fed_avg(some, self.start, N_ROUNDS),
        )

        for compression, compress, equation in (
            (Int8(), round_to_int8, "round(127 Δ / max|Δ|)"),
            (TopK(share=0.2), functools.partial(keep_largest, share=0.2), "largest fifth of Δ"),
        ):
            found = self.weights_after(
                FedAvg(algo=TFFedAvgAlgo(**self._settings(compression=compression)))
            )
            expected = fed_avg_with_feedback(self.in_numpy(), self.start, N_ROUNDS, compress)
            self.note(type(compression).__name__, equation, "NumPy", found, expected)

    def compare_averages(self) -> None:
        """Compare participation and averages; for robust averages one hospital is hostile."""
        found = self.weights_after(
            Participation(FedAvg(algo=TFFedAvgAlgo(**self._settings())), 0.5, seed=SEED)
        )
        expected = fed_avg(
            self.in_numpy(),
            self.start,
            N_ROUNDS,
            participants=lambda round_idx: draw_participants(
                3, 0.5, seed=SEED, round_idx=round_idx
            ),
        )
        self.note("Participation", "Σ over max(1, C K) hospitals", "NumPy", found, expected)

        found = self.weights_after(CyclicTransfer(algo=TFCyclicAlgo(**self._settings())))
        expected = cyclic_transfer(self.in_numpy(), self.start, N_ROUNDS)
        self.note("CyclicTransfer", "w ← O₃(O₂(O₁(w)))", "NumPy", found, expected)

        without_extremes = functools.partial(trimmed, n_trimmed=1)
        closest = functools.partial(multi_krum, n_hostile=1, n_chosen=4)
        for strategy, n_hospitals, average, equation in (
            (FedMedian, 3, without_extremes, "median of each weight"),
            (FedTrimmedMean, 5, without_extremes, "mean without the extremes"),
            (MultiKrum, 5, closest, "mean of the closest"),
        ):
            found = self.weights_after(
                strategy(HostileAlgo(**self._settings())), train_on=self.hospitals[:n_hospitals]
            )
            some = self.in_numpy(self.rows[:n_hospitals])
            expected = robust_fed_avg(some, self.start, N_ROUNDS, average, hostile={HOSTILE})
            self.note(strategy.__name__, equation, "NumPy, one is hostile", found, expected)

    def compare_strategies(self) -> None:
        """Compare Scaffold, training at one hospital, Newton's method and components."""
        self._corrected = self.simulate(
            Scaffold(algo=TFScaffoldAlgo(**self._settings()), aggregation_lr=0.8)
        )
        expected, *_ = scaffold(
            self.in_numpy(), self.start, N_ROUNDS, n_updates=N_UPDATES, aggregation_rate=0.8
        )
        found = [weights_of(algo) for algo in self._corrected]
        self.note("Scaffold", "y ← y − η (g − cₖ + c)", "NumPy", found, expected)

        alone = SingleOrganization(algo=TFSingleOrganizationAlgo(**self._settings()))
        self._by_itself = self.weights_after(alone, train_on=self.hospitals[:1])
        expected = train_alone(self.in_numpy(), 0, self.start, N_ROUNDS)
        self.note("SingleOrganization", "y ← y − η g", "NumPy", self._by_itself, expected)

        logistic = keras.losses.BinaryCrossentropy(from_logits=True, dtype="float64")
        algo = TFNewtonRaphsonAlgo(**_newton(_build_in_double_precision, loss=logistic))
        expected = newton_raphson(
            self.rows[:3], weights_of(algo), N_ROUNDS, damping=0.8, penalty=0.1
        )
        found = self.weights_after(NewtonRaphson(algo=algo, damping_factor=0.8))
        self.note("NewtonRaphson", "w ← w − 0.8 H⁻¹ g", "NumPy, pooled films", found, expected)

        components = self.simulate(
            FedPCA(algo=TFFedPCAAlgo(ChestXrayDataset, SIZE**2, 2, seed=SEED))
        )
        expected = fed_pca(self.rows[:3], 2, N_ROUNDS, seed=SEED)
        found = [algo.eigen_vectors for algo in components]
        self.note("FedPCA", "Vᵀ ← QR(Σ nₖ/n Cₖ Vᵀ)", "NumPy", found, expected)

    def compare_components(self) -> dict[bool, float]:
        """Compare FedPCA with the components of the pooled films.

        Returns
        -------
        dict of bool to float
            Cosine with the first component of the pooled films: True for the weights of this
            project, False for those of SubstraFL's class.
        """
        pooled_rows = np.vstack([x for x, _ in self.rows[:3]])
        leading = np.linalg.svd(pooled_rows - pooled_rows.mean(0), full_matrices=False)[2][0]
        cosines = {}
        for pooled in (True, False):
            algo = TFFedPCAAlgo(ChestXrayDataset, SIZE**2, 1, seed=SEED, pooled=pooled)
            found = self.simulate(FedPCA(algo=algo), n_rounds=60)[0].eigen_vectors[0]
            cosines[pooled] = abs(float(found @ leading))
        self.note("FedPCA", "60 rounds", "NumPy, PCA of pooled films", cosines[True], 1.0)
        return cosines

    def compare_torch(self) -> None:
        """Compare with SubstraFL's own classes, if PyTorch is installed."""
        if not HAS_TORCH:
            return
        import torch
        from substrafl.algorithms import pytorch

        class TorchRows(torch.utils.data.Dataset):
            def __init__(self, data_from_opener, is_inference):
                self.films = ChestXrayDataset(data_from_opener, is_inference)
                self.is_inference = is_inference

            def __len__(self):
                return len(self.films)

            def __getitem__(self, index):
                batch = self.films[np.array([index])]
                x = torch.from_numpy((batch if self.is_inference else batch[0]).reshape(-1))
                return x if self.is_inference else (x, torch.from_numpy(batch[1][0]))

        def torch_weights(algo):
            weight, bias = (value.detach().numpy() for value in algo.model.parameters())
            return np.concatenate([weight[0], bias])

        def run_twin(name, strategy, loss=None, **options):
            """Train SubstraFL's class in place of ours."""
            net = torch.nn.Linear(SIZE**2, 1)
            with torch.no_grad():
                net.weight.copy_(torch.tensor(self.start[None, :-1]))
                net.bias.copy_(torch.tensor(self.start[-1:]))
            if "optimizer" in options:
                options["optimizer"] = torch.optim.SGD(net.parameters(), RATE)

            class Theirs(getattr(pytorch, f"Torch{name}Algo")):
                def __init__(self):
                    super().__init__(
                        model=net,
                        criterion=loss or torch.nn.MSELoss(),
                        dataset=TorchRows,
                        **options,
                    )

            train_on = self.hospitals[:1] if name == "SingleOrganization" else self.hospitals[:3]
            return [torch_weights(a) for a in self.simulate(strategy(Theirs()), train_on=train_on)]

        sgd = {"optimizer": RATE, "index_generator": draw_indices()}
        slow = functools.partial(Scaffold, aggregation_lr=0.8)
        self.note(
            "FedAvg",
            "",
            "SubstraFL, PyTorch",
            self.averaged,
            run_twin("FedAvg", FedAvg, **sgd),
            TORCH,
        )
        found = [weights_of(algo) for algo in self._corrected]
        self.note(
            "Scaffold", "", "SubstraFL, PyTorch", found, run_twin("Scaffold", slow, **sgd), TORCH
        )
        expected = run_twin("SingleOrganization", SingleOrganization, **sgd)
        self.note("SingleOrganization", "", "SubstraFL, PyTorch", self._by_itself, expected, TORCH)

        damped = functools.partial(NewtonRaphson, damping_factor=0.8)
        found = self.weights_after(
            damped(TFNewtonRaphsonAlgo(**_newton(self._settings()["model"])))
        )
        options = {"loss": torch.nn.BCEWithLogitsLoss(), "batch_size": None, "l2_coeff": 0.1}
        expected = run_twin("NewtonRaphson", damped, **options)
        self.note("NewtonRaphson", "", "SubstraFL, PyTorch", found, expected, TORCH)

        # Each draws its own initial components: limits are compared, up to the sign.
        class TheirPCA(pytorch.TorchFedPCAAlgo):
            def __init__(self):
                super().__init__(
                    dataset=TorchRows, in_features=SIZE**2, out_features=1, batch_size=32
                )

        found, expected = (
            self.simulate(FedPCA(algo=algo), n_rounds=25)[0].eigen_vectors
            for algo in (
                TFFedPCAAlgo(ChestXrayDataset, SIZE**2, 1, seed=SEED, pooled=False),
                TheirPCA(),
            )
        )
        found, expected = np.ravel(found), np.ravel(expected)
        self.note(
            "FedPCA", "", "SubstraFL, PyTorch", found * np.sign(found @ expected), expected, TORCH
        )

    def compare_limits(self) -> None:
        """Compare settings that must reduce to another algorithm, and sums that must vanish."""
        proximal = TFFedAvgAlgo(**self._settings(proximal_mu=0.0))
        self.note(
            "FedProx", "μ = 0", "FedAvg", self.weights_after(FedAvg(algo=proximal)), self.averaged
        )

        strong = 1e8  # SGD is stable up to a rate of 1 / μ
        held = self._settings(proximal_mu=strong, optimizer=keras.optimizers.SGD(1 / strong))
        self.note(
            "FedProx",
            "μ → ∞",
            "initial weights",
            self.weights_after(FedAvg(algo=TFFedAvgAlgo(**held))),
            self.start,
        )

        trivial = FedAdam(learning_rate=0.02, beta_1=0.0, beta_2=1.0, tau=0.01)  # a step of 1 × Δ
        found = self.weights_after(
            FedAvg(algo=TFFedAvgAlgo(**self._settings(server_optimizer=trivial)))
        )
        self.note("FedAdam", "β₁ = 0, β₂ = 1, η = 2τ", "FedAvg", found, self.averaged)

        found = self.weights_after(
            Participation(FedAvg(algo=TFFedAvgAlgo(**self._settings())), 1.0)
        )
        self.note("Participation", "C = 1", "FedAvg", found, self.averaged)

        full = self._settings(index_generator=draw_indices(n_updates=1, batch_size=None))
        found = self.weights_after(FedAvg(algo=TFFedAvgAlgo(**full)))
        pool = [tuple(map(np.concatenate, zip(*self.rows[:3], strict=True)))]
        expected = train_alone(
            self.in_numpy(pool, n_updates=1, batch_size=None), 0, self.start, N_ROUNDS
        )
        self.note("FedAvg", "full batches", "SGD on pooled films", found, expected)

        found = self.weights_after(
            CyclicTransfer(algo=TFCyclicAlgo(**self._settings())), train_on=self.hospitals[:1]
        )
        self.note("CyclicTransfer", "K = 1", "SingleOrganization", found, self._by_itself)

        shares = self.in_numpy().shares
        variates = np.array(
            [
                np.concatenate([np.ravel(v) for v in algo._client_control_variate.values()])
                for algo in self._corrected
            ]
        )
        # After the last training the server has not averaged yet: its variate is the mean of the
        # previous ones, as in the reference. Weighted by films, nothing must be left. Variates are
        # gradients divided by a rate of a few hundredths, and so is the tolerance.
        _, server, _ = scaffold(
            self.in_numpy(), self.start, N_ROUNDS + 1, n_updates=N_UPDATES, aggregation_rate=0.8
        )
        self.note("Scaffold", "Σ nₖ/n (cₖ − c)", "zero", shares @ variates - server, 0.0, 1e-5)

    def measure_hostile(self) -> dict[str, float]:
        """Measure how much one hostile hospital moves a mean and a median, without a reference.

        Returns
        -------
        dict of str to float
            Distance from the honest run, as a multiple of the distance that the honest run moved.
        """
        ratios = {}
        for name, strategy in {"mean": FedAvg, "median": FedMedian}.items():
            honest, hostile = (
                self.weights_after(strategy(algo(**self._settings())))
                for algo in (TFFedAvgAlgo, HostileAlgo)
            )
            ratio = np.abs(hostile - honest).max() / np.abs(honest - self.start).max()
            ratios[name] = float(ratio)
        return ratios


def _batches_of(n_films, generator):
    """Return a function that returns the batches of a hospital's next round."""
    generator = copy.deepcopy(generator)  # each hospital has its own
    generator.n_samples = n_films

    def next_round():
        generator.reset_counter()
        return list(generator)

    return next_round


def _build_in_double_precision():
    """Build the linear model in float64."""
    dense = keras.layers.Dense(1, dtype="float64")
    return keras.Sequential([keras.Input((SIZE, SIZE, 1)), keras.layers.Flatten(), dense])


def _newton(model, loss=None):
    """Return the arguments of Newton's method."""
    return {
        "model": model,
        "loss": loss or keras.losses.BinaryCrossentropy(from_logits=True),
        "batch_size": None,  # all films at once
        "dataset": ChestXrayDataset,
        "l2_coeff": 0.1,
        "seed": SEED,
    }
