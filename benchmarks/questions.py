"""Questions about the posterior over derivations, inference in torch, and parsing."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import numpy as np
from belief_propagation import LEVEL, SIZES, compact, float32, world
from harness import Call, Table, over
from limits import available

__all__: list[str] = []

Array = np.ndarray[Any, Any]

QUESTIONS = Table(
    "questions", "Questions about one tree per datum, size B", before=False,
    points=over(batch=(1, 32, 256)), quick=over(batch=(1,)), seconds=0.5,
)  # fmt: skip
PARSING = Table(
    "parsing", "All parses of strings, 8 symbols with 4 binary rules each, 16 strings",
    points=over(length=(8, 16, 32, 64)), quick=over(length=(8,)), before=False, seconds=0.5,
)  # fmt: skip
TORCH = Table(
    "torch", "Exact inference in torch, on the processor", before=False,
    points=over(size="ABC", batch=(32, 256)), quick=over(size="C", batch=(32,)), seconds=0.5,
)  # fmt: skip
NONTERMINALS, BINARY, TOKENS, STRINGS = 8, 4, 16, 16


evidence_of = lru_cache(partial(compact, SIZES["B"]))


def _ask(batch: int) -> Any:
    """A new posterior for each call, since one keeps its answers."""
    from hierdiff.theory.belief_propagation import tree_posterior

    return tree_posterior(*evidence_of(batch))


@QUESTIONS.case("log-evidence")
def log_evidence(batch: int) -> Call:
    return lambda: _ask(batch).log_evidence


@QUESTIONS.case("most likely derivation")
def most_likely(batch: int) -> Call:
    return lambda: _ask(batch).most_likely()


@QUESTIONS.case("8 most likely")
def k_best(batch: int) -> Call:
    return lambda: _ask(batch).k_best(8)


@QUESTIONS.case("number of derivations")
def log_count(batch: int) -> Call:
    return lambda: _ask(batch).log_count()


@QUESTIONS.case("entropy")
def entropy(batch: int) -> Call:
    return lambda: _ask(batch).entropy()


@QUESTIONS.case("expected counts of rules")
def expected_counts(batch: int) -> Call:
    return lambda: _ask(batch).expected_counts()


@QUESTIONS.case("joint beliefs of 32 pairs of leaves")
def pairs(batch: int) -> Call:
    L = SIZES["B"][3]
    asked = [((L, i), (L, 255 - i)) for i in range(32)]
    return lambda: _ask(batch).pair_beliefs(asked)


@QUESTIONS.case("posterior sample given a latent")
def sample(batch: int) -> Call:
    from hierdiff.theory.belief_propagation import tree_posterior

    grammar, truth, noise, x_t = world(SIZES["B"], batch)
    evidence, latent = noise.evidence(x_t, LEVEL), {(2, 1): truth.levels[2][:, 1]}
    return lambda: tree_posterior(grammar, evidence, nodes=latent).sample(3)


# ------------------------------------------------------------------------------- inference in torch


def _in_torch(size: str, batch: int) -> tuple[Any, Any]:
    """Grammar and evidence [n, leaves, v] in float32, whose gradient is wanted."""
    import torch

    torch.set_num_threads(available())
    grammar, _, noise, x_t = world(SIZES[size], batch)
    logarithms = noise.log_evidence(x_t, LEVEL).astype(np.float32)
    return grammar, torch.tensor(logarithms, requires_grad=True)


@TORCH.case("posterior, evidence as an array")
def numpy_posterior(size: str, batch: int) -> Call:
    from hierdiff.theory import posterior

    grammar, _, noise, x_t = world(SIZES[size], batch)
    return float32(posterior, grammar, noise.log_evidence(x_t, LEVEL).astype(np.float32))


@TORCH.case("marginals", peer="torch")
def torch_marginals(size: str, batch: int) -> Call:
    from hierdiff.validation.exact_inference import marginals

    grammar, evidence = _in_torch(size, batch)
    return partial(marginals, grammar, evidence.detach())


@TORCH.case("marginals by batched operations", peer="torch")
def batched_marginals(size: str, batch: int) -> Call:
    from hierdiff.validation.exact_inference import marginals

    grammar, evidence = _in_torch(size, batch)
    return partial(marginals, grammar, evidence.detach(), engine="torch")


@TORCH.case("log-evidence and its gradient", peer="torch")
def gradient(size: str, batch: int) -> Call:
    import torch

    from hierdiff.validation.exact_inference import log_evidence as differentiable

    grammar, evidence = _in_torch(size, batch)
    return lambda: torch.autograd.grad(differentiable(grammar, evidence).sum(), evidence)


# ------------------------------------------------------------------------------------------ parsing


def rules() -> tuple[Array, Array]:
    """Weights [A, B, C] of binary rules, and [A, token] of the others; each A has weight one."""
    random = np.random.default_rng(0)
    binary = np.zeros((NONTERMINALS,) * 3)
    for a in range(NONTERMINALS):
        for number in random.choice(NONTERMINALS**2, BINARY, replace=False):
            binary[a, number // NONTERMINALS, number % NONTERMINALS] = 0.4 / BINARY
    tokens = np.zeros((NONTERMINALS, TOKENS))
    for a in range(NONTERMINALS):
        tokens[a, [2 * a, 2 * a + 1]] = 0.3
    return binary, tokens


def grammar_and_evidence(length: int) -> tuple[Any, Array]:
    """The grammar, and log-evidence [n, length, v] of its strings under uniform noise."""
    from hierdiff import UniformNoise
    from hierdiff.data.pcfg import PCFG

    binary, tokens = rules()
    listed: list[Any] = [(int(a), (int(b), int(c)), float(binary[a, b, c]))
              for a, b, c in np.argwhere(binary)]  # fmt: skip
    listed += [(int(a), (NONTERMINALS + int(x),), float(tokens[a, x]))
               for a, x in np.argwhere(tokens)]  # fmt: skip
    grammar, noise = PCFG(listed, NONTERMINALS, TOKENS), UniformNoise(TOKENS)
    leaves = grammar.sample(STRINGS, 1, length=length).x0
    return grammar, noise.log_evidence(noise.corrupt(leaves, LEVEL, 2), LEVEL)


def _parsed(length: int, ask: Any) -> Call:
    from hierdiff.theory.pcfg import parse_posterior

    grammar, evidence = grammar_and_evidence(length)
    return lambda: ask(parse_posterior(grammar, evidence))


@PARSING.case("log-evidence")
def parse_evidence(length: int) -> Call:
    return _parsed(length, lambda found: found.log_evidence)


@PARSING.case("marginals of leaves and counts of rules")
def parse_marginals(length: int) -> Call:
    return _parsed(length, lambda found: (found.leaf_marginals, found.rule_counts))


@PARSING.case("a sample")
def parse_sample(length: int) -> Call:
    return _parsed(length, lambda found: found.sample(3))


@PARSING.case("likeliest parse")
def parse_best(length: int) -> Call:
    return _parsed(length, lambda found: found.best())


@PARSING.case("inside sums in NumPy, dense", peer="plain")
def dense_inside(length: int) -> Call:
    """Log-evidence by one product of dense arrays per span, all strings side by side."""
    from hierdiff.theory.pcfg import parse_posterior

    grammar, evidence = grammar_and_evidence(length)
    binary, tokens = rules()
    flat = binary.reshape(NONTERMINALS, -1)

    def inside() -> Array:
        chart = np.zeros((length, length + 1, STRINGS, NONTERMINALS))
        leaves = np.exp(evidence) @ tokens.T
        for i in range(length):
            chart[i, i + 1] = leaves[:, i]
        for span in range(2, length + 1):
            for i in range(length - span + 1):
                cuts = range(i + 1, i + span)
                left = chart[i, cuts]
                right = chart[cuts, i + span]
                pairs = np.einsum("knb,knc->nbc", left, right).reshape(STRINGS, -1)
                chart[i, i + span] = pairs @ flat.T
        return np.asarray(np.log(chart[0, length] @ grammar.root_prior))

    gap = float(np.abs(inside() - parse_posterior(grammar, evidence).log_evidence).max())
    if not gap < 1e-9:
        raise AssertionError(f"log-evidences differ by {gap}")
    return inside


@PARSING.case("law of the next token")
def next_token(length: int) -> Call:
    from hierdiff.theory.pcfg import next_token_law

    grammar, _ = grammar_and_evidence(length)
    strings = grammar.sample(STRINGS, 1, length=length).x0
    return partial(next_token_law, grammar, strings)
