"""Old names of modules: they lead to the new ones, for one release."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hierdiff._moved import ALSO, MOVED


def python(code: str) -> list[str]:
    """In a process of its own, since an old import leaves the old name in its package."""
    code = f"import warnings; warnings.simplefilter('ignore'); {code}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.split()


@pytest.mark.slow
def test_every_old_name_leads_to_its_new_module() -> None:
    assert set(ALSO) <= set(MOVED)
    code = (
        "import importlib; from hierdiff._moved import MOVED; get = importlib.import_module;"
        "print(sum(get(old).__doc__ == get(new).__doc__ for old, new in MOVED.items()))"
    )
    assert python(code) == [str(len(MOVED))]


@pytest.mark.slow
def test_an_old_name_in_a_package_that_is_gone() -> None:
    code = (
        "from hierdiff.validation.studies.composition import NetworkComposition as old;"
        "from hierdiff.validation.experiments.composition import NetworkComposition as new;"
        "import importlib.util; find = importlib.util.find_spec;"
        "print(old is new, find('hierdiff.validation.studies.none') is None)"
    )
    assert python(code) == ["True", "True"]


def test_names_of_a_module_that_was_divided() -> None:
    code = (
        "import hierdiff.theory.speciation as old;"
        "print(old.vp_sigma(0.5).item(), old.speciation_time.__name__, hasattr(old, 'none'))"
    )
    assert python(code) == ["1.0", "speciation_time", "False"]


def test_a_function_goes_on_where_an_old_module_has_its_name() -> None:
    code = (
        "import hierdiff.theory, hierdiff.theory.critical_exponents as old;"
        "print(callable(hierdiff.theory.critical_exponents), old.__name__)"
    )
    assert python(code) == ["True", "hierdiff.theory.critical_exponents"]


def test_old_names_of_classes_warn_and_are_the_new_classes() -> None:
    code = (
        "from hierdiff.theory import SoftLeaves, GaussianRHM;"
        "from hierdiff.theory.classification import BoundObjects, ClassWorld, TwoChannels;"
        "print(SoftLeaves is GaussianRHM, BoundObjects.__name__, TwoChannels.__name__,"
        "ClassWorld.__name__)"
    )
    assert python(code) == ["True", "TwoObjectScenes", "ShapeTexture", "ClassModel"]
    code = "import warnings; warnings.simplefilter('error'); from hierdiff.theory import SoftLeaves"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "hierdiff.theory.SoftLeaves is now GaussianRHM" in run.stderr


def test_an_old_import_warns_and_names_the_new_module() -> None:
    code = "import warnings; warnings.simplefilter('error'); import hierdiff.grammar"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "hierdiff.grammar has moved; import hierdiff.data.rhm" in run.stderr
