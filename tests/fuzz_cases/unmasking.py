"""Cases of parallel unmasking, and of the laws of the next leaf."""

from __future__ import annotations

import numpy as np
from fuzz import Case

from hierdiff import RHM, MaskingNoise
from hierdiff.sims.autoregressive import Autoregressive
from hierdiff.sims.models.block_unmasking import UnmaskingModel
from hierdiff.sims.parallel_unmasking import ParallelUnmasking
from hierdiff.theory.exact_models import ExactRHM
from hierdiff.theory.rhm import next_token, parallel_unmasking, sampler_laws, unmasking_schedules

_HOME = "hierdiff.theory.rhm"
EXEMPT = {
    f"{_HOME}.{name}": "a result; its own functions make it"
    for name in (
        "parallel_unmasking.UnmaskingTerms", "next_token.TokenEntropies",
        "next_token.ContextEntropies", "unmasking_schedules.UnmaskingCurve",
    )
}  # fmt: skip
EXEMPT |= {
    f"hierdiff.validation.experiments.unmasking.NetworkUnmasking.{name}": "trains networks; its "
    "arguments are those of the experiment, or come from the runner"
    for name in ("datasets", "figure", "measure", "summary", "trained")
}
EXEMPT |= {
    f"hierdiff.validation.experiments.unmasking_orders.NetworkOrders.{name}": "trains networks; "
    "its arguments are those of the experiment, or come from the runner"
    for name in ("datasets", "figure", "measure", "summary")
}
EXEMPT["hierdiff.sims.parallel_unmasking_figure.draw"] = (
    "its datasets are those of the experiment; the runner passes them"
)

_GRAMMAR = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
_X = _GRAMMAR.sample(3, seed=1).leaves


def cases() -> list[Case]:
    """Every function, and the methods of the curve."""
    walk = {"grammar": _GRAMMAR, "leaves": _X, "strings": _X, "order": "spread", "sizes": [2, 2],
            "model": None, "seed": 0}  # fmt: skip
    one = {"grammar": _GRAMMAR, "n": 4, "seed": 0, "model": None}
    curve = unmasking_schedules.unmasking_curve(_GRAMMAR, 6, 0)
    home = f"{_HOME}.unmasking_schedules.UnmaskingCurve"
    exact = ExactRHM(_GRAMMAR, MaskingNoise(4))
    blocks = UnmaskingModel(exact, _GRAMMAR, (2, 2), "kept", 1, 2)
    one_run = {"folder": None, "workers": 1, "cluster": None}
    small = ParallelUnmasking(v=4, m=2, L=2, grammars=2, data=4, strings=4, steps=(1, 4),
                              sizes=((2, 1),))  # fmt: skip
    twin = Autoregressive(v=4, m=2, L=2, grammars=2, data=4, strings=4, contexts=(0, 3))
    sims, masked = "hierdiff.sims", np.full((3, 4), -1)
    return [
        Case(f"{_HOME}.parallel_unmasking.unmasking_terms", parallel_unmasking.unmasking_terms,
             walk),
        Case(f"{_HOME}.parallel_unmasking.order_ranks", parallel_unmasking.order_ranks,
             {"grammar": _GRAMMAR, "order": [3, 1, 0, 2], "n": 3, "seed": 0}),
        Case(f"{_HOME}.parallel_unmasking.even_sizes", parallel_unmasking.even_sizes,
             {"n_leaves": 7, "steps": 3}),
        Case(f"{_HOME}.sampler_laws.sampler_log_prob", sampler_laws.sampler_log_prob, walk),
        Case(f"{_HOME}.sampler_laws.remasked_log_prob", sampler_laws.remasked_log_prob,
             {**walk, "again": [0, 1]}),
        Case(f"{_HOME}.sampler_laws.path_divergence", sampler_laws.path_divergence,
             {"grammar": _GRAMMAR, "noise": MaskingNoise(4), "times": [1.0, 0.4, 0.0], "n": 4,
              "seed": 0}),
        Case(f"{_HOME}.unmasking_schedules.unmasking_curve", unmasking_schedules.unmasking_curve,
             one),
        Case(f"{_HOME}.unmasking_schedules.best_sizes", unmasking_schedules.best_sizes,
             {"curve": [2.0, 1.0, 0.5], "steps": 2}),
        Case(f"{home}.divergence", curve.divergence, {"sizes": [2, 1], "revealed": 1}),
        Case(f"{home}.best", curve.best, {"steps": 2}),
        Case(f"{home}.smooth_limit", curve.smooth_limit, {"steps": 2}),
        Case(f"{_HOME}.next_token.context_entropies", next_token.context_entropies,
             {**one, "contexts": (0, 2)}),
        Case(f"{_HOME}.next_token.context_strings", next_token.context_strings,
             {**one, "context": 2}),
        Case(f"{_HOME}.next_token.reading_entropies", next_token.reading_entropies, walk),
        Case(f"{sims}.models.block_unmasking.UnmaskingModel", UnmaskingModel,
             {"model": exact, "grammar": _GRAMMAR, "sizes": (2, 2), "order": "random",
              "rounds": 1, "again": 2}),
        *(
            Case(f"{sims}.models.block_unmasking.UnmaskingModel.{word}", getattr(blocks, word),
                 {"x_t": masked, "t": 1.0, **({"seed": 0} if word == "sample" else {})})
            for word in ("sample", "denoise", "features")
        ),
        *(
            Case(f"{sims}.parallel_unmasking.ParallelUnmasking.{word}", getattr(small, word),
                 one_run, keep=("cluster",))
            for word in ("schedules", "remasking")
        ),
        Case(f"{sims}.parallel_unmasking.ParallelUnmasking.grammar", small.grammar, {"g": 1}),
        Case(f"{sims}.autoregressive.Autoregressive.grammar", twin.grammar, {"g": 1}),
        Case(f"{sims}.autoregressive.Autoregressive.reads", twin.reads, {"grammar": _GRAMMAR}),
        Case(f"{sims}.autoregressive.Autoregressive.contexts_of", twin.contexts_of,
             {"grammar": _GRAMMAR}),
        Case(f"{_HOME}.next_token.half_read", next_token.half_read, {"curve": [2.0, 1.0, 0.0]},
             nan=("curve",)),
        Case(f"{_HOME}.next_token.masked_bound", next_token.masked_bound, walk),
    ]  # fmt: skip
