r"""
U-turns: when is the class decided?
===================================

Noise a datum to level t, turn round, and follow the reverse process back to data.

* The class comes back with probability :math:`E \sum_c p(c \mid x_t)^2`: counted here from exact
  posterior samples, and computed from beliefs.
* Along a reverse trajectory the committor, the probability of ending in class c, is
  :math:`p(c \mid x_t)`: exact belief propagation at every point.  Run backwards, the forward path
  of a datum *is* a reverse trajectory, free of step errors.  The committor is a martingale,
  :math:`E[p_s(c) \mid x_t] = p_t(c)` for s < t.
* The speciation time of a trajectory is the last noise level, on the way down, at which the class
  it ends in has less than one half.  Its spread shrinks with depth, around the threshold.
* A chain of finitely many steps, as networks are sampled, unmasks several leaves at once and ends
  outside the language with a probability that falls as one over the number of steps.

Run it as ``python sims/uturn.py --out DIR``; it takes about a minute, and resumes.
"""

# %%
# One task is one grammar: beliefs along reverse trajectories, and the class at their end.

from hierdiff.sims import UTurn
from hierdiff.sims.run import command

results = command(UTurn)

# %%
# Every trajectory decides within a narrow range of noise, narrower as the tree grows.

figure = UTurn().figure(results)
