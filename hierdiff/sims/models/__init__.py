"""Models that are simulated or fitted rather than exact, each in a file."""

__all__: list[str] = []
