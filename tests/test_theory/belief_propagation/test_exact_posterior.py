"""Exact inference against three independent oracles, and its identities."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import Laws
from oracles import AMBIGUOUS, FIXTURE, WEIGHTED, one_line

from hierdiff import RHM, EpsilonNoise, GaussianNoise, Grammar, MaskingNoise, UniformNoise
from hierdiff.errors import ImpossibleEvidence, InvalidParameter
from hierdiff.noise import SymbolEvidence, noise_process
from hierdiff.theory import denoise_symbols, posterior, true_beliefs
from hierdiff.theory.belief_propagation import exact_posterior as inference
from hierdiff.theory.belief_propagation import passes

PROCESSES = ["epsilon", "masking", "uniform", "gaussian"]


def observed(grammar: Grammar, name: str, n: int, t: float, seed: int = 0):
    noise = noise_process(name, grammar.v[-1])
    truth = grammar.sample(n, seed)
    return noise, truth, noise.corrupt(truth.leaves, t, seed + 1)


def random_evidence(grammar: Grammar, seed: int, n: int = 3) -> np.ndarray:
    """Evidence of a real sentence, blurred, with a few exact zeros elsewhere."""
    random = np.random.default_rng(seed)
    shape = (n, grammar.n_leaves, grammar.v[-1])
    log_psi = 3 * random.standard_normal(shape)
    truth = grammar.sample(n, seed).leaves
    zero = random.random(shape) < 0.2
    np.put_along_axis(zero, truth[..., None], False, axis=2)
    return np.where(zero, -np.inf, log_psi)


@settings(deadline=None, max_examples=60)
@given(strategies.grammars(), st.integers(0, 10**6))
def test_marginals_and_evidence_by_enumeration(grammar: Grammar, seed: int) -> None:
    log_psi = random_evidence(grammar, seed)
    p = posterior(grammar, log_psi)
    for i in range(len(p)):
        marginals, log_z = oracles.enumerated_posterior(grammar, log_psi[i])
        assert p.log_evidence[i] == pytest.approx(log_z, abs=1e-10)
        for level, expected in enumerate(marginals):
            np.testing.assert_allclose(p.marginals[level][i], expected, atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(strategies.grammars(), st.integers(0, 10**6))
def test_messages_against_plain_numpy(grammar: Grammar, seed: int) -> None:
    log_psi = random_evidence(grammar, seed)
    p = posterior(grammar, log_psi)
    for i in range(len(p)):
        up, down, marginals, log_z = oracles.message_passing(grammar, log_psi[i])
        assert p.log_evidence[i] == pytest.approx(log_z, abs=1e-10)
        for level in range(grammar.L + 1):
            np.testing.assert_allclose(p.up[level][i], up[level], atol=1e-12)
            np.testing.assert_allclose(p.down[level][i], down[level], atol=1e-12)
            np.testing.assert_allclose(p.marginals[level][i], marginals[level], atol=1e-12)


def wide_grammar(branches: tuple[int, ...], weighted: bool) -> Grammar:
    """Nodes of many children, whose rules differ in weight or not."""
    random = np.random.default_rng(sum(branches))
    rules = [random.integers(0, 4, (4, 3, s)) for s in branches]
    weights = [random.dirichlet(np.ones(3), 4) for _ in branches]
    return Grammar(rules, weights if weighted else None)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("branches", [(3, 2), (4, 3), (5,), (6, 1), (7,), (8,), (2, 4), (1, 5)])
def test_many_children_against_plain_numpy(branches: tuple[int, ...], weighted: bool) -> None:
    """Products of pairs of children, shared by all messages to them, change no sum."""
    grammar = wide_grammar(branches, weighted)
    log_psi = random_evidence(grammar, 1, n=20)
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 1e-5)):
        p = posterior(grammar, log_psi, dtype=dtype)
        for i in range(len(p)):
            up, down, marginals, log_z = oracles.message_passing(grammar, log_psi[i])
            assert p.log_evidence[i] == pytest.approx(log_z, abs=100 * tolerance)
            for level in range(grammar.L + 1):
                np.testing.assert_allclose(p.up[level][i], up[level], atol=tolerance)
                np.testing.assert_allclose(p.down[level][i], down[level], atol=tolerance)
                np.testing.assert_allclose(p.marginals[level][i], marginals[level], atol=tolerance)


@pytest.mark.parametrize("grammar", [FIXTURE, AMBIGUOUS, WEIGHTED, RHM(3, 2, 2, 3).draw(0)])
def test_marginals_by_sum_product_on_the_factor_graph(grammar: Grammar) -> None:
    log_psi = random_evidence(grammar, 5, n=2)
    p = posterior(grammar, log_psi)
    for i in range(2):
        for level, expected in enumerate(oracles.sum_product(grammar, log_psi[i])):
            np.testing.assert_allclose(p.marginals[level][i], expected, atol=1e-12)


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_compact_and_dense_evidence_agree(name: str, dtype: type) -> None:
    grammar = RHM(6, 3, 2, 4).draw(1)
    noise, _, x_t = observed(grammar, name, 21, 0.35)
    compact = posterior(grammar, noise.evidence(x_t, 0.35), dtype=dtype)
    dense = posterior(grammar, noise.log_evidence(x_t, 0.35), dtype=dtype)
    exact = posterior(grammar, noise.log_evidence(x_t, 0.35))
    tolerance = {np.float64: 1e-12, np.float32: 3e-5}[dtype]
    np.testing.assert_allclose(compact.log_evidence, dense.log_evidence, rtol=tolerance)
    for a, b, c in zip(compact.marginals, dense.marginals, exact.marginals, strict=True):
        np.testing.assert_allclose(a, c, atol=tolerance)
        np.testing.assert_allclose(b, c, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_compact_evidence_of_each_sample_is_its_own(dtype: type) -> None:
    """Noise levels that differ from sample to sample, with a last tile that is not full."""
    grammar, noise = RHM(6, 3, 2, 4).draw(1), UniformNoise(6)
    t = np.linspace(0.1, 0.6, 21)
    x_t = noise.corrupt(grammar.sample(21, 0).leaves, t, 1)
    compact = posterior(grammar, noise.evidence(x_t, t), dtype=dtype)
    tolerance = {np.float64: 1e-12, np.float32: 3e-5}[dtype]
    for i in range(21):
        alone = posterior(grammar, noise.log_evidence(x_t[i : i + 1], t[i]))
        assert compact.log_evidence[i] == pytest.approx(alone.log_evidence[0], rel=tolerance)
        np.testing.assert_allclose(compact.marginals[0][i], alone.marginals[0][0], atol=tolerance)


@pytest.mark.parametrize("grammar", [FIXTURE, AMBIGUOUS])
def test_a_clamped_root_is_conditioning(grammar: Grammar) -> None:
    log_psi = np.nan_to_num(random_evidence(grammar, 3, n=4), neginf=-20)
    free = posterior(grammar, log_psi)
    total = np.full(4, -np.inf)
    for c in range(grammar.v[0]):
        clamped = posterior(grammar, log_psi, root=c)
        for i in range(4):
            marginals, log_z = oracles.enumerated_posterior(grammar, log_psi[i], root=c)
            assert clamped.log_evidence[i] == pytest.approx(log_z, abs=1e-10)
            np.testing.assert_allclose(clamped.marginals[-1][i], marginals[-1], atol=1e-12)
        total = np.logaddexp(total, np.log(grammar.root_prior[c]) + clamped.log_evidence)
    np.testing.assert_allclose(total, free.log_evidence, atol=1e-10)
    classes = free.marginals[0][:, 0].argmax(axis=1)
    each = posterior(grammar, log_psi, root=classes)
    np.testing.assert_allclose(each.marginals[0][np.arange(4), 0, classes], 1, atol=1e-15)


def test_the_portable_example() -> None:
    """Root 55/93, 5/93, 27/186, 39/186: a number that any implementation can reproduce."""
    noise = EpsilonNoise(4)
    p = posterior(FIXTURE, noise.evidence(np.array([[3, 3, 3, 2]]), 0.5))
    expected = np.array([55 / 93, 5 / 93, 27 / 186, 39 / 186])
    np.testing.assert_allclose(p.marginals[0][0, 0], expected, atol=1e-15)
    leaf = [0.1532258064516129, 0.04032258064516129, 0.0, 0.8064516129032258]
    np.testing.assert_allclose(p.marginals[2][0, 0], leaf, atol=1e-15)
    half = posterior(FIXTURE, MaskingNoise(4).evidence(np.array([[3, 3, -1, -1]]), 0.5))
    np.testing.assert_allclose(half.marginals[0][0, 0], [1 / 3, 0, 1 / 3, 1 / 3], atol=1e-15)
    np.testing.assert_allclose(half.marginals[2][0, 2], [1 / 3, 1 / 6, 0, 1 / 2], atol=1e-15)


@settings(deadline=None, max_examples=25)
@given(strategies.grammars(max_strings=300))
def test_probabilities_of_all_strings_sum_to_one(grammar: Grammar) -> None:
    strings = oracles.all_strings(grammar.v[-1], grammar.n_leaves)
    with np.errstate(divide="ignore"):
        log_psi = np.log(np.eye(grammar.v[-1])[strings])
    law = oracles.string_probabilities(grammar)
    valid = np.array([law.get(tuple(x), 0.0) > 0 for x in strings.tolist()])
    p = posterior(grammar, log_psi[valid], levels=())
    assert np.exp(p.log_evidence).sum() == pytest.approx(1, abs=1e-10)
    np.testing.assert_allclose(p.log_evidence, grammar.log_prob(strings[valid]), atol=1e-9)


def test_relabelling_symbols_relabels_marginals() -> None:
    grammar = RHM(5, 3, 2, 3).draw(2)
    new = np.random.default_rng(0).permutation(5)
    old = np.argsort(new)
    rules = [np.array(rule) for rule in grammar.rules]
    # rename the symbols of level 2: in its own rules and where level 1 writes them
    rules[1] = new[rules[1]]
    rules[2] = rules[2][old]
    renamed = Grammar(rules)
    log_psi = random_evidence(grammar, 1, n=4)
    a, b = posterior(grammar, log_psi), posterior(renamed, log_psi)
    np.testing.assert_allclose(b.marginals[2][:, :, new], a.marginals[2], atol=1e-13)
    np.testing.assert_allclose(b.marginals[0], a.marginals[0], atol=1e-13)
    np.testing.assert_allclose(b.log_evidence, a.log_evidence, atol=1e-11)


@pytest.mark.parametrize("name", PROCESSES)
def test_nishimori_holds_for_channels_and_fails_for_the_epsilon_process(
    name: str, laws: Laws
) -> None:
    """E[p_true] = E[sum p^2] at every level; the epsilon-process is the planted wrong channel."""
    t = {"epsilon": 0.9, "masking": 0.5, "uniform": 0.3, "gaussian": 0.35}[name]
    grammar = RHM(8, 3, 2, 4).draw(3)
    noise, truth, x_t = observed(grammar, name, 6000, t)
    beliefs = true_beliefs(grammar, noise.evidence(x_t, t), truth)
    z = []
    for p, square in zip(beliefs.marginal, beliefs.square, strict=True):
        gap = (p - square).mean(axis=1)
        z.append(gap.mean() / (gap.std(ddof=1) / np.sqrt(len(gap))))
    if name == "epsilon":
        laws.rejects("Nishimori identity, E[p_true] = E[sum p^2]", "the epsilon-process", z)
    else:
        laws.holds("Nishimori identity, E[p_true] = E[sum p^2]", z)
    assert (np.max(np.abs(z)) > 20) if name == "epsilon" else (np.max(np.abs(z)) < 4)


def test_score_of_the_gaussian_process_by_finite_differences() -> None:
    r"""Tweedie: grad log p(x_t) = (sqrt(abar) E[x0 | x_t] - x_t) / (1 - abar)."""
    grammar, t = RHM(4, 2, 2, 2).draw(0), 0.4
    noise = GaussianNoise(4)
    x_t = noise.corrupt(grammar.sample(1, 1).leaves, t, 2)
    a = float(noise.alpha_bar(t))

    def log_density(x: np.ndarray) -> float:
        # evidence leaves out the factor exp(-|x|^2 / 2 (1 - abar)) that all symbols share
        p = posterior(grammar, noise.log_evidence(x, t), levels=())
        return float(p.log_evidence[0] - (x**2).sum() / (2 * (1 - a)))

    score = (np.sqrt(a) * denoise_symbols(grammar, noise, x_t, t) - x_t) / (1 - a)
    h = 1e-5
    for index in np.ndindex(*x_t.shape):
        step = np.zeros_like(x_t)
        step[index] = h
        slope = (log_density(x_t + step) - log_density(x_t - step)) / (2 * h)
        assert slope == pytest.approx(score[index], abs=1e-7)


def test_marginals_are_a_martingale() -> None:
    """Averaged over what more masks reveal, the marginal stays what it was."""
    grammar = FIXTURE
    noise, _, x_t = observed(grammar, "masking", 1, 0.9, seed=4)
    n = 20000
    before = posterior(grammar, noise.evidence(x_t, 0.9))
    full = before.sample(5, n).leaves
    reveal = np.random.default_rng(6).random(full.shape) < 0.5
    less = np.where(reveal | (x_t >= 0), full, -1)
    after = posterior(grammar, noise.evidence(less, 0.5), levels=(0,)).marginals[0][:, 0]
    error = after.std(axis=0, ddof=1) / np.sqrt(n)
    z = (after.mean(axis=0) - before.marginals[0][0, 0]) / np.maximum(error, 1e-9)
    assert np.abs(z).max() < 4


# --- posterior samples ---------------------------------------------------------------------------


@pytest.mark.parametrize("grammar", [FIXTURE, AMBIGUOUS, WEIGHTED])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_samples_follow_the_posterior_over_derivations(grammar: Grammar, dtype: type) -> None:
    log_psi = np.where(np.isfinite(e := random_evidence(grammar, 2, n=3)), e / 3, -np.inf)
    levels, prior = oracles.enumerate_derivations(grammar)
    p_values = []
    for i in range(3):
        one = posterior(grammar, log_psi[i : i + 1], dtype=dtype)
        drawn = one.sample(10 + i, 4000)
        weight = prior * np.exp(log_psi[i][np.arange(grammar.n_leaves), levels[-1]].sum(axis=1))
        law: dict[tuple[int, ...], float] = {}
        for row, w in zip(np.concatenate(levels, axis=1).tolist(), weight, strict=True):
            if w > 0:
                law[tuple(row)] = law.get(tuple(row), 0.0) + w / weight.sum()
        rows = [tuple(r) for r in np.concatenate(drawn.levels, axis=1).tolist()]
        p_values.append(oracles.frequency_p_value(rows, law))
    from scipy.stats import combine_pvalues

    assert combine_pvalues(p_values).pvalue > 1e-4


@settings(deadline=None, max_examples=30)
@given(strategies.grammars(), st.integers(0, 10**6))
def test_samples_against_their_plain_twin(grammar: Grammar, seed: int) -> None:
    """The same uniform numbers give the same symbols, draw for draw."""
    log_psi, random = random_evidence(grammar, seed), np.random.default_rng(seed)
    nodes = [grammar.n_nodes(level) for level in range(grammar.L)]
    uniforms = [random.random(6), *(random.random((6, k)) for k in nodes)]
    drawn = posterior(grammar, log_psi).sample_with(uniforms)
    for row in range(6):
        numbers = [u[row] for u in uniforms[1:]]
        twin = oracles.posterior_draw(grammar, log_psi[row // 2], uniforms[0][row], numbers)
        for level, symbols in enumerate(twin):
            np.testing.assert_array_equal(drawn.levels[level][row], symbols)


@settings(deadline=None, max_examples=30)
@given(strategies.grammars(), st.integers(0, 10**6))
def test_beliefs_in_the_truth_by_enumeration(grammar: Grammar, seed: int) -> None:
    log_psi, truth = random_evidence(grammar, seed), grammar.sample(3, seed)
    beliefs = true_beliefs(grammar, log_psi, truth)
    for i in range(3):
        marginals, log_z = oracles.enumerated_posterior(grammar, log_psi[i])
        up = oracles.message_passing(grammar, log_psi[i])[0]
        assert beliefs.log_evidence[i] == pytest.approx(log_z, abs=1e-10)
        for level, p in enumerate(marginals):
            node, symbol = np.arange(len(p)), truth.levels[level][i]
            np.testing.assert_allclose(beliefs.marginal[level][i], p[node, symbol], atol=1e-12)
            np.testing.assert_allclose(
                beliefs.upward[level][i], up[level][node, symbol], atol=1e-12
            )
            np.testing.assert_allclose(beliefs.square[level][i], (p**2).sum(axis=1), atol=1e-12)


def test_a_sampler_that_forgets_the_evidence_at_the_root_is_rejected() -> None:
    """The power test: roots from the prior, everything below exact."""
    log_psi = random_evidence(FIXTURE, 2, n=1) / 3
    log_psi = np.nan_to_num(log_psi, neginf=-5.0)
    marginal = posterior(FIXTURE, log_psi).marginals[0][0, 0]
    roots = FIXTURE.sample(4000, 0).levels[0][:, 0]
    law = {int(a): float(p) for a, p in enumerate(marginal)}
    assert oracles.frequency_p_value(roots.tolist(), law) < 1e-12


def test_draws_of_one_datum_stand_together() -> None:
    grammar = RHM(4, 2, 2, 3).draw(0)
    x_t = grammar.sample(3, 1).leaves
    drawn = posterior(grammar, MaskingNoise(4).evidence(x_t, 0.0)).sample(0, 5)
    assert len(drawn) == 15
    np.testing.assert_array_equal(drawn.leaves, np.repeat(x_t, 5, axis=0))


# --- one answer, however it is computed ----------------------------------------------------------


def everything(grammar: Grammar, evidence, truth, uniforms, dtype: type, threads: int):
    p = posterior(grammar, evidence, dtype=dtype, threads=threads)
    b = true_beliefs(grammar, evidence, truth, dtype=dtype, threads=threads)
    drawn = p.sample_with(uniforms).levels
    both, new = inference.beliefs_and_sample(
        grammar, evidence, truth, uniforms, dtype=dtype, threads=threads
    )
    apart = [*b.marginal, *b.upward, *b.square, b.log_evidence, *drawn]
    together = [*both.marginal, *both.upward, *both.square, both.log_evidence, *new.levels]
    for one, other in zip(apart, together, strict=True):
        np.testing.assert_array_equal(one, other)
    return [*p.marginals, *p.up, *p.down, p.log_evidence, *apart]


@pytest.mark.parametrize("name", ["masking", "gaussian"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_batches_threads_and_cuts_change_no_bit(
    name: str, dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    grammar = RHM(7, 3, 2, 6).draw(4)
    noise, truth, x_t = observed(grammar, name, 40, 0.3)
    random = np.random.default_rng(0)
    inner = [random.random((40, grammar.n_nodes(x))) for x in range(grammar.L)]
    uniforms = [random.random(40), *inner]

    def compute(rows: slice, threads: int = 1) -> list[np.ndarray]:
        picked = [u[rows] for u in uniforms]
        return everything(
            grammar, noise.evidence(x_t[rows], 0.3), truth[rows], picked, dtype, threads
        )

    whole = compute(slice(0, 40))
    others = {"threads": compute(slice(0, 40), threads=2)}
    for size in (1, 7):
        parts = [compute(slice(i, min(i + size, 40))) for i in range(0, 40, size)]
        others[f"batches of {size}"] = [np.concatenate(x) for x in zip(*parts, strict=True)]
    for level in (1, 3, 5):
        with monkeypatch.context() as patch:
            cuts = {(0, grammar.L): level}
            for module in (passes, inference):
                patch.setattr(module, "cut_level", lambda g, *x, cuts=cuts: cuts.get(x[:2]))
            passes.known(grammar).blocks.clear()
            others[f"cut at {level}"] = compute(slice(0, 40))
            passes.known(grammar).blocks.clear()
    for words, other in others.items():
        for i, (a, b) in enumerate(zip(whole, other, strict=True)):
            assert np.array_equal(a, b), f"{words}: result {i} differs by {np.abs(a - b).max()}"


@pytest.mark.parametrize("sizes", [(8, 4, 2, 11), (5, 3, 3, 6), (4, 2, 4, 5)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_one_tree_is_like_one_of_many(sizes: tuple[int, int, int, int], dtype: type) -> None:
    """Lanes are subtrees of one tree, or trees of a batch: the same bits, at all levels alone."""
    grammar = RHM(*sizes).draw(1)
    noise, truth, x_t = observed(grammar, "masking", 33, 0.5)
    assert passes.cut_level(grammar, 0, grammar.L, 1, dtype) is not None
    random = np.random.default_rng(0)
    uniforms = [
        random.random(33),
        *(random.random((33, grammar.n_nodes(x))) for x in range(sizes[3])),
    ]
    many = everything(grammar, noise.evidence(x_t, 0.5), truth, uniforms, dtype, 2)
    for i in (0, 32):
        row = slice(i, i + 1)
        one = noise.evidence(x_t[row], 0.5)
        alone = everything(grammar, one, truth[row], [u[row] for u in uniforms], dtype, 2)
        for a, b in zip(alone, many, strict=True):
            np.testing.assert_array_equal(a, b[row])
        for level in range(grammar.L + 1):
            some = posterior(grammar, one, dtype=dtype, levels=(level,)).marginals[level]
            np.testing.assert_array_equal(some, many[level][row])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("sizes", [(6, 3, 2, 3), (6, 3, 2, 8)])
def test_beliefs_and_draws_of_extreme_samples(
    sizes: tuple[int, int, int, int], dtype: type
) -> None:
    """Samples out of range are done again like those of the two calls apart."""
    grammar, random = RHM(*sizes).draw(2), np.random.default_rng(3)
    truth = grammar.sample(5, 4)
    log_psi = random.standard_normal((5, grammar.n_leaves, 6))
    log_psi[[1, 4]] *= 3000
    inner = [random.random((5, grammar.n_nodes(x))) for x in range(grammar.L)]
    uniforms = [random.random(5), *inner]
    root = truth.levels[0][:, 0]
    for given_root in (None, root):
        everything_of = (grammar, log_psi, truth, uniforms, given_root, dtype)
        both, drawn = inference.beliefs_and_sample(*everything_of)
        apart = true_beliefs(grammar, log_psi, truth, given_root, dtype)
        alone = posterior(grammar, log_psi, given_root, dtype).sample_with(uniforms)
        for a, b in (
            *zip(both.marginal, apart.marginal, strict=True),
            *zip(both.upward, apart.upward, strict=True),
            *zip(both.square, apart.square, strict=True),
            *zip(drawn.levels, alone.levels, strict=True),
            (both.log_evidence, apart.log_evidence),
        ):
            np.testing.assert_array_equal(a, b)
    twice = [np.repeat(u, 2, axis=0) for u in uniforms]
    with pytest.raises(InvalidParameter, match="draws; give one for each of 5 samples"):
        inference.beliefs_and_sample(grammar, log_psi, truth, twice)


@pytest.mark.parametrize("n_samples", [1, 3])
def test_draws_after_evidence_was_narrowed(n_samples: int) -> None:
    """Float64 evidence, float32 messages: exact evidence is kept of extreme samples only."""
    grammar = RHM(6, 3, 2, 7).draw(2)
    random = np.random.default_rng(3)
    log_psi = random.standard_normal((4, grammar.n_leaves, 6))
    log_psi[2] *= 300  # out of the range of float32
    expected = posterior(grammar, log_psi).sample(5, n_samples)
    drawn = posterior(grammar, log_psi, dtype="float32").sample(5, n_samples)
    same = [(a == b).mean() for a, b in zip(expected.levels, drawn.levels, strict=True)]
    assert min(same) > 0.95  # numbers at the edge of an interval fall on either side


def test_wanted_levels_only() -> None:
    grammar = RHM(4, 2, 2, 3).draw(0)
    evidence = MaskingNoise(4).evidence(grammar.sample(5, 1).leaves, 0.0)
    full = posterior(grammar, evidence)
    some = posterior(grammar, evidence, levels=(-1, 0))
    np.testing.assert_array_equal(some.marginals[3], full.marginals[3])
    np.testing.assert_array_equal(some.marginals[0], full.marginals[0])
    assert some.marginals[1].size == 0
    none = posterior(grammar, evidence, levels=())
    np.testing.assert_array_equal(none.log_evidence, full.log_evidence)
    with pytest.raises(InvalidParameter, match="levels run from 0 to 3"):
        posterior(grammar, evidence, levels=(4,))


def test_no_samples_give_no_results() -> None:
    grammar = RHM(4, 2, 2, 3).draw(0)
    p = posterior(grammar, np.zeros((0, 8, 4)))
    assert p.log_evidence.shape == (0,)
    assert [m.shape for m in p.marginals] == [(0, 1, 4), (0, 2, 4), (0, 4, 4), (0, 8, 4)]
    assert len(p.sample(0)) == 0


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda e: e[:, :, :2], "has shape"),
        (lambda e: e[0], "has shape"),
        (lambda e: np.where(np.arange(4) == 1, np.nan, e), "sample 0 is NaN at leaf 0, symbol 1"),
        (lambda e: e + np.where(np.arange(3)[:, None, None] == 2, np.inf, 0), r"sample 2 is \+inf"),
        (lambda e: np.where(np.arange(3)[:, None, None] == 1, -np.inf, e), "sample 1 is -inf for"),
    ],
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_bad_evidence_is_named(change, words: str, dtype: type) -> None:
    evidence = np.zeros((3, 4, 4))
    with pytest.raises(InvalidParameter, match=words) as error:
        posterior(FIXTURE, change(evidence), dtype=dtype)
    assert one_line(error)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_evidence_against_the_grammar_names_the_sample(dtype: type) -> None:
    noise = MaskingNoise(4)
    x_t = np.array([[3, 3, 3, 2], [-1, -1, -1, -1], [0, 2, -1, -1], [3, 3, 3, 2]])
    assert not FIXTURE.is_valid(np.array([[0, 2, 3, 2]]))[0]
    for call in (
        lambda: posterior(FIXTURE, noise.evidence(x_t, 0.5), dtype=dtype),
        lambda: posterior(FIXTURE, noise.log_evidence(x_t, 0.5), dtype=dtype, levels=()),
        lambda: true_beliefs(FIXTURE, noise.evidence(x_t, 0.5), FIXTURE.sample(4, 0), dtype=dtype),
    ):
        with pytest.raises(ImpossibleEvidence, match="sample 2") as error:
            call()
        assert one_line(error)
    certain = posterior(FIXTURE, noise.evidence(x_t[:1], 0.5)).marginals[0][0, 0]
    wrong = int(np.flatnonzero(certain == 0)[0])
    with pytest.raises(ImpossibleEvidence, match="sample 0"):
        posterior(FIXTURE, noise.evidence(x_t[:1], 0.5), root=wrong)


def test_other_bad_requests() -> None:
    flat = np.zeros((2, 4, 4))
    for words, call in {
        "root holds 4": lambda: posterior(FIXTURE, flat, root=4),
        "one class or 2": lambda: posterior(FIXTURE, flat, root=[0, 1, 2]),
        "dtype = int": lambda: posterior(FIXTURE, flat, dtype=int),
        "threads = 0": lambda: posterior(FIXTURE, flat, threads=0),
        "n_samples = 0": lambda: posterior(FIXTURE, flat).sample(0, 0),
        "uniforms have shapes": lambda: posterior(FIXTURE, flat).sample_with([np.zeros(2)]),
        "the grammar needs": lambda: posterior(FIXTURE, UniformNoise(5).evidence([[0] * 4], 0.1)),
        "truth has levels of shapes": lambda: true_beliefs(FIXTURE, flat, FIXTURE.sample(3, 0)),
    }.items():
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        assert one_line(error)


@pytest.mark.parametrize("n", [1, 3, 40])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_one_noise_level_is_as_many_equal_ones(n: int, dtype: type) -> None:
    """Two numbers for all samples give the bits of two per sample, in everything that is asked."""
    grammar = RHM(4, 2, 2, 7).draw(0)
    symbols = grammar.sample(n, 1).leaves.copy()
    symbols[0, :5] = -1
    one = SymbolEvidence(symbols, -0.3, -2.0, v=4)
    each = SymbolEvidence(symbols, np.full(n, -0.3), np.full(n, -2.0), v=4)
    found, expected = (posterior(grammar, x, dtype=dtype) for x in (one, each))
    for a, b in zip(found.marginals, expected.marginals, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(found.log_evidence, expected.log_evidence)
    for a, b in zip(found.sample(3, 5).levels, expected.sample(3, 5).levels, strict=True):
        np.testing.assert_array_equal(a, b)
