"""Where learning turns into memory: the number of data at which a curve becomes unimodal."""

from __future__ import annotations

import numpy as np
import xarray as xr

from hierdiff.checks import checked
from hierdiff.errors import InvalidParameter
from hierdiff.sims.estimators import Crossing, crossing

__all__ = ["crossover"]


@checked
def crossover(measured: xr.Dataset, model: str, split: str = "test") -> Crossing:
    r"""Number of training points at which a model turns from monotone to unimodal.

    The mean over seeds of :math:`1/(1+R)`, the share of the small noise level in the two SNRs,
    falls through one half; :math:`\ln R` is interpolated in :math:`\ln N`.

    Parameters
    ----------
    measured : xarray.Dataset
        From :meth:`Representation.measure`, with several n_train around the crossover.
    model, split : str
        Labels in it.

    Returns
    -------
    Crossing
        N, with the standard error from a bootstrap over seeds.

    Raises
    ------
    InvalidParameter
        If the ratio was not measured, or does not rise through 1 in the range of N.

    Notes
    -----
    Validity: the share is bounded, so single seeds that find nothing or everything weigh the same;
    the error does not contain that of the interpolation between neighbouring N.

    Examples
    --------
    >>> from hierdiff.results import label
    >>> variables = {"ratio_by_seed": (("seed", "model", "split", "n_train"),
    ...              np.array([[0.5, 2.0], [0.5, 2.0]]).reshape(2, 1, 1, 2), "R")}
    >>> axes = {"model": (("model",), ["exact"], ""), "split": (("split",), ["test"], ""),
    ...         "n_train": (("n_train",), [100, 400], "")}
    >>> round(crossover(label(variables, axes, "simulation", {}), "exact").value, 6)
    200.0
    """
    if "ratio_by_seed" not in measured:
        raise InvalidParameter("the dataset has no ratio_by_seed; measure the quantity 'snr'")
    for name, label in (("model", model), ("split", split)):
        if name not in measured.coords or label not in measured[name].values.tolist():
            known = measured[name].values.tolist() if name in measured.coords else []
            raise InvalidParameter(f"{name} = {label!r} was not measured; the dataset has {known}")
    ds = measured.sortby("n_train").sel(model=model, split=split)
    share = 1 / (1 + ds.ratio_by_seed.transpose("seed", "n_train").values)
    try:
        found = crossing(np.log(ds.n_train.values), share[:, None])
    except InvalidParameter:
        mean = np.round(1 / share.mean(axis=0) - 1, 3).tolist()
        raise InvalidParameter(
            f"the ratio of model {model!r} does not rise through 1 at N = "
            f"{ds.n_train.values.tolist()} (it is {mean}); choose other n_train"
        ) from None
    value = float(np.exp(found.value))
    return Crossing(value, value * found.error)
