"""What is read off models, for any experiment."""

__all__: list[str] = []
