"""The studies on networks, one module per question; each is a script in ``validation/``."""

__all__: list[str] = []
