r"""Scenes of two objects and their captions: spectra in closed form, and what needs which width.

====================  ==========================================================================
symbol                meaning
====================  ==========================================================================
x, y                  image and caption, with the joint law p(x, y)
f(x), g(y)            embeddings of width d; the score of a caption is f(x) . g(y)
sigma_k               singular values of p(x, y) / sqrt(p(x) p(y)); the largest is 1
lambda                fidelity of an attribute: second eigenvalue of its channel
v                     number of values of an attribute
q                     (1 - lambda^2) / v, probability that two values look alike in an image
====================  ==========================================================================

A scene has two objects, which differ in the value of every attribute; values are uniform.  The
caption names both objects, in no order.  In the image a value is kept with probability lambda, or
else drawn anew from all v.  The spectral contrastive loss

.. math::
   -2\,E_{p(x,y)} f\cdot g + E_{p(x)p(y)} (f\cdot g)^2                                \qquad (1)

is least for :math:`f\cdot g = \sum_{k<d} \sigma_k u_k(x) v_k(y)`, the density ratio
:math:`p(x,y)/p(x)p(y)` cut after d terms, largest first.  Functions of the two values of one
attribute are symmetric or antisymmetric under exchange of the objects:

=====  ==================================  ===================  ===============================
kind   functions of a caption              number               :math:`\sigma^2`
=====  ==================================  ===================  ===============================
S      :math:`f(a_1) + f(a_2)`             v - 1                eq. (2)
P      other functions of {a_1, a_2}       v (v - 3) / 2        :math:`\lambda^4 / (1 - q)`
A      :math:`f(a_1) - f(a_2)`             v - 1                :math:`\lambda^2 v/(v-1+\lambda^2)`
B      other antisymmetric ones            (v - 1)(v - 2) / 2   :math:`\lambda^4 / (1 - q)`
=====  ==================================  ===================  ===============================

.. math::
   \sigma_S^2 = h\,c^T G^{-1} c, \quad h = 2\frac{v-2}{v-1}, \quad
   c = \lambda\,\Big(1, \frac{1-\lambda}{v}\Big), \quad
   G = \begin{pmatrix} 2 - 2\lambda^2/(v-1) & 2q \\ 2q & q \end{pmatrix}.             \qquad (2)

A function of a caption with several attributes is a product of these, and does not change if the
objects are exchanged: the number of antisymmetric factors is even.  So

.. math::
   \text{attribute: } \sigma_S, \qquad \text{binding of two attributes: } \sigma_A\,\sigma_A',
   \qquad \text{both present: } \sigma_S\,\sigma_S' ,                                 \qquad (3)

and width decides: the spectral learner binds nothing until it has room for what is larger.  The
score :math:`(A - B)(C - D)` of a pair of captions that differ in one exchange has the sign of its
part of kind A x A, so accuracy on exchanged captions is Bayes as soon as that part is complete.

References: HaoChen et al., arXiv 2106.04156 (eq. 1); Lewis et al., arXiv 2212.10537, and Clark and
Jaini, arXiv 2303.15233 (two-object scenes).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hierdiff.checks import (
    check_fields,
    checked,
    frozen,
    listed,
    memory,
    number,
    one_of,
    text,
    whole,
)
from hierdiff.errors import InvalidParameter

__all__ = ["CaptionedScenes", "SpectralPart", "denoising_scores", "width_thresholds"]

Array = NDArray[Any]
Floats = NDArray[np.float64]

_EQUAL = 1e-9
"""Relative distance below which two singular values are equal but for rounding."""
_LARGEST = 4e7
"""Numbers of a joint law; its singular value decomposition takes a minute."""

Kind = Literal["1", "S", "P", "A", "B"]


class SpectralPart(NamedTuple):
    """Singular functions that one product of kinds spans.

    Attributes
    ----------
    kinds : tuple of str
        One of "1", "S", "P", "A", "B" for every attribute.
    text : str
        In words.
    value : float
        Singular value.
    number : int
        Multiplicity.
    """

    kinds: tuple[Kind, ...]
    text: str
    value: float
    number: int


def _kinds(v: int, fidelity: float) -> dict[Kind, tuple[float, int]]:
    """Singular value and multiplicity of every kind of function of two different values."""
    square, alike = fidelity**2, (1 - fidelity**2) / v
    others = square**2 / (1 - alike)
    h = 2 * (v - 2) / (v - 1)
    gram = np.array([[2 - 2 * square / (v - 1), 2 * alike], [2 * alike, alike]])
    c = fidelity * np.array([1.0, (1 - fidelity) / v])
    # exact images never look alike, so that the second function of an image does not exist; of two
    # values both are there in every scene
    if alike > 0 and v > 2:
        sums = float(h * c @ np.linalg.solve(gram, c))
    else:
        sums = h * square / gram[0, 0] if v > 2 else 0.0
    found: dict[Kind, tuple[float, int]] = {
        "1": (1.0, 1), "S": (sums, v - 1 if v > 2 else 0), "P": (others, v * (v - 3) // 2),
        "A": (square * v / (v - 1 + square), v - 1), "B": (others, (v - 1) * (v - 2) // 2),
    }  # fmt: skip
    return {kind: (math.sqrt(x), n) for kind, (x, n) in found.items() if n > 0}


def _words(kinds: tuple[Kind, ...], names: tuple[str, ...]) -> str:
    """A part of the spectrum in words."""
    bound: list[str] = []
    beside: list[str] = []
    for kind, name in zip(kinds, names, strict=True):
        if kind != "1":
            (bound if kind in "AB" else beside).append(f"{name} pairs" if kind in "PB" else name)
    if not bound:
        if not beside:
            return "constant"
        return beside[0] if len(beside) == 1 else f"{' and '.join(beside)} together"
    return f"binding of {' and '.join(bound)}" + (f", by {' and '.join(beside)}" if beside else "")


@dataclass(frozen=True, eq=False)
class CaptionedScenes:
    """Scenes of two objects with attributes, seen through noise, and captions of both.

    Parameters
    ----------
    values : tuple of int
        Values v of every attribute, at least two; of two values each object has one, as left and
        right.
    fidelity : float or tuple of float
        lambda of all attributes or of each, in (0, 1].
    names : tuple of str, optional
        Names of the attributes; default "shape", "colour", "position", "size".

    Raises
    ------
    InvalidParameter
        For fewer than two attributes, values or fidelities out of range, names that repeat.

    Notes
    -----
    Validity: exact.  Laws with more than 4e7 numbers are refused where they must be written out;
    :meth:`parts` is in closed form for any size.

    Examples
    --------
    >>> scenes = CaptionedScenes((5, 5), 0.8)
    >>> for part in scenes.parts()[:4]:
    ...     print(part.text, round(part.value, 4), part.number)
    constant 1.0 1
    colour 0.7779 4
    shape 0.7779 4
    binding of shape and colour 0.6897 16
    """

    values: tuple[int, ...] = (5, 5)
    fidelity: float | tuple[float, ...] = 0.8
    names: tuple[str, ...] = ("shape", "colour", "position", "size")

    def __post_init__(self) -> None:
        many = partial(listed, rule=partial(whole, low=2, high=10**4), least=2, distinct=False)
        check_fields(self, values=many, names=partial(listed, rule=text, least=2))
        k = len(self.values)
        share = partial(number, above=0, high=1)
        if isinstance(self.fidelity, (tuple, list)):
            fidelity = listed("fidelity", self.fidelity, share, distinct=False)
        else:
            fidelity = (share("fidelity", self.fidelity),) * k
        if len(fidelity) != k or len(self.names) < k:
            raise InvalidParameter(
                f"{k} attributes have {len(fidelity)} fidelities and {len(self.names)} names; give "
                "one of each"
            )
        object.__setattr__(self, "fidelity", fidelity)
        object.__setattr__(self, "names", tuple(self.names[:k]))

    @property
    def n_captions(self) -> int:
        """Captions, two objects in no order."""
        return math.prod(v * (v - 1) for v in self.values) // 2

    @property
    def n_images(self) -> int:
        """Images, two objects in no order."""
        looks = math.prod(self.values)
        return looks * (looks + 1) // 2

    def parts(self) -> tuple[SpectralPart, ...]:
        r"""The whole spectrum in closed form, largest singular values first, by (2) and (3).

        Returns
        -------
        tuple of SpectralPart
            Their numbers add to the number of captions.

        Notes
        -----
        Validity: exact.

        Examples
        --------
        >>> sum(part.number for part in CaptionedScenes((5, 5)).parts())
        200
        """
        fidelity = self._fidelities
        kinds = [_kinds(v, x) for v, x in zip(self.values, fidelity, strict=True)]
        found = []
        for names in itertools.product(*kinds):
            if sum(name in "AB" for name in names) % 2 == 0:
                pairs = [kinds[i][name] for i, name in enumerate(names)]
                value, count = (math.prod(x) for x in zip(*pairs, strict=True))
                found.append(SpectralPart(names, _words(names, self.names), value, count))
        return tuple(sorted(found, key=lambda part: (-part.value, part.text)))

    @property
    def _fidelities(self) -> tuple[float, ...]:
        assert isinstance(self.fidelity, tuple)
        return self.fidelity

    @cached_property
    def _looks(self) -> Array:
        """All appearances of one object, [looks, attribute]."""
        return np.array(list(itertools.product(*map(range, self.values))))

    @cached_property
    def captions(self) -> Array:
        """Values of the named objects, [captions, object, attribute]."""
        self._fits()
        v = self._looks
        first, second = (x.ravel() for x in np.indices((len(v), len(v))))
        kept = (first < second) & (v[first] != v[second]).all(axis=1)
        return frozen(np.stack([v[first[kept]], v[second[kept]]], axis=1))

    @cached_property
    def images(self) -> Array:
        """What the objects look like, in no order, [images, object, attribute]."""
        self._fits()
        first, second = np.triu_indices(len(self._looks))
        return frozen(np.stack([self._looks[first], self._looks[second]], axis=1))

    @cached_property
    def joint(self) -> Floats:
        """p(x, y), [images, captions]."""
        first, second = np.triu_indices(len(self._looks))
        a, b = (self._seen[self._index(self.captions[:, i])] for i in (0, 1))
        law = a[:, first] * b[:, second] + a[:, second] * b[:, first]
        law[:, first == second] /= 2
        return frozen(law.T / len(self.captions))

    @cached_property
    def _seen(self) -> Floats:
        """p(look | object), [objects, looks]."""
        law: Floats = np.ones((1, 1))
        for v, x in zip(self.values, self._fidelities, strict=True):
            law = np.asarray(np.kron(law, x * np.eye(v) + (1 - x) / v))
        return law

    def _index(self, objects: Array) -> Array:
        """Number of an object among all looks."""
        return np.asarray(np.ravel_multi_index(tuple(np.moveaxis(objects, -1, 0)), self.values))

    def _numbers(self, captions: Array) -> Array:
        """Numbers of captions [..., object, attribute] among all."""
        looks = len(self._looks)

        def code(x: Array) -> Array:
            objects = np.sort(self._index(x), axis=-1)
            return np.asarray(objects[..., 0] * looks + objects[..., 1])

        return np.searchsorted(code(self.captions), code(captions))

    def _fits(self) -> None:
        size = float(self.n_images) * self.n_captions
        if size > _LARGEST:
            raise InvalidParameter(
                f"{self.n_images} images and {self.n_captions} captions make {size:.2g} numbers; "
                "give fewer values (parts() has no limit)"
            )
        memory(f"a law of {self.n_images} images and {self.n_captions} captions", 64 * size)

    @property
    def tasks(self) -> Mapping[str, Array]:
        """Wrong captions beside every caption, by the name of the task, [captions, wrong ones].

        "colour": one value is replaced by one that neither object has.  "colour exchanged": the two
        objects exchange their values.  Of two attributes both exchanges are the same.
        """
        found: dict[str, Array] = {}
        y, size = self.captions, len(self.captions)
        for i, (name, v) in enumerate(zip(self.names, self.values, strict=True)):
            if v > 2:
                rows = []
                for which, shift in itertools.product((0, 1), range(1, v)):
                    other = y.copy()
                    other[:, which, i] = (other[:, which, i] + shift) % v
                    rows.append(other)
                wrong = np.stack(rows, axis=1)
                # the value of the other object is none of those that are absent
                absent = wrong[:, :, 0, i] != wrong[:, :, 1, i]
                found[name] = self._numbers(wrong[absent].reshape(size, 2 * (v - 2), 2, -1))
        last = 1 if len(self.values) == 2 else 0
        for i, name in list(enumerate(self.names))[last:]:
            other = y.copy()
            other[:, :, i] = other[:, ::-1, i]
            found[f"{name} exchanged"] = self._numbers(other)[:, None]
        return found


@checked
def width_thresholds(scenes: CaptionedScenes) -> dict[str, tuple[int, int]]:
    """Widths at which every part of the spectrum begins and is complete.

    Parameters
    ----------
    scenes : CaptionedScenes

    Returns
    -------
    dict
        By the text of the part: the least width with any of it, and the least with all.  Parts of
        equal singular value come together, in a basis that is not determined.

    Notes
    -----
    Validity: exact for the optimum of the spectral loss (1).

    Examples
    --------
    >>> found = width_thresholds(CaptionedScenes((5, 5), 0.8))
    >>> found["shape"], found["binding of shape and colour"]
    ((2, 9), (10, 25))
    """
    parts = scenes.parts()
    found = {}
    for one in parts:
        above = sum(p.number for p in parts if p.value > one.value * (1 + _EQUAL))
        upto = sum(p.number for p in parts if p.value >= one.value * (1 - _EQUAL))
        found[one.text] = (above + 1, upto)
    return found


# --------------------------------------------------------------------- the denoising classifier


@checked
def denoising_scores(
    scenes: CaptionedScenes,
    *,
    masked: int | None = None,
    loss: Literal["log", "squared"] = "log",
) -> Floats:
    r"""Scores of a classifier by denoising errors: the exact denoiser of every caption, masked.

    .. math:: S(x, y) = -\sum_{n} \frac1n \Big\langle \sum_{i \in M}
       \ell\big(x_i,\, p(x_i \mid x_{\setminus M}, y)\big) \Big\rangle_{|M| = n}

    Parameters
    ----------
    scenes : CaptionedScenes
        2 x attributes symbols of an image are masked and restored.
    masked : int, optional
        Only this number n of masked symbols, one noise level; default all of them.
    loss : {"log", "squared"}
        Of a symbol: -log p(x_i), or the squared distance of the probabilities from the symbol.

    Returns
    -------
    array [images, captions]

    Raises
    ------
    InvalidParameter
        For a number of masked symbols that there is not.

    Notes
    -----
    Validity: exact, all masks of every size are averaged.  With the loss "log" and all n the score
    is log p(x | y), by the sum rule of masked diffusion: the classifier is Bayes.

    References
    ----------
    Clark and Jaini, arXiv 2303.15233; Li et al., arXiv 2303.16203.

    Examples
    --------
    >>> scenes = CaptionedScenes((5, 5), 0.8)
    >>> from hierdiff.theory.zero_shot.contrastive import zero_shot_accuracy
    >>> scores = denoising_scores(scenes, masked=1)
    >>> swap = scenes.tasks["colour exchanged"]
    >>> round(zero_shot_accuracy(scenes.joint, scores, swap), 4)
    0.9014
    """
    one_of("loss", loss, ("log", "squared"))
    symbols = 2 * len(scenes.values)
    sizes = range(1, symbols + 1)
    if masked is not None:
        sizes = range(whole("masked", masked, 1, symbols), masked + 1)
    law, shape = _ordered(scenes), (*scenes.values, *scenes.values)
    law = law.reshape(*shape, -1)
    memory(f"denoisers of {scenes.n_captions} captions", 24.0 * law.size)
    found = np.zeros_like(law)
    for n in sizes:
        sets = list(itertools.combinations(range(symbols), n))
        for hidden in sets:
            for i in hidden:
                others = tuple(j for j in hidden if j != i)
                together = law.sum(axis=others, keepdims=True)
                p = together / np.maximum(together.sum(axis=i, keepdims=True), 1e-300)
                if loss == "log":
                    value = np.log(np.maximum(p, 1e-300))
                else:  # |p - e_x|^2 = sum p^2 - 2 p(x) + 1
                    value = 2 * p - (p**2).sum(axis=i, keepdims=True) - 1
                found += value / (n * len(sets))
    flat = found.reshape(-1, law.shape[-1])
    looks = len(scenes._looks)
    first, second = np.triu_indices(looks)
    return np.asarray(flat[first * looks + second])


def _ordered(scenes: CaptionedScenes) -> Floats:
    """p(x | y) of images whose objects have places, [looks, looks, captions]."""
    captions = scenes.captions
    a, b = (scenes._seen[scenes._index(captions[:, i])] for i in (0, 1))
    memory("images with places", 24.0 * a.shape[1] ** 2 * len(captions))
    law = np.einsum("yi,yj->ijy", a, b)
    return np.asarray((law + law.transpose(1, 0, 2)) / 2)
