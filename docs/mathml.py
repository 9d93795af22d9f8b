"""Formulas as MathML, made while the manual is built: no script and no network shows them.

Every browser of today draws MathML.  The TeX source stays in the page as an annotation, so a copied
formula can be pasted into a paper.
"""

from __future__ import annotations

import re
from html import escape
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.util import logging

log = logging.getLogger(__name__)
_NUMBERED = re.compile(r"\\(?:label|tag)\{[^}]*\}|\\nonumber\b")
# what TeX has as words of its own, and the converter takes only spelt out
_SPELT = {
    r"\\arg(?![a-z])": r"\\operatorname{arg}",
    r"(\\[Bb]igg?[lr]?)\s*\\langle(?![a-z])": r"\1⟨",
    r"(\\[Bb]igg?[lr]?)\s*\\rangle(?![a-z])": r"\1⟩",
}


def mathml(tex: str, *, block: bool = False) -> str:
    """A formula as MathML with its source.

    Raises
    ------
    ValueError
        If a command of TeX is left in it.
    """
    tex = _NUMBERED.sub("", tex).strip()
    plain = tex
    for word, spelt in _SPELT.items():
        plain = re.sub(word, spelt, plain)
    made = convert(plain, display="block" if block else "inline")
    left = re.search(r"\\[A-Za-z]+|&#x0005C;[A-Za-z]+", made)
    if left:
        raise ValueError(f"{left[0]} is not known to latex2mathml")
    whole = re.match(r"(<math[^>]*>)(.*)</math>$", made, re.DOTALL)
    if whole is None:
        raise ValueError(f"latex2mathml made no formula of {tex!r}")
    head, body = whole.groups()
    source = f'<annotation encoding="application/x-tex">{escape(tex)}</annotation>'
    return f"{head}<semantics>{body}{source}</semantics></math>"


def _written(node: nodes.Element, *, block: bool) -> str:
    tex = node.astext()
    try:
        # an environment of one's own brings its lines; what has lines without one gets aligned
        if block and (r"\\" in tex or "&" in tex) and r"\begin" not in tex:
            tex = rf"\begin{{aligned}}{tex}\end{{aligned}}"
        return mathml(tex, block=block)
    except Exception as error:
        log.warning("formula %r: %s", tex[:60], error, location=node)
        return f"<code>{escape(tex)}</code>"


def _inline(self: Any, node: nodes.Element) -> None:
    self.body.append(_written(node, block=False))
    raise nodes.SkipNode


def _block(self: Any, node: nodes.Element) -> None:
    anchor = f' id="{ids[0]}"' if (ids := node.get("ids")) else ""
    # in blank-line separated parts, as sphinx.ext.mathjax has them
    parts = node.astext().split("\n\n") if not node.get("no-wrap") else [node.astext()]
    formulas = []
    for part in parts:
        if part.strip():
            one = nodes.math_block(part, part)
            one.source, one.line = node.source, node.line
            formulas.append(_written(one, block=True))
    self.body.append(f'<div class="math-block"{anchor}>{"".join(formulas)}</div>\n')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, Any]:
    """Register the renderer under the name ``mathml``."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
