r"""When the class of an Ising chain is decided: half or a quarter of log N.

======================  =========================================================================
symbol                  meaning
======================  =========================================================================
t                       time of the Ornstein-Uhlenbeck process, x_t = e^{-t} sigma + ...
snr                     e^{-2t} / (1 - e^{-2t}), so that t = log(1 + 1 / snr) / 2
ell                     log p(x_t | k) - log p(x_t | l) for x_t of class k, nats
D_kl                    E ell, the divergence of the two classes
m_k, C_k                means of the spins, and their covariances
======================  =========================================================================

Classes are decided where the mean of the log-likelihood ratio, the free entropy of a class less
that of its rival, meets its fluctuation, E[ell]^2 = Var[ell].  Far from the data the signal per
spin is weak, and ell is a sum of many small terms.  It is Gaussian, and a Gaussian log-likelihood
ratio has Var = 2 E, so **the classes are decided at D_kl = 2 nats**.  To leading order in the SNR

.. math:: D_{kl} = \frac{\mathrm{snr}}2\, |m_k - m_l|^2
   + \frac{\mathrm{snr}^2}4\, \lVert C_k - C_l \rVert_F^2 .

Both sums are extensive, and correlations of the spins screen them in the next order
(:func:`weak_signal_divergence`).  Classes in a field are seen in their means, classes without one
in their covariances alone,

.. math::
   \text{field:} \quad & D \simeq 2 N m^2\, \mathrm{snr},
       & t_S &= \tfrac12 \log(N m^2) \\
   \text{coupling } \pm J: \quad & D \simeq \frac{2 N \tau^2}{1 - \tau^4}\, \mathrm{snr}^2,
       \quad \tau = \tanh J, & t_S &= \tfrac14 \log\frac{N \tau^2}{1 - \tau^4} .

The slope against log N is 1/2 where the class shows in the mean, 1/4 where it shows in the
covariance alone.  A U-turn changes the class with 1 - E sum p^2; of a Gaussian ell it is half as
large as at t = infinity at D_kl = 1.70 nats (:func:`half_change_divergence`), a constant shift.

References: Biroli, Bonnaire, de Bortoli, Mezard, arXiv 2402.18491 (speciation at half of the
logarithm of the dimension); Achilli et al., arXiv 2602.04404 (mean and fluctuation).  The quarter,
and both laws with their constants, are derived here.
"""

from __future__ import annotations

import math
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import checked, count, memory, natural, number, reals, shown, whole
from hierdiff.contracts import ConditionalModel, DiffusionModel
from hierdiff.data.ising_chains import IsingChains
from hierdiff.errors import InvalidParameter, NoTransition
from hierdiff.noise import has_snr
from hierdiff.seeds import Seed, generator
from hierdiff.theory.ising.transfer_matrices import chain_posterior, spin_evidence
from hierdiff.theory.mixture.speciation import pair_confidence

__all__ = [
    "ChainSpeciation",
    "PathRatio",
    "class_information",
    "denoiser_log_ratio",
    "half_change_divergence",
    "speciation_law",
    "speciation_times",
    "weak_signal_divergence",
]

Array: TypeAlias = NDArray[Any]

DECIDED = 2.0
"""Divergence in nats at which the mean of a Gaussian log-likelihood ratio meets its fluctuation."""
_BLOCKS = 20
"""Blocks of the jackknife; their errors are known to 16 %."""
_REACH = np.linspace(-0.4, 0.4, 9)
"""Times around the law at which the curves are computed; they fall by e^{-2t} or e^{-4t}."""
_FORGOTTEN = 1e-6
"""Correlations below this are left out; their squares change no sum by more than rounding."""


@lru_cache(maxsize=1)
def half_change_divergence() -> float:
    """Divergence at which a U-turn between two classes changes it half as often as at t = infinity.

    Notes
    -----
    Validity: two equally likely classes with a Gaussian log-likelihood ratio; 1 - E sum p^2 = 1/4.

    Examples
    --------
    >>> round(half_change_divergence(), 4)
    1.7017
    """
    from scipy.optimize import brentq

    # of the distance d in units of the noise, D = d^2 / 2
    distance = brentq(lambda d: float(pair_confidence(d)) - 0.75, 0.1, 10.0)
    return float(distance**2 / 2)


def _classes(data: IsingChains, k: int, l: int) -> tuple[int, int]:
    last = data.n_classes - 1
    k, l = whole("k", k, 0, last), whole("l", l, 0, last)
    if k == l:
        raise InvalidParameter(f"k = l = {k} is one class; give two")
    return k, l


class _Strengths(NamedTuple):
    """Coefficients of the divergence: a s - a' s^2 of the means, b s^2 - b' s^3 of covariances."""

    mean: float
    mean_screened: float
    covariance: float
    covariance_screened: float

    def at(self, s: float) -> float:
        """Divergence at SNR s, each part with its next order as a denominator."""
        found = 0.0
        if self.mean > 0:
            found += self.mean * s / (1 + s * self.mean_screened / self.mean)
        if self.covariance > 0:
            screened = max(self.covariance_screened, 0.0) / self.covariance
            found += self.covariance * s**2 / (1 + s * screened)
        return found


def _covariance(data: IsingChains, k: int) -> Any:
    """Covariance of the spins of a class, banded."""
    from scipy import sparse

    variance = 1 - data.means[k] ** 2
    # of a chain of two states E[sigma_j | sigma_i] is linear, and each bond multiplies its slope
    bond = data.transitions[k, :, 1, 1] - data.transitions[k, :, 0, 1]
    bands, product = [variance], np.ones(data.N - 1)
    for distance in range(1, data.N):
        product = product[: data.N - distance] * bond[distance - 1 :]
        if np.abs(product).max() < _FORGOTTEN:
            break
        # products of three such matrices are what costs
        memory(f"correlations over {distance} spins", 24.0 * data.N * 3 * distance)
        bands.append(variance[: data.N - distance] * product)
    upper = sparse.diags(bands[1:], list(range(1, len(bands))), shape=(data.N, data.N))
    return (sparse.diags(variance) + upper + upper.T).tocsr()


def _strengths(data: IsingChains, k: int, l: int) -> _Strengths:
    """The coefficients for two classes."""
    difference = data.means[k] - data.means[l]
    first, other = _covariance(data, k), _covariance(data, l)
    gap = first - other
    square = gap @ gap
    frobenius = float(square.diagonal().sum())
    # traces of products: sums over equal entries of symmetric matrices
    cubic = 0.5 * float(other.multiply(square).sum()) + float(gap.multiply(square).sum()) / 6
    return _Strengths(
        0.5 * float(difference @ difference),
        0.5 * float(difference @ (other @ difference)),
        0.25 * frobenius if frobenius > _FORGOTTEN * data.N else 0.0,
        cubic,
    )


@checked(snr=partial(number, low=0, high=1e12))  # an expansion in small snr
def weak_signal_divergence(data: IsingChains, snr: float, k: int = 0, l: int = 1) -> float:
    r"""Divergence of two classes of noisy chains, for a weak signal.

    .. math:: D_{kl} = \frac s2\, \Delta m^T \Delta m - \frac{s^2}2\, \Delta m^T C_l \Delta m
       + \frac{s^2}4\, \mathrm{tr}\, \Delta C^2 - \frac{s^3}2\, \mathrm{tr}\, C_l \Delta C^2
       - \frac{s^3}6\, \mathrm{tr}\, \Delta C^3 + \dots

    with :math:`\Delta m = m_k - m_l`, :math:`\Delta C = C_k - C_l` and the SNR s of a spin.  The
    negative terms are screening by the correlations of the spins; they are taken as denominators,
    :math:`a s / (1 + s a'/a)`, so that D grows with s.

    Parameters
    ----------
    data : IsingChains
    snr : float
        Signal-to-noise ratio of a spin.
    k, l : int
        Classes.

    Returns
    -------
    float
        Nats.

    Raises
    ------
    InvalidParameter
        For classes that do not exist or are one, and correlations that memory does not hold.

    Notes
    -----
    Validity: snr -> 0 at fixed couplings.  Both orders are those of Gaussians of the same means and
    covariances.  For spins they are exact where the classes mirror each other in a field (equal C,
    opposite m), and where the couplings have opposite signs without a field
    (``theory/derive_speciation.py``); for other classes the negative terms are an approximation.

    Examples
    --------
    >>> round(weak_signal_divergence(IsingChains.by_coupling(1000, 0.5), 0.02), 4)
    0.1698
    """
    return _strengths(data, *_classes(data, k, l)).at(snr)


@checked(divergence=partial(number, low=1e-9, high=1e9))
def speciation_law(
    data: IsingChains, divergence: float = DECIDED, k: int = 0, l: int = 1
) -> float:  # fmt: skip
    r"""Ornstein-Uhlenbeck time at which the weak-signal divergence of two classes has a value.

    .. math:: t = \tfrac12 \log(1 + 1/\mathrm{snr}), \qquad D_{kl}(\mathrm{snr}) = D

    Parameters
    ----------
    data : IsingChains
    divergence : float
        2 nats where the classes are decided; :func:`half_change_divergence` for U-turns.
    k, l : int
        Classes.

    Returns
    -------
    float

    Raises
    ------
    NoTransition
        If the classes do not differ, or chains are so short that D stays below the value.
    InvalidParameter
        As :func:`weak_signal_divergence`.

    Notes
    -----
    Validity: long chains, where the SNR is small by then.

    Examples
    --------
    >>> [round(speciation_law(IsingChains.by_coupling(N, 0.5)), 4) for N in (1000, 16000)]
    [1.3436, 2.0432]
    """
    from scipy.optimize import brentq

    strengths = _strengths(data, *_classes(data, k, l))
    low, high = -80.0, 20.0  # logarithms of the SNR
    if strengths.at(math.exp(high)) < divergence:
        raise NoTransition(
            f"classes {k} and {l} differ by less than {divergence:g} nats at any noise; give "
            "others, or longer chains"
        )
    log_snr = brentq(lambda x: strengths.at(math.exp(x)) - divergence, low, high, xtol=1e-12)
    return 0.5 * math.log1p(math.exp(-log_snr))


@checked(t=partial(number, low=1e-9, high=300.0), n=count)
def class_information(
    data: IsingChains, t: float, n: int, seed: Seed
) -> tuple[Array, Array]:  # fmt: skip
    """Log-likelihood ratio and beliefs of noisy chains of two classes.

    Parameters
    ----------
    data : IsingChains
        Of two classes.
    t : float
        Ornstein-Uhlenbeck time, > 0.
    n : int
        Chains.
    seed : Seed
        Source of randomness; the same numbers serve all t.

    Returns
    -------
    ratio : array [n]
        log p(x_t | true class) - log p(x_t | the other), nats.
    beliefs : array [n, 2]
        Posterior of the classes.

    Raises
    ------
    InvalidParameter
        If there are not two classes.

    Notes
    -----
    Validity: exact for each chain.

    Examples
    --------
    >>> ratio, beliefs = class_information(IsingChains.by_field(50, 0.3, 0.3), 1.0, 200, seed=0)
    >>> bool(ratio.mean() > 2), beliefs.shape
    (True, (200, 2))
    """
    if data.n_classes != 2:
        raise InvalidParameter(f"data have {data.n_classes} classes; give two")
    rng = generator(seed)
    x0, labels = data.sample(n, rng)
    z = rng.standard_normal(x0.shape)
    return _information(data, x0, labels, z, t)


def _information(
    data: IsingChains, x0: Array, labels: Array, z: Array, t: float
) -> tuple[Array, Array]:
    """The same from spins and noise."""
    signal = math.exp(-t)
    noise = math.sqrt(-math.expm1(-2 * t))
    x_t = signal * data.vectors(x0) + noise * z
    found = chain_posterior(data, spin_evidence(x_t, (signal / noise) ** 2))
    log = found.log_likelihood
    sign = np.where(labels == 0, 1.0, -1.0)
    return sign * (log[:, 0] - log[:, 1]), found.class_marginals


class PathRatio(NamedTuple):
    """Log-likelihood ratio of two classes along noise paths.

    Attributes
    ----------
    ratio : array [T, n]
        log p(x_t | k) - log p(x_t | l), nats.
    x_t : array [T, n, N]
        Noisy spins.
    """

    ratio: Array
    x_t: Array


def _conditional(name: str, value: Any) -> ConditionalModel:
    if not isinstance(value, DiffusionModel) or not isinstance(value, ConditionalModel):
        raise InvalidParameter(
            f"{name} = {shown(value)} is no diffusion model that is conditioned on a class; give "
            "one with a method given(label)"
        )
    if value.noise.v is not None or not has_snr(value.noise):
        raise InvalidParameter(
            f"{name} has {value.noise.name} noise of symbols; give one with GaussianNoise() of "
            "vectors"
        )
    return value


@checked(model=_conditional, spins=partial(reals, low=-1, high=1, ndim=2, least=1), k=natural,
         l=natural)  # fmt: skip
def denoiser_log_ratio(
    model: Any, spins: ArrayLike, t: ArrayLike, seed: Seed, k: int = 0, l: int = 1
) -> PathRatio:
    r"""Log-likelihood ratio of two classes that the denoisers of a model imply, along noise paths.

    With the observations :math:`Y_s = s \sigma + W_s` up to SNR s, of which x_t is a multiple, and
    sums over spins of +-1 (whose squares are no information),

    .. math:: \log p(Y_s \mid k) = \log \sum_\sigma p(\sigma \mid k)\, e^{\sigma \cdot Y_s}
       + \dots, \qquad \nabla_Y \log p(Y \mid k) = D_k = E[\sigma \mid Y, k], \qquad
       \ell = \int (D_k - D_l) \cdot dY ,

    a line integral, here over the path of the noise from SNR 0 on: so every denoiser is called
    where data lie.  The rule is the trapezoidal one: on a rough path the value at the left end, or
    at the right, has another limit.

    Parameters
    ----------
    model : ConditionalModel
        Denoisers by class, ``model.given(k).denoise``, under Gaussian noise of vectors; a trained
        network, or :class:`~hierdiff.theory.exact_models.ExactIsing`.
    spins : array [n, N]
        Clean data, -1 and +1.
    t : array [T]
        Ornstein-Uhlenbeck times, increasing, above 0.
    seed : Seed
        Source of randomness.
    k, l : int
        Classes.

    Returns
    -------
    PathRatio

    Raises
    ------
    InvalidParameter
        For a model without classes or of other noise, numbers that are no spins, or times that do
        not increase.

    Notes
    -----
    Validity: from exact denoisers exact as the steps of t vanish; an error of either sign is of
    first order in them (at steps of 0.1 and N = 40 about 0.15 nats), that of the mean is smaller.
    The first step, from SNR 0 to that of the last t, wants a weak signal there.  Of networks whose
    D is no gradient the integral depends on the path.

    Examples
    --------
    >>> from hierdiff import GaussianNoise
    >>> from hierdiff.theory.exact_models import ExactIsing
    >>> chains, t = IsingChains.by_coupling(40, 0.5), np.linspace(0.5, 1.5, 21)
    >>> model, spins = ExactIsing(chains, GaussianNoise()), chains.vectors(chains.sample(5, 0)[0])
    >>> found = denoiser_log_ratio(model, spins, t, seed=1)
    >>> evidence = spin_evidence(found.x_t[0], 1 / np.expm1(2 * t[0]))
    >>> exact = chain_posterior(chains, evidence).log_likelihood
    >>> bool(np.abs(found.ratio[0] - (exact[:, 0] - exact[:, 1])).max() < 0.3)
    True
    """
    sigma = np.asarray(spins, float)
    if (np.abs(sigma) != 1).any():
        raise InvalidParameter("spins hold numbers other than -1 and +1; give data.vectors(x0)")
    times = reals("t", t, 0, 300, ndim=1, least=1)
    if times[0] <= 0 or (np.diff(times) <= 0).any():
        raise InvalidParameter(f"t = {str(times.tolist())[:60]} must increase, above 0")
    memory(f"{len(times)} states of {sigma.shape} spins", 8.0 * len(times) * sigma.size)
    rng, one, other = generator(seed), model.given(k), model.given(l)
    snr = 1 / np.expm1(2 * times)
    ratio, states = np.empty((len(times), len(sigma))), np.empty((len(times), *sigma.shape))
    total, known = np.zeros(len(sigma)), 0.0
    y = before = np.zeros_like(sigma)

    def difference(x: Array, level: float) -> Array:
        return np.asarray(one.denoise(x, level) - other.denoise(x, level), float)

    for i in range(len(times) - 1, -1, -1):
        s, level = float(snr[i]), float(model.noise.level(snr[i]))
        new = y + (s - known) * sigma + math.sqrt(s - known) * rng.standard_normal(sigma.shape)
        states[i] = new / math.sqrt(s * (1 + s))
        gap = difference(states[i], level)
        if i == len(times) - 1:
            # D depends on Y alone, so Y = 0 may be given at a noise level that networks have seen
            before = difference(np.zeros_like(sigma), level)
        total = total + 0.5 * ((gap + before) * (new - y)).sum(axis=1)
        ratio[i], y, before, known = total, new, gap, s
    return PathRatio(ratio, states)


class ChainSpeciation(NamedTuple):
    """Measured speciation of two classes of chains, in Ornstein-Uhlenbeck time.

    Attributes
    ----------
    free_entropy, free_entropy_error : float
        Time at which mean and fluctuation of the log-likelihood ratio meet.
    uturn, uturn_error : float
        Time at which a U-turn changes the class half as often as at t = infinity.
    """

    free_entropy: float
    free_entropy_error: float
    uturn: float
    uturn_error: float


@checked(n=partial(whole, low=2 * _BLOCKS, high=10**7))
def speciation_times(data: IsingChains, n: int, seed: Seed) -> ChainSpeciation:
    r"""Measure when two classes are decided, from exact inference on sampled chains.

    .. math:: E[\ell]^2 = \mathrm{Var}[\ell], \qquad
       1 - E \sum_k p(k \mid x_t)^2 = \tfrac12 \Big(1 - \sum_k w_k^2\Big)

    Parameters
    ----------
    data : IsingChains
        Of two classes.
    n : int
        Chains, 40 or more.
    seed : Seed
        Source of randomness.

    Returns
    -------
    ChainSpeciation
        Errors by a jackknife of 20 blocks.

    Raises
    ------
    InvalidParameter
        If there are not two classes.
    NoTransition
        If the classes have the same means and covariances, or do not cross near the law.

    Notes
    -----
    Validity: both curves are followed over +-0.4 around the law; chains of N >= 30 cross there.

    Examples
    --------
    >>> found = speciation_times(IsingChains.by_field(100, 0.3, 0.3), 400, seed=0)
    >>> law = speciation_law(IsingChains.by_field(100, 0.3, 0.3))
    >>> bool(abs(found.free_entropy - law) < 0.1)
    True
    """
    if data.n_classes != 2:
        raise InvalidParameter(f"data have {data.n_classes} classes; give two")
    rng = generator(seed)
    x0, labels = data.sample(n, rng)
    z = rng.standard_normal(x0.shape)
    block = np.arange(n) % _BLOCKS
    most = 0.5 * (1 - float((data.weights**2).sum()))

    def curve(center: float, statistic: Any) -> tuple[float, float]:
        times = center + _REACH[center + _REACH > 0]
        rows = [_information(data, x0, labels, z, float(t)) for t in times]
        values = np.array([[statistic(*(x[block != b] for x in row)) for row in rows]
                           for b in range(_BLOCKS)])  # fmt: skip
        whole_curve = np.array([statistic(*row) for row in rows])
        left_out = np.array([_root(times, line) for line in values])
        spread = (_BLOCKS - 1) / _BLOCKS * ((left_out - left_out.mean()) ** 2).sum()
        return _root(times, whole_curve), float(np.sqrt(spread))

    def signal(ratio: Array, _: Array) -> float:
        return float(np.log(max(ratio.mean(), 1e-12) ** 2 / ratio.var()))

    def kept(_: Array, belief: Array) -> float:
        return float(most - (1 - (belief**2).sum(axis=1)).mean())

    return ChainSpeciation(
        *curve(speciation_law(data), signal),
        *curve(speciation_law(data, half_change_divergence()), kept),
    )


def _root(t: Array, curve: Array) -> float:
    """Where a falling curve is zero, by a straight line between its neighbours."""
    below = np.flatnonzero(curve < 0)
    if not below.size or below[0] == 0:
        raise NoTransition(
            f"the classes do not cross between t = {t[0]:.3g} and {t[-1]:.3g}; take longer chains"
        )
    i = int(below[0])
    return float(t[i - 1] + (t[i] - t[i - 1]) * curve[i - 1] / (curve[i - 1] - curve[i]))
