"""The ADM U-Net, its schedules and its chain against values of the original code.

``tests/data/adm_fixture.npz`` holds outputs of openai/guided-diffusion (22e0df8) on random weights,
which are stored as float16 on a power-of-two grid, so their float32 form is exact.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hierdiff import GaussianNoise
from hierdiff.errors import InvalidParameter
from hierdiff.validation.adm import (
    ADM_64_CONDITIONAL,
    ADM_256,
    ADM_256_CONDITIONAL,
    ADMConfig,
    ADMUNet,
    empty,
    from_state_dict,
)
from hierdiff.validation.adm_blocks import AttentionBlock, sinusoid
from hierdiff.validation.execution import Execution
from hierdiff.validation.network import NetworkModel
from hierdiff.validation.parameterisation import Parameterisation, Prediction
from hierdiff.validation.reverse_chains import reverse_chain, reverse_levels
from hierdiff.validation.samplers import Ancestral, learned_log_variance
from hierdiff.validation.schedules import DiscreteSchedule

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
MODEL = NetworkModel(NET, NOISE, KIND, clock=LINEAR)


def run(net: nn.Module, x: np.ndarray, t: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return net(torch.from_numpy(x), torch.from_numpy(np.asarray(t, np.float32))).numpy()


@pytest.mark.parametrize("case", ["", "_b", "_c"])
def test_the_output_is_the_original_codes(case: str) -> None:
    found = run(NET, FIXTURE["model/x"], FIXTURE[f"model/t{case}"])
    np.testing.assert_allclose(found, FIXTURE[f"model/out{case}"], atol=5e-5, rtol=0)


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
            "hierdiff.validation.adm.sinusoid", lambda t, width: sinusoid(t, width).roll(16, 1)
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
    assert gap > (2e-4 if wrong == "eps" else 1e-2)


def test_the_time_embedding() -> None:
    t = torch.from_numpy(FIXTURE["emb/t"]).float()
    np.testing.assert_allclose(sinusoid(t, 32).numpy(), FIXTURE["emb/sinusoid32"], atol=1e-6)
    with torch.inference_mode():
        code = NET.time_embed(sinusoid(t, 32)).numpy()
    np.testing.assert_allclose(code, FIXTURE["emb/time_embed"], atol=1e-5)


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
        # eps is known to 2e-6 across kernels and threads, and enters divided by sqrt(snr)
        gap = np.abs(clean.numpy() - FIXTURE[f"{block}/pred_xstart"][i]).max(axis=(1, 2, 3))
        assert (gap < 5e-5 + 2e-6 / np.sqrt(snr)).all()
        low = schedule.posterior_log_variance[index]
        log_variance = learned_log_variance(found.variance, np.log(schedule.betas[index]), low)
        np.testing.assert_allclose(
            log_variance.numpy(), FIXTURE[f"{block}/log_variance"][i], atol=5e-5
        )
        rows = np.flatnonzero(index > 0)
        bounded = Prediction(clean[rows], found.variance[rows])
        mean, chain_variance = Ancestral(5, variance="learned").moments(
            state[rows], bounded, snr[rows], schedule.snr[index[rows] - 1]
        )
        np.testing.assert_allclose(mean.numpy(), FIXTURE[f"{block}/mean"][i][rows], atol=5e-5)
        np.testing.assert_allclose(
            chain_variance.numpy(), FIXTURE[f"{block}/log_variance"][i][rows], atol=5e-5
        )
        last = np.flatnonzero(index == 0)
        np.testing.assert_allclose(
            clean[last].numpy(), FIXTURE[f"{block}/mean"][i][last], atol=5e-5
        )


def chain(schedule: DiscreteSchedule, sampler: Ancestral, k: int) -> np.ndarray:
    """The stored forward-backward run with the stored noises."""
    noises = iter(FIXTURE["fb/noises"])
    start = torch.from_numpy(FIXTURE["fb/x_start"])
    table = reverse_levels(schedule, NOISE, np.full(2, schedule.levels(NOISE)[k - 1]))

    def draw(rows: np.ndarray) -> Tensor:
        return torch.from_numpy(next(noises))[torch.from_numpy(rows)]

    with torch.inference_mode():
        end = reverse_chain(
            lambda x, snr, rows: MODEL._predict(x, snr, None), start, table, sampler.step, draw,
            clip=sampler.clip,
        )  # fmt: skip
    return end.numpy()


def test_the_forward_backward_run_is_the_original_codes() -> None:
    schedule, k = LINEAR.respaced("ddim25"), int(FIXTURE["fb/step_reverse"])
    x_t = NOISE.corrupt_at_snr(FIXTURE["q/x0"], schedule.snr[k - 1], FIXTURE["q/noise"])
    np.testing.assert_allclose(x_t, FIXTURE["fb/x_start"], atol=1e-6)
    found = chain(schedule, Ancestral(schedule, variance="learned", clip=1.0), k)
    np.testing.assert_allclose(found, FIXTURE["fb/x_final"], atol=1e-3)
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
    net = empty(config)
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
        empty(ADM_64_CONDITIONAL)(x, t)
    big = torch.empty(64, 3, 256, 256, device="meta")
    with pytest.raises(InvalidParameter, match="batch_size <= 63"):
        empty(ADM_256)(big, torch.empty(64, device="meta"))
    assert empty(ADM_256)(big[:63], torch.empty(63, device="meta")).shape == (63, 6, 256, 256)
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
    model = NetworkModel(NET, NOISE, KIND, clock=LINEAR,
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
