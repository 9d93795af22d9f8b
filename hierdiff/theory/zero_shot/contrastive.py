r"""Contrastive learners: spectra of a joint law, zero-shot accuracy, and InfoNCE at finite width.

====================  ==========================================================================
symbol                meaning
====================  ==========================================================================
x, y                  two views, as image and caption, with the joint law p(x, y)
f(x), g(y)            embeddings of width d; the score of a caption is f(x) . g(y)
sigma_k               singular values of p(x, y) / sqrt(p(x) p(y)); the largest is 1
u_k, v_k              singular functions, orthonormal under p(x) and p(y)
K, eta                number of negatives, share of hard ones
====================  ==========================================================================

The spectral contrastive loss, :math:`-2 E_{p(x,y)} f\cdot g + E_{p(x)p(y)} (f\cdot g)^2`, is least
for

.. math:: f\cdot g = \sum_{k<d} \sigma_k u_k(x) v_k(y),                                \qquad (1)

the density ratio :math:`p(x,y)/p(x)p(y)` cut after d terms.  InfoNCE at width d is minimised
numerically over tables of embeddings,

.. math::
   -E_{p(x,y)} \log \frac{e^{f(x)\cdot g(y)}}{N(x,y)}, \quad
   N = (1-\eta)\,E_{p(y')} e^{f(x)\cdot g(y')} + \eta\, e^{f(x)\cdot g(\tilde y)},      \qquad (2)

with a share :math:`\eta` of hard negatives :math:`\tilde y`, captions of the same attributes bound
otherwise; or with K negatives,
:math:`N = e^{f\cdot g(y)} + \sum_{j \le K} e^{f\cdot g(y_j)}`, whose mean over independent
negatives is an integral over one variable,

.. math::
   E \log N = \int_0^\infty \frac{du}{u} \Big( e^{-u} - e^{-u e^{f\cdot g(y)}}
   \big(E_{p(y')} e^{-u e^{f\cdot g(y')}}\big)^K \Big) .                                  \qquad (3)

For every K the unconstrained optimum ranks captions by p(y | x) / p(y).

Scenes of two objects, for which all of it is known in closed form, stand in
:mod:`hierdiff.theory.zero_shot.captioned_scenes`.

References: HaoChen et al., arXiv 2106.04156 (eq. 1); Oord et al., arXiv 1807.03748 (InfoNCE).
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import checked, integers, memory, number, reals, whole
from hierdiff.errors import InvalidParameter, NotConverged
from hierdiff.seeds import Seed, generator

__all__ = [
    "InfoNCE",
    "Spectrum",
    "canonical_spectrum",
    "fit_infonce",
    "spectral_scores",
    "zero_shot_accuracy",
]

Array = NDArray[Any]
Floats = NDArray[np.float64]

_EQUAL = 1e-9
"""Relative distance below which two scores, or two singular values, are equal but for rounding."""
_LOW, _HIGH, _STEP = -11.5, 14.0, 0.7
"""Logarithms of u in (3) and their step: the trapezoidal rule is off by exp(-pi^2 / step), and a
sum of scores 14 nats below the largest score counts as zero."""


class Spectrum(NamedTuple):
    """Singular values and functions of a joint law.

    Attributes
    ----------
    values : array [k]
        Decreasing, the first one is 1.
    image : array [images, k]
        u_k, orthonormal under p(x).
    caption : array [captions, k]
        v_k, orthonormal under p(y).
    """

    values: Floats
    image: Floats
    caption: Floats


class InfoNCE(NamedTuple):
    """Embeddings that minimise InfoNCE.

    Attributes
    ----------
    image : array [images, d]
    caption : array [captions, d]
    loss : float
        In nats, less the log of the number of captions where negatives are counted.
    iterations : int
    """

    image: Floats
    caption: Floats
    loss: float
    iterations: int

    @property
    def scores(self) -> Floats:
        """f(x) . g(y), [images, captions]."""
        return np.asarray(self.image @ self.caption.T)


def _law(name: str, value: Any) -> Floats:
    """A joint law [images, captions]; images that never occur are allowed."""
    p = reals(name, value, low=0, ndim=2, least=1)
    memory(f"{name} of shape {p.shape}", 48.0 * p.size)
    total = float(p.sum())
    if not abs(total - 1) < 1e-8:
        raise InvalidParameter(f"{name} sums to {total:.6g}; a joint law sums to 1, normalise it")
    if not (p.sum(axis=0) > 0).all():
        raise InvalidParameter(f"{name} has captions that never occur; drop their columns")
    return p


@checked(joint=_law)
def canonical_spectrum(joint: ArrayLike) -> Spectrum:
    r"""Singular values and functions of :math:`p(x,y)/\sqrt{p(x)p(y)}`.

    Parameters
    ----------
    joint : array [images, captions]
        p(x, y), a law; captions of probability zero are refused, images have u_k = 0 there.

    Returns
    -------
    Spectrum

    Raises
    ------
    InvalidParameter
        If it is no law.

    Notes
    -----
    Validity: exact.  Functions of equal singular values are determined up to a rotation.

    Examples
    --------
    >>> canonical_spectrum([[0.4, 0.1], [0.1, 0.4]]).values.round(12).tolist()
    [1.0, 0.6]
    """
    p = np.asarray(joint, float)
    x, y = p.sum(axis=1), p.sum(axis=0)
    root = np.sqrt(np.where(x > 0, x, 1.0))
    u, values, vt = np.linalg.svd(p / root[:, None] / np.sqrt(y), full_matrices=False)
    image = np.where((x > 0)[:, None], u / root[:, None], 0.0)
    return Spectrum(values, image, vt.T / np.sqrt(y)[:, None])


def _spectrum(name: str, value: Any) -> Spectrum:
    if not isinstance(value, Spectrum):
        raise InvalidParameter(
            f"{name} is of type {type(value).__name__}; give what canonical_spectrum returns"
        )
    k = reals(f"{name}.values", value.values, low=0, ndim=1, least=1)
    image = reals(f"{name}.image", value.image, shape=(None, len(k)))
    return Spectrum(k, image, reals(f"{name}.caption", value.caption, shape=(None, len(k))))


@checked(spectrum=_spectrum)
def spectral_scores(spectrum: Spectrum, width: int, *, seed: Seed = 0) -> Floats:
    r"""Scores of the optimum of the spectral loss, :math:`\sum_{k<d} \sigma_k u_k(x) v_k(y)`.

    Parameters
    ----------
    spectrum : Spectrum
        Of :func:`canonical_spectrum`.
    width : int
        d, at most the number of singular values.
    seed : Seed
        Where d cuts a set of equal singular values, the functions that are kept are drawn: the
        loss does not determine them.

    Returns
    -------
    array [images, captions]

    Raises
    ------
    InvalidParameter
        For a width beyond the number of captions.

    Notes
    -----
    Validity: exact optimum of (1).  At full width the scores are the density ratio.

    Examples
    --------
    >>> spectrum = canonical_spectrum([[0.4, 0.1], [0.1, 0.4]])
    >>> spectral_scores(spectrum, 1).round(12).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    most = len(spectrum.values)
    d = whole("width", width, 1)
    if d > most:
        raise InvalidParameter(
            f"width = {d} exceeds the {most} singular values of these captions; give at most {most}"
        )
    s, last = spectrum.values, spectrum.values[d - 1]
    equal = np.abs(s - last) <= _EQUAL * s[0]
    above = np.flatnonzero(~equal & (np.arange(most) < d))
    cut = np.flatnonzero(equal)
    scores = (spectrum.image[:, above] * s[above]) @ spectrum.caption[:, above].T
    kept = d - len(above)
    u, w = spectrum.image[:, cut], spectrum.caption[:, cut]
    if kept < len(cut):
        normal = generator(seed).standard_normal((len(cut), kept))
        basis = np.linalg.qr(normal)[0]
        u, w = u @ basis, w @ basis
    return np.asarray(scores + last * u @ w.T)


def _wrong(name: str, value: Any) -> Array:
    return integers(name, value, 0)


@checked(joint=_law, wrong=_wrong)
def zero_shot_accuracy(joint: ArrayLike, scores: ArrayLike, wrong: ArrayLike) -> float:
    r"""Share of scenes whose caption scores above a wrong one, ties counted as one half.

    .. math:: \sum_{x,y} p(x,y)\, \frac1r \sum_{j} \big(P[S(x,y) > S(x,y_j)]
       + \tfrac12 P[S(x,y) = S(x,y_j)]\big)

    Parameters
    ----------
    joint : array [images, captions]
        p(x, y).
    scores : array [images, captions]
        S; of p(x, y) itself, or of any increasing function of p(y | x), the accuracy is Bayes.
    wrong : int array [captions] or [captions, r]
        Wrong captions of every caption, as in :attr:`CaptionedScenes.tasks`.

    Returns
    -------
    float

    Raises
    ------
    InvalidParameter
        For shapes that do not match, or captions that do not exist.

    Notes
    -----
    Validity: exact; scores that differ by less than 1e-9 of the largest are ties.

    Examples
    --------
    >>> from hierdiff.theory.zero_shot.captioned_scenes import CaptionedScenes
    >>> scenes = CaptionedScenes((5, 5), 0.8)
    >>> swap = scenes.tasks["colour exchanged"]
    >>> round(zero_shot_accuracy(scenes.joint, scenes.joint, swap), 4)
    0.9014
    """
    p = np.asarray(joint, float)
    s = reals("scores", scores, shape=p.shape)
    columns = np.asarray(wrong)
    columns = columns[:, None] if columns.ndim == 1 else columns
    if columns.ndim != 2 or len(columns) != p.shape[1] or not columns.size:
        raise InvalidParameter(
            f"wrong has shape {np.shape(wrong)}; give [{p.shape[1]}] or [{p.shape[1]}, r] captions"
        )
    if int(columns.max()) >= p.shape[1]:
        raise InvalidParameter(f"wrong names caption {columns.max()}; there are {p.shape[1]}")
    tie = _EQUAL * float(np.abs(s).max())
    found = 0.0
    for column in columns.T:
        gap = s - s[:, column]
        found += float((p * ((gap > tie) + 0.5 * (np.abs(gap) <= tie))).sum())
    return float(found / columns.shape[1])


# ----------------------------------------------------------------------------------------- InfoNCE


@checked(joint=_law, hard=partial(number, low=0, below=1), wrong=lambda name, x: x)
def fit_infonce(
    joint: ArrayLike,
    width: int,
    *,
    wrong: ArrayLike | None = None,
    hard: float = 0.0,
    negatives: int | None = None,
    iterations: int = 2000,
    seed: Seed = 0,
) -> InfoNCE:
    r"""Embeddings of width d that minimise InfoNCE, eq. (2), over tables, by L-BFGS.

    Parameters
    ----------
    joint : array [images, captions]
        p(x, y).
    width : int
        d, at most the number of captions.
    wrong : int array [captions], optional
        Hard negative of every caption.
    hard : float
        eta, share of hard negatives in [0, 1).  With ``negatives`` one hard negative stands beside
        the K others if eta > 0, whatever its size.
    negatives : int, optional
        K; default infinitely many.
    iterations : int
        Most iterations.
    seed : Seed
        Start.

    Returns
    -------
    InfoNCE

    Raises
    ------
    InvalidParameter
        For widths or numbers of negatives beyond the captions, hard negatives without ``wrong``.
    NotConverged
        If the loss is no number.

    Notes
    -----
    Validity: a local minimum; the loss is not convex at finite width.  Captions of an image are
    compared, as in zero-shot classification, and images of a caption are not.

    Examples
    --------
    >>> found = fit_infonce([[0.4, 0.1], [0.1, 0.4]], 1)
    >>> found.scores.argmax(axis=1).tolist()
    [0, 1]
    """
    from scipy.optimize import minimize

    p = np.asarray(joint, float)
    images, captions = p.shape
    d = whole("width", width, 1)
    if d > captions:
        raise InvalidParameter(
            f"width = {d} exceeds the {captions} captions, whose scores have no larger rank; give "
            f"at most {captions}"
        )
    whole("iterations", iterations, 1, 10**7)
    swapped = None
    if hard > 0:
        if wrong is None:
            raise InvalidParameter(f"hard = {hard} needs wrong, a hard negative of every caption")
        swapped = integers("wrong", wrong, 0, captions - 1, shape=(captions,)).astype(np.intp)
    rng = generator(seed)
    start = 0.3 * rng.standard_normal((images + captions) * d)
    if negatives is None:
        loss = partial(_infinite, p, p.sum(axis=0), swapped, hard)
    else:
        size = whole("negatives", negatives, 1, captions)
        loss = partial(_counted, p, p.sum(axis=0), size, swapped)

    def slopes(z: Floats) -> tuple[float, Floats]:
        f, g = z[: images * d].reshape(images, d), z[images * d :].reshape(captions, d)
        value, by_score = loss(f @ g.T)
        return value, np.concatenate([(by_score @ g).ravel(), (by_score.T @ f).ravel()])

    memory(f"embeddings of width {d}", 400.0 * (images + captions) * d)
    found = minimize(
        slopes, start, jac=True, method="L-BFGS-B",
        options={"maxiter": iterations, "maxfun": 2 * iterations, "maxcor": 20},
    )  # fmt: skip
    if not np.isfinite(found.fun):
        raise NotConverged(f"InfoNCE of width {d} ended at the loss {found.fun}; try another seed")
    z = np.asarray(found.x)
    return InfoNCE(
        z[: images * d].reshape(images, d), z[images * d :].reshape(captions, d),
        float(found.fun), int(found.nit),
    )  # fmt: skip


def _infinite(
    p: Floats, prior: Floats, swapped: Array | None, hard: float, s: Floats
) -> tuple[float, Floats]:
    """Loss (2) with infinitely many negatives and its slope by the scores."""
    top = s.max(axis=1, keepdims=True)
    e = np.exp(s - top)
    total = e @ prior
    if swapped is None:
        x = p.sum(axis=1)
        value = -(p * s).sum() + (x * (np.log(total) + top[:, 0])).sum()
        return float(value), (x / total)[:, None] * e * prior - p
    other = e[:, swapped]
    n = (1 - hard) * total[:, None] + hard * other
    value = (p * (np.log(n) + top - s)).sum()
    w = p / n
    slope = (1 - hard) * w.sum(axis=1)[:, None] * e * prior - p
    _add(slope, swapped, hard * w * other)
    return float(value), slope


def _add(slope: Floats, columns: Array, values: Floats) -> None:
    """Add to columns, of which several may be the same."""
    if len(np.unique(columns)) == len(columns):  # as exchanges are; many times faster
        slope[:, columns] += values
    else:
        np.add.at(slope.T, columns, values.T)


def _counted(
    p: Floats, prior: Floats, count: int, swapped: Array | None, s: Floats
) -> tuple[float, Floats]:
    """Loss with K negatives, drawn from all captions, by (3), and its slope by the scores."""
    top = s.max(axis=1, keepdims=True)
    e = np.exp(s - top)
    steps = np.arange(_LOW - math.log(count), _HIGH, _STEP)
    value, slope, direct = float((p * (top - s)).sum()), -p, np.zeros_like(e)
    for u in np.exp(steps):
        kept = np.exp(-u * e)
        phi = kept @ prior
        own = kept if swapped is None else kept * kept[:, swapped]
        power = phi ** (count - 1)
        each = p * own
        total = each.sum(axis=1)
        value += _STEP * (math.exp(-u) - float((total * power * phi).sum()))
        direct += (u * _STEP) * each * (power * phi)[:, None]
        slope += (u * _STEP * count * total * power)[:, None] * kept * e * prior
    slope += direct * e
    if swapped is not None:
        _add(slope, swapped, direct * e[:, swapped])
    return value, slope
