"""The package's few exceptions.

Every message is one line with the value received, the rule it broke and the remedy.  All of them
derive from :class:`HierdiffError` and from the built-in exception that a caller would expect, so
``except ValueError`` keeps working.
"""

__all__ = [
    "DamagedFile",
    "HierdiffError",
    "ImpossibleEvidence",
    "InvalidParameter",
    "MissingPackage",
    "NoTransition",
    "NotASentence",
    "NotConverged",
]


class HierdiffError(Exception):
    """Base class of everything that hierdiff raises on purpose; its message is one line."""

    def __init__(self, *words: object) -> None:
        # a value may print on many lines, an array for one
        super().__init__(*(" ".join(x.split("\n")) if isinstance(x, str) else x for x in words))


class InvalidParameter(HierdiffError, ValueError):
    """A parameter or an array breaks a stated rule."""


class NotASentence(HierdiffError, ValueError):
    """A leaf string cannot be derived from the grammar."""


class ImpossibleEvidence(HierdiffError, ValueError):
    """The evidence has probability zero under the grammar."""


class NoTransition(HierdiffError, ValueError):
    """The parameters lie where no phase transition exists."""


class DamagedFile(HierdiffError, OSError):
    """A file cannot be read as what its name promises."""


class MissingPackage(HierdiffError, ImportError):
    """An optional package is not installed, or cannot be imported."""


class NotConverged(UserWarning):
    """An iteration was stopped before it stood still; its result is returned all the same."""
