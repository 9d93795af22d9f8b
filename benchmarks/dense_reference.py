"""The dense formulation that published code uses, in torch, vectorised over samples.

Messages are [symbols, nodes]; the products of all children of all rules are formed as a matrix per
rule, and messages to the children are summed over a dense tensor [symbols, rules, nodes, children].
"""

from __future__ import annotations

import torch

__all__ = ["marginals", "prior", "sample", "sparse_marginals"]

Tensor = torch.Tensor


def _rule_products(rules: Tensor, child: Tensor) -> Tensor:
    """Product over children for every rule, [v, m, nodes]; child is [v', nodes, s]."""
    v, m, s = rules.shape
    gathered = torch.stack([child[rules[:, :, j], :, j] for j in range(s)], dim=-1)
    return gathered.prod(-1).reshape(v, m, -1)


def upward(rules: list[Tensor], leaves: Tensor) -> list[Tensor]:
    """Normalised upward messages of every level, root first."""
    messages = [leaves]
    for rule in reversed(rules):
        child = messages[0].reshape(messages[0].shape[0], -1, rule.shape[2])
        message = _rule_products(rule, child).sum(1)
        messages.insert(0, message / message.sum(0, keepdim=True))
    return messages


def _downward(rule: Tensor, parent: Tensor, below: Tensor) -> Tensor:
    v, m, s = rule.shape
    child = below.reshape(below.shape[0], -1, s)
    flat = rule.reshape(v * m, s)
    values = torch.stack([child[flat[:, j], :, j] for j in range(s)], dim=-1)  # [rules, nodes, s]
    others = values.unsqueeze(-1) @ torch.ones(1, s)  # [rules, nodes, s, s]
    diagonal = torch.arange(s)
    others[:, :, diagonal, diagonal] = 1.0
    others = others.prod(-2) * parent.repeat_interleave(m, 0).unsqueeze(-1)
    dense = torch.zeros(below.shape[0], v * m, child.shape[1], s)
    rows, children = torch.arange(v * m).repeat_interleave(s), diagonal.repeat(v * m)
    dense[flat.flatten(), rows, :, children] = others[rows, :, children]
    message = dense.sum(1).reshape(below.shape[0], -1)
    return message / message.sum(0, keepdim=True)


def marginals(rules: list[Tensor], leaves: Tensor) -> list[Tensor]:
    """Marginals [v, nodes] of every level from leaf evidence [v, samples * leaves]."""
    up = upward(rules, leaves)
    down = torch.full_like(up[0], 1.0 / up[0].shape[0])
    out = [up[0]]
    for level, rule in enumerate(rules):
        down = _downward(rule, down, up[level + 1])
        product = down * up[level + 1]
        out.append(product / product.sum(0, keepdim=True))
    return out


def sample(rules: list[Tensor], leaves: Tensor) -> Tensor:
    """One posterior sample of the leaves, level by level from the root."""
    up = upward(rules, leaves)
    symbols = torch.multinomial(up[0].T, 1).flatten()
    for level, rule in enumerate(rules):
        v, m, s = rule.shape
        child = up[level + 1].reshape(up[level + 1].shape[0], -1, s)
        chosen = torch.nn.functional.one_hot(symbols, v).T.to(up[0].dtype)
        weights = (chosen.unsqueeze(1) * _rule_products(rule, child)).reshape(v * m, -1)
        picked = torch.multinomial((weights / weights.sum(0, keepdim=True)).T, 1).flatten()
        symbols = rule.reshape(v * m, s)[picked].flatten()
    return symbols


def sparse_marginals(rules: list[Tensor], leaves: Tensor) -> list[Tensor]:
    """The same marginals by gathers and sums over the rules that exist, without a dense tensor."""
    up = [leaves]
    for rule in reversed(rules):
        v, m, s = rule.shape
        child = up[0].reshape(up[0].shape[0], -1, s)
        product = child[:, :, 0].index_select(0, rule[:, :, 0].flatten())
        for j in range(1, s):
            product = product * child[:, :, j].index_select(0, rule[:, :, j].flatten())
        message = product.reshape(v, m, -1).sum(1)
        up.insert(0, message / message.sum(0, keepdim=True))
    down = torch.full_like(up[0], 1.0 / up[0].shape[0])
    out = [up[0]]
    for level, rule in enumerate(rules):
        s = rule.shape[2]
        below = up[level + 1]
        child = below.reshape(below.shape[0], -1, s)
        values = [child[:, :, j].index_select(0, rule[:, :, j].flatten()) for j in range(s)]
        parent = down.repeat_interleave(rule.shape[1], 0)
        message = torch.zeros_like(child)
        for j in range(s):
            term = parent
            for i in range(s):
                term = term if i == j else term * values[i]
            message[:, :, j].index_add_(0, rule[:, :, j].flatten(), term)
        down = message.reshape(below.shape[0], -1)
        down = down / down.sum(0, keepdim=True)
        product = down * below
        out.append(product / product.sum(0, keepdim=True))
    return out


def prior(rules: list[Tensor], n: int) -> Tensor:
    """Leaves of n samples of the grammar: a gather of random rules per level."""
    symbols = torch.randint(rules[0].shape[0], (n, 1))
    for rule in rules:
        chosen = torch.randint(rule.shape[1], symbols.shape)
        symbols = rule[symbols, chosen].reshape(n, -1)
    return symbols
