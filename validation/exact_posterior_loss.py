r"""
The exact posterior as a loss
=============================

A network that learns to denoise sees one clean string per noisy one.  On a grammar the whole
posterior is known, so the loss can be the divergence from it: the same minimum, the same mean
gradient, and none of the variance that the draw of the clean string adds.  Pairs of transformers,
equal in weights and batches, learn with either target.

In ten lines of one's own::

    net, loss = network("transformer", grammar, noise, width=32), KLToPosterior(grammar)
    optimiser, rng = torch.optim.Adam(net.parameters(), lr=3e-3), numpy.random.default_rng(0)
    for step in range(400):
        t = rng.random(32)
        x_t = noise.corrupt(grammar.sample(32, rng).leaves, t, rng)
        channels, log_snr = (torch.tensor(a).float() for a in network_input(noise, x_t, t))
        value = loss(net(channels, log_snr), noise.evidence(x_t, t))
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
"""

# %%
# A second run finds the trained networks.  On the right a line is exact inference alone: what
# sampled targets add to the squared gradient of the logits does not depend on the network.

from hierdiff.sims.run import command
from hierdiff.validation.experiments.exact_targets import NetworkExactTargets

results = command(NetworkExactTargets)
