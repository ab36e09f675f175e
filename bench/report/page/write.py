"""Renders the page's template. Every text of a results file is escaped, and a policy forbids any other script."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import jinja2
from markupsafe import Markup

from bench.report.page.content import Source, page_of

HERE: Final = Path(__file__).parent
_TEMPLATES: Final = HERE / "templates"


def write_page(sources: Sequence[Source], path: Path) -> Path:
    """Write the page of some runs and return its path.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    path.write_text(html(sources), encoding="utf-8")
    return path


def html(sources: Sequence[Source]) -> str:
    """Return the page of some runs."""
    script = (HERE / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return render("page.html", page=page_of(sources), script=Markup(script), script_hash=digest)


def render(template: str, **values: object) -> str:
    """Return a page made of a template; `values` are its names, beside the style of all pages."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "ensure_ascii": False, "allow_nan": False}
    style = (HERE / "page.css").read_text(encoding="utf-8")
    return environment.get_template(template).render(style=Markup(style), **values)
