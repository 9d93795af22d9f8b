"""Networks trained against the exact posterior, beside sampled targets."""

from __future__ import annotations

import json
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from laws import Laws
from oracles import one_line
from programs import ROOT

from hierdiff import RHM, MaskingNoise, UniformNoise, run
from hierdiff.errors import InvalidParameter
from hierdiff.noise import network_input
from hierdiff.sims import PhaseTransition
from hierdiff.theory import ExactRHM, denoise_symbols
from hierdiff.validation import network
from hierdiff.validation.adapter import symbol_model
from hierdiff.validation.exact_inference import KLToPosterior
from hierdiff.validation.experiments.exact_targets import NetworkExactTargets
from hierdiff.validation.recipes import symbol_loss

SMALL = NetworkExactTargets(
    v=4, L=2, width=16, steps=8, batch=8, checkpoints=2, networks=2, t=(0.5,), data=20, batches=3
)


def test_from_one_command_and_again_from_its_checkpoints(tmp_path: Path) -> None:
    first = run(SMALL, out=tmp_path, summary=tmp_path / "found.json")
    ds = first["network_exact_targets"]
    assert ds.divergence.dims == ("target", "step")
    assert ds.step.values.tolist() == [4, 8]
    assert (ds.divergence > 0).all()
    found = json.loads((tmp_path / "found.json").read_text())
    assert "times the divergence" in found["claim"]
    assert (tmp_path / "network_exact_targets.png").stat().st_size > 10_000
    again = run(SMALL, out=tmp_path)["network_exact_targets"]
    np.testing.assert_array_equal(again.divergence, ds.divergence)
    np.testing.assert_array_equal(again.gradient_noise, ds.gradient_noise)


def test_models_and_bad_fields_are_refused() -> None:
    exact = ExactRHM(RHM(4, 2, 2, 2).draw(0), MaskingNoise(4))
    with pytest.raises(InvalidParameter, match="has no place in") as error:
        SMALL.measure(exact)
    one_line(error)
    with pytest.raises(InvalidParameter, match="networks"):
        replace(SMALL, networks=1)
    with pytest.raises(InvalidParameter, match="noise"):
        replace(SMALL, noise="epsilon")
    assert PhaseTransition(v=4, m=2, L=2)  # the question that a single model is asked


def test_what_sampled_targets_add_does_not_depend_on_the_network(laws: Laws) -> None:
    """Law: E[|q - e_x0|^2 - |q - p|^2] = E[1 - sum p^2], for networks that know nothing."""
    grammar, noise = RHM(6, 2, 2, 3).draw(0), UniformNoise(6)
    torch.manual_seed(0)
    net = network("transformer", grammar, noise, width=16)
    with torch.no_grad():
        net.head.bias.normal_()  # type: ignore[operator, union-attr]
    model, eye = symbol_model(net, noise), np.eye(6)
    scores, wrong = [], []
    for k, t in enumerate((0.2, 0.5, 0.8)):
        x_0 = grammar.sample(20_000, k).leaves
        x_t = noise.corrupt(x_0, t, 10 + k)
        q, p = model.denoise(x_t, t), denoise_symbols(grammar, noise, x_t, t)
        added = ((q - eye[x_0]) ** 2 - (q - p) ** 2).sum(axis=(1, 2))
        own = np.exp(noise.log_evidence(x_t, t))  # each leaf alone, without the tree
        own /= own.sum(axis=2, keepdims=True)
        for target, found in ((p, scores), (own, wrong)):
            rest = added - (1 - (target**2).sum(axis=2)).sum(axis=1)
            found.append(rest.mean() / (rest.std(ddof=1) / np.sqrt(len(rest))))
    name = "squared gradient that sampled targets add"
    laws.holds(name, scores)
    assert np.abs(scores).max() < 4
    laws.rejects(name, "beliefs of every leaf alone", wrong)
    assert np.abs(wrong).min() > 10


@pytest.mark.parametrize("label_share", [0.0, 0.5])
def test_both_targets_see_the_same_batches(label_share: float) -> None:
    """The difference of the losses is the entropy of the posterior, up to the draw of x_0."""
    grammar, noise = RHM(4, 2, 2, 2).draw(0), MaskingNoise(4)
    torch.manual_seed(0)
    net = network("tree_unet", grammar, noise, width=8, conditional=label_share > 0)
    both = [
        symbol_loss(grammar, noise, batch=2048, target=target, label_share=label_share, seed=3)
        for target in ("sample", "posterior")
    ]
    rows = []
    for loss in both:
        net.zero_grad()
        loss(net, 0).backward()
        rows.append(torch.cat([x.grad.flatten() for x in net.parameters() if x.grad is not None]))
    sampled, exact = rows
    assert torch.nn.functional.cosine_similarity(sampled, exact, dim=0) > 0.97
    with pytest.raises(InvalidParameter, match="target"):
        symbol_loss(grammar, noise, target="both")  # type: ignore[arg-type]


def test_the_ten_lines_of_the_page_run() -> None:
    text = (ROOT / "validation" / "exact_posterior_loss.py").read_text()
    code = textwrap.dedent(text.split("one's own::\n")[1].split('"""')[0])
    assert len(code.strip().splitlines()) == 10
    torch.manual_seed(0)
    names = {
        "grammar": RHM(4, 2, 2, 2).draw(0), "noise": MaskingNoise(4), "torch": torch, "numpy": np,
        "network": network, "network_input": network_input, "KLToPosterior": KLToPosterior,
    }  # fmt: skip
    values = []
    for steps in (1, 150):
        exec(code.replace("range(400)", f"range({steps})"), names)
        values.append(float(names["value"].detach()))  # type: ignore[attr-defined]
    assert values[1] < 0.5 * values[0]


@pytest.mark.slow
def test_the_exact_posterior_teaches_faster(tmp_path: Path) -> None:
    ds = NetworkExactTargets().measure(folder=tmp_path)
    for name in ("noise_ratio", "divergence_ratio"):
        assert ds[name] - 4 * ds[f"{name}_error"] > 1
