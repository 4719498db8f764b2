"""Film: from line integrals to an image.

Beer-Lambert attenuation, scatter, unsharpness, quantum noise, logarithm and display curve.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from helpers.phantom.shapes import FIELD

BODY = 0.6  # density above which a pixel shows the body rather than bare detector
SCATTER_WIDTH = 3.5  # standard deviation of the scatter kernel, cm


@dataclass(frozen=True)
class Technique:
    """How a film is taken and displayed.

    Attributes
    ----------
    dose : float
        Photons per square centimetre of detector before the patient.
    scatter : float
        Scattered over primary photons behind the average patient, in [0, 2].
    blur : float
        Standard deviation of focal spot and detector unsharpness, cm.
    window : tuple of float
        How far black is below the lucent parts of the body and white above its dense parts, as
        shares of the distance between the two.
    gamma : float
        Exponent of the display curve; above 1 is darker.
    """

    dose: float = 1e6
    scatter: float = 0.6
    blur: float = 0.05
    window: tuple[float, float] = (0.25, 0.05)
    gamma: float = 1.0


@lru_cache(maxsize=256)
def _blur_matrix(n, out, sigma):
    """Gaussian of ``sigma`` input pixels, then averaging down to ``out``: shape (out, n)."""
    centers = (np.arange(out) + 0.5) * n / out - 0.5
    spread = np.sqrt(sigma**2 + (n / out) ** 2 / 12)
    weights = np.exp(-0.5 * ((np.arange(n)[None] - centers[:, None]) / spread) ** 2)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def blur(image: np.ndarray, sigma: float, out: int | None = None) -> np.ndarray:
    """Gaussian blur and averaging down of a square image, edges repeated by renormalising.

    Parameters
    ----------
    image : ndarray of float32, shape (n, n)
        Any image.
    sigma : float
        Standard deviation in its pixels.
    out : int, optional
        Pixels along a side of the result, default ``n``.

    Returns
    -------
    ndarray of float32, shape (out, out)
    """
    n = image.shape[0]
    matrix = _blur_matrix(n, out or n, round(float(sigma), 3))
    return matrix @ image @ matrix.T


def transmit(line_integral: np.ndarray, scatter: float = 0.0, pixel: float = 1.0) -> np.ndarray:
    """Fraction of photons that reach the detector: primary plus scattered.

    The primary is Beer-Lambert's ``exp(-line_integral)``; scatter is a broad blur of it,
    ``scatter`` times as strong on average behind the body.

    Parameters
    ----------
    line_integral : ndarray of float32, shape (n, n)
        Attenuation along each ray, dimensionless.
    scatter : float, default=0.0
        Scatter-to-primary ratio.
    pixel : float, default=1.0
        Pixel size, cm.

    Returns
    -------
    ndarray of float32, shape (n, n)
    """
    primary = np.exp(-line_integral)
    if not scatter:
        return primary
    # Photons that missed the patient do not scatter in it.
    source = primary * (line_integral > 0.05)
    return primary + np.float32(scatter) * blur(source, SCATTER_WIDTH / pixel)


def expose(
    line_integral: np.ndarray, technique: Technique, size: int, rng: np.random.Generator
) -> np.ndarray:
    """Take and display a film.

    Parameters
    ----------
    line_integral : ndarray of float32, shape (n, n)
        Attenuation along each ray; ``n`` a multiple of ``size``.
    technique : Technique
        Dose, scatter, blur and display.
    size : int
        Pixels along a side of the film.
    rng : numpy.random.Generator
        Draws the quantum noise.

    Returns
    -------
    ndarray of float64, shape (size, size)
        Brightness in [0, 1]; dense is bright, as radiologists view films.
    """
    n = line_integral.shape[0]
    pixel = FIELD / n
    arriving = transmit(line_integral, technique.scatter, pixel)
    arriving = blur(arriving, technique.blur / pixel, size)
    per_pixel = technique.dose * (FIELD / size) ** 2
    counts = rng.poisson(arriving.astype(float) * per_pixel)
    density = -np.log((counts + 0.5) / per_pixel)
    # The reader of a digital detector finds the body and scales its grey levels to it.
    lucent, dense = (
        np.quantile(density[density > BODY], (0.06, 0.94)) if (density > BODY).any() else (0.0, 1.0)
    )
    black = lucent - technique.window[0] * (dense - lucent)
    white = dense + technique.window[1] * (dense - lucent)
    return np.clip((density - black) / (white - black), 0, 1) ** technique.gamma
