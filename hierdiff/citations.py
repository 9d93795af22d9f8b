"""Which papers to cite for which function, class, experiment or module.

Docstrings name their papers by arXiv number, older papers and books by their authors.  The file
``references.bib`` beside this one holds a BibTeX entry for each of them, so the papers behind a
name follow from its source text and from the docstring of its module.  What names no paper inherits
from its module, else from the package above it, and from the models of :mod:`hierdiff.data` that it
uses; an experiment always adds those of its models.  Nothing is imported.

==============  ================================================================
name            what it is
==============  ================================================================
``cite``        BibTeX of the papers behind an object or a name, and of hierdiff
``entries``     all entries of the file by their key
``papers_of``   keys of the papers behind an object or a name
``cited_in``    keys of the papers that a text names
``places``      every public name with the papers behind it
``Entry``       one entry: key, kind, fields
==============  ================================================================
"""

from __future__ import annotations

import ast
import difflib
import functools
import inspect
import re
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import hierdiff
from hierdiff.checks import checked, shown, unchecked
from hierdiff.errors import InvalidParameter
from hierdiff.registry import EXPERIMENTS, RENAMED

__all__ = ["Entry", "cite", "cited_in", "entries", "papers_of", "places"]

_ROOT = Path(__file__).parent
_ENTRY = re.compile(r"^@(\w+)\{([\w-]+),\n(.*?)^\}$", re.DOTALL | re.MULTILINE)
_FIELD = re.compile(r"^  (\w+) = \{(.*)\},$", re.MULTILINE)
_NUMBER = re.compile(r"(?<![\d.])\d{4}\.\d{5}(?!\d)")
# ours alone, by which a paper without an arXiv number is found
_MARK = "mark"
_MODELS, _THEORY = "hierdiff.data.", "hierdiff.theory."


class Entry(NamedTuple):
    """An entry of the file of references.

    Attributes
    ----------
    key : str
        By which LaTeX cites it.
    kind : str
        article, inproceedings, misc or book.
    fields : mapping of str to str
        As BibTeX names them: author, title, year, eprint, ...
    """

    key: str
    kind: str
    fields: MappingProxyType[str, str]

    def __str__(self) -> str:
        """The entry as BibTeX."""
        lines = [f"  {k} = {{{v}}}," for k, v in self.fields.items() if k != _MARK]
        return "\n".join([f"@{self.kind}{{{self.key},", *lines, "}"])


@functools.cache
def entries() -> MappingProxyType[str, Entry]:
    """All entries of the file of references by their key.

    Returns
    -------
    mapping of str to Entry

    Notes
    -----
    Validity: the papers that hierdiff, its studies and its manual name.

    Examples
    --------
    >>> entries()["sclocchi2025transition"].fields["eprint"]
    '2402.16991'
    """
    text = (_ROOT / "references.bib").read_text(encoding="utf-8")
    return MappingProxyType({
        key: Entry(key, kind, MappingProxyType(dict(_FIELD.findall(body))))
        for kind, key, body in _ENTRY.findall(text)
    })  # fmt: skip


@checked
def cited_in(text: str) -> list[str]:
    """Keys of the papers that a text names, in the order of the file, which is that of years.

    Parameters
    ----------
    text : str
        It names a paper by arXiv number, an older one by the words under ``mark`` in the file.

    Returns
    -------
    list of str

    Raises
    ------
    InvalidParameter
        If ``text`` is no text.

    Notes
    -----
    Validity: numbers without an entry are left out; a test holds the package to have none.

    Examples
    --------
    >>> cited_in("Ho et al., arXiv 2006.11239; Goodman, Computational Linguistics 25 (1999)")
    ['ho2020ddpm', 'goodman1999semiring']
    """
    if not isinstance(text, str):
        raise InvalidParameter(f"text = {shown(text)} must be a text; give a docstring")
    numbers, words = set(_NUMBER.findall(text)), " ".join(text.split())
    return [
        key for key, entry in entries().items()
        if entry.fields.get("eprint") in numbers
        or any(mark in words for mark in entry.fields.get(_MARK, "").split("; ") if mark)
    ]  # fmt: skip


@checked(item=unchecked)
def papers_of(item: Any) -> list[str]:
    """Keys of the papers behind an object or a name.

    Parameters
    ----------
    item : object or str
        A function, class, method, module or instance of hierdiff; the name of one, with or without
        its module; or the name of an experiment.

    Returns
    -------
    list of str
        Of what its source and the docstring of its module name; of a module all papers in it.
        Where these name none: of all that the module names, else of the docstring of the nearest
        package above it that names any, and of the data models that the source uses.  An
        experiment adds the papers of the data models that its module uses; one that would have
        none has those of the theory that it uses.

    Raises
    ------
    InvalidParameter
        If the name is unknown (the nearest ones are given) or stands in several modules.

    Notes
    -----
    Validity: what the source says.  Papers of functions that are called stand with those functions.

    Examples
    --------
    >>> papers_of("critical_noise")
    ['sclocchi2025transition']
    >>> papers_of("phase-transition")
    ['cagnetta2024rhm', 'sclocchi2025transition', 'sclocchi2025probing']
    >>> papers_of("critical_level") == papers_of("RHM")
    True
    """
    module, name = _place(item)
    if not name:
        return cited_in("\n".join(p.read_text(encoding="utf-8") for p in _files(module)))
    source = _files(module)[0].read_text(encoding="utf-8")
    tree = ast.parse(source)
    definition = _definitions(tree, source)[name]
    found = cited_in(f"{ast.get_docstring(tree) or ''}\n{definition}")
    if not found:
        found = _of_module(module, source) + _of_models(tree, definition)
    if f"{module}:{name}" in {entry.place for entry in EXPERIMENTS.values()}:
        found = found + _of_models(tree, source) or _of_models(tree, source, _THEORY)
    return [key for key in entries() if key in found]


@checked(item=unchecked)
def cite(item: Any = "") -> str:
    """BibTeX entries of the papers behind an object or a name, and of hierdiff itself.

    Parameters
    ----------
    item : object or str
        As of :func:`papers_of`; default all papers that hierdiff uses.

    Returns
    -------
    str
        To be pasted into a ``.bib`` file.

    Raises
    ------
    InvalidParameter
        If the name is unknown (the nearest ones are given) or stands in several modules.

    Notes
    -----
    Validity: that of :func:`papers_of`.  A name without a paper has the entry of hierdiff alone.

    Examples
    --------
    >>> print(cite("critical_noise").partition("year")[0])
    @article{sclocchi2025transition,
      author = {Sclocchi, Antonio and Favero, Alessandro and Wyart, Matthieu},
      title = {A phase transition in diffusion models reveals the hierarchical nature of data},
    >>> print(cite(hierdiff.Grammar.sample).splitlines()[-4])
      title = {hierdiff: what diffusion models know about the structure of their data},
    """
    keys = list(entries()) if isinstance(item, str) and not item else papers_of(item)
    return "\n\n".join(map(str, [*(entries()[k] for k in keys), _software()])) + "\n"


def places() -> dict[str, list[str]]:
    """Every public name with the papers that it and its module name; others are left out.

    Returns
    -------
    dict of str to list of str
        Full name to keys.

    Notes
    -----
    Validity: functions, classes and constants in the ``__all__`` of their module.  What a name
    inherits (:func:`papers_of`) is not listed with it.

    Examples
    --------
    >>> places()["hierdiff.noise.UniformNoise"]
    ['hoogeboom2021argmax', 'austin2021discrete']
    """
    found = {}
    for path in _files("hierdiff"):
        if path == Path(__file__):  # its papers are examples
            continue
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
        head = ast.get_docstring(tree) or ""
        public = _listed(tree)
        for name, text in _definitions(tree, source).items():
            if name in public and (keys := cited_in(f"{head}\n{text}")):
                found[f"{_dotted(path)}.{name}"] = keys
    return found


def _of_module(module: str, source: str) -> list[str]:
    """Papers that a module names anywhere, else those of the nearest package that names any."""
    found = cited_in(source)
    package = module.rpartition(".")[0]
    while not found and "." in package:  # hierdiff itself is about everything
        head = ast.parse(_files(package, below=False)[0].read_text(encoding="utf-8"))
        found = cited_in(ast.get_docstring(head) or "")
        package = package.rpartition(".")[0]
    return found


def _of_models(tree: ast.Module, text: str, below: str = _MODELS) -> list[str]:
    """Papers of what a text uses of the modules below a package that its module imports."""
    words = set(re.findall(r"\w+", text))
    front = ast.parse((_ROOT / "__init__.py").read_text(encoding="utf-8"))
    short = {name: module for module, name, _ in _imported(front)}
    found: list[str] = []
    for module, name, local in _imported(tree):
        place = short.get(name, "") if module == "hierdiff" else module
        if local not in words or not place.startswith(below):
            continue
        source = _files(place, below=False)[0].read_text(encoding="utf-8")
        definitions = _definitions(ast.parse(source), source)
        if name in definitions:
            found += cited_in(definitions[name]) or cited_in(source)
    return found


def _imported(tree: ast.Module) -> list[tuple[str, str, str]]:
    """Module, name, and name here of what is imported from modules, wherever that stands."""
    return [
        (node.module or "", alias.name, alias.asname or alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]


def _software() -> Entry:
    """The entry of hierdiff, as CITATION.cff has it."""
    fields = {
        "author": "{The hierdiff developers}",
        "title": "hierdiff: what diffusion models know about the structure of their data",
        "year": "2026",
        "version": hierdiff.__version__,
    }
    return Entry("hierdiff", "software", MappingProxyType(fields))


# --------------------------------------------------------------------------- from a name to a text


def _place(item: Any) -> tuple[str, str]:
    """Module and name inside it, "" for the module itself."""
    if isinstance(item, str):
        return _named(item.strip())
    if inspect.ismodule(item):
        module, name = item.__name__, ""
    else:
        thing = item if hasattr(item, "__qualname__") else type(item)
        module, name = str(thing.__module__), str(thing.__qualname__)
    if module.partition(".")[0] != "hierdiff":
        raise InvalidParameter(
            f"item = {shown(item)} is not of hierdiff; give a function, class, experiment or "
            "module of hierdiff, or its name"
        )
    return (module, "") if not name else _named(f"{module}.{name}")


def _named(word: str) -> tuple[str, str]:
    """Module and name from a name that may lack its module."""
    known = word.replace("_", "-")
    known = RENAMED.get(known, known)
    if known in EXPERIMENTS:
        module, _, name = EXPERIMENTS[known].place.partition(":")
        return module, name
    full = word if word.partition(".")[0] == "hierdiff" else f"hierdiff.{word}"
    dotted = all(part.isidentifier() for part in full.split("."))
    if dotted and _exists(full):
        return full, ""
    # the longest part that is a module; what follows is a name in it, or in a module below it
    module, name = full, ""
    while dotted and not _exists(module):
        module, _, last = module.rpartition(".")
        name = f"{last}.{name}".rstrip(".")
    found = _defining(module, name) if dotted else []
    if len(found) == 1:
        return found[0]
    if found:
        words = " or ".join(f"{m}.{n}" for m, n in found)
        raise InvalidParameter(f"item = {word!r} stands in several modules; give {words}")
    near = difflib.get_close_matches(word, [*EXPERIMENTS, *_top_names()], 3, 0.7)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise InvalidParameter(
        f"item = {word!r} is no name of hierdiff{hint} (hierdiff list names the experiments, the "
        "manual the functions)"
    )


def _defining(module: str, name: str) -> list[tuple[str, str]]:
    """Modules at or below one that define a name; if some list it as public, those alone."""
    first = re.compile(rf"^(?:def |class )?{re.escape(name.partition('.')[0])}\b", re.MULTILINE)
    found, listed = [], []
    for path in _files(module):
        source = path.read_text(encoding="utf-8")
        if not first.search(source):
            continue
        tree = ast.parse(source)
        if name in _definitions(tree, source):
            found.append((_dotted(path), name))
            if name.partition(".")[0] in _listed(tree):
                listed.append(found[-1])
    own = [place for place in found if place[0] == module]
    return own or listed or found


def _definitions(tree: ast.Module, source: str) -> dict[str, str]:
    """Source text of every function, class, method and constant of a module."""
    lines = source.splitlines()
    found: dict[str, str] = {}

    def read(body: list[ast.stmt], prefix: str) -> None:
        for node, after in zip(body, [*body[1:], None], strict=True):
            text = "\n".join(lines[node.lineno - 1 : node.end_lineno])
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                # of overloads and of a property with its setter all texts count
                found[prefix + node.name] = found.get(prefix + node.name, "") + text
                if isinstance(node, ast.ClassDef):
                    read(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, (ast.Assign, ast.AnnAssign)) and not prefix:
                if isinstance(after, ast.Expr):  # the docstring of a constant
                    text += "\n".join(lines[after.lineno - 1 : after.end_lineno])
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found.update({t.id: text for t in targets if isinstance(t, ast.Name)})

    read(tree.body, "")
    return found


def _listed(tree: ast.Module) -> set[str]:
    """The names in ``__all__`` of a module."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


@functools.cache
def _top_names() -> list[str]:
    """Every public name without its module, for the nearest ones of a wrong name."""
    trees = (ast.parse(p.read_text(encoding="utf-8")) for p in _files("hierdiff"))
    return sorted(set().union(*map(_listed, trees)))


def _folder(module: str) -> Path:
    return _ROOT.joinpath(*module.split(".")[1:])


def _exists(module: str) -> bool:
    place = _folder(module)
    return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()


def _files(module: str, below: bool = True) -> list[Path]:
    """The file of a module; of a package all files below it, or its own alone."""
    place = _folder(module)
    if place.is_dir() and not below:
        return [place / "__init__.py"]
    return sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]


def _dotted(path: Path) -> str:
    """The module of a file."""
    parts = path.relative_to(_ROOT).with_suffix("").parts
    return ".".join(["hierdiff", *(parts[:-1] if parts[-1] == "__init__" else parts)])
