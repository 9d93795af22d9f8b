"""Architectures of the published ADM networks (:mod:`hierdiff.validation.adm`)."""

from __future__ import annotations

from dataclasses import dataclass

from hierdiff.checks import check_fields, count, fraction, memory, number, whole
from hierdiff.errors import InvalidParameter
from hierdiff.validation._weights import layers_number, size_number

__all__ = ["ADM_64_CONDITIONAL", "ADM_256", "ADM_256_CONDITIONAL", "ADMConfig"]


@dataclass(frozen=True)
class ADMConfig:
    """Architecture of an ADM U-Net.

    Parameters
    ----------
    image_size : int
        Pixels on a side.
    channels : int
        C, width of the first resolution at multiplier 1.
    multipliers : tuple of float
        Width of each resolution over C.
    blocks : int
        Residual blocks per resolution.
    attention : tuple of int
        Downsampling factors at which there is attention.
    head_channels : int
        Channels per head.
    classes : int, optional
        Number of labels of a conditional network.
    new_attention_order : bool
        Channels of queries, keys, values stand as (3, heads, width) instead of (heads, 3, width).
    learned_variance : bool
        Six channels are returned instead of three.
    dropout : float
        Probability, in training only.
    image_channels : int
        Channels of the image.

    Raises
    ------
    InvalidParameter
        If the sizes do not divide.

    Notes
    -----
    Validity: scale-shift normalisation and residual blocks that resize, as in every published
    ADM of ImageNet.

    References
    ----------
    Dhariwal and Nichol, arXiv 2105.05233.

    Examples
    --------
    >>> ADM_256.widths
    (256, 256, 512, 512, 1024, 1024)
    """

    image_size: int
    channels: int
    multipliers: tuple[float, ...]
    blocks: int
    attention: tuple[int, ...]
    head_channels: int = 64
    classes: int | None = None
    new_attention_order: bool = False
    learned_variance: bool = True
    dropout: float = 0.0
    image_channels: int = 3

    def __post_init__(self) -> None:
        check_fields(self, image_size=size_number, channels=size_number, blocks=layers_number,
                     head_channels=count, dropout=fraction, image_channels=size_number)  # fmt: skip
        if self.classes is not None:
            whole("classes", self.classes, low=1, high=2**20)
        if not 1 <= len(self.multipliers) <= 16:
            raise InvalidParameter(
                f"multipliers has {len(self.multipliers)} entries; give one per resolution, 1 to 16"
            )
        for k, multiplier in enumerate(self.multipliers):
            number(f"multipliers[{k}]", multiplier, above=0, high=2**16)
        for k, factor in enumerate(self.attention):
            whole(f"attention[{k}]", factor, low=1)
        smallest = 2 ** (len(self.multipliers) - 1)
        if self.image_size % smallest:
            raise InvalidParameter(
                f"image_size = {self.image_size} must be a multiple of {smallest}, as there are "
                f"{len(self.multipliers)} resolutions; change one of the two"
            )
        for factor, width in zip(
            (2**k for k in range(len(self.multipliers))), self.widths, strict=True
        ):
            heads = self.head_channels if factor in self.attention else 1
            if width < 32 or width % 32 or width % heads:
                raise InvalidParameter(
                    f"{width} channels at 1/{factor} of the size must be a multiple of 32 and of "
                    f"head_channels = {self.head_channels}; change channels or multipliers"
                )
        # a residual block has two convolutions of 9 w^2 weights at least, there is one per
        # resolution on the way down and one on the way up
        weights = sum(36.0 * self.blocks * width**2 for width in self.widths)
        memory(f"a network of {weights:.2g} weights or more", 4 * weights)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each resolution."""
        return tuple(int(m * self.channels) for m in self.multipliers)


ADM_256 = ADMConfig(256, 256, (1, 1, 2, 2, 4, 4), 2, (8, 16, 32))
"""256 x 256, unconditional, linear schedule: 552,814,086 parameters."""

ADM_256_CONDITIONAL = ADMConfig(256, 256, (1, 1, 2, 2, 4, 4), 2, (8, 16, 32), classes=1000)
"""256 x 256, conditional, linear schedule: 553,838,086 parameters."""

ADM_64_CONDITIONAL = ADMConfig(
    64, 192, (1, 2, 3, 4), 3, (2, 4, 8), classes=1000, new_attention_order=True, dropout=0.1
)
"""64 x 64, conditional, cosine schedule, new attention order: 295,904,454 parameters."""
