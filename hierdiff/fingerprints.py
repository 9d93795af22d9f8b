r"""What a stored result depends on: the content of its arguments, and the code that computed it.

:func:`fingerprint` hashes *content*.  Two objects have one fingerprint if they are of the same type
and hold equal numbers, wherever they lie and whoever made them:

==========================  ======================================================================
object                      what is hashed
==========================  ======================================================================
numbers, words, None        type and value; ``float32`` differs from ``float``
arrays                      type, shape, entries
sequences, mappings, sets   their items; mappings and sets in any order
pathlib.Path                the bytes of the file, or all files of the folder with their names
functions                   name, defaults and closed-over values (their code is in the version)
torch tensors, modules      weights, buffers and plain attributes, on whatever device
other objects               type and all attributes except cached properties, or what a method
                            ``fingerprint()`` returns
==========================  ======================================================================

What has no content that could be hashed (open files, iterators, locks) is refused.

:func:`code_version` hashes *code*: the syntax trees of the modules that define a function or a
class and of all that they import, transitively, as far as these are no installed packages (hierdiff
and its compiled kernels always are followed); and the versions of the installed packages that they
import.  Comments, docstrings and formatting are no part of it.  Whatever is changed in the code
that could change a number changes the version, so nobody has to remember to raise one by hand.
"""

from __future__ import annotations

import ast
import copyreg
import datetime
import decimal
import enum
import fractions
import functools
import gc
import hashlib
import importlib.metadata
import importlib.util
import inspect
import io
import json
import re
import struct
import sys
import types
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Generic, NamedTuple, Protocol, cast

import numpy as np

from hierdiff.errors import InvalidParameter

__all__ = ["Fingerprints", "code_parts", "code_version", "fingerprint", "package_code"]

# 2**96 values: of a billion stored results no two meet by chance
_BYTES = 12
# Python values that are written as they print
_PRINTED = (
    datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo, decimal.Decimal,
    fractions.Fraction, uuid.UUID, np.datetime64, np.timedelta64,
)  # fmt: skip
# installed packages that store, draw or schedule, and compute no number
_NO_NUMBERS = frozenset(
    ("dask", "distributed", "h5netcdf", "h5py", "joblib", "matplotlib", "pytest", "threadpoolctl",
     "tqdm", "tyro", "typing_extensions", "xarray")
)  # fmt: skip
_DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}


class _Node(NamedTuple):
    """Hash of an object, and the files or functions that define its type."""

    digest: bytes
    sources: frozenset[Any]


_NONE: frozenset[Any] = frozenset()


def _hash(*parts: bytes | memoryview) -> bytes:
    digest = hashlib.blake2b(digest_size=_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def _name(kind: Any) -> str:
    """Name of a class or function; that of its module says nothing of a script run as __main__."""
    return str(getattr(kind, "__qualname__", None) or getattr(kind, "__name__", repr(kind)))


@dataclass
class Fingerprints:
    """Fingerprints of many objects that share parts, each part hashed once.

    Use one for objects that do not change in between, and drop it afterwards.

    Examples
    --------
    >>> many = Fingerprints()
    >>> many.of(np.arange(3)) == fingerprint(np.array([0, 1, 2]))
    True
    """

    _known: dict[int, tuple[Any, _Node]] = field(default_factory=dict, init=False)
    _versions: dict[frozenset[Any], str] = field(default_factory=dict, init=False)
    _open: set[int] = field(default_factory=set, init=False)
    _cycles: int = field(default=0, init=False)

    def of(self, item: Any) -> str:
        """The fingerprint of one object, as :func:`fingerprint` returns it."""
        return self._node(item).digest.hex()

    def both(self, item: Any) -> tuple[str, str]:
        """The :func:`fingerprint` and the :func:`code_version` of one object."""
        node = self._node(item)
        if node.sources not in self._versions:
            self._versions[node.sources] = _version(node.sources)
        return node.digest.hex(), self._versions[node.sources]

    def _node(self, item: Any) -> _Node:
        known = self._known.get(id(item))
        if known is not None:
            return known[1]
        if id(item) in self._open:
            self._cycles += 1
            return _Node(b"the object itself", _NONE)
        simple = _simple(item)
        if simple is not None:
            return _Node(_hash(*simple), _NONE)
        self._open.add(id(item))
        before = self._cycles
        try:
            found = self._compound(item)
        except RecursionError:
            raise _refusal(item, "it is nested too deeply") from None
        finally:
            self._open.discard(id(item))
        # What stands in a cycle looks different from inside and outside; what is small is quicker
        # hashed again than kept.  The object is kept, so that its id is not given to another one.
        if (self._cycles == before or not self._open) and not _is_small(item):
            self._known[id(item)] = (item, found)
        return found

    def _join(self, tag: str, items: Iterable[Any], sources: frozenset[Any] = _NONE) -> _Node:
        nodes = [self._node(item) for item in items]
        return _Node(
            _hash(tag.encode(), *(n.digest for n in nodes)),
            sources.union(*(n.sources for n in nodes)),
        )

    def _unordered(self, tag: str, items: Iterable[Any]) -> _Node:
        nodes = sorted((self._node(item) for item in items), key=lambda n: n.digest)
        return _Node(
            _hash(tag.encode(), *(n.digest for n in nodes)),
            _NONE.union(*(n.sources for n in nodes)),
        )

    def _compound(self, item: Any) -> _Node:
        kind = type(item)
        top = kind.__module__.partition(".")[0]
        if isinstance(item, np.ndarray):
            return self._array(item)
        if isinstance(item, PurePath):
            return _Node(_path(item), _NONE)
        if isinstance(item, enum.Enum):
            return self._join(f"enum {_name(kind)} {item.name}", (), _source_of(kind))
        if isinstance(item, tuple) and hasattr(item, "_fields"):
            return self._join(f"named {_name(kind)}", item, _source_of(kind))
        if isinstance(item, (tuple, list)):
            return self._join("sequence", item)
        if isinstance(item, (set, frozenset)):
            return self._unordered("set", item)
        if isinstance(item, range):
            return self._join("range", (item.start, item.stop, item.step))
        if isinstance(item, slice):
            return self._join("slice", (item.start, item.stop, item.step))
        if isinstance(item, np.random.Generator):
            return self._join("generator", (item.bit_generator.state,))
        if isinstance(item, np.random.SeedSequence):
            state = (item.entropy, item.spawn_key, item.pool_size, item.n_children_spawned)
            return self._join("seed sequence", state)
        if isinstance(item, re.Pattern):
            return self._join("pattern", (item.pattern, item.flags))
        if isinstance(item, types.ModuleType):
            return self._join(f"module {item.__name__}", (), frozenset([("module", item.__name__)]))
        if isinstance(item, type) or hasattr(kind, "__origin__"):
            return self._join(f"class {_name(item)}", (), _source_of(item))
        own = getattr(kind, "fingerprint", None)
        if callable(own):
            return self._join(f"own {_name(kind)}", (item.fingerprint(),), _source_of(kind))
        if isinstance(item, functools.partial):
            return self._join("partial", (item.func, item.args, item.keywords))
        if isinstance(item, types.MethodType):
            return self._join("method", (item.__self__, item.__func__))
        if inspect.isroutine(item) or hasattr(item, "__wrapped__") or hasattr(item, "py_func"):
            return self._function(item)
        if isinstance(item, Mapping):
            return self._unordered("mapping", (tuple(pair) for pair in item.items()))
        if top == "torch" or (hasattr(item, "state_dict") and hasattr(item, "named_modules")):
            return self._torch(item)
        if top == "xarray":
            return self._join(f"xarray {_name(kind)}", (item.to_dict(data="array"),))
        return self._object(item)

    def _array(self, item: np.ndarray[Any, Any]) -> _Node:
        if isinstance(item, np.ma.MaskedArray):
            raise _refusal(item, "an array with a mask; give .filled(value)")
        shape = repr(item.shape)
        if item.dtype.hasobject:
            return self._join(f"objects {shape}", item.ravel().tolist())
        content = np.ascontiguousarray(item)
        raw = content.reshape(-1).view(np.uint8) if content.size else np.empty(0, np.uint8)
        head = f"array {item.dtype.str if item.dtype.names is None else item.dtype.descr} {shape}"
        return _Node(_hash(head.encode(), memoryview(cast(Any, raw))), _NONE)

    def _function(self, item: Any) -> _Node:
        # a decorator's own state (caches, compiled forms) is not content; what it wraps is
        while True:
            inner = getattr(item, "__wrapped__", None) or getattr(item, "py_func", None)
            if inner is None or inner is item:
                break
            item = inner
        if not isinstance(item, types.FunctionType):
            owner = getattr(item, "__self__", None)
            bound = () if owner is None or isinstance(owner, types.ModuleType) else (owner,)
            return self._join(f"builtin {_name(item)}", bound, _source_of(item))
        parts: list[Any] = [item.__defaults__, item.__kwdefaults__]
        for cell in item.__closure__ or ():
            try:
                parts.append(cell.cell_contents)
            except ValueError:
                parts.append("an empty cell")
        if "<" in item.__qualname__:  # several functions may bear this name
            parts.append(_code(item.__code__))
        if not Path(item.__code__.co_filename).is_file():
            parts.append(self._typed(item))
        return self._join(f"function {_name(item)}", parts, _source_of(item))

    def _typed(self, item: types.FunctionType) -> list[Any]:
        """Code of a function typed into a session, with the functions of the session it calls."""
        parts: list[Any] = [_code(item.__code__)]
        for name in _globals(item.__code__):
            value = item.__globals__.get(name)
            inner = inspect.unwrap(value) if callable(value) else value
            if isinstance(inner, types.FunctionType) and inner.__module__ == item.__module__:
                parts.append(inner)
            elif isinstance(inner, (bool, int, float, str, tuple, np.ndarray)):
                parts.append((name, inner))
        return parts

    def _torch(self, item: Any) -> _Node:
        torch = sys.modules["torch"]
        kind = type(item)
        if isinstance(item, torch.Tensor):
            flat = item.detach().cpu().contiguous().reshape(-1)
            raw = flat.view(torch.uint8).numpy() if flat.numel() else np.empty(0, np.uint8)
            return self._join(f"tensor {item.dtype} {tuple(item.shape)}", (raw,))
        if isinstance(item, torch.device):  # a place, not a content
            return self._join("device", ())
        if isinstance(item, torch.Generator):
            return self._join("torch generator", (item.get_state(),))
        if not isinstance(item, torch.nn.Module):
            if hasattr(item, "__dict__"):
                return self._object(item)
            return self._join(f"torch {item!r}", ())
        parts: list[Any] = []
        sources = _source_of(kind)
        for name, module in item.named_modules():
            plain = {
                k: v for k, v in vars(module).items()
                if not k.startswith("_") and k != "training" and _is_plain(v)
            }  # fmt: skip
            parts.append((name, _name(type(module)), plain))
            sources |= _source_of(type(module))
        parts.append(sorted(item.named_parameters(), key=lambda pair: pair[0]))
        parts.append(sorted(item.named_buffers(), key=lambda pair: pair[0]))
        return self._join(f"network {_name(kind)}", parts, sources)

    def _object(self, item: Any) -> _Node:
        kind = type(item)
        if hasattr(item, "__next__") or isinstance(item, io.IOBase):
            raise _refusal(item, "it changes when it is read")
        if not all(_is_python(base) for base in kind.__mro__):
            return self._reduced(item)
        found: dict[str, Any] = {}
        for base in kind.__mro__:
            slots = base.__dict__.get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else tuple(slots):
                if name not in ("__dict__", "__weakref__") and hasattr(item, name):
                    found[name] = getattr(item, name)
        for name, value in getattr(item, "__dict__", {}).items():
            if not isinstance(inspect.getattr_static(kind, name, None), functools.cached_property):
                found[name] = value
        node = self._unordered(f"object {_name(kind)}", found.items())
        return _Node(node.digest, node.sources | _source_of(kind))

    def _reduced(self, item: Any) -> _Node:
        """An object of a compiled type, by what a copy would be made of."""
        kind = type(item)
        try:
            own = copyreg.dispatch_table.get(kind)
            found: Any = item.__reduce_ex__(4) if own is None else own(item)
        except Exception:
            raise _refusal(item, "its content cannot be read") from None
        if isinstance(found, str):
            return self._join(f"{_name(kind)} {found}", (), _source_of(kind))
        parts = [list(p) if hasattr(p, "__next__") else p for p in found[1:]]
        return self._join(f"copy {_name(kind)}", parts, _source_of(kind))


def _is_python(kind: type) -> bool:
    """Whether instances keep all they have where Python sees it."""
    if kind in (object, Generic, Protocol):
        return True
    module = sys.modules.get(kind.__module__)
    file = getattr(module, "__file__", None)
    if file is None:  # typed in, or built into Python
        return module is not None and kind.__module__ not in sys.builtin_module_names
    return file.endswith(".py") and "__module__" in kind.__dict__


def fingerprint(item: Any) -> str:
    """Hash of the content of an object, by the rules of this module's first lines.

    Parameters
    ----------
    item : object
        Numbers, arrays, models, weights, functions, paths, and what is made of them.

    Returns
    -------
    str
        24 hexadecimal digits.

    Raises
    ------
    InvalidParameter
        If something in it has no content that could be hashed, or a path leads nowhere.

    Notes
    -----
    Validity: equal content gives equal fingerprints in all processes and on all machines; other
    content gives another one with probability 1 - 2**-96.  Attributes that an object computes on
    demand count, except cached properties; a class that keeps others gives ``fingerprint()``.

    Examples
    --------
    >>> fingerprint(np.arange(3)) == fingerprint(np.arange(3).copy())
    True
    >>> fingerprint(np.arange(3)) == fingerprint(np.arange(3, dtype=np.int32))
    False
    >>> fingerprint({"a": 1, "b": (2, 3)}) == fingerprint({"b": [2, 3], "a": 1})
    True
    >>> fingerprint(iter([1]))
    Traceback (most recent call last):
    hierdiff.errors.InvalidParameter: list_iterator has no fingerprint: it changes when it is read;\
 give arrays, numbers, words or paths, or an object with a method fingerprint()
    """
    return Fingerprints().of(item)


def _simple(item: Any) -> tuple[bytes, ...] | None:
    """Type and value of what is no container."""
    if item is None or item is Ellipsis or item is NotImplemented:
        return (repr(item).encode(),)
    if isinstance(item, enum.Enum):
        return None
    if isinstance(item, (bool, np.bool_)):
        return b"bool", repr(bool(item)).encode()
    kind = type(item)
    if isinstance(item, int) or kind is np.int64:
        return b"int", repr(int(item)).encode()
    if isinstance(item, float):  # np.float64 too
        return b"float", struct.pack(">d", item)
    if isinstance(item, complex):
        return b"complex", struct.pack(">2d", item.real, item.imag)
    if isinstance(item, str):
        return b"str", item.encode("utf-8", "surrogatepass")
    if isinstance(item, (bytes, bytearray, memoryview)):
        return b"bytes", bytes(item)
    if isinstance(item, _PRINTED):
        return kind.__name__.encode(), repr(item).encode()
    if isinstance(item, np.generic) and not item.dtype.hasobject:
        return b"scalar", item.dtype.str.encode(), item.tobytes()
    return None


def _is_small(item: Any) -> bool:
    if isinstance(item, np.ndarray):
        return item.nbytes < 4096
    return isinstance(item, (tuple, list, dict, set, frozenset, range, slice))


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(_is_plain(x) for x in value)
    tensor = getattr(sys.modules.get("torch"), "Tensor", ())
    return isinstance(value, (type(None), bool, int, float, str, np.ndarray, np.generic, tensor))


def _refusal(item: Any, why: str) -> InvalidParameter:
    return InvalidParameter(
        f"{type(item).__name__} has no fingerprint: {why}; give arrays, numbers, words or paths, "
        "or an object with a method fingerprint()"
    )


def _path(item: PurePath) -> bytes:
    path = Path(item)
    try:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file())
            return _hash(b"folder", *(
                part for p in inside
                for part in (p.relative_to(path).as_posix().encode(), _bytes_of(p))
            ))  # fmt: skip
        return _hash(b"file", _bytes_of(path))
    except OSError as error:
        raise InvalidParameter(
            f"path {str(path)!r} cannot be read ({error.strerror}); its content is part of what is "
            "computed, so give one that exists"
        ) from None


def _bytes_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=_BYTES)).digest()


# -------------------------------------------------------------------------------- code of a session


def _code(code: types.CodeType) -> bytes:
    """Instructions, constants and names, without line numbers and docstring."""
    skipped = code.co_consts[0] if code.co_consts and isinstance(code.co_consts[0], str) else None
    parts = [code.co_code, repr((code.co_names, code.co_varnames, code.co_freevars)).encode()]
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            parts.append(_code(constant))
        elif constant is not skipped:
            ordered = sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant
            parts.append(repr(ordered).encode())
    return _hash(*parts)


def _globals(code: types.CodeType) -> list[str]:
    inner = (c for c in code.co_consts if isinstance(c, types.CodeType))
    return sorted({*code.co_names, *(name for c in inner for name in _globals(c))})


# ----------------------------------------------------------------------------- modules and versions


def _source_of(item: Any) -> frozenset[Any]:
    """The module or file that defines a class or a function, and those of its decorators."""
    code = getattr(item, "__code__", None)
    module = getattr(item, "__module__", None) or ""
    inner = getattr(item, "__wrapped__", None)
    wrapped = _NONE if inner is None or inner is item else _source_of(inner)
    if code is not None and Path(code.co_filename).is_file():
        # a decorator gives its function the __module__ of the function that it wraps
        home = getattr(item, "__globals__", {}).get("__name__", module)
        return wrapped | frozenset([("file", home, code.co_filename)])
    if module in ("", "builtins"):
        return wrapped
    return wrapped | frozenset([("module", module)])


class _Module(NamedTuple):
    """What one source file says.

    Attributes
    ----------
    digest : str
    imports : tuple of (str, bool)
        Names that it imports, and whether the thing itself is used and not only run on the way.
    later : dict
        Names that stand under ``if TYPE_CHECKING``, with their home.  The file does not import
        them when it runs; a package that is lazy imports one when a user asks for it.
    """

    digest: str
    imports: tuple[tuple[str, bool], ...]
    later: dict[str, str]


_PARSED: dict[tuple[str, Any], tuple[Any, _Module]] = {}


def _parsed(name: str, path: str) -> _Module:
    """The syntax of a source file, read once for every time that the module is loaded.

    A file that is edited while the process runs is not the code that runs, so it is not read again
    before the module is loaded anew; what is not loaded yet is read again when it has changed.
    """
    owner, key = _key(name, path)
    if key not in _PARSED:  # the owner is kept with it, so that its id stays its own
        # a tree has no cycles to be collected, and looking for them takes as long as parsing
        collecting = gc.isenabled()
        gc.disable()
        try:
            _PARSED[key] = (owner, _read(name, Path(path)))
        finally:
            if collecting:
                gc.enable()
    return _PARSED[key][1]


def _key(name: str, path: str) -> tuple[Any, tuple[str, Any]]:
    """What stands for one loading of a module, or for one state of a file not loaded."""
    module = sys.modules.get(name)
    if module is not None and getattr(module, "__file__", None) == path:
        owner: Any = getattr(module, "__spec__", None) or module
        return owner, (path, id(owner))
    try:
        stat = Path(path).stat()
    except OSError:
        return None, (path, None)
    return None, (path, (stat.st_mtime_ns, stat.st_size))


def _read(name: str, path: Path) -> _Module:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # no Python source, such as an extension module
        return _Module(_bytes_of(path).hex(), (), {})
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: set[tuple[str, bool]] = set()
    later: dict[str, str] = {}
    statements = _statements(tree)
    unread = {id(node) for block in statements for node in _for_checkers(block)}
    for node in statements:
        if isinstance(node, ast.Import) and id(node) not in unread:
            found.update((alias.name, True) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".") if node.level else []
            parts = parts[: len(parts) - node.level + 1] if node.level else parts
            base = ".".join([*parts, *([node.module] if node.module else [])])
            names = [alias.name for alias in node.names]
            if id(node) in unread:
                later |= dict.fromkeys((alias.asname or alias.name for alias in node.names), base)
                continue
            found.add((base, "*" in names))
            found.update((f"{base}.{name}", True) for name in names)
    digest = _hash(ast.dump(tree).encode()).hex()
    return _Module(digest, tuple(sorted(x for x in found if x[0])), later)


def _for_checkers(node: ast.AST) -> list[ast.stmt]:
    """Statements under ``if TYPE_CHECKING``, which do not run."""
    if not isinstance(node, ast.If):
        return []
    test = node.test.attr if isinstance(node.test, ast.Attribute) else getattr(node.test, "id", "")
    return node.body if test == "TYPE_CHECKING" else []


def _statements(tree: ast.AST) -> list[ast.AST]:
    """All statements, without words that stand alone: docstrings, and those of attributes.

    These are taken out of the tree, too.
    """
    found = [tree]
    for node in found:  # grows while it is walked
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            inner = getattr(node, name, None)
            if isinstance(inner, list):
                inner[:] = [x for x in inner if not _is_words(x)]
                found.extend(inner)
    return found


def _is_words(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


@functools.cache
def _installed() -> tuple[str, ...]:
    """Folders of installed packages and of Python itself."""
    import site
    import sysconfig

    known = {*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages()}
    outside = {sysconfig.get_path("data"), sysconfig.get_path("scripts")}
    return tuple(sorted(str(Path(p)) + "/" for p in known - outside if p))


def _search(name: str) -> list[str]:
    """Folders in which the modules of a package lie; for a module its own file."""
    module = sys.modules.get(name)
    if module is None:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError, AttributeError):
            return []
        if spec is None:
            return []
        return [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.origin else ())]
    origin = getattr(module, "__file__", None)
    return [*getattr(module, "__path__", ()), *([origin] if origin else ())]


def _files(name: str) -> list[tuple[str, str]]:
    """The source files that importing a module runs: its packages' and its own."""
    module = sys.modules.get(name)
    origin = getattr(module, "__file__", None)
    if origin is not None and "." not in name:
        return [(name, origin)] if origin.endswith(".py") else []
    first, *rest = name.split(".")
    places = _search(first)
    found: list[tuple[str, str]] = []
    here, folders = first, [Path(p) for p in places if not p.endswith(".py")]
    found += [(first, p) for p in places if p.endswith(".py") and Path(p).is_file()]
    for part in rest:
        here = f"{here}.{part}"
        hits = [f for d in folders for f in (d / part / "__init__.py", d / f"{part}.py")]
        hit = next((f for f in hits if f.is_file()), None)
        if hit is not None:
            found.append((here, str(hit)))
        folders = [d / part for d in folders if (d / part).is_dir()]
    if rest and (not found or found[-1][0] != name) and origin is not None:
        found.append((name, origin))  # loaded from somewhere else, as pytest does
    return [(n, p) for n, p in found if p.endswith(".py")]


def _is_installed(top: str, files: list[tuple[str, str]]) -> bool:
    if top == "hierdiff":
        return False
    return any(path.startswith(_installed()) for _, path in files)


_VERSIONS: dict[frozenset[Any], tuple[str, dict[tuple[str, str], Any]]] = {}


def _version(sources: frozenset[Any]) -> str:
    known = _VERSIONS.get(sources)
    if known is not None and all(_key(*file)[1] == mark for file, mark in known[1].items()):
        return known[0]
    files, packages = _followed(sources)
    source = _hash(*(x.encode() for x in sorted(set(files.values())))).hex()
    found = json.dumps({"source": source, **_versions(packages)})
    _VERSIONS[sources] = (found, {file: _key(*file)[1] for file in files})
    return found


def _versions(packages: set[str]) -> dict[str, str]:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {"python": python, **{k: _distribution(k) for k in sorted(packages - _NO_NUMBERS)}}


def _followed(sources: frozenset[Any]) -> tuple[dict[tuple[str, str], str], set[str]]:
    """Source files (module, path) with their digests, and installed packages, that code needs."""
    digests: dict[tuple[str, str], str] = {}
    packages: set[str] = set()
    seen: set[tuple[str, bool]] = set()
    todo: list[tuple[str, str | None, bool]] = [
        (source[1], source[2] if source[0] == "file" else None, True) for source in sources
    ]
    while todo:
        name, path, used = todo.pop()
        top = name.partition(".")[0]
        if (path or name, used) in seen or top in sys.stdlib_module_names:
            continue
        seen.add((path or name, used))
        if path is None and top in packages:
            continue
        files = _files(name) if name != "__main__" else []
        if path is not None:
            files = [*[f for f in files if f[0] != name], (name, path)]
        elif name == "__main__":
            origin = getattr(sys.modules["__main__"], "__file__", None)
            files = [(name, origin)] if origin else []
        if _is_installed(top, files) or (not files and _search(top)):
            packages.add(top)
            continue
        for module, file in files:
            parsed = _parsed(module, file)
            if (module, file) not in digests:
                # a script is called __main__ when it runs, and by its name when it is imported
                label = Path(file).stem if module == "__main__" else module
                digests[module, file] = f"{label} {parsed.digest}"
                todo.extend((found, None, whole) for found, whole in parsed.imports)
            # of a lazy package, what is asked for; all of it, if the package itself is used
            asked = name.removeprefix(module + ".").partition(".")[0]
            if name == module and used and path is None:
                todo.extend((home, None, False) for home in set(parsed.later.values()))
            elif asked in parsed.later and name != module:
                todo.append((parsed.later[asked], None, False))
    return digests, packages


def code_parts(*items: Any) -> dict[str, str]:
    """The code of functions and classes, module by module.

    Parameters
    ----------
    *items : function or class

    Returns
    -------
    dict of str
        Hash of the syntax of each module, and version of each installed package, that they need.

    Notes
    -----
    Validity: as for :func:`code_version`; what functions close over is not looked at.

    Examples
    --------
    >>> sorted(code_parts(fingerprint))[:2]
    ['hierdiff', 'hierdiff._lazy']
    """
    files, packages = _followed(_NONE.union(*(_source_of(item) for item in items)))
    modules = dict(sorted(words.split() for words in files.values()))
    return modules | _versions(packages)


def package_code() -> str:
    """Hash of the syntax of all of hierdiff, whether a task needs it or not.

    Examples
    --------
    >>> len(package_code())
    24
    """
    root = Path(__file__).parent
    found = []
    for path in sorted(root.rglob("*.py")):
        parts = ["hierdiff", *path.relative_to(root).with_suffix("").parts]
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(f"{name} {_parsed(name, str(path)).digest}".encode())
    return _hash(*found).hex()


@functools.cache
def _distribution(top: str) -> str:
    try:
        return importlib.metadata.version(_DISTRIBUTIONS.get(top, top))
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(sys.modules.get(top), "__version__", "unknown"))


def code_version(*items: Any) -> str:
    """Version of the code of functions and of the types of objects.

    Parameters
    ----------
    *items : object
        Functions, classes, objects (the types of all their parts count), or modules.

    Returns
    -------
    str
        JSON: ``source``, a hash of all source files that they are defined in or import; Python's
        version; those of installed packages that are imported.

    Raises
    ------
    InvalidParameter
        As in :func:`fingerprint`.

    Notes
    -----
    Validity: follows import statements wherever they stand in a file, but no names of modules that
    a program puts together, and no files of data that it reads (give these as ``Path`` arguments).
    A file is read when its module is first asked for in a process, and again when that module is
    loaded anew.  The first call takes about a quarter of a second for all of hierdiff's sims.

    Examples
    --------
    >>> version = json.loads(code_version(fingerprint))
    >>> {"numpy", "python", "source"} <= set(version)
    True
    """
    return Fingerprints().both(items)[1]
