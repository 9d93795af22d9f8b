"""Images per second of an ADM U-Net against a plain float32 loop, and posteriors of trees.

Random weights, so nothing is downloaded: the time does not depend on them.  The loop is what one
would write: float32, the default memory order, the ancestral chain respaced to so many steps, one
batch after another.  The adapter runs the same chain with autocast, its memory order, per-sample
random numbers and checks.  Calls alternate, so that both see the same machine.  What autocast
changes in E[x0 | x_t] is printed beside it.

Exact inference stands beside: all marginals of every node of a batch of trees, by the compiled
passes on two threads of the processor in double precision, and by
:func:`hierdiff.validation.exact_inference.marginals` in float32 on the device.  On a processor the
device's passes are the batched operations of torch, since "auto" would take the compiled ones
again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from hierdiff._display import text_table
from hierdiff.data.rhm import RHM
from hierdiff.noise import GaussianNoise, UniformNoise
from hierdiff.results import write_summary
from hierdiff.theory import posterior
from hierdiff.validation.adapter import NetworkModel
from hierdiff.validation.diffusion.parameterisation import Parameterisation
from hierdiff.validation.diffusion.samplers import Ancestral
from hierdiff.validation.diffusion.schedules import DiscreteSchedule
from hierdiff.validation.exact_inference import marginals
from hierdiff.validation.execution import Execution
from hierdiff.validation.networks.adm import ADM_256, ADMConfig, ADMUNet

__all__ = ["main"]

SMALL = ADMConfig(32, 32, (1, 2, 2), 1, (4,), head_channels=32)

TREES = {False: ((32, 8, 2, 10), 256), True: ((8, 2, 2, 6), 64)}
"""Grammar (v, m, s, L) and samples of exact inference; the small one on every processor."""
_CORES = 2


def plain_loop(module: nn.Module, x: Tensor, schedule: DiscreteSchedule, start: int) -> Tensor:
    """The ancestral chain from a level, as one would write it down."""
    bars = torch.tensor(schedule.snr / (1 + schedule.snr), dtype=torch.float32, device=x.device)
    with torch.no_grad():
        for k in range(start, -1, -1):
            time_k = torch.full((len(x),), float(schedule.times[k]), device=x.device)
            bar = bars[k]
            before = bars[k - 1] if k else torch.ones((), device=x.device)
            eps = module(x, time_k)[:, : x.shape[1]]
            clean = ((x - (1 - bar).sqrt() * eps) / bar.sqrt()).clamp(-1, 1)
            beta = 1 - bar / before
            mean = before.sqrt() * beta * clean + (bar / before).sqrt() * (1 - before) * x
            x = mean / (1 - bar)
            if k:
                x = x + (beta * (1 - before) / (1 - bar)).sqrt() * torch.randn_like(x)
    return x


def timed(call: Callable[[], Any], device: torch.device) -> float:
    """Seconds of a call, with what it left to do on the device."""
    begun = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begun


def exact_rates(device: torch.device, small: bool, repeats: int) -> dict[str, Any]:
    """Posteriors per second of trees by the compiled passes and on the device, and their gap."""
    (v, m, s, L), n = TREES[small]
    grammar, noise = RHM(v, m, s, L).draw(0), UniformNoise(v)
    x_t = noise.corrupt(grammar.sample(n, 1).leaves, 0.3, 2)
    log_evidence = noise.log_evidence(x_t, 0.3)
    theta = torch.tensor(log_evidence, dtype=torch.float32, device=device)
    engine: Literal["auto", "torch"] = "torch" if device.type == "cpu" else "auto"

    def compiled() -> Any:
        return posterior(grammar, log_evidence, threads=_CORES).marginals

    def batched() -> Any:
        return marginals(grammar, theta, engine=engine)

    gap = max(
        float(np.abs(p - q.double().cpu().numpy()).max())
        for p, q in zip(compiled(), batched(), strict=True)
    )
    times: dict[str, list[float]] = {"compiled": [], "batched": []}
    for _ in range(repeats):  # in turns, as above
        times["compiled"].append(timed(compiled, device))
        times["batched"].append(timed(batched, device))
    ratio = np.array(times["compiled"]) / np.array(times["batched"])
    return {
        "trees": f"(v, m, s, L) = ({v}, {m}, {s}, {L}), {n} samples",
        f"posteriors per second, {_CORES} threads": n / float(np.median(times["compiled"])),
        "posteriors per second, device": n / float(np.median(times["batched"])),
        "ratio of posteriors": float(np.median(ratio)), "largest gap of marginals": gap,
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both rates and their ratio; write them, and draw them, where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1")
    parser.add_argument("--images", type=int, default=16, help="images per call")
    parser.add_argument("--batch", type=int, default=16, help="images per call of the network")
    parser.add_argument("--steps", type=int, default=50, help="levels of the respaced chain")
    parser.add_argument("--t", type=float, default=0.5, help="noise level of the turn")
    parser.add_argument("--repeats", type=int, default=3, help="timed calls of each kind")
    parser.add_argument("--float32", action="store_true", help="no autocast in the adapter either")
    parser.add_argument("--channels-last", action="store_true", help="memory order of the adapter")
    parser.add_argument("--compile", action="store_true", help="torch.compile in the adapter")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("--summary", type=Path, help="the same with how it was made")
    parser.add_argument("--out", type=Path, help="folder of the figure")
    parser.add_argument("--small", action="store_true", help="a small network on every device")
    options = parser.parse_args(arguments)
    for name in ("images", "batch", "steps", "repeats"):
        if getattr(options, name) < 1:
            parser.exit(2, f"error: --{name} = {getattr(options, name)} must be an integer >= 1\n")
    if not 0 < options.t <= 1:
        parser.exit(2, f"error: --t = {options.t} must be a noise level in (0, 1]\n")
    device = torch.device(options.device)
    config = SMALL if device.type == "cpu" or options.small else ADM_256
    torch.manual_seed(0)
    plain, module = ADMUNet(config).to(device).eval(), ADMUNet(config).to(device)
    module.load_state_dict(plain.state_dict())
    noise = GaussianNoise(schedule="linear")
    schedule = DiscreteSchedule.linear().respaced(str(options.steps))
    precision: Literal["bf16"] | None = None if options.float32 or device.type == "cpu" else "bf16"
    model = NetworkModel(
        module, noise, Parameterisation("eps", learned_variance=config.learned_variance),
        sampler=Ancestral(schedule, clip=1.0),
        execution=Execution(options.batch, options.device, precision, options.channels_last,
                            options.compile),
    )  # fmt: skip
    shape = (options.images, config.image_channels, config.image_size, config.image_size)
    x0 = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    start = int(np.argmin(np.abs(schedule.alpha_bar - noise.alpha_bar(options.t))))
    snr = schedule.snr[start]  # the turn is at a level of the chain, for both
    t = float(noise.level(snr))
    x_t = noise.corrupt(x0, t, 1).astype(np.float32)

    def loop() -> None:
        for first in range(0, len(x_t), options.batch):
            rows = torch.from_numpy(x_t[first : first + options.batch]).to(device)
            plain_loop(plain, rows, schedule, start).cpu()

    def adapter() -> None:
        model.sample(x_t, t, 2)

    times: dict[str, list[float]] = {"loop": [], "adapter": []}
    for call in (loop, adapter):
        timed(call, device)
    for _ in range(options.repeats):
        for name, call in (("loop", loop), ("adapter", adapter)):
            times[name].append(timed(call, device))
    whole = NetworkModel(plain, noise, model.parameterisation)
    gap = np.abs(model.denoise(x_t[:2], t) - whole.denoise(x_t[:2], t)).max()
    ratio = np.array(times["loop"]) / np.array(times["adapter"])
    found = {
        "network": "ADM-256" if config is ADM_256 else "small", "device": options.device,
        "precision": precision or "float32", "steps": options.steps,
        "t": t, "calls of the network": start + 1,
        "images per second, loop": options.images / float(np.median(times["loop"])),
        "images per second, adapter": options.images / float(np.median(times["adapter"])),
        "ratio": float(np.median(ratio)), "largest change of E[x0 | x_t]": float(gap),
        **exact_rates(device, config is not ADM_256, options.repeats),
    }  # fmt: skip
    rows = [[k, x if isinstance(x, str | int) else f"{x:.4g}"] for k, x in found.items()]
    print(text_table([], rows))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    claim = (
        f"{found['images per second, adapter']:.3g} images per second of {found['network']} "
        f"through {start + 1} steps, {found['ratio']:.2f} times a plain float32 loop; posteriors "
        f"of trees {found['ratio of posteriors']:.2f} times as fast on the device as by compiled "
        f"passes on {_CORES} threads"
    )
    if options.summary:
        write_summary(
            options.summary, {**found, "claim": claim}, {}, also={"device": _named(device)}
        )
    if options.out:
        _draw(found, options.out)
    print(claim)


def _named(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def _draw(found: dict[str, Any], folder: Path) -> None:
    """Rates of images and of posteriors as bars."""
    from hierdiff.plots import BLUE, GREY, panel, plt

    folder.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(1, 2, figsize=(7.4, 3), layout="constrained")
    images = [found[f"images per second, {word}"] for word in ("loop", "adapter")]
    trees = [found[f"posteriors per second, {word}"] for word in (f"{_CORES} threads", "device")]
    names = (("plain float32 loop", f"adapter, {found['precision']}"),
             (f"compiled, {_CORES} threads", f"torch, {found['device']}"))  # fmt: skip
    titles = (f"{found['network']}, {found['calls of the network']} steps", found["trees"])
    for k, (ax, rates) in enumerate(zip(axes, (images, trees), strict=True)):
        ax.bar(names[k], rates, color=(GREY, BLUE))
        ax.set_ylabel(("images", "posteriors")[k] + " per second")
        panel(ax, "ab"[k], titles[k])
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / "throughput.png", dpi=160)
    plt.close(figure)


if __name__ == "__main__":
    main()
