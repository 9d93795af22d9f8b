"""Every class answers its role: the members of the protocol, with the same first parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hierdiff import RHM, GaussianNoise, LowRankMixture, MaskingNoise, contracts, registry
from hierdiff.contracts import DataModel, DiffusionModel, Experiment, NoiseProcess, Sample, Sampler
from hierdiff.data.bumps import Bumps
from hierdiff.data.digits import LabelledImages
from hierdiff.data.ising_chains import IsingChains
from hierdiff.data.rhm_images import TreeImages, random_templates
from hierdiff.noise import NOISE
from hierdiff.sims import EmpiricalModel, LearnedGrammar, SequentialModel, SimulatedModel
from hierdiff.theory import ExactMixture, ExactRHM
from hierdiff.theory.exact_models import ExactImages, ExactIsing
from hierdiff.theory.zero_shot import GaussianClasses
from hierdiff.theory.zero_shot.rhm_classes import GaussianRHM

GRAMMAR = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
QUAD = RHM(v=4, m=2, s=4, L=1).draw(seed=0)
MIXTURE = LowRankMixture.random(6, rank=2, classes=2, seed=0)
CHAINS = IsingChains.by_coupling(4, 0.5)
TREES = TreeImages(QUAD, random_templates(4, 1, 2, seed=0))


def _members(protocol: type) -> dict[str, Any]:
    return {
        name: member
        for name, member in vars(protocol).items()
        if not name.startswith("_") and (callable(member) or isinstance(member, property))
    }


def faults(kind: type, protocol: type) -> list[str]:
    """Members that a class lacks, and methods whose parameters begin otherwise."""
    found = []
    for name, member in _members(protocol).items():
        if isinstance(member, property):
            fields = {k for base in kind.__mro__ for k in getattr(base, "__annotations__", {})}
            if not hasattr(kind, name) and name not in fields:
                found.append(f"{name} is missing")
            continue
        own = getattr(kind, name, None)
        if own is None:
            found.append(f"{name} is missing")
            continue
        wanted = list(inspect.signature(member).parameters)
        given = inspect.signature(own).parameters
        free = any(p.kind is p.VAR_POSITIONAL for p in given.values())
        if list(given)[: len(wanted)] != wanted and not free:
            found.append(f"{name}({', '.join(given)}) does not begin with {wanted}")
    return found


DATA: list[Callable[[], Any]] = [
    lambda: GRAMMAR, lambda: MIXTURE, lambda: Bumps(d_x=8, d_y=8), lambda: TREES,
    lambda: LabelledImages(np.zeros((4, 1, 8, 8), np.float32), np.arange(4)),
    lambda: GaussianRHM(GRAMMAR), lambda: GaussianClasses([[0.0], [1.0]], [[1.0]]),
    lambda: CHAINS,
]  # fmt: skip


@pytest.mark.parametrize("make", DATA)
def test_data_models(make: Callable[[], Any]) -> None:
    model = make()
    assert isinstance(model, DataModel)
    assert not faults(type(model), DataModel)
    sample = model.sample(3, seed=1)
    assert isinstance(sample, Sample)
    assert len(sample.x0) == len(sample.labels) == 3
    assert all(len(level) == 3 for level in sample.latents)
    again = model.sample(3, seed=1)
    np.testing.assert_array_equal(sample.x0, again.x0)


@pytest.mark.parametrize("kind", NOISE.values())
def test_noise_processes(kind: type) -> None:
    assert not faults(kind, NoiseProcess)


EXACT = ExactRHM(GRAMMAR, MaskingNoise(4))
MODELS = [
    EXACT, SimulatedModel(EXACT, 4), SequentialModel(EXACT),
    ExactMixture(MIXTURE, GaussianNoise()),
    EmpiricalModel(np.zeros((3, 2)) + np.arange(3)[:, None], GaussianNoise()),
    ExactIsing(CHAINS, MaskingNoise(2)),
    LearnedGrammar.fit(GRAMMAR.sample(40, seed=1).leaves, MaskingNoise(4), symbols=4),
]  # fmt: skip


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_diffusion_models(model: Any) -> None:
    assert isinstance(model, DiffusionModel)
    assert not faults(type(model), DiffusionModel)
    assert model.source in ("theory", "simulation", "network")
    if hasattr(model, "given"):
        assert isinstance(model, contracts.ConditionalModel)


def test_networks_and_samplers() -> None:
    pytest.importorskip("torch")
    from hierdiff.validation import DDIM, Ancestral, NetworkModel

    assert not faults(NetworkModel, DiffusionModel)
    for kind in (Ancestral, DDIM):
        assert not faults(kind, Sampler)
    assert not faults(ExactImages, DiffusionModel)


@pytest.mark.parametrize("name", registry.EXPERIMENTS)
def test_experiments(name: str) -> None:
    kind = registry.experiment(name)
    assert not faults(kind, Experiment)
    assert kind.name == name.replace("-", "_")
    where = {"out", "overwrite", "workers", "resume", "cluster", "device", "summary", "format",
             "quiet", "json"}  # fmt: skip
    assert not where & set(kind.__dataclass_fields__)
    assert kind.__dataclass_params__.frozen


def test_what_does_not_answer_is_seen() -> None:
    class Half:
        def sample(self, count: int, seed: int) -> None: ...

    assert faults(Half, DataModel) == [
        "sample(self, count, seed) does not begin with ['self', 'n', 'seed']"
    ]
    assert "denoise is missing" in faults(Half, DiffusionModel)
