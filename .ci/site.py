#!/usr/bin/env python3
"""Hooks of MkDocs: pages made of files outside docs/, links that leave docs/, and formulas as MathML.

Every page is valid on GitHub as it is. README.md is the site's first page; a formula stands between dollar signs, as
GitHub renders it, and becomes MathML, which browsers render without a script.
"""

import re
from html import unescape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
_FENCED = re.compile(r"(^(?:```|~~~).*?^(?:```|~~~)$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r'(!?)\[((?:[^\[\]]|!\[[^\]]*\]\([^)]*\))*)\]\(([^)\s]+)(\s+"[^"]*")?\)')
_FORMULA = re.compile(r'<(span|div) class="arithmatex">(.*?)</\1>', re.DOTALL)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made of files outside docs/."""
    from mkdocs.structure.files import File

    for name, page in PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=with_links(text, "", config.get("repo_url") or "")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Redirect the links of a page of docs/ that leave it."""
    if page.file.src_uri in PAGES.values():
        return markdown
    folder = "/".join(["docs", *page.file.src_uri.split("/")[:-1]])
    return with_links(markdown, folder, config.get("repo_url") or "")


def on_page_content(html: str, **_: Any) -> str:
    """Turn formulas into MathML."""
    from latex2mathml.converter import convert

    def formula(match: re.Match[str]) -> str:
        text = unescape(match[2]).strip()
        return str(convert(text[2:-2].strip(), display="block" if text.startswith("\\[") else "inline"))

    return _FORMULA.sub(formula, html)


def with_links(markdown: str, folder: str, repository: str) -> str:
    """Return a page with its links as they lead on the site; code is left as it is.

    Parameters
    ----------
    markdown : str
    folder : str
        The page's folder below the root of the repository; empty for the root.
    repository : str
        Address of the repository, to which links lead that leave the site; where it is empty, only their text stays.
    """

    def link(match: re.Match[str]) -> str:
        picture, text, target, title = match.groups(default="")
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        path, hash_sign, anchor = target.partition("#")
        text = _LINK.sub(link, text)
        place = site_place(folder, path)
        if place is not None:
            return f"{picture}[{text}]({place}{hash_sign}{anchor}{title})"
        found = _inside(folder, path)
        return f"[{text}]({repository}/blob/main/{found}{hash_sign}{anchor}{title})" if repository else text

    parts = _FENCED.split(markdown)
    return "".join(part if at % 2 else _LINK.sub(link, part) for at, part in enumerate(parts))


def site_place(folder: str, path: str) -> str | None:
    """Return where a link of a page leads on the site, relative to the page; None if it leaves the site."""
    found = _inside(folder, path)
    depth = max(0, len([part for part in folder.split("/") if part]) - 1)  # folders below docs/
    if found in PAGES:
        return "../" * depth + PAGES[found]
    if not found.startswith("docs/"):
        return None
    return "../" * depth + found.removeprefix("docs/") if not folder else path


def _inside(folder: str, path: str) -> str:
    """Return a link's path from the root of the repository."""
    parts: list[str] = []
    for part in f"{folder}/{path}".split("/"):
        if part == "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
