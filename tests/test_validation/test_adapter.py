"""Networks as models: batches, seeds, precision, hooks, symbols, and what is refused."""

from __future__ import annotations

import dataclasses
import re
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from oracles import one_line
from torch import Tensor, nn

from hierdiff import DiffusionModel, EpsilonNoise, GaussianNoise, MaskingNoise, UniformNoise
from hierdiff.data.rhm import Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import SampleStreams
from hierdiff.sims.metrics.forward_backward import forward_backward
from hierdiff.theory import ExactRHM, denoise_symbols
from hierdiff.validation import NetworkModel
from hierdiff.validation.adapter import symbol_model
from hierdiff.validation.diffusion.parameterisation import Parameterisation
from hierdiff.validation.diffusion.samplers import DDIM, Ancestral
from hierdiff.validation.diffusion.schedules import DiscreteSchedule
from hierdiff.validation.execution import Execution, best_device, in_batches

NOISE = GaussianNoise(schedule="linear")


class Small(nn.Module):
    """A convolution, a normalisation and dropout, none of them exact across batch sizes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(2, 16, 3, padding=1)
        self.blocks = nn.ModuleList([nn.Conv2d(16, 16, 3, padding=1) for _ in range(2)])
        self.norm = nn.BatchNorm2d(16)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        h = self.stem(x) + (time / 1000)[:, None, None, None]
        if label is not None:
            h = h + label[:, None, None, None]
        for block in self.blocks:
            h = h + block(torch.nn.functional.silu(self.norm(h)))
        out: Tensor = self.head(self.drop(h))
        return out


class Pointwise(nn.Module):
    """Number by number, so that no kernel depends on the batch."""

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return 0.3 * x * (time.reshape(-1, *(1,) * (x.ndim - 1)) / 1000)


X = np.random.default_rng(0).standard_normal((11, 2, 8, 8))
LEVELS = np.linspace(0.05, 0.95, 11)


def small(**changes: Any) -> NetworkModel:
    return dataclasses.replace(
        NetworkModel(Small(), NOISE, "eps", sampler=Ancestral(5)), **changes
    )  # fmt: skip


def test_it_is_a_diffusion_model() -> None:
    model = small(layers={"stem": "space"})
    assert isinstance(model, DiffusionModel)
    assert model.source == "network"
    for found in (model.denoise(X, 0.3), model.sample(X, 0.3, 0)):
        assert found.shape == X.shape
        assert found.dtype == np.float32
    assert model.features(X, 0.3)["stem"].shape == (11, 16)
    double = small(module=Small().double()).denoise(X, 0.3)
    assert double.dtype == np.float64
    np.testing.assert_allclose(model.denoise(X, 0.3), double, atol=1e-5)


@pytest.mark.parametrize("sampler", [Ancestral(6), DDIM(6), DDIM(6, eta=0.5)], ids=str)
def test_the_batch_size_changes_nothing(sampler: Any) -> None:
    """Bitwise where the network's kernels are; to 1e-5 with convolutions in float32."""
    sizes = (1, 3, 11, 64)
    for module, same in ((Pointwise(), True), (Small(), False)):
        layers = {} if same else {"stem": "space"}
        models = [
            NetworkModel(module, NOISE, "v", layers, sampler=sampler,
                         execution=Execution(batch_size=b))
            for b in sizes
        ]  # fmt: skip
        runs = [(m.denoise(X, LEVELS), m.sample(X, LEVELS, seed=1)) for m in models]
        if not same:
            runs = [
                (*run, m.features(X, LEVELS)["stem"]) for run, m in zip(runs, models, strict=True)
            ]
        for other in runs[1:]:
            for a, b in zip(runs[0], other, strict=True):
                if same:
                    np.testing.assert_array_equal(a, b)
                else:
                    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_sample_depends_on_its_seed_and_place_alone() -> None:
    model = NetworkModel(Pointwise(), NOISE, "v", sampler=Ancestral(6))
    first = model.sample(X, 0.8, seed=3)
    np.testing.assert_array_equal(first, model.sample(X, 0.8, seed=3))
    np.testing.assert_array_equal(first[:4], model.sample(X[:4], 0.8, seed=3))
    assert (first != model.sample(X, 0.8, seed=4)).any(axis=(1, 2, 3)).all()
    # two equal data get different draws, planted: one stream for all
    twins = model.sample(np.stack([X[0], X[0]]), 0.8, seed=3)
    assert np.abs(twins[0] - twins[1]).max() > 0.1
    sequence = np.random.SeedSequence(5)
    np.testing.assert_array_equal(model.sample(X, 0.8, sequence), model.sample(X, 0.8, sequence))
    random = np.random.default_rng(5)
    assert (model.sample(X, 0.8, random) != model.sample(X, 0.8, random)).any()
    with pytest.raises(InvalidParameter, match="seed = -1"):
        model.sample(X, 0.8, -1)


def test_streams_of_different_purposes_are_independent() -> None:
    rows = np.arange(2000)
    first, second = (
        np.array([r.standard_normal() for r in SampleStreams.of(0, k).take(rows)]) for k in (1, 2)
    )
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / np.sqrt(2000)
    assert abs(first.mean()) < 4 / np.sqrt(2000)


def test_the_users_module_is_left_as_it_was() -> None:
    module = Small()
    module.train()
    module.norm.eval()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    model = NetworkModel(module, NOISE, "eps", {"stem": "space"}, sampler=Ancestral(3))
    for _ in range(2):
        model.denoise(X, 0.5)
        model.sample(X, 0.5, 0)
        model.features(X, 0.5)
    assert module.training
    assert module.drop.training
    assert not module.norm.training
    assert not module.stem._forward_hooks
    for name, value in module.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    # evaluation mode: dropout would change the answer from call to call
    np.testing.assert_array_equal(model.denoise(X, 0.5), model.denoise(X, 0.5))


def test_pooling_is_what_it_says() -> None:
    model = small(layers={"stem": "space", "head": "keep", "blocks.1": (1, 3)})
    found = model.features(X, 0.4)
    outputs: dict[str, Tensor] = {}
    module = model.module.eval()
    handles = [
        module.get_submodule(name).register_forward_hook(
            lambda _, __, out, name=name: outputs.__setitem__(name, out.detach())
        )
        for name in model.layers
    ]
    module(torch.from_numpy(X).float(), torch.full((11,), 399.0))
    for handle in handles:
        handle.remove()
    np.testing.assert_allclose(found["stem"], outputs["stem"].mean(dim=(2, 3)), atol=1e-6)
    np.testing.assert_allclose(found["head"], outputs["head"].reshape(11, -1), atol=1e-6)
    np.testing.assert_allclose(found["blocks.1"], outputs["blocks.1"].mean(dim=(1, 3)), atol=1e-6)


class Tokens(nn.Module):
    """One linear map per leaf, called once or twice, and attention that returns a pair."""

    def __init__(self, channels: int, v: int, calls: int = 1) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.embed = nn.Linear(channels, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.mlp = nn.Linear(8, 8)
        self.head = nn.Linear(8, v)
        self.calls = calls

    def forward(self, x: Tensor, log_ratio: Tensor) -> Tensor:
        h = self.embed(x) + log_ratio[:, None, None] / 20
        h = h + self.attention(h, h, h, need_weights=False)[0]
        for _ in range(self.calls):
            h = h + self.mlp(h)
        out: Tensor = self.head(h)
        return out


def test_tokens_are_pooled_in_float32_under_autocast() -> None:
    noise = GaussianNoise(v=4)
    x_t = noise.corrupt(np.array([[0, 1, 2], [3, 3, 0]]), 0.4, 0)
    plain = NetworkModel(Tokens(4, 4), noise, "logits", {"mlp": "tokens"})
    low = dataclasses.replace(plain, execution=Execution(autocast="bf16"))
    exact, found = plain.features(x_t, 0.4)["mlp"], low.features(x_t, 0.4)["mlp"]
    assert found.shape == (2, 8)
    assert found.dtype == np.float32
    assert 0 < np.abs(found - exact).max() < 0.02
    # a mean taken in bfloat16 would have 8 bits
    assert (found != torch.from_numpy(found).bfloat16().float().numpy()).any()


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ({"stam": "space"}, "such as 'stem'"),
        ({"c": "space"}, r"such as '[^']+', '[^']+', '[^']+'$"),
        ({"stem": "mean"}, "pooling 'mean'"),
        ({"stem": (0, 2)}, "axes >= 1"),
        ({"stem": ()}, "axes >= 1"),
        ({"stem": "tokens"}, "does not fit"),
        ({"stem": (4,)}, "does not fit"),
        ({"blocks": "space"}, "name one of 'blocks.0'"),
        ({}, "no layers were named"),
    ],
)
def test_layers_that_cannot_be_features(layers: Any, said: str) -> None:
    with pytest.raises(InvalidParameter, match=said) as error:
        NetworkModel(Small(), NOISE, "eps", layers).features(X, 0.5)
    assert "\n" not in str(error.value)


def test_layers_that_are_not_one_tensor() -> None:
    noise = GaussianNoise(v=4)
    x_t = np.zeros((1, 3, 4))
    with pytest.raises(InvalidParameter, match="returns a tuple"):
        NetworkModel(Tokens(4, 4), noise, "logits", {"attention": "keep"}).features(x_t, 0.5)
    twice = NetworkModel(Tokens(4, 4, calls=2), noise, "logits", {"mlp": "keep"})
    with pytest.raises(InvalidParameter, match="more than once"):
        twice.features(x_t, 0.5)
    assert not twice.module.mlp._forward_hooks


def test_a_batch_that_does_not_fit_is_halved_once_and_said() -> None:
    class Tight(Pointwise):
        room = 6

        def forward(self, x: Tensor, time: Tensor) -> Tensor:
            if len(x) > self.room:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward(x, time)

    tight = Tight()
    model = NetworkModel(tight, NOISE, "v", sampler=Ancestral(4),
                         execution=Execution(batch_size=11))  # fmt: skip
    free = NetworkModel(Pointwise(), NOISE, "v", sampler=Ancestral(4))
    with pytest.warns(UserWarning, match="so give batch_size=5") as said:
        found = model.sample(X, 0.7, 0)
    assert len(said) == 1
    np.testing.assert_array_equal(found, free.sample(X, 0.7, 0))
    tight.room = 3
    with (
        pytest.warns(UserWarning, match="going on"),
        pytest.raises(InvalidParameter, match="give a smaller batch_size") as error,
    ):
        model.denoise(X, 0.7)
    assert "\n" not in str(error.value)


def test_other_errors_are_not_taken_for_memory() -> None:
    def broken(rows: np.ndarray) -> None:
        raise RuntimeError("shape")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeError, match="shape"):
            in_batches(broken, 4, 2)


def test_labels_reach_their_samples() -> None:
    labels = np.arange(11)
    model = small(execution=Execution(batch_size=4)).given(labels)
    together = model.denoise(X, 0.5)
    for i in (0, 5, 10):
        alone = model.given(i).denoise(X[i : i + 1], 0.5)[0]
        np.testing.assert_allclose(together[i], alone, rtol=1e-4, atol=1e-4)
    assert np.abs(together - model.given(0).denoise(X, 0.5)).max() > 0.1
    chain = model.sample(X, LEVELS, seed=2)
    np.testing.assert_allclose(
        chain[7], model.given(labels[:8]).sample(X[:8], LEVELS[:8], seed=2)[7], rtol=1e-3,
        atol=1e-4,
    )  # fmt: skip
    np.testing.assert_array_equal(
        model.given([4]).denoise(X, 0.5), model.given(4).denoise(X, 0.5)
    )  # fmt: skip
    with pytest.raises(InvalidParameter, match="condition has 3 rows for 11"):
        model.given([0, 1, 2]).denoise(X, 0.5)
    with pytest.raises(InvalidParameter, match="condition has 3 rows for 11"):
        model.given([0, 1, 2]).sample(X, 0.5, 0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_network_says_the_same() -> None:
    plain = NetworkModel(Pointwise(), NOISE, "v", sampler=Ancestral(3))
    compiled = dataclasses.replace(plain, execution=Execution(compile=True, batch_size=6))
    try:
        found = compiled.denoise(X, LEVELS)
    except Exception as error:
        if "compiler" in str(error).lower():
            pytest.skip("torch.compile needs a C++ compiler")
        raise
    np.testing.assert_allclose(found, plain.denoise(X, LEVELS), atol=1e-6)
    assert type(compiled._run).__name__ == "OptimizedModule"


def test_devices_and_memory_order() -> None:
    assert best_device() in ("cuda", "mps", "cpu")
    base = small().denoise(X, 0.5)
    for execution in (Execution(device="cpu"), Execution(device="auto"),
                      Execution(channels_last=True)):  # fmt: skip
        np.testing.assert_allclose(small(execution=execution).denoise(X, 0.5), base, atol=1e-4)
    with pytest.raises(InvalidParameter, match="device = 'abacus' cannot be used") as error:
        small(execution=Execution(device="abacus"))
    assert "\n" not in str(error.value)
    with pytest.raises(InvalidParameter, match="autocast = 'fp8'"):
        Execution(autocast="fp8")  # type: ignore[arg-type]
    with pytest.raises(InvalidParameter, match="batch_size"):
        Execution(batch_size=0)


@pytest.mark.parametrize(
    ("x", "t", "said"),
    [
        (np.zeros(3), 0.5, "x_t has shape"),
        (np.array([["a"]]), 0.5, "real numbers"),
        (X * np.nan, 0.5, "NaN or inf"),
        (X, 1.2, "outside"),
        (X, [0.1, 0.2], "one per sample"),
    ],
)
def test_inputs_that_are_refused(x: Any, t: Any, said: str) -> None:
    with pytest.raises(InvalidParameter, match=said) as error:
        small().denoise(x, t)
    assert "\n" not in str(error.value)


def test_networks_that_are_refused() -> None:
    with pytest.raises(InvalidParameter, match="corrupts nothing"):
        NetworkModel(Small(), EpsilonNoise(3), "logits")  # type: ignore[arg-type]
    with pytest.raises(InvalidParameter, match="parameterisation='logits'"):
        NetworkModel(Small(), MaskingNoise(3), "eps")

    class Pair(nn.Module):
        def forward(self, x: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
            return x, x

    with pytest.raises(InvalidParameter, match="returned a tuple"):
        NetworkModel(Pair(), NOISE, "eps").denoise(X, 0.5)
    beyond = NetworkModel(Pointwise(), GaussianNoise(schedule="cosine"), "eps",
                          noise_conditioning=DiscreteSchedule.linear())  # fmt: skip
    with pytest.raises(InvalidParameter, match="where the network's schedule ends"):
        beyond.denoise(X, 0.9999)


def test_no_data_are_no_trouble() -> None:
    assert small().denoise(X[:0], 0.5).shape == (0, 2, 8, 8)
    assert small().sample(X[:0], 0.5, 0).shape == (0, 2, 8, 8)


GRAMMAR = Grammar([np.array([[[0, 1], [2, 3]], [[1, 0], [3, 2]], [[2, 2], [0, 0]],
                             [[3, 3], [1, 1]]])])  # fmt: skip


class ExactLogits(nn.Module):
    """Exact inference on two leaves, from what a network would be given."""

    def __init__(self, noise: Any) -> None:
        super().__init__()
        self.noise = noise

    def forward(self, x: Tensor, log_ratio: Tensor) -> Tensor:
        means = []
        for one, ratio in zip(x.double().numpy(), log_ratio.double().exp().tolist(), strict=True):
            if isinstance(self.noise, GaussianNoise):
                seen, level = one[None], float(self.noise.level(ratio))
            else:
                seen = one.argmax(axis=1)[None]
                seen, level = np.where(seen == 4, -1, seen), 1 / (1 + ratio)
            means.append(denoise_symbols(GRAMMAR, self.noise, seen, level)[0])
        return torch.from_numpy(np.stack(means)).log().to(x.dtype)


@pytest.mark.parametrize("noise", [MaskingNoise(4), UniformNoise(4), GaussianNoise(4)], ids=str)
def test_symbols_through_a_network_are_the_exact_model(noise: Any) -> None:
    exact, leaves = ExactRHM(GRAMMAR, noise), GRAMMAR.sample(300, 0).leaves
    model = NetworkModel(ExactLogits(noise), noise, Parameterisation("logits"),
                         sampler=Ancestral(15))  # fmt: skip
    levels = np.random.default_rng(1).uniform(0.2, 0.8, 300)
    x_t = noise.corrupt(leaves, levels, 2)
    np.testing.assert_allclose(
        model.denoise(x_t, levels), exact.denoise(x_t, levels), atol=2e-5
    )  # fmt: skip
    run = forward_backward(model, leaves, 0.5, seed=3)
    assert run.x_0.shape == leaves.shape
    assert run.x_0.dtype == np.int32
    assert GRAMMAR.is_valid(run.x_0).mean() > 0.9
    # retention of the first leaf against E[sum p^2] of the posterior, |z| < 4
    same = (run.x_0[:, 0] == leaves[:, 0]).mean()
    beliefs = exact.denoise(run.x_t, 0.5)[:, 0]
    expected = (beliefs**2).sum(axis=1)
    z = (same - expected.mean()) / np.sqrt((expected * (1 - expected)).sum()) * 300
    assert abs(z) < 4
    if isinstance(noise, MaskingNoise):
        kept = run.x_t >= 0
        np.testing.assert_array_equal(run.x_0[kept], run.x_t[kept])


# --- networks that return NaN ---------------------------------------------------------------------


class Broken(nn.Module):
    """Pointwise, but a value in a tenth of the numbers of some samples, late in the noise."""

    def __init__(self, value: float, late: float = 900.0, label: int | None = None) -> None:
        super().__init__()
        self.inner = nn.Identity()
        self.value, self.late, self.label = value, late, label

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        rows = time > self.late
        if label is not None and self.label is not None:
            rows &= label == self.label
        broken = rows[:, None] & (torch.arange(x[0].numel()) % 10 == 0)
        out = torch.where(broken, self.value, 0.3 * x.flatten(1)).reshape(x.shape)
        return self.inner(out)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_refused_with_level_and_datum(value: float) -> None:
    """Also where it is clipped afterwards, which would make a number of an infinity."""
    levels = np.array([0.2, 0.5, 0.95, 0.97])
    model = NetworkModel(
        Broken(value), NOISE, "eps", sampler=Ancestral(4, clip=1.0), layers={"inner": "keep"},
        execution=Execution(batch_size=3),
    )  # fmt: skip
    x = X[:4]
    calls = {
        "the network returned NaN or inf for datum 2 at t = 0.95": lambda: model.denoise(x, levels),
        r"the network returned NaN or inf for datum \d at t = 0.9": (
            lambda: model.sample(x, levels, 0)
        ),
        "layer 'inner' returned NaN or inf for datum 2": lambda: model.features(x, levels),
        r"datum [012] at t = 0\.9": lambda: forward_backward(model, x, 0.99, seed=0),
    }
    for words, call in calls.items():
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        assert "\n" not in str(error.value)
    # below the level at which it breaks nothing is refused
    assert np.isfinite(model.denoise(x, 0.5)).all()
    assert np.isfinite(model.sample(x, 0.5, 0)).all()


def test_a_model_that_samples_nan_is_refused() -> None:
    class Sampled:
        noise, source = NOISE, "simulation"

        def denoise(self, x_t: np.ndarray, t: Any) -> np.ndarray:
            return x_t

        def features(self, x_t: np.ndarray, t: Any) -> dict[str, np.ndarray]:
            return {}

        def sample(self, x_t: np.ndarray, t: Any, seed: Any) -> np.ndarray:
            return np.where(np.arange(len(x_t))[:, None, None, None] == 3, np.nan, x_t)

    with pytest.raises(InvalidParameter, match="the model returned NaN or inf for datum 3 at t ="):
        forward_backward(Sampled(), X, 0.4, seed=0)  # type: ignore[arg-type]


def test_a_class_that_is_nan_does_not_win() -> None:
    from hierdiff.sims.metrics.denoising_error import ClassErrors
    from hierdiff.validation.experiments.image_folders import FixedGrid, grid_scores

    model = NetworkModel(Broken(float("nan"), label=1), NOISE, "eps", condition=0)
    grid = FixedGrid(np.geomspace(1e-4, 10, 20), (1,), (20,))
    with pytest.raises(InvalidParameter, match=r"NaN or inf for datum 1 at t = 0\.9"):
        grid_scores(ClassErrors(model, 3), X[0].astype(np.float32), range(3), grid)

    class Raw:
        noise, source = NOISE, "network"

        def __init__(self, label: Any = None) -> None:
            self.label = label

        def given(self, label: Any) -> Raw:
            return Raw(label)

        def denoise(self, x_t: np.ndarray, t: np.ndarray) -> np.ndarray:
            bad = (np.asarray(self.label) == 2) & (np.asarray(t) > NOISE.level(1.0))
            return np.where(bad.reshape(-1, 1, 1, 1), np.nan, 0 * x_t)

    with pytest.raises(InvalidParameter, match="NaN or inf for class 2 at snr"):
        grid_scores(ClassErrors(Raw(), 3), X[0], range(3), grid)
    with pytest.raises(InvalidParameter, match="NaN or inf for class 2"):
        ClassErrors(Raw(), 3).errors(X, np.zeros_like(X), 0.5)


def test_logits_may_be_minus_infinity() -> None:
    """A symbol that a network excludes has probability zero; NaN is refused."""

    class Logits(nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.value = value

        def forward(self, seen: Tensor, ratio: Tensor) -> Tensor:
            out = torch.zeros(*seen.shape[:2], 4)
            out[..., 1] = self.value
            return out

    noise, x = MaskingNoise(4), np.full((2, 3), -1)
    excluded = NetworkModel(Logits(-np.inf), noise, "logits")
    assert (excluded.denoise(x, 0.5)[..., 1] == 0).all()
    for value in (np.nan, np.inf):
        with pytest.raises(InvalidParameter, match=r"datum 0 at t = 0\.5"):
            NetworkModel(Logits(value), noise, "logits").denoise(x, 0.5)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((3, 5), "gives arrays [2, 3, 5], the noise has 4 symbols and the data have 3 leaves; "
         "return logits [n, leaves, 4], here [2, 3, 4]; the mask is no symbol"),
        ((3, 8), "gives arrays [2, 3, 8], the noise has 4 symbols"),
        ((4,), "gives arrays [2, 4], the noise"), ((1, 4), "gives arrays [2, 1, 4], the noise"),
    ],
)  # fmt: skip
def test_logits_of_the_wrong_shape_are_one_line(shape: tuple[int, ...], words: str) -> None:
    class Logits(nn.Module):
        def forward(self, seen: Tensor, ratio: Tensor) -> Tensor:
            return torch.zeros(len(seen), *shape)

    noise, x = MaskingNoise(4), np.full((2, 3), -1)
    for model in (symbol_model(Logits(), noise), NetworkModel(Logits(), noise, "logits")):
        with pytest.raises(InvalidParameter, match=re.escape(words)) as error:
            model.denoise(x, 0.5)
        one_line(error)
        with pytest.raises(InvalidParameter, match=re.escape(words)):
            model.sample(x, 0.5, 0)


def test_a_label_that_the_network_does_not_have_is_refused_when_given() -> None:
    class Told(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(10, 2)

        def forward(self, x: Tensor, time: Tensor, label: Tensor) -> Tensor:
            return x * self.table(label).mean(dim=1)[:, None, None, None]

    model = NetworkModel(Told(), NOISE, "eps", condition=9)
    assert model.denoise(X, 0.5).shape == X.shape
    for label in (10, -1, np.array([0, 10]), True, "cat", np.ma.masked_array([1], [True])):
        with pytest.raises(InvalidParameter, match="condition"):
            model.given(label)
    labels = np.arange(10)
    told = model.given(labels)
    labels[:] = 99  # what the model keeps is a copy
    assert told.condition.max() == 9
