"""The command ``hierdiff QUESTION ...``."""

from __future__ import annotations

from collections.abc import Sequence

from tyro.extras import SubcommandApp

from hierdiff import studies

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """What do diffusion models know about the structure of their data, at which noise level?"""
    app = SubcommandApp()
    for name, kind in studies.QUESTIONS.items():
        app.command(name=name)(kind)
    studies.execute(lambda: app.cli(prog="hierdiff", description=main.__doc__, args=arguments))


if __name__ == "__main__":
    main()
