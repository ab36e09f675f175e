#!/usr/bin/env python3
"""Writes docs/api.md from the docstrings of the public names: `python .ci/api.py`. A test says when that is due.

griffe reads the sources; nothing of pyfnn is imported.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "api.md"
HEAD = """# API

All public names, from their docstrings. [training.md](training.md) and [estimators.md](estimators.md) show them in use.

| module | names |
|---|---|
"""
MODULES = ("pyfnn", "pyfnn.training", "pyfnn.estimators", "pyfnn.datasets", "pyfnn.onnx")
BASES = ("pyfnn.estimators.base.NetworkEstimator",)  # their members are described once, and not in their subclasses
LISTS = {"parameters": "Parameters", "attributes": "Attributes", "returns": "Returns", "raises": "Raises"}


def names(module: Any) -> list[str]:
    """Return the functions and classes of a module: those in its __all__, else its own without an underscore."""
    own = [name for name, member in module.members.items() if not member.is_alias and not name.startswith("_")]
    public = own if module.exports is None else [str(name) for name in module.exports]
    return sorted(name for name in public if module[name].is_function or module[name].is_class)


def call(shown: str, target: Any) -> str:
    """Return a function or class as it is called: `fit(model, x, y, *, epochs)`."""
    parts, starred = [], False
    for parameter in target.parameters:
        kind = parameter.kind.value if parameter.kind else ""
        if parameter.name in ("self", "cls"):
            continue
        if kind == "keyword-only" and not starred:
            parts.append("*")
            starred = True
        stars = {"variadic positional": "*", "variadic keyword": "**"}.get(kind, "")
        default = "" if parameter.default is None or stars else f"={parameter.default}"
        parts.append(f"{stars}{parameter.name}{default}")
    return f"{shown}({', '.join(parts)})"


def sections(target: Any) -> Iterator[str]:
    """Yield the parts of a docstring as Markdown."""
    if not target.docstring:
        return
    detached = griffe.Docstring(target.docstring.value)  # else griffe reads the types as expressions of Python
    for section in detached.parse("numpy", warnings=False):
        kind = section.kind.value
        if kind == "text":
            yield section.value.strip()
        elif kind in LISTS:
            yield f"{LISTS[kind]}:"
            yield "\n".join(entry(item) for item in section.value)
        else:
            yield f"{section.title}: {section.value.description.strip()}"


def entry(item: Any) -> str:
    """Return an item of a list: a parameter, an attribute, a result or an exception."""
    name = f"`{item.name}`" if getattr(item, "name", "") else ""
    kind = str(item.annotation) if item.annotation else ""
    head = ", ".join(part for part in (name, kind) if part)
    description = " ".join(item.description.split())
    return f"- {head}: {description}" if description else f"- {head}"


def link(path: str) -> str:
    """Return a link to the heading of a name."""
    return f"[{path.rpartition('.')[2]}](#{path.replace('.', '').lower()})"


def methods(target: Any) -> Iterator[tuple[str, Any]]:
    """Yield the public methods of a class, without those that it inherits."""
    for name, member in target.members.items():
        if not name.startswith("_") and member.is_function and member.docstring:
            yield name, member


def described(path: str, target: Any) -> Iterator[str]:
    """Yield the description of a public name."""
    short = path.rpartition(".")[2]
    yield f"### {path}"
    yield f"```text\n{call(short, target)}\n```"
    yield from sections(target)
    if not target.is_class:
        return
    bases = {str(base) for base in target.bases}
    yield from (
        f"Parameters, attributes and further methods: {link(base)}."
        for base in BASES
        if base.rpartition(".")[2] in bases
    )
    for name, method in methods(target):
        yield f"#### {call(f'{short}.{name}', method)}"
        yield from sections(method)


def page() -> str:
    """Return docs/api.md."""
    package: Any = griffe.load(
        "pyfnn", search_paths=[ROOT], docstring_parser="numpy", allow_inspection=False, resolve_aliases=True
    )
    table, body = [], []
    for module in MODULES:
        holder = package if module == "pyfnn" else package[module.partition(".")[2]]
        public = [f"{module}.{name}" for name in names(holder)]
        public += [path for path in BASES if path.startswith(f"{module}.") and module != "pyfnn"]
        table.append(f"| `{module}` | {', '.join(map(link, public))} |")
        body.append(f"## {module}")
        for path in public:
            found = package[path.partition(".")[2]]
            body += described(path, found.final_target if found.is_alias else found)
    return HEAD + "\n".join(table) + "\n\n" + "\n\n".join(body) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
