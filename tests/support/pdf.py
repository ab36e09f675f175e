"""The text of a PDF as Chromium writes it: strings of glyphs, by the map to Unicode that each font has."""

import re
import zlib


def pdf_text(content: bytes) -> str:
    """Return the text of all pages, glyph after glyph in the order of drawing, without any white space."""
    objects = {int(number): body for number, body in re.findall(rb"(\d+) 0 obj(.*?)endobj", content, re.DOTALL)}
    streams = {number: _stream(body) for number, body in objects.items()}
    fonts: dict[bytes, dict[int, str]] = {}
    for body in objects.values():
        for name, reference in re.findall(rb"/(F\d+) (\d+) 0 R", body):
            font = re.search(rb"/ToUnicode (\d+) 0 R", objects[int(reference)])
            if font:
                fonts[name] = _glyphs(streams[int(font[1])])
    text = []
    for stream in streams.values():
        glyphs: dict[int, str] = {}
        for name, shown in re.findall(rb"/(F\d+) [\d.]+ Tf|<([0-9A-Fa-f]+)>", stream if b" Tf" in stream else b""):
            if name:
                glyphs = fonts.get(name, {})
            else:
                text += [glyphs.get(int(shown[i : i + 4], 16), "") for i in range(0, len(shown), 4)]
    return "".join("".join(text).split())


def _stream(body: bytes) -> bytes:
    found = re.search(rb"stream\r?\n(.*?)\r?\nendstream", body, re.DOTALL)
    if not found:
        return b""
    return zlib.decompress(found[1]) if b"/FlateDecode" in body[: found.start()] else found[1]


def _glyphs(cmap: bytes) -> dict[int, str]:
    """Return the text of each glyph by its number."""
    glyphs: dict[int, str] = {}
    for section in re.findall(rb"beginbfchar(.*?)endbfchar", cmap, re.DOTALL):
        for glyph, text in re.findall(rb"<(\w+)>\s*<(\w+)>", section):
            glyphs[int(glyph, 16)] = bytes.fromhex(text.decode()).decode("utf-16-be")
    for section in re.findall(rb"beginbfrange(.*?)endbfrange", cmap, re.DOTALL):
        for first, last, text in re.findall(rb"<(\w+)>\s*<(\w+)>\s*<(\w+)>", section):
            for i in range(int(first, 16), int(last, 16) + 1):
                glyphs[i] = chr(int(text, 16) + i - int(first, 16))
    return glyphs
