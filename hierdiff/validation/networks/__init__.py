"""Networks."""

__all__: list[str] = []
