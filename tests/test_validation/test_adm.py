"""The ADM U-Net, its schedules and its chain against values of the original code.

``tests/data/adm_fixture.npz`` holds outputs of openai/guided-diffusion (22e0df8) on random weights,
which are stored as float16 on a power-of-two grid, so their float32 form is exact.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from network_rounding import LARGEST, UNIT, rounding_spread
from torch import Tensor, nn

from hierdiff import GaussianNoise
from hierdiff.errors import InvalidParameter
from hierdiff.validation.adapter import NetworkModel
from hierdiff.validation.diffusion.parameterisation import Parameterisation, Prediction, amplitudes
from hierdiff.validation.diffusion.samplers import (
    Ancestral,
    learned_log_variance,
    reverse_chain,
    reverse_levels,
)
from hierdiff.validation.diffusion.schedules import DiscreteSchedule
from hierdiff.validation.execution import Execution
from hierdiff.validation.networks.adm import (
    ADM_64_CONDITIONAL,
    ADM_256,
    ADM_256_CONDITIONAL,
    ADMConfig,
    ADMUNet,
    AttentionBlock,
    from_state_dict,
    meta_init,
    sinusoid,
)

FIXTURE = dict(np.load(Path(__file__).parents[1] / "data" / "adm_fixture.npz"))
PUBLISHED = json.loads(str(FIXTURE["config_json"]))["model"]
CONFIG = ADMConfig(
    image_size=PUBLISHED["image_size"],
    channels=PUBLISHED["model_channels"],
    multipliers=tuple(PUBLISHED["channel_mult"]),
    blocks=PUBLISHED["num_res_blocks"],
    attention=tuple(PUBLISHED["attention_resolutions_ds"]),
    head_channels=PUBLISHED["num_head_channels"],
)
WEIGHTS = {k[3:]: torch.from_numpy(w) for k, w in FIXTURE.items() if k.startswith("sd/")}
NET = from_state_dict(WEIGHTS, CONFIG)
LINEAR = DiscreteSchedule.linear()
NOISE = GaussianNoise(schedule="linear")
KIND = Parameterisation("eps", learned_variance=True)
MODEL = NetworkModel(NET, NOISE, KIND, noise_conditioning=LINEAR)
EPS_SIZE = 2.0  # largest abs(eps) that the stored outputs hold is 1.9


def run(net: nn.Module, x: np.ndarray, t: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return net(torch.from_numpy(x), torch.from_numpy(np.asarray(t, np.float32))).numpy()


@functools.cache
def spread() -> float:
    """Modelled rounding of the output at t = 999, where the angles are largest."""
    x = torch.from_numpy(FIXTURE["model/x"][:1]).double()
    found = rounding_spread(
        NET,
        lambda net: net(x, torch.tensor([999.0], dtype=torch.float64)),
        sinusoid="hierdiff.validation.networks.adm.sinusoid",
    )
    return float(found.max())


@pytest.mark.parametrize("case", ["", "_b", "_c"])
def test_the_output_is_the_original_codes(case: str) -> None:
    found = run(NET, FIXTURE["model/x"], FIXTURE[f"model/t{case}"])
    gap = np.abs(found - FIXTURE[f"model/out{case}"]).max()
    assert gap < LARGEST * spread()


def test_the_bound_follows_the_rounding() -> None:
    """The spread is neither below the rounding of a float32 run nor far above it."""
    x, t = FIXTURE["model/x"], FIXTURE["model/t_c"]
    exact = from_state_dict({k: w.double() for k, w in WEIGHTS.items()}, CONFIG)
    with torch.inference_mode():
        truth = exact(torch.from_numpy(x).double(), torch.from_numpy(t).double()).numpy()
    error = np.sqrt(np.mean((run(NET, x, t) - truth) ** 2))
    assert error < spread() < 25 * error
    # planted: activations of one layer in half precision
    layer = NET.get_submodule("output_blocks.0")
    with layer.register_forward_hook(lambda module, args, y: y.half().float()):
        wrong = np.abs(run(NET, x, t) - FIXTURE["model/out_c"]).max()
    assert wrong > LARGEST * spread()


@pytest.mark.parametrize(
    "wrong", ["order", "sines", "heads", "eps", "shift before scale", "wrong time"]
)
def test_each_wrong_reading_is_seen(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mistakes that load without complaint."""
    config, t = CONFIG, FIXTURE["model/t"]
    if wrong == "order":
        config = dataclasses.replace(CONFIG, new_attention_order=True)
    elif wrong == "heads":
        config = dataclasses.replace(CONFIG, head_channels=8)
    net = from_state_dict(WEIGHTS, config)
    if wrong == "sines":
        monkeypatch.setattr(
            "hierdiff.validation.networks.adm.sinusoid",
            lambda t, width: sinusoid(t, width).roll(16, 1),
        )
    elif wrong == "eps":
        for part in net.modules():
            if isinstance(part, nn.GroupNorm):
                part.eps = 1e-6
    elif wrong == "shift before scale":
        for name, part in net.named_modules():
            if name.endswith("emb_layers.1"):
                half = len(part.weight) // 2
                part.weight = nn.Parameter(part.weight.roll(half, 0))
                part.bias = nn.Parameter(part.bias.roll(half, 0))
    elif wrong == "wrong time":
        t = t + 1
    gap = np.abs(run(net, FIXTURE["model/x"], t) - FIXTURE["model/out"]).max()
    # the comparison above would fail; all but a wrong epsilon are far off
    assert gap > (LARGEST * spread() if wrong == "eps" else 1e-2)


def test_the_time_embedding() -> None:
    t = torch.from_numpy(FIXTURE["emb/t"]).float()
    # an exponential one unit in the last place apart (2 u) moves an angle by 2 u t f; the product
    # and the sine add u t f and 2 u
    angles = FIXTURE["emb/t"][:, None] * np.tile(np.exp(-np.log(1e4) * np.arange(16) / 16), 2)
    bound = UNIT * (4 * angles + 4)
    assert (np.abs(sinusoid(t, 32).numpy() - FIXTURE["emb/sinusoid32"]) < bound).all()
    with torch.inference_mode():
        code = NET.time_embed(torch.from_numpy(FIXTURE["emb/sinusoid32"])).numpy()
    embed = rounding_spread(
        NET.time_embed, lambda net: net(torch.from_numpy(FIXTURE["emb/sinusoid32"]).double())
    )
    np.testing.assert_allclose(
        code, FIXTURE["emb/time_embed"], atol=LARGEST * float(embed.max()), rtol=0
    )


def noisy(schedule: DiscreteSchedule, index: np.ndarray) -> np.ndarray:
    """x_t in the original's float32 arithmetic: at t = 999 a rounding of it counts 157 times."""
    power = schedule.alpha_bar[index][:, None, None, None]
    signal, noise = np.sqrt(power).astype(np.float32), np.sqrt(1 - power).astype(np.float32)
    return np.asarray(signal * FIXTURE["q/x0"] + noise * FIXTURE["q/noise"])


def test_the_forward_process() -> None:
    for i, t in enumerate(FIXTURE["q/t"]):
        levels = LINEAR.levels(NOISE)[t]
        found = NOISE.corrupt_with(FIXTURE["q/x0"], levels, FIXTURE["q/noise"])
        np.testing.assert_allclose(found, FIXTURE["q/x_t"][i], atol=1e-6)
        np.testing.assert_array_equal(noisy(LINEAR, t), FIXTURE["q/x_t"][i])


@pytest.mark.parametrize(("block", "spec"), [("p", "1000"), ("p250", "250")])
def test_mean_variance_and_x0_are_the_original_codes(block: str, spec: str) -> None:
    """Learned-range variance, clipping and respacing, at every stored index."""
    schedule = LINEAR.respaced(spec)
    for i, index in enumerate(FIXTURE[f"{block}/t"]):
        snr = schedule.snr[index]
        np.testing.assert_array_equal(LINEAR.time(snr), schedule.times[index])
        with torch.inference_mode():
            state = torch.from_numpy(noisy(schedule, index))
            found = MODEL._predict(state, snr, None)
        clean = found.clean.clamp(-1, 1)
        assert found.variance is not None
        # x0 = (x_t - s eps) / a: eps enters with s / a, and the two terms are rounded four times
        a, s = amplitudes(snr)
        size = np.abs(noisy(schedule, index)).max(axis=(1, 2, 3)) + EPS_SIZE
        bound = (LARGEST * s * spread() + 4 * UNIT * size) / a
        gap = np.abs(clean.numpy() - FIXTURE[f"{block}/pred_xstart"][i]).max(axis=(1, 2, 3))
        assert (gap < bound).all()
        low, high = schedule.posterior_log_variance[index], np.log(schedule.betas[index])
        # half of the range times the network's value, and the rounding of four operations
        of_variance = LARGEST * spread() * (high - low) / 2 + 4 * UNIT * np.abs(low)
        log_variance = learned_log_variance(found.variance, high, low)
        close(log_variance, FIXTURE[f"{block}/log_variance"][i], of_variance)
        rows = np.flatnonzero(index > 0)
        bounded = Prediction(clean[rows], found.variance[rows])
        now, then = snr[rows], schedule.snr[index[rows] - 1]
        mean, chain_variance = Ancestral(5, variance="learned").moments(
            state[rows], bounded, now, then
        )
        fresh = (1 - now / then) * amplitudes(then)[0]
        # x0 lies in [-1, 1]: its error enters with its weight
        of_mean = fresh * np.minimum(bound[rows], 2) + 4 * UNIT * size[rows]
        close(mean, FIXTURE[f"{block}/mean"][i][rows], of_mean)
        close(chain_variance, FIXTURE[f"{block}/log_variance"][i][rows], of_variance[rows])
        last = np.flatnonzero(index == 0)
        close(clean[last], FIXTURE[f"{block}/mean"][i][last], bound[last])


def close(found: Tensor, stored: np.ndarray, bound: np.ndarray) -> None:
    assert (np.abs(found.numpy() - stored) < bound[:, None, None, None]).all()


def chain(schedule: DiscreteSchedule, sampler: Ancestral, k: int, error: float = 0.0) -> np.ndarray:
    """The stored forward-backward run with the stored noises; outputs get an ``error``."""
    random = torch.Generator().manual_seed(0)
    noises = iter(FIXTURE["fb/noises"])
    start = torch.from_numpy(FIXTURE["fb/x_start"])
    table = reverse_levels(schedule, NOISE, np.full(2, schedule.levels(NOISE)[k - 1]))

    def draw(rows: np.ndarray) -> Tensor:
        return torch.from_numpy(next(noises))[torch.from_numpy(rows)]

    def predict(x: Tensor, snr: np.ndarray, rows: np.ndarray) -> Prediction:
        output = NET(x, torch.as_tensor(LINEAR.time(snr), dtype=x.dtype))
        output = output + error * torch.randn(output.shape, generator=random)
        return KIND.read(output, x, snr)

    with torch.inference_mode():
        end = reverse_chain(predict, start, table, sampler.step, draw, clip=sampler.clip)
    return end.numpy()


def test_the_forward_backward_run_is_the_original_codes() -> None:
    schedule, k = LINEAR.respaced("ddim25"), int(FIXTURE["fb/step_reverse"])
    x_t = NOISE.corrupt_at_snr(FIXTURE["q/x0"], schedule.snr[k - 1], FIXTURE["q/noise"])
    np.testing.assert_allclose(x_t, FIXTURE["fb/x_start"], atol=1e-6)
    sampler = Ancestral(schedule, variance="learned", clip=1.0)
    found = chain(schedule, sampler, k)
    # the chain carries the rounding of every step on: seen by outputs with errors of that size
    carried = np.sqrt(np.mean((chain(schedule, sampler, k, error=spread()) - found) ** 2))
    np.testing.assert_allclose(found, FIXTURE["fb/x_final"], atol=LARGEST * carried, rtol=0)
    # planted: another variance, and no clipping
    for wrong in (Ancestral(schedule, clip=1.0), Ancestral(schedule, variance="learned")):
        assert np.abs(chain(schedule, wrong, k) - FIXTURE["fb/x_final"]).max() > 0.01


def counted(config: ADMConfig) -> tuple[int, int]:
    """Numbers and names of parameters, added up from the table of the architecture."""
    C, widths, r = config.channels, config.widths, config.blocks
    code, numbers, names = 4 * C, 0, 0

    def add(count: int, name: int) -> None:
        nonlocal numbers, names
        numbers, names = numbers + count, names + name

    def residual(i: int, o: int) -> None:
        add(2 * i + (9 * i + 1) * o + (code + 1) * 2 * o + 2 * o + (9 * o + 1) * o, 10)
        if i != o:
            add((i + 1) * o, 2)

    def attention(level: int) -> None:
        if level < 0 or 2**level in config.attention:
            c = widths[level]
            add(2 * c + (c + 1) * 3 * c + (c + 1) * c, 6)

    add((C + 1) * code + (code + 1) * code, 4)
    add((config.classes or 0) * code, 1 if config.classes else 0)
    add((27 + 1) * widths[0], 2)
    stored, width = [widths[0]], widths[0]
    for level, wide in enumerate(widths):
        for _ in range(r):
            residual(width, wide)
            attention(level)
            width = wide
            stored.append(width)
        if level < len(widths) - 1:
            residual(width, width)
            stored.append(width)
    residual(width, width)
    attention(-1)
    residual(width, width)
    for level in reversed(range(len(widths))):
        for _ in range(r + 1):
            residual(width + stored.pop(), widths[level])
            attention(level)
            width = widths[level]
        if level:
            residual(width, width)
    add(2 * width + (9 * width + 1) * 6, 4)
    return numbers, names


@pytest.mark.parametrize(
    ("config", "count", "names"),
    [
        (ADM_256, 552_814_086, 566),
        (ADM_256_CONDITIONAL, 552_814_086 + 1000 * 1024, 567),
        (ADM_64_CONDITIONAL, 295_904_454, 541),
    ],
)
def test_published_sizes(config: ADMConfig, count: int, names: int) -> None:
    net = meta_init(config)
    assert sum(p.numel() for p in net.parameters()) == count
    assert len(net.state_dict()) == names
    assert counted(config) == (count, names)
    assert all(p.device.type == "meta" for p in net.parameters())
    # planted: one more residual block per resolution
    assert counted(dataclasses.replace(config, blocks=config.blocks + 1)) != (count, names)


def test_attention_orders_are_permutations_of_each_other() -> None:
    torch.manual_seed(0)
    old, new = AttentionBlock(64, 16, new_order=False), AttentionBlock(64, 16, new_order=True)
    weights = old.state_dict()
    for name in ("qkv.weight", "qkv.bias"):
        parts = weights[name].reshape(4, 3, 16, *weights[name].shape[1:])
        weights[name] = parts.transpose(0, 1).reshape(weights[name].shape)
    new.load_state_dict(weights)
    x, time = torch.randn(2, 64, 4, 4), torch.zeros(2, 1)
    torch.testing.assert_close(old(x, time), new(x, time))
    # by definition: softmax(q k / sqrt(d)) v in every head
    flat = x.flatten(2)
    q, k, v = old.qkv(old.norm(flat)).reshape(2, 4, 3, 16, 16).unbind(2)
    mix = torch.einsum("nhdi,nhdj->nhij", q, k).div(4.0).softmax(dim=-1)
    out = torch.einsum("nhij,nhdj->nhdi", mix, v).reshape(2, 64, 16)
    torch.testing.assert_close(old(x, time), (flat + old.proj_out(out)).reshape(x.shape))


def test_wrong_weights_name_the_first_differences() -> None:
    fewer = {k: w for k, w in WEIGHTS.items() if not k.startswith("time_embed.2")}
    with pytest.raises(InvalidParameter, match=r"2 missing, first time_embed\.2\.weight"):
        from_state_dict(fewer, CONFIG)
    with pytest.raises(InvalidParameter, match="1 unknown, first head"):
        from_state_dict(WEIGHTS | {"head": torch.zeros(1)}, CONFIG)
    wider = dataclasses.replace(CONFIG, learned_variance=False)
    with pytest.raises(InvalidParameter, match=r"first out.2.weight \(6, 32, 3, 3\) for \(3,"):
        from_state_dict(WEIGHTS, wider)
    with pytest.raises(InvalidParameter) as error:
        from_state_dict(WEIGHTS, ADM_256)
    assert "\n" not in str(error.value)


def test_what_the_network_refuses() -> None:
    x, t = torch.zeros(1, 3, 32, 32), torch.zeros(1)
    with pytest.raises(InvalidParameter, match=r"multiples of 4"):
        NET(torch.zeros(1, 3, 30, 32), t)
    with pytest.raises(InvalidParameter, match="give none"):
        NET(x, t, torch.zeros(1, dtype=torch.int64))
    with pytest.raises(InvalidParameter, match="give a label"):
        meta_init(ADM_64_CONDITIONAL)(x, t)
    big = torch.empty(64, 3, 256, 256, device="meta")
    with pytest.raises(InvalidParameter, match="batch_size <= 63"):
        meta_init(ADM_256)(big, torch.empty(64, device="meta"))
    assert meta_init(ADM_256)(big[:63], torch.empty(63, device="meta")).shape == (63, 6, 256, 256)
    for bad in (
        {"image_size": 30}, {"channels": 24}, {"head_channels": 48}
    ):  # fmt: skip
        with pytest.raises(InvalidParameter, match="must be a multiple of"):
            dataclasses.replace(CONFIG, **bad)


def test_an_untrained_network_starts_from_zero_and_learns() -> None:
    torch.manual_seed(0)
    net = ADMUNet(ADMConfig(8, 32, (1, 2), 1, (2,), head_channels=32, classes=3, dropout=0.1))
    x, t, y = torch.randn(4, 3, 8, 8), torch.rand(4) * 999, torch.tensor([0, 1, 2, 1])
    assert not net(x, t, y).any()
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    losses = []
    for _ in range(30):
        loss = (net(x, t, y)[:, :3] - x).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    untouched = [k for k, p in net.named_parameters() if p.grad is None]
    assert untouched == []
    net.eval()
    with torch.inference_mode():
        assert (net(x, t, y) - net(x, t, y.flip(0))).abs().max() > 1e-4


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_stays_near(precision: str) -> None:
    model = NetworkModel(NET, NOISE, KIND, noise_conditioning=LINEAR,
                         execution=Execution(autocast=precision))  # fmt: skip
    x_t, t = FIXTURE["model/x"], np.array([0.3, 0.7])
    exact, found = MODEL.denoise(x_t, t), model.denoise(x_t, t)
    assert found.dtype == np.float32
    error = np.sqrt(np.mean((found - exact) ** 2) / np.mean(exact**2))
    assert 1e-6 < error < (0.03 if precision == "bf16" else 0.005)


def test_layers_of_the_network_are_features() -> None:
    layers = {"input_blocks.3": "space", "middle_block": "space", "out.2": (2,)}
    model = dataclasses.replace(MODEL, layers=layers)
    found = model.features(FIXTURE["model/x"], 0.4)
    assert {k: v.shape for k, v in found.items()} == {
        "input_blocks.3": (2, 32), "middle_block": (2, 64), "out.2": (2, 6 * 32)
    }  # fmt: skip
    t = float(LINEAR.time(NOISE.snr(0.4)))
    direct = run(NET, FIXTURE["model/x"], np.full(2, t)).mean(axis=2).reshape(2, -1)
    np.testing.assert_allclose(found["out.2"], direct, atol=1e-6)
