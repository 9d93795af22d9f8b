r"""
What a contrastive learner learns first
=======================================

A scene has two objects that differ in every attribute; the caption names both, in no order.  We
derive the singular values of :math:`p(x,y)/\sqrt{p(x)p(y)}` for one attribute by exchange symmetry,
multiply them for several, and find that attributes come before binding at any number of values and
any noise, but places that are seen exactly are bound before attributes are known.  Then we count
negatives, and let the text tell all symbols of a level of a tree.
"""

import itertools

import numpy as np
import sympy as sp

from hierdiff import RHM
from hierdiff.theory.rhm.tree_pairs import occluded_text, text_parts, text_widths
from hierdiff.theory.zero_shot.captioned_scenes import CaptionedScenes, width_thresholds
from hierdiff.theory.zero_shot.contrastive import (
    canonical_spectrum,
    fit_infonce,
    spectral_scores,
    zero_shot_accuracy,
)

lam, v = sp.symbols("lambda v", positive=True)

# %%
# One attribute, antisymmetric functions
# --------------------------------------
# Two objects have different values a, b of v, uniformly; the image keeps each with probability
# lambda, or else draws it anew.  Take any f with zero mean and unit variance over the v values.
# Then E f(a) f(b) = -1/(v - 1), and noise multiplies each factor by lambda.  The function
# f(a) - f(b) of the caption goes with f(a') - f(b') of the image and with no other:

pair = -1 / (v - 1)  # E f(a) f(b) for different values
caption = 2 - 2 * pair
image = 2 - 2 * lam**2 * pair
overlap = lam * (2 - 2 * pair)
A = sp.simplify(overlap**2 / caption / image)
assert sp.simplify(A - lam**2 * v / (v - 1 + lam**2)) == 0

# %%
# One attribute, symmetric functions
# ----------------------------------
# With f(a) + f(b) go two functions of the image: f(a') + f(b'), and f(a') where both look alike,
# which happens with probability q.  The singular value is the norm of the projection on both.

q = (1 - lam**2) / v
h = 2 + 2 * pair
G = sp.Matrix([[2 + 2 * lam**2 * pair, 2 * q], [2 * q, q]])
c = sp.Matrix([lam, lam * (1 - lam) / v])
S = sp.simplify(h * (c.T * G.inv() * c)[0])

# %%
# Functions with zero sums over either value see no noise but a factor lambda^2, and images that
# look alike have none of them: :math:`\lambda^4/(1-q)`, symmetric or not.  All of it against the
# singular values of the v(v-1) by v^2 law:


def law(values: int, kept: float) -> np.ndarray:
    """p(ordered pair of values, ordered pair of looks)."""
    K = kept * np.eye(values) + (1 - kept) / values
    pairs = [(a, b) for a in range(values) for b in range(values) if a != b]
    return np.array([np.outer(K[a], K[b]).ravel() for a, b in pairs]) / len(pairs)


for values, kept in itertools.product((3, 4, 5), (0.3, 0.8)):
    p = law(values, kept)
    x = p.sum(axis=0)
    found = np.linalg.svd(p / np.sqrt(np.outer(p.sum(axis=1), x)))[1] ** 2
    at = {v: values, lam: kept}
    other = float((lam**4 / (1 - q)).subs(at))
    want = [1.0] + [float(A.subs(at))] * (values - 1) + [float(S.subs(at))] * (values - 1)
    want += [other] * (values * (values - 3) // 2 + (values - 1) * (values - 2) // 2)
    assert np.abs(np.sort(found) - np.sort(want)).max() < 1e-12

# %%
# Two attributes
# --------------
# Objects carry all their values with them, so captions of both objects in no order have products of
# functions with an even number of antisymmetric factors.  Both attributes without binding: S;
# binding: A times A'.  Which comes first?  The ratio of the squares, at equal v and lambda:

ratio = sp.simplify(S / A**2)
for values, kept in itertools.product((3, 4, 10, 100), np.linspace(0.05, 0.999, 30)):
    assert float(ratio.subs({v: values, lam: kept})) > 1
print("at lambda -> 0:", sp.limit(ratio * lam**2, lam, 0), "over lambda^2; at 1:",
      sp.limit(ratio, lam, 1))  # fmt: skip

# %%
# Attributes come first, always.  A place has two values, left and right, one for each object.  It
# has no symmetric function, and one antisymmetric function with A = 2 lambda^2 / (1 + lambda^2).
# Seen without noise that is 1, and the relation "the red one is left" has the value A of the
# colour, which exceeds S: relations are learned *before* attributes.

for values, kept in itertools.product((3, 5, 50), (0.2, 0.8, 0.99)):
    assert float((A - S).subs({v: values, lam: kept})) > 0
scenes = CaptionedScenes((5, 5, 2), (0.8, 0.8, 1.0))
for name, (first, last) in list(width_thresholds(scenes).items())[:4]:
    print(f"{name}: widths {first} to {last}")

# %%
# Captions that differ in one exchange
# ------------------------------------
# The likelihoods of the two are A C + B D and A D + B C, with the likelihoods A, B of the shapes in
# both orders and C, D of the colours: the difference (A - B)(C - D) has the sign of its part of
# kind A x A, because an antisymmetric function of a look that equals a caption's value is
# proportional to 1[a' = a] - 1[a' = b] - 1[b' = a] + 1[b' = b].  So accuracy is Bayes at width 25:

scenes = CaptionedScenes((5, 5), 0.8)
joint, spectrum = scenes.joint, canonical_spectrum(scenes.joint)
swap = scenes.tasks["colour exchanged"]
bayes = zero_shot_accuracy(joint, joint, swap)
for width in (9, 10, 25):
    accuracy = zero_shot_accuracy(joint, spectral_scores(spectrum, width), swap)
    print(f"spectral learner of width {width}: {accuracy:.3f} (Bayes {bayes:.3f})")
assert abs(zero_shot_accuracy(joint, spectral_scores(spectrum, 25), swap) - bayes) < 1e-12

# %%
# Negatives
# ---------
# InfoNCE is not the spectral loss: with many negatives it spends its width on what separates
# likely captions.  The mean of log N over K negatives is one integral, by
# :math:`\log n = \int_0^\infty (e^{-u} - e^{-un})\,du/u`.  Width 8, which the spectral learner
# would spend on attributes alone:

for K in (1, 8, 64, None):
    learner = fit_infonce(joint, 8, negatives=K, iterations=150, seed=0)
    word = "infinitely many" if K is None else str(K)
    print(f"{word} negatives: {zero_shot_accuracy(joint, learner.scores, swap):.3f}")

# %%
# And two dimensions are enough once captions of the same attributes, bound otherwise, are among the
# negatives: "cannot bind" is a statement about width and negatives.

hard = fit_infonce(joint, 2, wrong=swap[:, 0], hard=0.5, seed=0)
plain = fit_infonce(joint, 2, seed=0)
for word, learner in (("plain", plain), ("hard", hard)):
    print(f"width 2, {word} negatives: {zero_shot_accuracy(joint, learner.scores, swap):.3f}")

# %%
# A text that tells two symbols
# -----------------------------
# On a tree the text may be the string of all symbols of a level.  Take a pair of symbols, each seen
# with probability a.  The squared singular values are those of the mean of conditional
# expectations, K = (1-a)^2 E_0 + a (1-a) (E_1 + E_2) + a^2 1.  On a function of both symbols that
# has no mean given either, K is a^2.  Let f(1) and g(2) have unit variance and correlation c: then
# E_1 g = c f and E_2 f = c g, and on their span E_1 + E_2 is a 2 x 2 matrix with eigenvalues 1 + c
# and 1 - c.

a, c = sp.symbols("a c", positive=True)
both = sp.Matrix([[1, c], [c, 1]])  # E_1 + E_2 on f, g
K = a * (1 - a) * both + a**2 * sp.eye(2)
squares = set(map(sp.factor, K.eigenvals()))
assert squares == {sp.factor(a * (1 + (1 - a) * c)), sp.factor(a * (1 - (1 - a) * c))}

# %%
# a (1 - (1 - a) c) exceeds a^2 unless c = 1: single symbols come before what the text tells about
# both.  There are 2(v - 1) functions of single symbols, and N - 2v + 1 of the N strings are left.
# The numbers of a grammar against the closed form:

grammar = RHM(v=16, m=4, s=2, L=2).draw(seed=0)
texts = occluded_text(grammar, 1, 0.8)
parts = text_parts(grammar, 1, 0.8)
stated = np.repeat([part.value for part in parts], [part.number for part in parts])
assert np.abs(texts.values - stated).max() < 1e-7
for part in (parts[0], parts[1], parts[-1]):
    print(f"{part.text}: {part.value:.3f}, {part.number}")

# %%
# The class is a function of both symbols.  A text of the class alone needs the width v = 16 for it;
# a text that tells both symbols, and a text of the four symbols below, need more for half of it:

for level in (1, 2):
    print(f"text of level {level}:", text_widths(occluded_text(grammar, level, 0.8), 0.5))
