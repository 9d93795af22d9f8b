r"""The ADM U-Net of guided-diffusion, with the names of its published weights.

==================  ============================================================================
module              what it is
==================  ============================================================================
``time_embed``      sines of the time (width C), then two linear layers (width 4 C)
``input_blocks``    a convolution; per resolution r residual blocks, then one that halves the size
``middle_block``    residual block, attention, residual block
``output_blocks``   per resolution r + 1 residual blocks on the output joined with the stored one
                    of the same size; the last of them doubles the size
``out``             normalisation, SiLU, convolution: eps, then the variance values
==================  ============================================================================

The blocks are those of :mod:`hierdiff.validation.adm_blocks`.  Normalisations, the time and the
head stay in float32 under autocast.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hierdiff.checks import checked
from hierdiff.errors import InvalidParameter
from hierdiff.validation._tensors import labels_of, one_per_row, tensor
from hierdiff.validation._weights import check_names
from hierdiff.validation.adm_blocks import (
    AttentionBlock,
    Norm,
    ResBlock,
    Stage,
    full_precision,
    sinusoid,
)
from hierdiff.validation.adm_config import (
    ADM_64_CONDITIONAL,
    ADM_256,
    ADM_256_CONDITIONAL,
    ADMConfig,
)

__all__ = [
    "ADM_64_CONDITIONAL",
    "ADM_256",
    "ADM_256_CONDITIONAL",
    "ADMConfig",
    "ADMUNet",
    "empty",
    "from_state_dict",
]

_LIMIT = 2**31  # elements of one tensor above which kernels have returned zeros in silence


class ADMUNet(nn.Module):
    """ADM U-Net.

    Parameters
    ----------
    config : ADMConfig
        The architecture.

    Notes
    -----
    Validity: equal to guided-diffusion's ``UNetModel`` to rounding (5e-5 in float32 at outputs of
    order 1); image, time [n] and, if conditional, labels [n] to [n, 6 or 3, h, w].

    References
    ----------
    Dhariwal and Nichol, arXiv 2105.05233.

    Examples
    --------
    >>> net = ADMUNet(ADMConfig(8, 32, (1, 2), 1, (2,), head_channels=32))
    >>> net(torch.zeros(2, 3, 8, 8), torch.tensor([0.0, 999.0])).shape
    torch.Size([2, 6, 8, 8])
    """

    label_emb: nn.Module  # only with classes; a place or a text may be coded instead

    @checked
    def __init__(self, config: ADMConfig) -> None:
        super().__init__()
        self.config = config
        C, time = config.channels, 4 * config.channels
        self.time_embed = nn.Sequential(nn.Linear(C, time), nn.SiLU(), nn.Linear(time, time))
        if config.classes is not None:
            self.label_emb = nn.Embedding(config.classes, time)
        widths = config.widths
        self.input_blocks, stored = _descent(config, time)
        last = widths[-1]
        self.middle_block = Stage(
            ResBlock(last, last, time, config.dropout),
            AttentionBlock(last, config.head_channels, config.new_attention_order),
            ResBlock(last, last, time, config.dropout),
        )
        self.output_blocks = _ascent(config, time, stored)
        returned = config.image_channels * (1 + config.learned_variance)
        self.out = nn.Sequential(
            Norm(widths[0]), nn.SiLU(), nn.Conv2d(widths[0], returned, 3, padding=1)
        )
        # an untrained network starts from zero, as the published ones did
        for module in self.modules():
            if isinstance(module, ResBlock):
                _zero(module.out_layers[-1])
            elif isinstance(module, AttentionBlock):
                _zero(module.proj_out)
        _zero(self.out[-1])

    def forward(self, x: Tensor, time: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images [n, c, h, w] and times [n] to eps, or eps and variance values along axis 1."""
        self._check(x, time, labels)
        with full_precision(x):
            code = self.time_embed(sinusoid(time, self.config.channels))
            if labels is not None:
                code = code + self.label_emb(labels)
        h, stored = x, []
        for stage in self.input_blocks:
            h = stage(h, code)
            stored.append(h)
        h = self.middle_block(h, code)
        for stage in self.output_blocks:
            h = stage(torch.cat([h, stored.pop()], dim=1), code)
        with full_precision(x):
            answer: Tensor = self.out(h.to(x.dtype))
        return answer

    def _check(self, x: Tensor, time: Tensor, labels: Tensor | None) -> None:
        config = self.config
        tensor("x", x, ...)
        one_per_row("time", time, x)
        step = 2 ** (len(config.multipliers) - 1)
        if x.ndim != 4 or x.shape[1] != config.image_channels or any(k % step for k in x.shape[2:]):
            raise InvalidParameter(
                f"images have shape {tuple(x.shape)}; give [n, {config.image_channels}, h, w] with "
                f"h and w multiples of {step}"
            )
        if (labels is None) != (config.classes is None):
            state = "conditional" if config.classes else "unconditional"
            raise InvalidParameter(
                f"the network is {state}; " + ("give a label" if config.classes else "give none")
            )
        if labels is not None and isinstance(self.label_emb, nn.Embedding):
            labels_of("labels", labels, x, self.label_emb.num_embeddings)
        widest = 2 * config.widths[0] * x.shape[2] * x.shape[3]
        if len(x) * widest >= _LIMIT:
            raise InvalidParameter(
                f"a batch of {len(x)} images makes tensors of 2**31 elements or more; give "
                f"batch_size <= {(_LIMIT - 1) // widest}"
            )


@checked
def empty(config: ADMConfig) -> ADMUNet:
    """The network without memory for its parameters, on torch's meta device.

    Parameters
    ----------
    config : ADMConfig
        The architecture.

    Returns
    -------
    ADMUNet

    Notes
    -----
    Validity: for names, shapes and counts.

    Examples
    --------
    >>> net = empty(ADM_256)
    >>> len(net.state_dict()), sum(p.numel() for p in net.parameters())
    (566, 552814086)
    """
    with torch.device("meta"):
        return ADMUNet(config)


@checked
def from_state_dict(state_dict: Mapping[str, Tensor], config: ADMConfig) -> ADMUNet:
    """Network with given weights, by the original names.

    Parameters
    ----------
    state_dict : mapping of str to tensor
        As in the published files; float16 is raised to float32.
    config : ADMConfig
        The architecture that the weights belong to.

    Returns
    -------
    ADMUNet
        In evaluation mode; it uses the memory of float32 tensors given.

    Raises
    ------
    InvalidParameter
        If a name is missing or not known, or a shape differs; the first ones are named.

    Notes
    -----
    Validity: all names and shapes are compared before anything is loaded.

    Examples
    --------
    >>> config = ADMConfig(8, 32, (1,), 1, ())
    >>> net = ADMUNet(config)
    >>> same = from_state_dict(net.state_dict(), config)
    >>> bool((same.out[2].weight == net.out[2].weight).all())
    True
    """
    net = empty(config)
    check_names(state_dict, net)
    half = (torch.float16, torch.bfloat16)
    weights = {k: w.float() if w.dtype in half else w for k, w in state_dict.items()}
    net.load_state_dict(weights, strict=True, assign=True)
    return net.eval()


def _descent(config: ADMConfig, time: int) -> tuple[nn.ModuleList, list[int]]:
    """Stages down to the smallest size, and the channels each of them stores."""
    width = config.widths[0]
    stages: list[nn.Module] = [Stage(nn.Conv2d(config.image_channels, width, 3, padding=1))]
    stored = [width]
    for level, wide in enumerate(config.widths):
        for _ in range(config.blocks):
            stages.append(Stage(*_layers(config, width, wide, time, level)))
            width = wide
            stored.append(width)
        if level < len(config.widths) - 1:
            stages.append(Stage(ResBlock(width, width, time, config.dropout, resize=-1)))
            stored.append(width)
    return nn.ModuleList(stages), stored


def _ascent(config: ADMConfig, time: int, stored: list[int]) -> nn.ModuleList:
    """Stages up to the full size."""
    stages: list[nn.Module] = []
    width, left = config.widths[-1], list(stored)
    for level in reversed(range(len(config.widths))):
        for block in range(config.blocks + 1):
            layers = _layers(config, width + left.pop(), config.widths[level], time, level)
            width = config.widths[level]
            if level and block == config.blocks:
                layers.append(ResBlock(width, width, time, config.dropout, resize=1))
            stages.append(Stage(*layers))
    return nn.ModuleList(stages)


def _layers(config: ADMConfig, inner: int, outer: int, time: int, level: int) -> list[nn.Module]:
    """A residual block, with attention where this resolution has it."""
    layers: list[nn.Module] = [ResBlock(inner, outer, time, config.dropout)]
    if 2**level in config.attention:
        new = config.new_attention_order
        layers.append(AttentionBlock(outer, config.head_channels, new))
    return layers


def _zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
