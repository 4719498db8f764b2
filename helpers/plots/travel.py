"""The way of the weights, as a moving picture: hospitals leave the global model and come back."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from helpers.plots.describe import count, describe_range
from helpers.plots.style import hospital_styles, readable

_LARGEST, _MARGIN = (600, 400), 45  # of the drawing, in its own unit: its column is 600 wide
_SECONDS = 3  # for a round
_SHAPES = {
    "o": "M-7,0a7,7 0 1,0 14,0a7,7 0 1,0 -14,0",
    "^": "M0,-8L8,7H-8Z",
    "v": "M0,8L8,-7H-8Z",
    "P": "M-3,-8h6v5h5v6h-5v5h-6v-5h-5v-6h5Z",
    "X": "M-8,-4L-4,-8L0,-4L4,-8L8,-4L4,0L8,4L4,8L0,4L-4,8L-8,4L-4,0Z",
    "<": "M-8,0L7,-8V8Z",
    ">": "M8,0L-7,-8V8Z",
}
# Who prefers less motion sees the last round as a still picture, and everyone can stop it.
_STYLE = """
.travel { background: white; color: black; padding: 0.5rem; max-width: 600px; margin: auto; }
.travel svg { display: block; width: 100%; height: auto; font: 16px sans-serif; }
.travel input:not(:checked) ~ svg .moving { animation-play-state: paused; }
.travel .moving { animation-iteration-count: infinite; animation-timing-function: ease-in-out; }
@media (prefers-reduced-motion: reduce) {
  .travel .moving { animation: none !important; }
  .travel input, .travel label { display: none; }
}
"""


@dataclass(frozen=True)
class _Picture:
    """HTML that notebooks and pages show as it is, and its description elsewhere."""

    html: str
    said: str

    def __repr__(self):
        return self.said

    def _repr_html_(self):
        return self.html


def animate_weights(
    models: Sequence[Iterable[np.ndarray]],
    updates: Mapping[str, Sequence[Iterable[np.ndarray]]],
) -> _Picture:
    """Draw how hospitals move away from the global model in each round, and where they meet again.

    All weights of a model are one point. The points are projected on the plane on which they are
    farthest apart, that of their first two principal components.

    Parameters
    ----------
    models : sequence of iterable of numpy.ndarray
        The tensors of the global model at the start, and after each round: R + 1 models.
    updates : dict of str to sequence of iterable of numpy.ndarray
        Of each hospital its updates of R rounds, with the tensors of ``models``.

    Returns
    -------
    object
        What a notebook or a page shows: an SVG drawing that moves by CSS, 3 seconds a round. It
        can be stopped, and does not move where the reader's system asks for less motion. Its label
        says how long the updates and the steps of the global model are.
    """
    points = np.stack([_flatten(model) for model in models])  # (R + 1, weights)
    moves = np.stack([[_flatten(own) for own in rounds] for rounds in updates.values()])
    ends = (points[:-1] + moves).reshape(-1, points.shape[1])
    shown, share = _project(np.concatenate([points, ends]), len(points))
    way, ends = shown[: len(points)], shown[len(points) :].reshape(*moves.shape[:2], 2)
    lengths = {
        (name, f"round {number}"): np.linalg.norm(move)
        for name, own in zip(updates, moves, strict=True)
        for number, move in enumerate(own, 1)
    }
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    said = (
        f"Weights of {count(len(steps), 'round')} on a plane that shows {share:.0%} of their "
        f"variance: updates are {describe_range(lengths)} long, and steps of the global model "
        f"{steps.min():.2f} to {steps.max():.2f}."
    )
    return _Picture(_draw(way, dict(zip(updates, ends, strict=True)), said), said)


def _flatten(tensors):
    return np.concatenate([np.ravel(tensor) for tensor in tensors]).astype(float)


def _project(points, n_models):
    """Return places in the drawing, shape (n, 2), and the share of variance that they show."""
    centered = points - points.mean(axis=0)
    # Few points of many weights: the small matrix of their products has the same components.
    values, vectors = np.linalg.eigh(centered @ centered.T)
    flat = vectors[:, :-3:-1] * np.sqrt(np.maximum(values[:-3:-1], 0))
    # Components have no sign: from left to right, and the farthest point below.
    flat = flat * np.where(
        [flat[n_models - 1, 0] < flat[0, 0], -flat[:, 1].min() > flat[:, 1].max()], -1, 1
    )
    extent = np.maximum(np.ptp(flat, axis=0), 1e-12)
    scale = ((np.array(_LARGEST) - 2 * _MARGIN) / extent).min()  # the same in both directions
    places = (flat - flat.min(axis=0)) * scale + _MARGIN
    return places, values[:-3:-1].sum() / max(values.sum(), 1e-12)


def _draw(way, ends, said):
    """Write the drawing: still lines of all rounds, and above them the moving marks."""
    styles, still, moving, keys = hospital_styles(ends), [], [], []
    rows = -(-(len(ends) + 1) // 3)
    n_rounds = len(way) - 1
    for number, (name, own) in enumerate(ends.items()):
        color, marker, dash = styles[name].values()
        mark = f'<path d="{_SHAPES[marker]}" fill="{color}" stroke="white"'
        dashes = "none" if dash == "-" else " ".join(f"{2 * length:g}" for length in dash[1])
        for start, end in zip(way, own, strict=False):
            still.append(
                f'<path d="M{_place(start)}L{_place(end)}" stroke="{color}" stroke-width="2" '
                f'stroke-dasharray="{dashes}" opacity="0.5"/>'
            )
        stops = [(way[r], own[r], way[r + 1]) for r in range(n_rounds)]
        moving.append(_move(f"travel-{number}", stops, mark, own[-1]))
        keys.append((f"{mark}/>", escape(readable(name))))
    square = '<path d="M-6,-6h12v12h-12Z" fill="black" stroke="white"'
    still.append(f'<path d="M{"L".join(map(_place, way))}" stroke="black" fill="none"/>')
    for number, place in enumerate(way):
        x, y = place
        still.append(f'<g transform="translate({_place(place)})">{square}/></g>')
        still.append(f'<text x="{x:.0f}" y="{y - 11:.0f}" text-anchor="middle">{number}</text>')
    keys.append((f"{square}/>", "global model after round"))
    bottom = max(place[1] for places in (way, *ends.values()) for place in places) + _MARGIN
    legend = "".join(
        f'<g transform="translate({20 + 200 * (place % 3)},{bottom + 20 + 26 * (place // 3):.0f})">'
        f'{mark}<text x="16" y="6">{name}</text></g>'
        for place, (mark, name) in enumerate(keys)
    )
    height = bottom + 14 + 26 * rows
    return (
        f'<div class="travel"><style>{_STYLE}{"".join(rule for rule, _ in moving)}</style>\n'
        '<input type="checkbox" id="travel-moves" checked> <label for="travel-moves">Move</label>\n'
        f'<svg viewBox="0 0 {_LARGEST[0]} {height:.0f}" role="img" aria-label="{escape(said)}">\n'
        f"{''.join(still)}{''.join(mark for _, mark in moving)}{legend}</svg></div>"
    )


def _move(name, stops, mark, last):
    """Return the rule that moves a mark through all rounds, and the mark, at its last place."""
    frames = []
    for number, (start, end, after) in enumerate(stops):
        # Train, wait for the others, add the average, wait.
        for part, place in ((0, start), (0.45, end), (0.55, end), (0.9, after)):
            percent = 100 * (number + part) / len(stops)
            frames.append(f"{percent:.4g}% {{transform: translate({_place(place, 'px')})}}")
    frames.append(frames[-1].replace(frames[-1].split("%")[0], "100", 1))
    rule = f"@keyframes {name} {{{' '.join(frames)}}}\n"
    style = f"animation-name: {name}; animation-duration: {_SECONDS * len(stops)}s"
    at = f"translate({_place(last)})"
    return rule, f'<g class="moving" style="{style}" transform="{at}">{mark}/></g>'


def _place(place, unit=""):
    x, y = place
    return f"{x:.1f}{unit},{y:.1f}{unit}"
