"""What is noised: grammars, mixtures and images.

=======================  ========================================================================
rhm                      RHM and Grammar
derivations              derivation trees, the parser, arrays of rules
rhm_variants             Zipf-distributed, ambiguous, filtered and layered grammars
low_rank_mixture         LowRankMixture
subspaces                subspaces and spectra of its classes
mixture_fitting          expectation maximisation
bumps                    images of one Gaussian bump
=======================  ========================================================================
"""

__all__: list[str] = []
