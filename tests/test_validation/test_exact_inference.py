"""Exact inference in torch: against enumeration, against the processor, and its derivatives."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import Laws
from oracles import enumerate_derivations, enumerated_posterior, one_line
from strategies import grammars

from hierdiff import RHM, EpsilonNoise, GaussianNoise, Grammar, MaskingNoise, UniformNoise
from hierdiff.contracts import DiffusionModel
from hierdiff.errors import ImpossibleEvidence, InvalidParameter
from hierdiff.noise import network_input
from hierdiff.sims import PhaseTransition, SimulatedModel
from hierdiff.theory import ExactRHM, posterior
from hierdiff.validation.adapter import symbol_model
from hierdiff.validation.exact_inference import (
    ExactDenoiser,
    KLToPosterior,
    passes,
    posterior_kl,
)
from hierdiff.validation.exact_inference import posterior as torch_posterior
from hierdiff.validation.recipes import divergence_to_exact

Array = np.ndarray[Any, Any]
# the passes in torch, which an accelerator runs; what "auto" does here has a test of its own
log_evidence = partial(torch_posterior.log_evidence, engine="torch")
marginals = partial(torch_posterior.marginals, engine="torch")
rule_counts = partial(torch_posterior.rule_counts, engine="torch")
# another size per level, weights, ambiguous rules (a small alphabet below many), s from 1 to 4
SIZES = {
    "s 2 3": ((2, 3, 4), (3, 2), (2, 3)),
    "s 4": ((3, 2), (2,), (4,)),
    "s 2 1 2": ((2, 3, 5, 2), (2, 4, 1), (2, 1, 2)),
}


def grammar_of(name: str, seed: int = 0) -> Grammar:
    v, m, s = SIZES[name]
    rng = np.random.default_rng(seed)
    rules = [rng.integers(v[l + 1], size=(v[l], m[l], s[l])) for l in range(len(m))]
    weights = [rng.dirichlet(np.ones(k), size=a) for a, k in zip(v, m, strict=False)]
    return Grammar(rules, weights, rng.dirichlet(np.ones(v[0])), leaf_vocabulary=v[-1])


def evidence_of(grammar: Grammar, n: int, seed: int = 0) -> Array:
    shape = (n, grammar.n_leaves, grammar.v[-1])
    return 2 * np.random.default_rng(seed).standard_normal(shape)


# --- values ---------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(grammars(), st.integers(0, 2**32 - 1))
def test_against_all_derivations(grammar: Grammar, seed: int) -> None:
    theta = evidence_of(grammar, 2, seed)
    found, logs = marginals(grammar, theta), log_evidence(grammar, theta)
    for i in range(2):
        exact, log_z = enumerated_posterior(grammar, theta[i])
        assert logs[i].item() == pytest.approx(log_z, abs=1e-11)
        for ours, theirs in zip(found, exact, strict=True):
            np.testing.assert_allclose(ours[i].numpy(), theirs, atol=1e-12)


def test_rule_counts_and_covariances_against_all_derivations() -> None:
    grammar = grammar_of("s 2 3")
    theta = torch.tensor(evidence_of(grammar, 1), requires_grad=True)
    levels, prior = enumerate_derivations(grammar)
    leaves = np.arange(grammar.n_leaves)
    weight = prior * np.exp(theta.detach().numpy()[0, leaves, levels[-1]].sum(axis=1))
    weight /= weight.sum()
    one_hot = np.eye(grammar.v[-1])[levels[-1]].reshape(len(weight), -1)
    mean = weight @ one_hot
    covariance = (one_hot * weight[:, None]).T @ one_hot - np.outer(mean, mean)
    hessian = torch.autograd.functional.hessian(lambda x: log_evidence(grammar, x).sum(), theta)
    np.testing.assert_allclose(hessian.reshape(covariance.shape), covariance, atol=1e-13)
    # rules are told apart by what they write, where these strings differ
    counts = rule_counts(grammar, theta.detach())
    for level, table in enumerate(grammar.rules):
        s = grammar.s[level]
        below = levels[level + 1].reshape(len(weight), -1, s)
        for a in range(grammar.v[level]):
            for strings in np.unique(table[a], axis=0):
                same = (table[a] == strings).all(axis=1)
                used = ((below == strings).all(axis=2) & (levels[level] == a)).sum(axis=1)
                assert counts[level][0, a, same].sum().item() == pytest.approx(weight @ used)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 1e-2)]
)
def test_equal_to_the_processor(name: str, dtype: torch.dtype, tolerance: float) -> None:
    grammar, root = grammar_of(name), [0, 1, 1, 0, 1]
    # what bfloat16 rounds away is no error of the passes
    theta = torch.tensor(evidence_of(grammar, 5)).to(dtype)
    exact = posterior(grammar, theta.double().numpy(), root)
    found = marginals(grammar, theta, root)
    assert {p.dtype for p in found} == {dtype}
    for ours, theirs in zip(found, exact.marginals, strict=True):
        np.testing.assert_allclose(ours.double().numpy(), theirs, atol=tolerance)
    logs = log_evidence(grammar, theta, torch.tensor(root)).double().numpy()
    np.testing.assert_allclose(logs, exact.log_evidence, rtol=1e-12 if tolerance < 1e-9 else 1e-5)


@pytest.mark.parametrize("noise", [MaskingNoise(8), UniformNoise(8), GaussianNoise(8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_evidence_in_every_form(noise: Any, dtype: torch.dtype) -> None:
    grammar = RHM(8, 2, 2, 4).draw(0)
    x_t = noise.corrupt(grammar.sample(6, seed=1).leaves, 0.5, seed=2)
    exact = posterior(grammar, noise.evidence(x_t, 0.5))
    tolerance = {"atol": 1e-5 if dtype == torch.float32 else 1e-12}
    dense = noise.log_evidence(x_t, 0.5)
    for evidence in (noise.evidence(x_t, 0.5), dense, torch.tensor(dense)):
        found = marginals(grammar, evidence, levels=(0, -1), dtype=dtype)
        assert [p.shape[1] for p in found] == [1, 0, 0, 0, 16]
        np.testing.assert_allclose(found[0].numpy(), exact.marginals[0], **tolerance)
        np.testing.assert_allclose(found[-1].numpy(), exact.marginals[-1], **tolerance)
        logs = log_evidence(grammar, evidence, dtype=dtype).numpy()
        np.testing.assert_allclose(logs, exact.log_evidence, rtol=tolerance["atol"])


@pytest.mark.parametrize("log_other", [-14.0, -70.0, -460.0, -1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_evidence_beyond_the_range_of_the_type(log_other: float, dtype: torch.dtype) -> None:
    """Strings that no derivation has, so that every derivation pays for some leaves."""
    grammar = RHM(4, 2, 4, 3).draw(0)
    rng = np.random.default_rng(0)
    theta = np.full((4, 64, 4), log_other)
    np.put_along_axis(theta, rng.integers(4, size=(4, 64, 1)), 0.0, axis=2)
    theta[1] = 0.0  # one that stays in range
    exact = posterior(grammar, theta)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-10  # e^-1e4 costs four digits
    for ours, theirs in zip(marginals(grammar, theta, dtype=dtype), exact.marginals, strict=True):
        np.testing.assert_allclose(ours.double().numpy(), theirs, atol=tolerance)
    logs = log_evidence(grammar, theta, dtype=dtype).double().numpy()
    np.testing.assert_allclose(logs, exact.log_evidence, rtol=tolerance, atol=1e-6)


def test_parts_change_no_bit_and_batches_only_the_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    grammar = RHM(8, 4, 2, 4).draw(0)
    theta = torch.tensor(evidence_of(grammar, 9), dtype=torch.float32)
    whole = marginals(grammar, theta)
    one = [torch.cat(parts) for parts in zip(*(marginals(grammar, x[None]) for x in theta),
                                             strict=True)]  # fmt: skip
    monkeypatch.setitem(passes._TEMPORARY, "cpu", 64)
    small = marginals(grammar, theta)
    for a, b, c in zip(whole, one, small, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
        assert torch.equal(a, c)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_processor_computes_the_same(dtype: torch.dtype) -> None:
    """On a processor "auto" takes the compiled passes, with the same derivatives."""
    grammar = grammar_of("s 2 1 2")
    small = 1e-5 if dtype == torch.float32 else 1e-12
    for root in (None, 1, [0, 1, 0, 1]):
        found = []
        for engine in ("auto", "torch"):
            theta = torch.tensor(evidence_of(grammar, 4), dtype=dtype, requires_grad=True)
            logs = torch_posterior.log_evidence(grammar, theta, root, engine=engine)  # type: ignore[arg-type]
            (first,) = torch.autograd.grad(logs.square().sum(), theta, create_graph=True)
            (second,) = torch.autograd.grad(first.square().sum(), theta)
            p = torch_posterior.marginals(grammar, theta, root, levels=(1, 3), engine=engine)  # type: ignore[arg-type]
            (third,) = torch.autograd.grad(p[1].square().sum(), theta)
            found.append([logs, first, second, *p, third])
        for ours, theirs in zip(*found, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=small, atol=small)


def test_sums_over_segments_as_accelerators_take_them() -> None:
    """The kernel that runs there, on the processor: the same sums, empty segments included."""
    lengths = torch.tensor([2, 0, 3, 1])
    x = torch.randn(6, 4, 5, dtype=torch.float64)
    segment = torch.repeat_interleave(torch.arange(4), lengths)
    ours = passes._segment_sum(x, segment, lengths)
    theirs = torch.segment_reduce(x, "sum", lengths=lengths, axis=0, unsafe=True)
    torch.testing.assert_close(ours, theirs)
    assert not ours[1].any()


# --- derivatives ----------------------------------------------------------------------------------


def inputs_of(grammar: Grammar, seed: int, scale: float = 1.0) -> tuple[torch.Tensor, ...]:
    rng = np.random.default_rng(seed)
    shapes = [(2, grammar.n_leaves, grammar.v[-1]), (grammar.v[0],),
              *((v, m) for v, m in zip(grammar.v, grammar.m, strict=False))]  # fmt: skip
    numbers = [rng.standard_normal(shape) * (scale if i == 0 else 1)
               for i, shape in enumerate(shapes)]  # fmt: skip
    return tuple(torch.tensor(x, requires_grad=True) for x in numbers)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("function", [log_evidence, marginals, rule_counts])
def test_first_and_second_derivatives(name: str, function: Any) -> None:
    grammar = grammar_of(name)

    def call(theta: torch.Tensor, prior: torch.Tensor, *weights: torch.Tensor) -> Any:
        return function(grammar, theta, log_prior=prior, log_weights=weights)

    inputs = inputs_of(grammar, 1)
    # every entry for the first function, which the others are derivatives of; random ones for these
    fast = function is not log_evidence
    assert torch.autograd.gradcheck(call, inputs, fast_mode=fast)
    assert torch.autograd.gradgradcheck(call, inputs, fast_mode=fast)


@pytest.mark.parametrize("function", [log_evidence, marginals, rule_counts])
def test_derivatives_beyond_the_range(function: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The passes in logarithms, which no sample of moderate evidence needs, carry them as well."""
    grammar = grammar_of("s 2 1 2")
    monkeypatch.setitem(passes.REACH, torch.float64, 1e9)

    def call(theta: torch.Tensor, prior: torch.Tensor, *weights: torch.Tensor) -> Any:
        return function(grammar, theta, log_prior=prior, log_weights=weights)

    inputs = inputs_of(grammar, 1)
    assert torch.autograd.gradcheck(call, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(call, inputs, fast_mode=True)


def test_the_gradient_of_the_evidence_are_the_marginals() -> None:
    grammar, root = grammar_of("s 2 1 2"), [1, 0]
    theta, _, *_ = inputs_of(grammar, 2)
    log_evidence(grammar, theta, root).sum().backward()
    exact = marginals(grammar, theta.detach(), root)[-1]
    torch.testing.assert_close(theta.grad, exact, rtol=0, atol=1e-14)


def test_expectation_maximisation_climbs() -> None:
    """New weights from expected counts never lower the evidence, wrong ones do."""
    grammar, other = RHM(4, 2, 2, 3).draw(0), RHM(4, 2, 2, 3).draw(1)
    noise = UniformNoise(4)
    x = grammar.sample(200, seed=1).leaves
    theta = torch.tensor(noise.log_evidence(noise.corrupt(x, 0.2, seed=2), 0.2))
    rng = np.random.default_rng(0)
    weights = [torch.tensor(rng.dirichlet(np.ones(2), size=4)) for _ in range(3)]
    values = []
    for _ in range(6):
        logs = [w.log() for w in weights]
        values.append(log_evidence(grammar, theta, log_weights=logs).mean().item())
        counts = [c.sum(0) for c in rule_counts(grammar, theta, log_weights=logs)]
        weights = [c / c.sum(1, keepdim=True) for c in counts]
    assert np.all(np.diff(values) > 0)
    wrong = [c.sum(0) for c in rule_counts(other, theta)]
    worse = log_evidence(grammar, theta, log_weights=[(c / c.sum(1, keepdim=True)).log()
                                                      for c in wrong])  # fmt: skip
    assert worse.mean() < values[-1]


# --- layer and loss -------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [MaskingNoise(8), UniformNoise(8), GaussianNoise(8)])
def test_the_denoiser_as_a_diffusion_model(noise: Any) -> None:
    grammar = RHM(8, 3, 2, 3).draw(0)
    model = symbol_model(ExactDenoiser(grammar, noise).double(), noise, num_steps=4)
    exact = ExactRHM(grammar, noise)
    assert isinstance(model, DiffusionModel)
    data = grammar.sample(6, seed=1)
    t = np.array([0.0, 0.2, 0.5, 0.7, 0.9, 1.0])
    x_t = noise.corrupt(data.leaves, t, seed=2)
    # at both ends a network is given a log SNR of 20 or -20: amplitudes of e^-10 of pure noise
    np.testing.assert_allclose(model.denoise(x_t, t), exact.denoise(x_t, t), atol=5e-5)
    np.testing.assert_allclose(model.denoise(x_t, t)[1:5], exact.denoise(x_t, t)[1:5], atol=1e-12)
    features, theirs = model.features(x_t, t), exact.features(x_t, t)
    assert features.keys() == theirs.keys()
    np.testing.assert_allclose(features["level 0"], theirs["level 0"], atol=1e-5)
    drawn = model.sample(x_t[1:], t[1:], seed=3)
    assert drawn.shape == (5, 8)
    label = symbol_model(ExactDenoiser(grammar, noise).double(), noise, condition=2)
    np.testing.assert_allclose(
        label.denoise(x_t[3:], 0.9), exact.given(2).denoise(x_t[3:], 0.9), atol=1e-10
    )
    nats, _ = divergence_to_exact(model, grammar, [0.3, 0.6], n=20, seed=0)
    assert np.all(np.abs(nats) < 1e-10)


def test_the_denoiser_in_an_experiment_and_in_a_file(tmp_path: Path) -> None:
    experiment = PhaseTransition(
        v=4, m=2, L=2, noise="masking", grammars=1, data=40, t=(0.3, 0.7), refine=0
    )
    grammar, noise = RHM(4, 2, 2, 2).draw(0), MaskingNoise(4)
    torch.save(ExactDenoiser(grammar, noise), tmp_path / "exact.pt")
    net = torch.load(tmp_path / "exact.pt", weights_only=False)
    data = (grammar, grammar.sample(40, 1))
    ours = experiment.measure(symbol_model(net.double(), noise, num_steps=50), data)
    theirs = experiment.measure(SimulatedModel(ExactRHM(grammar, noise), 50), data)
    # the same beliefs, and so the same chain
    np.testing.assert_allclose(ours.belief, theirs.belief, atol=1e-8)
    np.testing.assert_allclose(ours.retention, theirs.retention, atol=0.02)


def test_the_denoiser_in_single_precision_has_finite_logits() -> None:
    grammar, noise = RHM(4, 2, 2, 3).draw(0), MaskingNoise(4)
    net = ExactDenoiser(grammar, noise)
    channels, log_snr = network_input(noise, grammar.sample(3, 1).leaves, np.zeros(3))
    logits = net(torch.tensor(channels, dtype=torch.float32), torch.tensor(log_snr))
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()
    with pytest.raises(InvalidParameter, match=r"\[any, 8, 5\]") as error:
        net(torch.zeros(3, 8, 4), torch.zeros(3))
    assert one_line(error)
    with pytest.raises(InvalidParameter, match="the null label"):
        net(torch.tensor(channels), torch.tensor(log_snr), torch.tensor([0, 5, 1]))


def test_a_process_of_ones_own() -> None:
    """Without network_input the channels are beliefs, from which the evidence is read."""

    class Skewed:
        v, name = 4, "skewed"

        def log_evidence(self, x_t: Any, t: Any) -> Array:
            return np.log(np.where(np.arange(4) == np.asarray(x_t)[..., None], 0.7, 0.1))

        evidence = log_evidence

    for word in ("corrupt", "corrupt_with", "draw", "draw_step", "reverse_step"):
        setattr(Skewed, word, None)
    grammar, noise = RHM(4, 2, 2, 2).draw(0), Skewed()
    x_t = np.array([[0, 1, 2, 3]])
    channels, log_snr = network_input(noise, x_t, np.array([0.5]))  # type: ignore[arg-type]
    logits = ExactDenoiser(grammar, noise)(torch.tensor(channels), torch.tensor(log_snr))  # type: ignore[arg-type]
    exact = posterior(grammar, noise.log_evidence(x_t, 0.5)).marginals[-1]
    np.testing.assert_allclose(logits.softmax(-1).numpy(), exact, atol=1e-12)
    Skewed.network_input = Skewed.log_evidence  # type: ignore[attr-defined]
    with pytest.raises(InvalidParameter, match="network_input of its own"):
        ExactDenoiser(grammar, noise)  # type: ignore[arg-type]
    with pytest.raises(InvalidParameter, match="nothing to observe"):
        ExactDenoiser(grammar, EpsilonNoise(4))


def test_divergence_by_level() -> None:
    grammar, noise = RHM(4, 2, 2, 2).draw(0), MaskingNoise(4)
    x_t = noise.corrupt(grammar.sample(5, seed=1).leaves, 0.5, seed=2)
    evidence = noise.evidence(x_t, 0.5)
    exact = posterior(grammar, evidence).marginals
    loss = KLToPosterior(grammar)
    logits = {level: torch.randn(p.shape, dtype=torch.float64) for level, p in enumerate(exact)}
    found = loss.by_level(logits, evidence)
    for level, p in enumerate(exact):
        q = logits[level].softmax(-1).numpy()
        terms = np.where(p > 0, p * np.log(np.where(p > 0, p, 1) / q), 0).sum(-1)
        np.testing.assert_allclose(found[level].numpy(), terms, atol=1e-12)
    mean = np.mean([x.mean().item() for x in found.values()])
    assert loss(logits, evidence).item() == pytest.approx(mean)
    zero = {2: torch.tensor(np.log(np.maximum(exact[2], 1e-300)))}
    assert abs(loss(zero, evidence).item()) < 1e-12
    with pytest.raises(InvalidParameter, match="by their level"):
        loss(3, evidence)
    with pytest.raises(InvalidParameter, match="logits has shape"):
        posterior_kl(torch.zeros(1, 2, 3), torch.zeros(1, 2, 4))
    with pytest.raises(InvalidParameter, match="levels run from 0 to 2"):
        loss({7: torch.zeros(5, 4, 4)}, evidence)


def test_sampled_targets_have_the_same_gradient_in_the_mean(laws: Laws) -> None:
    """Law: E[grad of the cross-entropy with x0 | x_t] = grad of the divergence."""
    grammar, noise, t = RHM(6, 3, 2, 3).draw(0), UniformNoise(6), 0.4
    x_t = noise.corrupt(grammar.sample(1, seed=1).leaves, t, seed=2)
    draws = posterior(grammar, noise.evidence(x_t, t)).sample(seed=3, n_samples=4000).leaves
    logits = torch.randn(1, 8, 6, dtype=torch.float64, requires_grad=True)
    sampled = logits.detach().softmax(-1).numpy() - np.eye(6)[draws]  # of each draw, by hand
    spread = sampled.std(axis=0, ddof=1) / np.sqrt(len(draws))

    def z(level: float) -> Array:
        loss = posterior_kl(marginals(grammar, noise.evidence(x_t, level))[-1], logits).sum()
        (gradient,) = torch.autograd.grad(loss, logits)
        return np.asarray((sampled.mean(0) - gradient[0].numpy()) / np.maximum(spread, 1e-4))

    name = "gradient of the divergence = mean gradient of the cross-entropy"
    laws.holds(name, z(t))
    assert np.abs(z(t)).max() < 4.5
    laws.rejects(name, "posterior of a lower noise level", z(0.2))
    assert np.abs(z(0.2)).max() > 10


# --- bad input ------------------------------------------------------------------------------------

SMALL = RHM(4, 2, 2, 2).draw(0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"log_evidence": torch.zeros(3, 5, 4)}, r"\[any, 4, 4\]"),
        ({"log_evidence": np.zeros((3, 5, 4))}, "needs real numbers"),
        ({"log_evidence": torch.zeros(3, 4, 4, dtype=torch.int64)}, "give real numbers"),
        ({"log_evidence": torch.zeros(3, 4, 4, dtype=torch.float16)}, "float32, float64 or"),
        ({"dtype": torch.float16}, "is not supported"),
        ({"dtype": "float32"}, "is not supported"),
        ({"device": "cuda:99"}, "cannot be used"),
        ({"engine": "cuda"}, "engine"),
        ({"device": "warp"}, "cannot be used"),
        ({"root": 4}, "root"),
        ({"root": [0, 1]}, "one class or 3"),
        ({"log_prior": torch.zeros(3)}, r"log_prior has shape \(3,\)"),
        ({"log_weights": [torch.zeros(4, 2)]}, "list of 2 tensors"),
        ({"log_weights": [torch.zeros(4, 2), torch.zeros(4, 3)]}, r"log_weights\[1\] has shape"),
        ({"log_evidence": UniformNoise(5).evidence([[0, 1, 2, 4]], 0.3)}, "with 5 symbols"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"log_evidence": torch.zeros(3, 4, 4), **arguments}
    for function in (log_evidence, marginals, rule_counts):
        with pytest.raises(InvalidParameter, match=message) as error:
            function(SMALL, **given)
        assert one_line(error)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bad_values_are_named_as_on_the_processor(dtype: torch.dtype) -> None:
    good = np.zeros((3, 4, 4))
    nan, infinite, empty = good.copy(), good.copy(), good.copy()
    nan[1, 2, 3], infinite[2, 1, 0], empty[1, 3] = np.nan, np.inf, -np.inf
    string = SMALL.sample(1, seed=0).leaves
    tuples = SMALL.rules[1].reshape(-1, 2).tolist()
    absent = next([a, b] for a in range(4) for b in range(4) if [a, b] not in tuples)
    string = np.concatenate([absent, string[0, 2:]])[None]
    impossible = np.zeros((3, 4, 4))
    impossible[2] = MaskingNoise(4).log_evidence(string, 0.0)[0]
    for theta in (nan, infinite, empty, impossible):
        with pytest.raises((InvalidParameter, ImpossibleEvidence)) as theirs:
            posterior(SMALL, theta)
        for form in (theta, torch.tensor(theta)):
            with pytest.raises(type(theirs.value)) as ours:
                marginals(SMALL, form, dtype=dtype)
            assert str(ours.value) == str(theirs.value)


def test_memory_is_looked_at_before_it_is_asked_for() -> None:
    big = RHM(32, 8, 2, 12).draw(0)
    theta = torch.zeros(1, 1, 1).expand(10**7, 4096, 32)  # takes no memory itself
    with pytest.raises(InvalidParameter, match=r"inference with 10000000 samples.*GB"):
        marginals(big, theta)


def test_memory_of_a_card_counts_what_torch_holds_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    big, card = RHM(32, 8, 2, 10).draw(0), torch.device("cuda:0")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3 * 10**9, 8 * 10**10))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 10**9)
    for reserved, fits in ((10**9, False), (10**10, True)):
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device, r=reserved: r)
        if fits:
            torch_posterior._fits(big, 4096, torch.float32, card)
            continue
        with pytest.raises(InvalidParameter, match=r"GB, and cuda:0 has 3 GB free") as error:
            torch_posterior._fits(big, 4096, torch.float32, card)
        one_line(error)
    torch_posterior._fits(big, 64, torch.float32, card)


def test_no_samples() -> None:
    theta = torch.zeros(0, 4, 4, requires_grad=True)
    assert log_evidence(SMALL, theta).shape == (0,)
    for function in (marginals, torch_posterior.marginals):
        assert [p.shape for p in function(SMALL, theta)] == [(0, 1, 4), (0, 2, 4), (0, 4, 4)]


def test_tables_made_in_inference_mode_serve_derivatives_later() -> None:
    grammar = RHM(v=5, m=2, s=2, L=2).draw(seed=314)  # its own, so that no table is there yet
    theta = torch.zeros(1, 4, 5, dtype=torch.float64)
    with torch.inference_mode():
        before = log_evidence(grammar, theta, engine="torch")
    with_slope = theta.clone().requires_grad_()
    value = log_evidence(grammar, with_slope, engine="torch")
    value.sum().backward()
    assert value.item() == before.item()
    assert float(with_slope.grad.sum()) == pytest.approx(4, abs=1e-12)  # one per leaf
