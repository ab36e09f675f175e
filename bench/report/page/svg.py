"""Makes an SVG file of Matplotlib a part of a page: text stays text, and nothing of the file can act or reach outside.

Only known elements, attributes and properties are kept. Ids are those that the drawing itself refers to, with a prefix,
because one page holds several drawings.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree

from markupsafe import Markup, escape

from bench.results.schema import ResultsError

_SVG: Final = "{http://www.w3.org/2000/svg}"
_HREF: Final = "{http://www.w3.org/1999/xlink}href"
_DRAWN: Final = {
    "g", "defs", "clipPath", "path", "rect", "circle", "ellipse", "line", "polyline", "polygon", "use", "text", "tspan",
    "image", "pattern",
}  # fmt: skip
_TEXTS: Final = {"text", "tspan"}  # elsewhere, text is layout of the file
_ATTRIBUTES: Final = {
    "d", "x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "r", "rx", "ry", "width", "height", "points", "transform",
    "viewBox", "preserveAspectRatio", "patternUnits", "style",
}  # fmt: skip
_PROPERTIES: Final = {
    "fill", "fill-opacity", "fill-rule", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray",
    "stroke-dashoffset", "stroke-linecap", "stroke-linejoin", "stroke-miterlimit", "opacity", "font", "font-family",
    "font-size", "font-style", "font-weight", "text-anchor", "image-rendering", "clip-path",
}  # fmt: skip
_OWN: Final = re.compile(r"url\(#([\w.-]+)\)")  # a reference within the drawing
_PLAIN: Final = re.compile(r"[\w\s#.,%'+-]*|rgba?\([\d\s.,%]*\)")  # a value of a property that refers to nothing
_PICTURE: Final = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=\s]*")
_FONTS: Final = ", Verdana, sans-serif"  # as wide as DejaVu Sans, where that is missing
_INHERITED: Final = "stroke-linejoin:round;stroke-linecap:butt"  # Matplotlib's style of the file
_POINT: Final = 96 / 72  # pixels
_LENGTH: Final = r"[0-9]{1,6}(?:\.[0-9]{1,9})?"  # of a side of the drawing


@dataclass(frozen=True)
class Drawing:
    """A drawing of a page: its markup and its natural width in pixels."""

    markup: Markup
    width: int


def drawing(text: str, prefix: str, alt: str, place: str) -> Drawing:
    """Return an SVG file as a part of a page.

    Parameters
    ----------
    text : str
        The file.
    prefix : str
        Of its ids; other drawings of the page have others.
    alt : str
        What it shows, for those who do not see it.
    place : str
        Name of the file, for errors.

    Raises
    ------
    ResultsError
        The file is no drawing of Matplotlib.
    """
    if "<!ENTITY" in text:
        raise ResultsError(f"{place}: defines entities, which no figure does")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ResultsError(f"{place}: {error}") from None
    box = re.fullmatch(rf"0 0 ({_LENGTH}) ({_LENGTH})", root.get("viewBox", ""))
    if root.tag != f"{_SVG}svg" or not box:
        raise ResultsError(f"{place}: is not a figure in SVG")
    kept = _Kept(prefix, frozenset(_references(root)))
    about = f'viewBox="{box[0]}" role="img" aria-label="{escape(alt)}"'
    try:
        inside = "".join(kept.children(root))
    except RecursionError:
        raise ResultsError(f"{place}: its elements are nested too deeply for a figure") from None
    return Drawing(Markup(f'<svg {about} style="{_INHERITED}">{inside}</svg>'), round(float(box[1]) * _POINT))


def _references(root: ElementTree.Element) -> Iterator[str]:
    for element in root.iter():
        for name, value in element.attrib.items():
            yield from _OWN.findall(value)
            if name in (_HREF, "href") and value.startswith("#"):
                yield value[1:]


@dataclass(frozen=True)
class _Kept:
    """The parts of a drawing that are kept; `ids` are those that it refers to."""

    prefix: str
    ids: frozenset[str]

    def children(self, element: ElementTree.Element) -> Iterator[str]:
        for child in element:
            name = child.tag.removeprefix(_SVG) if isinstance(child.tag, str) else ""
            if name in _DRAWN:
                yield f"<{name}{''.join(self._attributes(child))}>"
                if name in _TEXTS:
                    yield str(escape(child.text or ""))
                yield from self.children(child)
                yield f"</{name}>"
            if element.tag in {f"{_SVG}{text}" for text in _TEXTS}:
                yield str(escape(child.tail or ""))

    def _attributes(self, element: ElementTree.Element) -> Iterator[str]:
        for name, value in element.attrib.items():
            kept: str | None = None
            if name == "id":
                name, kept = "id", self.prefix + value if value in self.ids else None
            elif name in (_HREF, "href"):
                name, kept = "href", self._reference(value)
            elif name == "style":
                kept = ";".join(self._properties(value))
            elif name in _PROPERTIES:
                kept = self._property(value)
            elif name in _ATTRIBUTES:
                kept = " ".join(value.split())
            if kept:
                yield f' {name}="{escape(kept)}"'

    def _reference(self, value: str) -> str | None:
        if value.startswith("#"):
            return f"#{self.prefix}{value[1:]}"
        return value if _PICTURE.fullmatch(value) else None

    def _properties(self, style: str) -> Iterator[str]:
        for part in style.split(";"):
            name, _, value = (word.strip() for word in part.partition(":"))
            kept = self._property(value) if name in _PROPERTIES else None
            if kept:
                yield f"{name}:{kept}{_FONTS if name in ('font', 'font-family') else ''}"

    def _property(self, value: str) -> str | None:
        if own := _OWN.fullmatch(value):
            return f"url(#{self.prefix}{own[1]})"
        return value if _PLAIN.fullmatch(value) else None
