"""Bad arguments for every public callable, drawn from its signature.

A *case* is a public function, class or method with arguments that work.  The fuzzer replaces one
argument at a time by values that people and programs get wrong (other types, shapes, NaN, huge,
empty, masked, ...) and judges what happens:

* an error of hierdiff in one line, or FileNotFoundError: fine;
* an answer: fine, unless it holds NaN where the proper call has none;
* any other exception, more than one line, a call that does not end, a crash: a fault.

Arguments that work are found by the names and annotations of parameters, from :func:`pool`; the
files of ``fuzz_cases`` name those for which that is not enough, and methods of objects that need
making.  Run ``python tests/fuzz.py hierdiff.theory.mixture.posterior [name ...]`` for the faults of
one module, ``python tests/fuzz.py --uncovered`` for callables without a case.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import inspect
import io
import math
import os
import pkgutil
import signal
import sys
import tempfile
import traceback
import types
import typing
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

import hierdiff
from hierdiff.errors import HierdiffError

SECONDS = 10.0
"""A call with small arguments that takes longer counts as one that does not end.

Compiling a kernel takes five on a slow processor.
"""


class TooLong(BaseException):
    """Not an Exception: code under test must not catch it."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A callable with arguments that work."""

    name: str
    function: Callable[..., Any]
    arguments: Mapping[str, Any] | Callable[[], Mapping[str, Any]]
    """Or a function that makes them: costly ones are made when the case is run, once."""
    keep: tuple[str, ...] = ()
    """Parameters that are not replaced, each for a reason that its file of cases gives."""
    nan: tuple[str, ...] = ()
    """Parameters for which NaN is a documented answer."""
    clean: bool | None = None
    """Whether the answer to the proper call is free of NaN, where that is known."""

    @functools.cached_property
    def proper(self) -> Mapping[str, Any]:
        """Arguments that work."""
        return self.arguments() if callable(self.arguments) else self.arguments


@dataclasses.dataclass(frozen=True)
class Fault:
    """What went wrong with which value."""

    case: str
    parameter: str
    value: str
    what: str

    def __str__(self) -> str:
        return f"{self.case}({self.parameter}={self.value}): {self.what}"


# --------------------------------------------------------------------------------- the surface


def public_modules() -> list[str]:
    """Modules whose names have no underscore, without the command line."""
    names = [m.name for m in pkgutil.walk_packages(hierdiff.__path__, "hierdiff.")]
    return ["hierdiff"] + [
        n for n in names if not any(part.startswith("_") for part in n.split(".")[1:])
    ]


def module_of(name: str, modules: list[str]) -> str:
    """The module that a name belongs to: the longest that it starts with."""
    return max((m for m in modules if f"{name}.".startswith(f"{m}.")), key=len)


def groups() -> dict[str, list[str]]:
    """Every public module in one group: the packages, and the modules beside them."""
    found: dict[str, list[str]] = {}
    for name in public_modules():
        parts = name.split(".")
        package = hasattr(importlib.import_module(".".join(parts[:2])), "__path__")
        found.setdefault(".".join(parts[: 2 if package else 1]), []).append(name)
    return found


def public_callables(modules: list[str] | None = None) -> dict[str, Any]:
    """Functions and classes by their full name, each once, under the module that defines it."""
    found: dict[str, Any] = {}
    for name in modules or public_modules():
        module = importlib.import_module(name)
        for word in getattr(module, "__all__", []):
            thing = getattr(module, word)
            home = getattr(thing, "__module__", "")
            if not callable(thing) or not home.startswith("hierdiff"):
                continue
            if inspect.isclass(thing) and issubclass(thing, BaseException):
                continue
            if inspect.isclass(thing) and getattr(thing, "_is_protocol", False):
                continue
            if not inspect.isclass(thing) and not inspect.isroutine(thing):
                continue
            if modules is None or home in modules or home.split(".")[-1].startswith("_"):
                found.setdefault(f"{home}.{word}", thing)
    return found


# ------------------------------------------------------------------------------- good arguments


def pool() -> dict[str, Any]:
    """Small values by the name of a parameter."""
    from hierdiff import (
        RHM,
        GaussianNoise,
        LowRankMixture,
        UniformNoise,
    )

    rhm = RHM(v=4, m=2, s=2, L=2)
    grammar = rhm.draw(seed=0)
    mixture = LowRankMixture.random(6, 2, 3, delta=0.2, seed=0)
    noise = UniformNoise(4)
    data = grammar.sample(3, seed=1)
    x_t = noise.corrupt(data.leaves, 0.3, seed=2)
    return {
        "rhm": rhm, "grammar": grammar, "mixture": mixture, "noise": noise, "data": data,
        "truth": data, "derivations": data, "x_t": x_t, "x0": data.leaves, "t": 0.3, "seed": 0,
        "evidence": noise.evidence(x_t, 0.3), "log_evidence": noise.log_evidence(x_t, 0.3),
        "sigma": 0.5, "sigmas": np.array([0.3, 0.5]), "snr": 1.5, "v": 4, "m": 2, "s": 2, "L": 2,
        "classes": 3, "rank": 2, "delta": 0.2, "dim": 6, "size": 200, "copies": 2, "p": 0.4,
        "n": 3, "d": 4, "k": 2, "K": 3, "h": 1, "epsilon": 0.4, "level": 1, "depth": 3,
        "points": mixture.sample(5, seed=0)[0], "x": mixture.sample(5, seed=0)[0],
        "process": GaussianNoise(4), "threads": 1, "workers": 1, "tolerance": 1e-3,
        "temperature": 0.5, "triplets": np.array([[0, 1, 2], [1, 2, 0]]), "ridge": 0.1,
    }  # fmt: skip


def from_annotation(hint: Any) -> Any:
    """A value for a parameter whose name is not in the pool; raises LookupError if unknown."""
    if hint is bool:
        return True
    if hint is int:
        return 2
    if hint is float:
        return 0.5
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return parts[0]
    array_like = typing.get_args(ArrayLike)
    if origin is np.ndarray or (origin is not None and all(x in parts for x in array_like)):
        return np.array([0.2, 0.5, 0.8])
    raise LookupError(str(hint))


def automatic(name: str, function: Any, samples: Mapping[str, Any]) -> Case | None:
    """A case from names and annotations alone, if that call works."""
    try:
        parameters = inspect.signature(function).parameters
        hints = typing.get_type_hints(function.__init__ if inspect.isclass(function) else function)
    except Exception:
        hints, parameters = {}, inspect.signature(function).parameters
    arguments: dict[str, Any] = {}
    for word, parameter in parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if word in samples and parameter.default is parameter.empty:
            arguments[word] = samples[word]
        elif parameter.default is not parameter.empty:
            arguments[word] = parameter.default
        else:
            try:
                arguments[word] = from_annotation(hints.get(word))
            except LookupError:
                return None
    try:
        with quiet(), limit(1.0):
            clean = not holds_nan(call(function, arguments))
    except (Exception, TooLong):
        return None
    return Case(name, function, arguments, clean=clean)


def written() -> dict[str, Case]:
    """The cases of ``fuzz_cases``, by name."""
    found: dict[str, Case] = {}
    folder = Path(__file__).parent / "fuzz_cases"
    for path in sorted(folder.glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"fuzz_cases_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        for case in module.cases():
            found[case.name] = case
    return found


def exempt() -> dict[str, str]:
    """Callables that are not fuzzed, each with the reason."""
    found: dict[str, str] = {}
    for path in sorted((Path(__file__).parent / "fuzz_cases").glob("*.py")):
        module = sys.modules.get(f"fuzz_cases_{path.stem}")
        found.update(getattr(module, "EXEMPT", {}))
    return found


def methods(
    made: Case, known: Mapping[str, Case], skipped: Mapping[str, str], samples: Mapping[str, Any]
) -> tuple[list[Case], list[str]]:
    """Cases of the public methods of what a case makes, and names of methods without one."""
    try:
        with quiet(), limit(SECONDS):
            owner = call(made.function, made.proper)
    except (Exception, TooLong):
        return [], []  # the case itself will be reported
    found, missing = [], []
    for word, plain in inspect.getmembers(type(owner), inspect.isroutine):
        name = f"{made.name}.{word}"
        ours = getattr(plain, "__module__", "") or ""
        if word.startswith("_") or not ours.startswith("hierdiff") or name in skipped:
            continue
        bound = getattr(owner, word)
        if not inspect.signature(bound).parameters:
            continue
        case = known.get(name) or automatic(name, bound, samples)
        if case is None:
            missing.append(name)
        else:
            found.append(case)
    return found, missing


def drawn(name: str, share: float, seed: int) -> bool:
    """Whether a name is in a sample, the same in every process."""
    return share >= 1 or (zlib.crc32(f"{seed} {name}".encode()) / 2**32) < share


@functools.cache
def compiled() -> None:
    """Compile the kernels that take seconds, before any call has a limit of time.

    A limit that ends a call in the midst of compilation would also leave the compiler in disorder.
    """
    from hierdiff.theory import population_dynamics, posterior, tree_posterior, true_beliefs

    given = pool()
    grammar, evidence = given["grammar"], given["evidence"]
    for dtype in (np.float64, np.float32):
        posterior(grammar, evidence, dtype=dtype).sample(0)
    true_beliefs(grammar, evidence, given["data"])
    tree_posterior(grammar, evidence).most_likely()
    population_dynamics(given["rhm"], given["noise"], 0.3, size=200, copies=2)


def cases(
    modules: list[str] | None = None, share: float = 1.0, seed: int = 0
) -> tuple[list[Case], list[str]]:
    """Cases of the modules, or of a sample of them; and names of callables without one.

    A class is drawn with its methods.  What is not drawn is not called.
    """
    compiled()
    known, samples = written(), pool()
    skipped = exempt()
    found, missing, seen = [], [], set()
    for name, thing in public_callables(modules).items():
        seen.add(name)
        if name in skipped or not drawn(name, share, seed):
            continue
        case = known.get(name) or automatic(name, thing, samples)
        if case is None:
            missing.append(name)
            continue
        found.append(case)
        if inspect.isclass(thing):
            more, without = methods(case, known, skipped, samples)
            found += more
            missing += without
            seen |= {c.name for c in more}
    every = public_modules()
    found += [
        c for n, c in known.items()
        if n not in seen and drawn(n, share, seed)
        and (modules is None or module_of(n, every) in modules)
    ]  # fmt: skip
    return found, missing


# --------------------------------------------------------------------------------- bad arguments


def bad_values() -> dict[str, Any]:
    """What is put in place of a good argument, by a short name."""
    from hierdiff import RHM

    objects = np.empty(2, object)
    objects[:] = [None, "x"]
    return {
        "None": None, "True": True, "'maskin'": "maskin", "''": "", "b'x'": b"x", "-1": -1,
        "0": 0, "1.5": 1.5, "nan": math.nan, "inf": math.inf, "-inf": -math.inf,
        "10**30": 10**30, "-2**70": -(2**70), "1e308": 1e308, "1e-320": 1e-320, "1j": 1j,
        "[]": [], "[[]]": [[]], "[1, [2, 3]]": [1, [2, 3]], "()": (), "{}": {}, "set()": set(),
        "object()": object(), "print": print, "int": int, "RHM": RHM(4, 2, 2, 2),
        "(32, 8, 2)": (32, 8, 2), "zeros(0)": np.zeros(0), "zeros((0, 4))": np.zeros((0, 4)),
        "zeros(())": np.zeros(()), "ones(3)": np.ones(3), "ones((2, 3))": np.ones((2, 3)),
        "ones((1,)*5)": np.ones((1,) * 5), "full((3, 4), nan)": np.full((3, 4), np.nan),
        "[nan, 1.]": np.array([np.nan, 1.0]), "[inf, 1.]": np.array([np.inf, 1.0]),
        "complex": np.ones((3, 4), complex), "booleans": np.ones((3, 4), bool),
        "strings": np.array(["a", "b"]), "objects": objects,
        "masked": np.ma.masked_array(np.ones((3, 4)), mask=np.eye(3, 4)),
        "int array of 10**9": np.full((3, 4), 10**9), "int array of -5": np.full((3, 4), -5),
        "uint8": np.full((3, 4), 255, np.uint8), "float16": np.ones((3, 4), np.float16),
        "np.uint8(255)": np.uint8(255), "np.int64(-3)": np.int64(-3),
        "datetime": np.datetime64("2020-01-01"), "Path": Path("no/such/file"),
        "'gaussian'": "gaussian", "'1'": "1", "1e30 array": np.full((3, 4), 1e30),
    }  # fmt: skip


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No output, no warnings, in a folder of its own."""
    here = Path.cwd()
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
        np.errstate(all="ignore"),
    ):
        warnings.simplefilter("ignore")
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(here)


@contextlib.contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Raise TooLong after a time of work, or ten times that of waiting, where signals exist.

    Work counts, because another program on the processor is no fault of the call.
    """

    def stop(*_: Any) -> None:
        raise TooLong

    timers = {signal.SIGPROF: (signal.ITIMER_PROF, 1), signal.SIGALRM: (signal.ITIMER_REAL, 10)}
    before = {number: signal.signal(number, stop) for number in timers}
    for timer, factor in timers.values():
        signal.setitimer(timer, factor * seconds)
    try:
        yield
    finally:
        for timer, _ in timers.values():
            signal.setitimer(timer, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def call(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call with arguments by name where the signature allows it; unroll iterators a little."""
    positional, named = [], {}
    for word, parameter in inspect.signature(function).parameters.items():
        if word not in arguments:
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            value = arguments[word]
            positional.extend(value if isinstance(value, (tuple, list)) else (value,))
        elif parameter.kind is parameter.VAR_KEYWORD:
            named.update(arguments[word])
        elif parameter.kind is parameter.KEYWORD_ONLY:
            named[word] = arguments[word]
        else:
            positional.append(arguments[word])
    found = function(*positional, **named)
    if isinstance(found, types.GeneratorType):
        found = [x for x, _ in zip(found, range(3), strict=False)]
    return found


def holds_nan(thing: Any, depth: int = 4) -> bool:
    """Whether a result shows NaN anywhere."""
    if depth == 0 or thing is None or isinstance(thing, (str, bytes, bool, int)):
        return False
    if isinstance(thing, float):
        return math.isnan(thing)
    if isinstance(thing, (np.ndarray, np.generic)):
        return thing.dtype.kind in "fc" and bool(np.isnan(thing).any())
    if isinstance(thing, Mapping):
        return any(holds_nan(x, depth - 1) for x in thing.values())
    if isinstance(thing, (list, tuple)):
        return any(holds_nan(x, depth - 1) for x in thing)
    if type(thing).__module__.startswith("xarray") and hasattr(thing, "data_vars"):
        return any(holds_nan(v.values) for v in thing.data_vars.values())
    if type(thing).__module__.startswith("torch") and hasattr(thing, "isnan"):
        return bool(thing.isnan().any())
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        return any(holds_nan(getattr(thing, f.name), depth - 1) for f in dataclasses.fields(thing))
    return False


def judge(case: Case, parameter: str, label: str, value: Any, clean: bool) -> Fault | None:
    """Call with one bad value; None if that went well."""
    arguments = {**case.proper, parameter: value}
    clean = clean and parameter not in case.nan
    try:
        with quiet(), limit(SECONDS):
            result = call(case.function, arguments)
            silent = clean and holds_nan(result)
    except (HierdiffError, FileNotFoundError) as error:
        if "\n" in str(error).strip():
            return Fault(case.name, parameter, label, f"more than one line: {str(error)[:200]!r}")
        return None
    except TooLong:
        return Fault(case.name, parameter, label, f"no answer in {SECONDS} s")
    except (Exception, SystemExit) as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        said = str(error).partition("\n")[0][:150]
        return Fault(
            case.name, parameter, label,
            f"{type(error).__name__} at {where}: {said}",
        )  # fmt: skip
    return Fault(case.name, parameter, label, "a silent NaN") if silent else None


def clean_answer(case: Case) -> bool:
    """The proper call works; whether its answer is free of NaN."""
    if case.clean is not None:
        return case.clean
    with quiet(), limit(20 * SECONDS):
        return not holds_nan(call(case.function, case.proper))


def fuzz(case: Case, share: float = 1.0, seed: int = 0) -> list[Fault]:
    """Faults of a case, for all bad values of every parameter or a share of them."""
    try:
        clean = clean_answer(case)
    except (Exception, TooLong) as error:
        return [Fault(case.name, "-", "-", f"the proper call fails: {error!r}"[:300])]
    bad, faults = bad_values(), []
    for word in case.proper:
        if word in case.keep:
            continue
        random = np.random.default_rng([seed, zlib.crc32(f"{case.name} {word}".encode())])
        for label, value in bad.items():
            if random.random() < share:
                print(f"{case.name} {word} {label}", file=_TRACE, flush=True) if _TRACE else None
                found = judge(case, word, label, value, clean)
                if found is not None:
                    faults.append(found)
    return faults


_TRACE: Any = None
"""Where the call that is about to be made is noted, so that a crash can be named."""


def main(words: list[str]) -> int:
    """Print the faults of some modules, or of single callables."""
    global _TRACE
    if words[:1] == ["--trace"]:
        _TRACE = Path(words[1]).open("w")  # noqa: SIM115 (open for the whole run)
        words = words[2:]
    if words[:1] == ["--uncovered"]:
        for name in cases(words[1:] or None)[1]:
            print(name)
        return 0
    modules = [w for w in words if w in public_modules()] or None
    names = [w for w in words if w not in public_modules()]
    known, missing = cases(modules)
    count = 0
    for case in known:
        if names and not any(case.name.endswith(n) for n in names):
            continue
        for fault in fuzz(case):
            count += 1
            print(fault, flush=True)
    print(f"{count} faults; {len(known)} cases, {len(missing)} callables without one")
    return int(count > 0)


if __name__ == "__main__":
    import fuzz as _self  # one module, not two, for the files of cases

    _self._TRACE = _TRACE
    sys.exit(_self.main(sys.argv[1:]))
