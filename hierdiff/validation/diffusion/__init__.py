"""What a network predicts, at which noise levels, conditioned on what, and the reverse chains."""

__all__: list[str] = []
