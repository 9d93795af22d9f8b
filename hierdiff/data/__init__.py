"""What is noised: data models."""

__all__: list[str] = []
