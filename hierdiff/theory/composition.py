r"""What it costs to learn the levels of a hierarchy, and what half a hierarchy can generate.

=============  ==============================================================================
symbol         meaning
=============  ==============================================================================
l              height of a lowest common ancestor above the leaves (sample costs, correlations)
level          as everywhere in the library, from the root (0) to the leaves (L)
C_ab           covariance of two symbols, P(a, b) - P(a) P(b)
S              what one token tells of a symbol, v times the sum of C_ab^2
P              number of data
Q(a)           probability that a node derives, as symbol a
N              values of each of two coordinates of a label
=============  ==============================================================================

Correlations of symbols fall with the height of their common ancestor; data resolve them when the
signal exceeds the noise of sampling, and then synonyms can be clustered by their context:

.. math:: E\, C^2_{\text{token,token}} \simeq \frac{1 - m/v^{s-1}}{v^3\, m^{2l-1}}, \qquad
   P_l = v\, m^{l+1} .

A model that knows the rules below a level only takes the symbols of that level for independent.  It
is again a grammar, so its denoiser is exact; its strings are valid below the level, and above it by
chance:

.. math:: Q(a) = \sum_k \prod_j Q_j(b_j^{(a,k)}), \qquad P(\text{valid}) = \sum_a Q(a) .

Labels with two factors cost P ~ N if the learner adds what it knows of each factor, and P ~ N^2 if
it must see them together.
"""

from __future__ import annotations

from hierdiff.theory._kernel_costs import KERNELS, Kernel, kernel_accuracy, kernel_cost
from hierdiff.theory._sample_costs import (
    classification_cost,
    clustering_cost,
    coincidence_cost,
    local_exponent,
    next_token_cost,
    resolved_samples,
)
from hierdiff.theory._static_correlations import (
    channel,
    context_signal,
    covariance,
    node_marginals,
    pair_joint,
    token_correlation,
    tuple_correlation,
)
from hierdiff.theory._truncation import (
    annealed_validity,
    class_truncated,
    node_validity,
    truncated,
    validity,
)

__all__ = [
    "KERNELS",
    "Kernel",
    "annealed_validity",
    "channel",
    "class_truncated",
    "classification_cost",
    "clustering_cost",
    "coincidence_cost",
    "context_signal",
    "covariance",
    "kernel_accuracy",
    "kernel_cost",
    "local_exponent",
    "next_token_cost",
    "node_marginals",
    "node_validity",
    "pair_joint",
    "resolved_samples",
    "token_correlation",
    "truncated",
    "tuple_correlation",
    "validity",
]
