"""What is noised: grammars, mixtures and images.

=======================  ========================================================================
rhm                      RHM and Grammar
derivations              derivation trees, the parser, arrays of rules
rhm_variants             Zipf-distributed, ambiguous, filtered and layered grammars
pcfg                     PCFG: grammars whose trees vary in shape
parse_trees              their derivation trees
low_rank_mixture         mixtures of low-rank Gaussians, and their fit by expectation maximisation
subspaces                subspaces and spectra of its classes
bumps                    images of one Gaussian bump
rhm_images               strings of a grammar drawn as images
digits                   labelled images, and the digits of scikit-learn
fashion                  photographs of clothing with a tree of classes
image_sets               images by the name of a set, or in a folder, read in parts
image_folder             images of a folder, prepared as in the papers
=======================  ========================================================================
"""

__all__: list[str] = []
