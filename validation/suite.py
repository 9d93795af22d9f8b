r"""
All studies on networks in one command
======================================

The studies in order of worth, each in a process of its own, each with its numbers, figure, wall
time and device.  The suite stops cleanly at a limit of time, and a second call goes on; what a
machine with an accelerator makes in ten minutes is the whole validation::

    python validation/suite.py --device cuda --minutes 9 --out out/suite
    python validation/suite.py --list --out out/suite
    python validation/suite.py --tiny --device cpu --out out/tiny

One study alone, at its own size::

    python validation/suite.py --only rhm-strings-5 --device cuda --out out/suite
"""

# %%
# Another study is one more entry of :data:`hierdiff.validation.suite_studies.STUDIES`.

from hierdiff.validation.suite import command

found = command()
