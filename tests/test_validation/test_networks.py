"""Networks by name: what there is can be built, and a new one is one file and one line."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hierdiff import RHM, GaussianNoise, LowRankMixture, MaskingNoise, UniformNoise
from hierdiff.contracts import ConditionalModel, DiffusionModel
from hierdiff.data.bumps import Bumps
from hierdiff.data.digits import LabelledImages
from hierdiff.data.ising_chains import IsingChains
from hierdiff.errors import InvalidParameter
from hierdiff.sims import PhaseTransition
from hierdiff.sims.run import RunOptions
from hierdiff.validation.adapter import NetworkModel, symbol_model
from hierdiff.validation.diffusion.parameterisation import Parameterisation
from hierdiff.validation.experiments.alignment import DigitObjects, GrammarObjects
from hierdiff.validation.experiments.classification import DigitNetwork as DigitClasses
from hierdiff.validation.experiments.classification import TreeNetwork
from hierdiff.validation.experiments.composition import TrainedNetworks
from hierdiff.validation.experiments.layer_probes import DigitNetworks, StringNetworks
from hierdiff.validation.experiments.phase_transition import (
    DigitNetwork,
    GrammarNetwork,
    NetworkPhaseTransition,
)
from hierdiff.validation.experiments.representation import MixtureNetworks
from hierdiff.validation.experiments.rhm_images import ImageTraining
from hierdiff.validation.networks import NETWORKS, builder, network
from hierdiff.validation.recipes import (
    divergence_to_exact,
    train_bump_network,
    train_image_network,
    train_symbol_network,
    train_vector_network,
    vector_loss,
)
from hierdiff.validation.training import TrainConfig

GRAMMAR = RHM(8, 2, 2, 3).draw(0)
IMAGES = LabelledImages(np.zeros((4, 1, 8, 8), np.float32), np.arange(4))
MIXTURE = LowRankMixture.random(6, 2, 3, delta=0.2, seed=0)
DATA = {
    "tree_unet": (GRAMMAR, MaskingNoise(8), torch.zeros(3, 8, 9), (3, 8, 8)),
    "transformer": (GRAMMAR, UniformNoise(8), torch.zeros(3, 8, 8), (3, 8, 8)),
    "adm": (IMAGES, None, torch.zeros(3, 1, 8, 8), (3, 1, 8, 8)),
    "vector_mlp": (MIXTURE, None, torch.zeros(3, 6), (3, 6)),
    "bump_unet": (Bumps(size=8, margin=2), None, torch.zeros(3, 1, 8, 8), (3, 1, 8, 8)),
    "bump_mlp": (Bumps(size=8, margin=2), None, torch.zeros(3, 1, 8, 8), (3, 1, 8, 8)),
    "chain_conv": (IsingChains.by_field(6, 0.3, 0.3), None, torch.zeros(3, 6), (3, 6)),
}  # fmt: skip

FILE = '''
"""A network of one's own: logits of every leaf from that leaf alone."""

import torch

from hierdiff.noise import input_channels


class LeafByLeaf(torch.nn.Module):
    def __init__(self, channels, symbols, width):
        super().__init__()
        self.inner = torch.nn.Linear(channels + 1, width)
        self.outer = torch.nn.Linear(width, symbols)

    def forward(self, x, log_snr):
        level = log_snr[:, None, None].expand(-1, x.shape[1], 1)
        return self.outer(self.inner(torch.cat([x, level], dim=2)).relu())


def leaf_by_leaf(grammar, noise, *, width=16, conditional=False):
    return LeafByLeaf(input_channels(noise), grammar.leaf_vocabulary, width)
'''


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_built_for_its_data(name: str) -> None:
    data, noise, x, shape = DATA[name]
    made = network(name, data, noise)
    condition = (torch.zeros(3, 2),) if name.startswith("bump") else ()
    assert made(x, torch.zeros(3), *condition).shape == shape
    parameters = list(inspect.signature(builder(name)).parameters.values())
    assert [p.kind for p in parameters[:2]] == [inspect.Parameter.POSITIONAL_OR_KEYWORD] * 2
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in parameters[2:])


def test_a_new_network_is_one_file_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is trained by its name, adapted, and put into the flagship experiment."""
    (tmp_path / "my_network.py").write_text(FILE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(NETWORKS, "leaf_by_leaf", "my_network:leaf_by_leaf")

    noise = MaskingNoise(8)
    config = TrainConfig(steps=250, every=250, warmup=10, rate=1e-2, average=0.9)
    model, done = train_symbol_network(
        GRAMMAR, noise, config, network="leaf_by_leaf", width=16, batch=64, folder=tmp_path / "run"
    )
    assert isinstance(model, DiffusionModel)
    assert done.steps == 250
    x_t = noise.corrupt(GRAMMAR.sample(6, 1).leaves, 0.3, 2)
    assert model.sample(x_t, 0.3, 3).shape == (6, 8)
    with pytest.raises(InvalidParameter, match="no layers were named"):
        model.features(x_t, 0.3)
    named = replace(model, layers={"inner": "tokens"})
    assert named.features(x_t, 0.3)["inner"].shape == (6, 16)

    # it learns to copy what it sees, and knows nothing of a masked leaf
    first = network("leaf_by_leaf", GRAMMAR, noise)
    gaps = [divergence_to_exact(m, GRAMMAR, 0.3, 100, 0)[0][0]
            for m in (model, symbol_model(first, noise))]  # fmt: skip
    assert gaps[0] < 0.5 * gaps[1]
    assert gaps[0] > 0.05

    experiment = PhaseTransition(v=8, m=2, L=3, noise="masking", levels=4, refine=0)
    measured = experiment.measure(model, (GRAMMAR, GRAMMAR.sample(8, 1)))
    assert str(measured.source.item()) == "network"
    with pytest.raises(InvalidParameter, match="it takes width, conditional"):
        network("leaf_by_leaf", GRAMMAR, noise, depth=3)


def test_every_study_takes_every_network_for_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its name, or by where it lies; networks for other data are refused in one line, with those
    that fit, and what a network has no size for is not asked of it."""
    (tmp_path / "my_network.py").write_text(FILE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(NETWORKS, "leaf_by_leaf", "my_network:leaf_by_leaf")
    for name in ("tree_unet", "transformer", "leaf_by_leaf", "my_network:leaf_by_leaf"):
        assert GrammarNetwork(architecture=name).architecture == name
    assert GrammarNetwork().architecture == GrammarNetwork(architecture="tree").architecture
    one = NetworkPhaseTransition(GrammarNetwork(
        L=2, data=6, steps=3, n_train=(0,), n_train_steps=2, num_steps=2, t=(0.3, 0.8), batch=8,
        noise="masking", architecture="my_network:leaf_by_leaf",
    ))  # fmt: skip
    found = one.datasets(RunOptions(out=tmp_path / "run", workers=1))
    assert found["network_phase_transition"].retention.shape == (3, 2)
    assert any("my_network-leaf_by_leaf" in p.name for p in (tmp_path / "run").iterdir())
    strings = (GrammarNetwork, TreeNetwork, GrammarObjects, StringNetworks)
    images = (DigitNetwork, DigitClasses, DigitObjects, DigitNetworks, ImageTraining)
    for kinds, right, wrong in (
        (strings, "transformer", "adm"), (images, "adm", "transformer"),
        ((MixtureNetworks,), "vector_mlp", "tree_unet"),
    ):  # fmt: skip
        for kind in kinds:
            assert kind(architecture=right).architecture == right
            words = f"network = '{wrong}' is for .*; give one of .*{right}"
            with pytest.raises(InvalidParameter, match=words) as error:
                kind(architecture=wrong)
            assert "\n" not in str(error.value)
            with pytest.raises(InvalidParameter, match="is unknown; did you mean"):
                kind(architecture=right + "s")
    parts: dict[str, Any] = {"level_architecture": "transformer", "parts": ("levels",)}
    assert TrainedNetworks(**parts).level_architecture == "transformer"
    with pytest.raises(InvalidParameter, match="means nothing without the part bumps"):
        TrainedNetworks(parts=("levels",), bump_architecture="bump_unet")
    with pytest.raises(InvalidParameter, match="is for Bumps"):
        TrainedNetworks(level_architecture="bump_unet")
    for name in ("no_module_there:made", "my_network:nothing"):
        with pytest.raises(InvalidParameter, match=r"cannot be imported \(.*give module:function"):
            GrammarNetwork(architecture=name)


class Plain(torch.nn.Module):
    """A network of images or vectors without sizes, layers or conditions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = torch.nn.Linear(width, width)

    def forward(self, x: Any, time: Any) -> Any:
        return self.scale(x)


def plain_images(data: LabelledImages, noise: Any = None) -> Plain:
    return Plain(data.images.shape[-1])


def plain_vectors(mixture: LowRankMixture, noise: Any = None) -> Plain:
    return Plain(mixture.dim)


def plain_bumps(bumps: Bumps, noise: Any = None) -> torch.nn.Module:
    class Placed(Plain):
        def forward(self, x: Any, time: Any, place: Any = None) -> Any:
            return self.scale(x)

    return Placed(bumps.size)


def test_recipes_train_networks_of_every_kind_of_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that falls shows that it is the same question; sizes that are asked for and missing
    are refused."""
    for made in (plain_images, plain_vectors, plain_bumps):
        monkeypatch.setitem(NETWORKS, made.__name__, made)
    config = TrainConfig(steps=40, every=40, warmup=1)
    rng = np.random.default_rng(0)
    images = LabelledImages(rng.standard_normal((64, 1, 8, 8)).astype(np.float32), np.arange(64))
    model, _ = train_image_network(images, config, network="plain_images", batch=16)
    assert model.denoise(images.images[:3], 0.5).shape == (3, 1, 8, 8)
    with pytest.raises(InvalidParameter, match="channels = 16 is no size of network"):
        train_image_network(images, config, network="plain_images", channels=16)
    with pytest.raises(InvalidParameter, match="conditional = True is no size of network"):
        train_image_network(images, config, network="plain_images", label_share=0.5)
    bumps, _ = train_bump_network(Bumps(size=8, margin=2), config, network="plain_bumps", batch=8)
    assert bumps.layers == {}
    with pytest.raises(InvalidParameter, match="is no size of network"):
        train_bump_network(Bumps(size=8, margin=2), config, network="plain_bumps", attenuation=0.1)
    long = TrainConfig(steps=400, every=400, warmup=1, rate=1e-2, average=0.9)
    linear, _ = train_vector_network(MIXTURE, long, network="plain_vectors")
    # a linear map that is blind to the level learns the small noise, which weighs most
    x0 = MIXTURE.sample(500, 1)[0]
    t = float(GaussianNoise().level(25.0))
    left = ((linear.denoise(linear.noise.corrupt(x0, t, 2), t) - x0) ** 2).mean()
    assert left < 0.2 * (x0**2).mean()


def test_the_loss_of_vectors_is_one_for_networks_with_scales_and_without() -> None:
    """In units of c_out the error of the whole is that of the part inside."""
    whole = network("vector_mlp", MIXTURE, width=16, seed=0)
    with torch.no_grad():
        for parameter in whole.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))

    class Outside(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.whole = whole

        def forward(self, x: Any, time: Any) -> Any:
            return self.whole(x, time)

    loss = vector_loss(MIXTURE, batch=256, seed=0)
    a, b = (float(loss(one, 0).detach()) for one in (whole, Outside()))
    assert abs(a - b) < 1e-4 * a


def test_unknown_names_are_refused_with_the_nearest() -> None:
    for name, words in (
        ("tree_unit", "did you mean 'tree_unet'"),
        ("transformers", "did you mean 'transformer'"),
        ("resnet", "known are tree_unet, transformer, adm"),
        (3, "network = 3 is unknown"),
    ):
        with pytest.raises(InvalidParameter, match=words) as error:
            network(name, GRAMMAR, MaskingNoise(8))  # type: ignore[arg-type]
        assert "\n" not in str(error.value)
    with pytest.raises(InvalidParameter, match="depth = 3 is no size of network 'tree_unet'"):
        network("tree_unet", GRAMMAR, MaskingNoise(8), depth=3)
    with pytest.raises(InvalidParameter, match="is for Grammar, not for LabelledImages"):
        network("tree_unet", IMAGES, MaskingNoise(8))


def test_the_table_of_networks_needs_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from hierdiff.validation import NETWORKS, network\n"
        "from hierdiff.errors import MissingPackage\n"
        "print(len(NETWORKS))\n"
        "try: network('tree_unet', None)\n"
        "except MissingPackage as error: print(error)\n"
        "try: from hierdiff.validation import NetworkModel\n"
        "except MissingPackage as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    number, *lines = run.stdout.strip().splitlines()
    assert int(number) == len(NETWORKS)
    assert len(lines) == 2
    assert all("pip install 'hierdiff[networks]'" in line for line in lines)


class Evidence(torch.nn.Module):
    """Exact for independent leaves: the second half of the channels is the belief of each alone."""

    def forward(self, x: Any, time: Any) -> Any:
        return x[..., x.shape[2] // 2 :].clamp(min=1e-30).log()


def test_the_scale_of_evidence_is_that_of_the_process() -> None:
    noise = GaussianNoise(4)
    x_t = noise.corrupt(np.arange(12).reshape(3, 4) % 4, 0.3, 0)
    kind = Parameterisation("logits", "evidence")
    model = NetworkModel(Evidence(), noise, kind, sampler=4)
    exact = np.exp(noise.log_evidence(x_t, 0.3))
    exact /= exact.sum(axis=2, keepdims=True)
    found = model.denoise(x_t, 0.3)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(found.sum(axis=2), 1, atol=1e-12)
    # a sampler of networks runs on the same predictions
    chain = replace(model, sampler=symbol_model(Evidence(), noise).sampler)
    assert chain.sample(x_t, 0.3, 0).shape == (3, 4)
    for bad, words in (
        (lambda: Parameterisation("eps", "evidence"), "goes with logits"),
        (lambda: NetworkModel(Evidence(), GaussianNoise(), kind), "nothing to observe"),
        (lambda: replace(model, noise_conditioning=model._conditioning), "a time of its own"),
        (lambda: replace(model, sampler=0), "sampler = 0"),
    ):
        with pytest.raises(InvalidParameter, match=words):
            bad()


def test_the_null_condition_is_what_given_none_takes() -> None:
    made = network("tree_unet", GRAMMAR, MaskingNoise(8), width=8, conditional=True)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    model = symbol_model(made, MaskingNoise(8), condition=1)
    assert isinstance(model, ConditionalModel)
    x_t = np.full((2, 8), -1)
    free = model.given(None)
    assert free.condition is None
    null = replace(model, null_condition=8).given(None)
    np.testing.assert_array_equal(free.denoise(x_t, 1.0), null.denoise(x_t, 1.0))
    assert np.abs(free.denoise(x_t, 1.0) - model.denoise(x_t, 1.0)).max() > 1e-3

    config = TrainConfig(steps=1, every=1, warmup=1)
    images, _ = train_image_network(IMAGES, config, multipliers=(1,), batch=2, label_share=0.5)
    assert images.condition == images.given(3).given(None).condition == 4


@pytest.mark.slow
def test_old_names_of_networks_and_training_lead_to_the_new_ones() -> None:
    for place, old, new in (
        ("training", "Plan", "TrainConfig"),
        ("recipes", "train_tree_unet", "train_symbol_network"),
        ("adapter", "SymbolNetwork", "symbol_model"),
        ("networks.bump_unet", "PlaceCode", "PositionEmbedding"),
        ("diffusion.schedules", "Clock", "NoiseConditioning"),
    ):
        module = importlib.import_module(f"hierdiff.validation.{place}")
        vars(module).pop(old, None)
        with pytest.warns(DeprecationWarning, match=f"{place}.{old} is now {new}"):
            assert getattr(module, old) is getattr(module, new)
        vars(module).pop(old)
        assert not hasattr(module, "none")
    # through the old name of the module as well
    code = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "from hierdiff.validation.recipes import train_tree_unet as old\n"
        "from hierdiff.validation.recipes import train_symbol_network as new\n"
        "print(old is new)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "True"
