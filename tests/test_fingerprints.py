"""Fingerprints follow content, and the version of the code follows what could change a number."""

from __future__ import annotations

import enum
import functools
import importlib
import io
import json
import subprocess
import sys
import threading
from collections import deque, namedtuple
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles import one_line

from hierdiff import (
    RHM,
    EpsilonNoise,
    GaussianNoise,
    LowRankMixture,
    MaskingNoise,
    UniformNoise,
)
from hierdiff.errors import InvalidParameter
from hierdiff.fingerprints import Fingerprints, code_version, fingerprint
from hierdiff.theory import ExactMixture, ExactRHM

# ------------------------------------------------------------------------------------- content

Pair = namedtuple("Pair", "a b")


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclass(frozen=True)
class Settings:
    v: int = 2
    t: tuple[float, ...] = (0.1, 0.2)


class Model:
    """Keeps what it is given, and a value that it works out on demand."""

    def __init__(self, weights: Any) -> None:
        self.weights = weights

    @functools.cached_property
    def norm(self) -> float:
        return float(np.linalg.norm(self.weights))


class Slotted:
    __slots__ = ("a",)

    def __init__(self, a: Any) -> None:
        self.a = a


def closed(value: Any) -> Callable[[], Any]:
    return lambda: value


rng = np.random.default_rng(0)
ARRAY = rng.standard_normal((5, 3))
OBJECTS: dict[str, Callable[[], Any]] = {
    "None": lambda: None, "True": lambda: True, "1": lambda: 1, "2": lambda: 2, "1.0": lambda: 1.0,
    "-0.0": lambda: -0.0, "0.0": lambda: 0.0, "nan": lambda: float("nan"), "'1'": lambda: "1",
    "b'1'": lambda: b"1", "1j": lambda: 1j, "float32": lambda: np.float32(1),
    "uint8": lambda: np.uint8(1), "datetime": lambda: np.datetime64("2020-01-01"),
    "Fraction": lambda: Fraction(1, 3), "(1, 2)": lambda: (1, 2), "((1,), 2)": lambda: ((1,), 2),
    "(1, (2,))": lambda: (1, (2,)), "(12,)": lambda: (12,), "{1, 2}": lambda: {1, 2},
    "{'a': 1}": lambda: {"a": 1}, "{'a': 2}": lambda: {"a": 2}, "{'b': 1}": lambda: {"b": 1},
    "range": lambda: range(1, 3), "slice": lambda: slice(1, 3), "pair": lambda: Pair(1, 2),
    "red": lambda: Colour.RED, "blue": lambda: Colour.BLUE,
    "array": lambda: ARRAY.copy(), "its transpose": lambda: ARRAY.T.copy(),
    "flat": lambda: ARRAY.ravel().copy(), "one bit": lambda: np.nextafter(ARRAY, 2 * ARRAY),
    "float32 array": lambda: ARRAY.astype(np.float32), "ints": lambda: np.arange(3),
    "int32": lambda: np.arange(3, dtype=np.int32), "bools": lambda: np.ones(3, bool),
    "empty": lambda: np.zeros(0), "empty 2": lambda: np.zeros((0, 2)), "0-d": lambda: np.zeros(()),
    "words": lambda: np.array(["a", "b"]), "objects": lambda: np.array([None, "b"], object),
    "records": lambda: np.zeros(2, [("a", float), ("b", int)]),
    "settings": Settings, "other settings": lambda: Settings(t=(0.1, 0.2000001)),
    "model": lambda: Model(ARRAY.copy()), "other model": lambda: Model(ARRAY + 1e-15),
    "slots": lambda: Slotted(1), "other slots": lambda: Slotted(2),
    "closure": lambda: closed(1), "other closure": lambda: closed(2),
    "partial": lambda: functools.partial(max, 1), "partial 2": lambda: functools.partial(max, 2),
    "np.sin": lambda: np.sin, "np.cos": lambda: np.cos, "len": lambda: len,
    "lambda 1": lambda: (lambda x: x + 1), "lambda 2": lambda: (lambda x: x + 2),
    "class": lambda: Settings, "method": lambda: Model(ARRAY.copy()).__init__,
    "generator": lambda: np.random.default_rng(1), "generator 2": lambda: np.random.default_rng(2),
    "seeds": lambda: np.random.SeedSequence(1, spawn_key=(1,)),
    "grammar": lambda: RHM(4, 2, 2, 2).draw(0), "grammar 1": lambda: RHM(4, 2, 2, 2).draw(1),
    "rhm": lambda: RHM(4, 2, 2, 2), "rhm 2": lambda: RHM(4, 2, 2, 3),
    "trees": lambda: RHM(4, 2, 2, 2).draw(0).sample(3, 0),
    "trees 1": lambda: RHM(4, 2, 2, 2).draw(0).sample(3, 1),
    "mixture": lambda: LowRankMixture.random(6, 2, 3, delta=0.2, seed=0),
    "mixture 1": lambda: LowRankMixture.random(6, 2, 3, delta=0.2, seed=1),
    "mixture 2": lambda: LowRankMixture.random(6, 2, 3, delta=0.3, seed=0),
    "gaussian": GaussianNoise, "gaussian 4": lambda: GaussianNoise(4),
    "gaussian linear": lambda: GaussianNoise(4, schedule="linear"),
    "masking": lambda: MaskingNoise(4), "uniform": lambda: UniformNoise(4),
    "uniform 5": lambda: UniformNoise(5), "epsilon": lambda: EpsilonNoise(4),
    "exact": lambda: ExactRHM(RHM(4, 2, 2, 2).draw(0), MaskingNoise(4)),
    "exact 1": lambda: ExactRHM(RHM(4, 2, 2, 2).draw(0), UniformNoise(4)),
    "exact mixture": lambda: ExactMixture(
        LowRankMixture.random(6, 2, 3, delta=0.2, seed=0), GaussianNoise()
    ),
    "deque": lambda: deque([1, 2]), "other deque": lambda: deque([1, 3]),
    "evidence": lambda: UniformNoise(4).evidence(np.array([[0, 1]]), 0.1),
    "evidence 2": lambda: UniformNoise(4).evidence(np.array([[0, 1]]), 0.2),
}  # fmt: skip


def test_equal_content_gives_equal_fingerprints_and_other_content_others() -> None:
    found = {name: fingerprint(make()) for name, make in OBJECTS.items()}
    assert {name: fingerprint(make()) for name, make in OBJECTS.items()} == found
    seen: dict[str, str] = {}
    for name, value in found.items():
        assert value not in seen, f"{name} is taken for {seen.get(value)}"
        seen[value] = name


def test_numpy_numbers_lists_and_layout_are_no_other_content() -> None:
    assert fingerprint(np.float64(0.1)) == fingerprint(0.1) != fingerprint(np.float32(0.1))
    assert fingerprint(np.int64(3)) == fingerprint(3)
    assert fingerprint([1, 2]) == fingerprint((1, 2))
    assert fingerprint(np.asfortranarray(ARRAY)) == fingerprint(ARRAY)
    assert fingerprint(ARRAY[::2]) == fingerprint(ARRAY[::2].copy())
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})


def test_one_number_in_a_thousand_counts_wherever_it_stands() -> None:
    base = rng.standard_normal(1000)
    found = {fingerprint(base)}
    for i in range(0, 1000, 50):
        bent = base.copy()
        bent[i] = np.nextafter(bent[i], 9)
        found.add(fingerprint(Model([{"w": bent}])))
    assert len(found) == 21


def test_models_are_the_same_after_use() -> None:
    grammar = RHM(4, 2, 2, 2).draw(0)
    mixture = LowRankMixture.random(6, 2, 3, delta=0.2, seed=0)
    model, plain = ExactRHM(grammar, UniformNoise(4)), Model(ARRAY)
    vectors = ExactMixture(mixture, GaussianNoise())
    everything = [grammar, mixture, model, vectors, plain]
    before = [fingerprint(x) for x in everything]
    data = grammar.sample(3, 0)
    grammar.parse(data.leaves)
    model.sample(model.noise.corrupt(data.leaves, 0.3, 0), 0.3, 0)
    vectors.denoise(mixture.sample(3, 0)[0], 0.3)
    assert plain.norm > 0
    assert [fingerprint(x) for x in everything] == before


def test_parts_are_hashed_once_and_to_the_same() -> None:
    many, shared = Fingerprints(), Model(rng.standard_normal(2000))
    pairs = [(shared, i, [shared, i]) for i in range(5)]
    assert [many.of(p) for p in pairs] == [fingerprint(p) for p in pairs]
    ring: list[Any] = [1]
    ring.append(ring)
    assert fingerprint(ring) == fingerprint(ring)


def test_paths_count_by_content(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    for folder in (a, b):
        (folder / "inner").mkdir(parents=True)
        (folder / "inner" / "x.bin").write_bytes(b"12")
    assert fingerprint(a) == fingerprint(b)
    assert fingerprint(a / "inner" / "x.bin") == fingerprint(b / "inner" / "x.bin")
    (b / "inner" / "x.bin").write_bytes(b"13")
    assert fingerprint(a) != fingerprint(b)
    (b / "inner" / "x.bin").rename(b / "inner" / "y.bin")
    (b / "inner" / "y.bin").write_bytes(b"12")
    assert fingerprint(a) != fingerprint(b)
    with pytest.raises(InvalidParameter, match="cannot be read") as error:
        fingerprint(tmp_path / "none")
    one_line(error)


@pytest.mark.parametrize(
    "make",
    [
        lambda: iter([1]), lambda: (i for i in range(2)), threading.Lock,
        lambda: np.ma.masked_array([1.0], [True]), lambda: io.BytesIO(b'1'),
        lambda: Model({"deep": [threading.Lock()]}),
    ],
)  # fmt: skip
def test_what_has_no_content_is_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(InvalidParameter, match="has no fingerprint") as error:
        fingerprint(make())
    one_line(error)


def test_an_object_may_say_its_own() -> None:
    class Own:
        def __init__(self, told: int, cache: Any) -> None:
            self.told, self.cache = told, cache

        def fingerprint(self) -> int:
            return self.told

    assert fingerprint(Own(1, threading.Lock())) == fingerprint(Own(1, None))
    assert fingerprint(Own(1, None)) != fingerprint(Own(2, None))


def test_networks_count_by_their_weights() -> None:
    torch = pytest.importorskip("torch")
    from hierdiff.validation import Execution, NetworkModel

    def network(seed: int, width: int = 3, slope: float = 0.1) -> Any:
        torch.manual_seed(seed)
        return torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.LeakyReLU(slope))

    kinds = [network(0), network(1), network(0, 4), network(0, slope=0.2),
             network(0).double(), network(0).bfloat16()]  # fmt: skip
    found = [fingerprint(x) for x in kinds]
    assert len(set(found)) == len(found)
    assert fingerprint(network(0)) == found[0]
    bent = network(0)
    with torch.no_grad():
        bent[0].bias[1] = torch.nextafter(bent[0].bias[1], torch.tensor(9.0))
    assert fingerprint(bent) != found[0]
    buffered = network(0)
    buffered.register_buffer("mean", torch.zeros(2), persistent=False)
    assert fingerprint(buffered) != found[0]
    assert fingerprint(buffered.eval()) == fingerprint(buffered.train())

    class Net(torch.nn.Module):
        def forward(self, x: Any, time: Any) -> Any:
            return x

    model = NetworkModel(Net(), GaussianNoise(), "v")
    assert fingerprint(replace(model, execution=Execution(batch_size=3))) == fingerprint(model)
    assert fingerprint(replace(model, condition=1)) != fingerprint(model)
    half = replace(model, execution=Execution(autocast="bf16"))
    assert fingerprint(half) != fingerprint(model)


# ---------------------------------------------------------------------------------------- code

HELPER = '''"""Some words."""

FACTOR = 2.0


class Scale:
    """More words."""

    size: int = 3
    """And more."""

    def __call__(self, x):
        # a remark
        return FACTOR * x
'''
TASK = """import numpy as np
from {package}helper import Scale

def task(x):
    return {{"y": np.asarray(Scale()(x))}}
"""


def version(folder: Path, module: str = "work") -> dict[str, str]:
    """After all modules of a folder have been loaded anew."""
    for name in [n for n in sys.modules if n.partition(".")[0] in ("work", "helper", "lazy")]:
        del sys.modules[name]
    importlib.invalidate_caches()
    found: dict[str, str] = json.loads(code_version(importlib.import_module(module).task))
    return found


@pytest.fixture
def _importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    # compiled files are found by size and second, and these files change faster
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


def test_a_version_is_the_same_in_another_process(tmp_path: Path) -> None:
    code = "from hierdiff.fingerprints import *; print(code_version(code_version))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == code_version(code_version)


@pytest.mark.usefixtures("_importable")
def test_a_function_in_a_helper_module_is_part_of_the_version(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "work.py").write_text(TASK.format(package=""))
    first = version(tmp_path)
    assert first["numpy"] == np.__version__
    prose = HELPER.replace("Some words.", "Other words,\non two lines.").replace("More", "Less")
    prose = prose.replace("And more", "No more").replace("a remark", "none").replace("2.0", "(2.0)")
    (tmp_path / "helper.py").write_text(prose + "\n\n# the end\n")
    assert version(tmp_path) == first
    for old, new in (("2.0", "2.5"), ("FACTOR * x", "x * FACTOR"), ("size: int = 3", "size = 3")):
        (tmp_path / "helper.py").write_text(HELPER.replace(old, new))
        assert version(tmp_path)["source"] != first["source"]
    (tmp_path / "helper.py").write_text(HELPER)
    assert version(tmp_path) == first
    (tmp_path / "work.py").write_text("import tqdm\n" + TASK.format(package=""))
    assert version(tmp_path)["source"] != first["source"]
    (tmp_path / "work.py").write_text("import numba\n" + TASK.format(package=""))
    assert "numba" in version(tmp_path)


def test_relative_and_late_imports_are_followed() -> None:
    """In packages, inside functions, and of names that are modules."""
    from hierdiff.fingerprints import _followed, _source_of
    from hierdiff.sims.phase_transition import forward_backward

    files, packages = _followed(_source_of(forward_backward))
    names = {name for name, _ in files}
    assert {
        "hierdiff",
        "hierdiff.theory.belief_propagation.passes",
        "hierdiff.theory.belief_propagation._kernels.simd",
    } <= names
    assert {"numpy", "numba", "scipy"} <= packages
    assert "torch" not in packages
    assert not any(name.startswith("hierdiff.validation") for name in names)


def test_a_decorated_function_counts_with_its_own_module() -> None:
    """A decorator lies in another file than the function, whose name it takes."""
    from hierdiff.fingerprints import code_parts
    from hierdiff.sims.metrics.forward_backward import forward_backward
    from hierdiff.theory.rhm.mean_field import critical_noise

    for function in (forward_backward, critical_noise):
        parts = code_parts(function)
        assert {function.__module__, "hierdiff.checks", "hierdiff.data.rhm"} <= parts.keys()
    assert "hierdiff.theory.belief_propagation.passes" in code_parts(forward_backward)
    # of lazy packages only what is asked for counts
    assert "hierdiff.sims.composition" not in code_parts(forward_backward)


LAZY = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from lazy.one import first
    from lazy.two import second
else:
    from hierdiff._lazy import lazy
    __getattr__, __dir__ = lazy(__name__, __file__)
"""


@pytest.mark.usefixtures("_importable")
@pytest.mark.parametrize(
    ("style", "one", "two"),
    [
        ("from lazy import first", True, False),
        ("from lazy import first, second", True, True),
        ("from lazy.two import second", False, True),
        ("import lazy", True, True),
        ("import lazy as short", True, True),
        ("from lazy import *", True, True),
    ],
)
def test_of_a_lazy_package_what_is_asked_for_counts(
    style: str, one: bool, two: bool, tmp_path: Path
) -> None:
    package = tmp_path / "lazy"
    package.mkdir()
    (package / "__init__.py").write_text(LAZY)
    texts = {"one": "def first(): return 1\n", "two": "def second(): return 1\n"}
    for name, text in texts.items():
        (package / f"{name}.py").write_text(text)
    (tmp_path / "work.py").write_text(f"{style}\ndef task(x):\n    return {{'y': x}}\n")
    before = version(tmp_path)
    for name, counts in (("one", one), ("two", two)):
        (package / f"{name}.py").write_text(texts[name].replace("1", "2"))
        assert (version(tmp_path) != before) == counts, name
        (package / f"{name}.py").write_text(texts[name])


@pytest.mark.usefixtures("_importable")
@pytest.mark.parametrize("style", ["from .helper", "from work.helper", "from . import helper\n#"])
def test_packages_are_followed(tmp_path: Path, style: str) -> None:
    package = tmp_path / "work"
    package.mkdir()
    (package / "helper.py").write_text(HELPER)
    text = f"def task(x):\n    {style} import Scale\n    return {{'y': x}}\n"
    (package / "__init__.py").write_text(text)
    first = version(tmp_path)
    (package / "helper.py").write_text(HELPER.replace("2.0", "3.0"))
    assert version(tmp_path)["source"] != first["source"]


def test_a_module_loaded_anew_is_read_anew_and_an_edited_file_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code that runs is that which was loaded, not that which stands in the file by now."""
    (tmp_path / "fresh_module.py").write_text("def task():\n    return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("fresh_module")
    first = code_version(module.task)
    (tmp_path / "fresh_module.py").write_text("def task():\n    return 20\n")
    assert code_version(module.task) == first
    module = importlib.reload(module)
    assert code_version(module.task) != first


def test_the_types_of_arguments_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_models.py").write_text("class Mine:\n    scale = 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    mine = importlib.import_module("my_models").Mine()
    both = [Fingerprints().both((len, x))[1] for x in (1, mine)]
    assert both[0] != both[1]


def test_functions_of_a_session_count_by_their_code() -> None:
    """Typed in, without a file: as in a notebook."""

    def typed(body: str) -> Callable[..., Any]:
        space: dict[str, Any] = {"__name__": "__main__"}
        exec(f"def helper(x):\n    {body}\n\ndef task(x):\n    return helper(x)\n", space)
        found: Callable[..., Any] = space["task"]
        return found

    found = [fingerprint(typed(b)) for b in ("return x", "'''Words.'''\n    return x", "return -x")]
    assert found[0] == found[1] != found[2]
