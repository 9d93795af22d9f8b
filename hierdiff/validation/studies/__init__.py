"""The studies on networks, one module per question; each is a script in ``validation/``."""

import hierdiff.plots.backend  # noqa: F401 (makes sure that matplotlib can be imported)

__all__: list[str] = []
