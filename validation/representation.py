r"""
Representation in networks: memory against understanding
========================================================

Networks learn a mixture of low-rank Gaussians from few points, from many, or from fresh ones
without end.  Their denoised features are read on points that they have not seen, at all noise
levels: where the network has captured the mixture the SNR of the features rises before it falls, as
the exact law does; where it has memorised its training set it only falls.  Error bars are over
networks.

More networks per size, and a linear probe of every layer on other data::

    python validation/representation.py mixture --networks 8 --n-train 60 240 1000 0 --out out
    python validation/representation.py factors --out out/factors  # what makes the peak
    python validation/representation.py levels --out out/levels  # two levels together; one each
    python validation/representation.py digit-levels --out out/digit-levels
    python validation/representation.py digits --out out/digits
    python validation/representation.py rhm --out out/rhm
    python validation/representation.py catalogue --name adm-256 --images DIR --out out/adm
"""

# %%
# A second run finds the trained networks.

from hierdiff.sims.run import command
from hierdiff.validation.experiments.representation import NetworkRepresentation

results = command(NetworkRepresentation)
