"""Claims about the count of lines of code."""

from hashlib import sha256
from pathlib import Path

import pytest

from bench.measure.sources import hashes, lines_of_code
from pyfnn import registry
from pyfnn.manifest import Row

CODE = {
    "C": '#include <math.h>\n\n/* two\n   lines */\nint x; /* why */\nchar *s = "/* not a comment */"; // why\n',
    "Python": '"""What lives\nhere."""\n\nimport math\n# why\nx = "# not a comment"\ny = """two\nlines"""\n',
    "Fortran": "! why\nmodule m\n  integer :: x ! why\nend module m\n\n",
    "Octave": "% why\nx = 1; % why\n%{\nmore\n%}\ny = 2;\n",
    "Lua": "-- why\nlocal x = 1 -- why\n--[[ more\n]]\nreturn x",
    "Julia": "#= more\n=#\nx = 1\n\n# why\ny = 2",
    "JavaScript": '"use strict";\n// why\nconst x = 1;\n/* more\n*/\nconst y = 2;',
}
LINES = {"C": 3, "Python": 4, "Fortran": 3, "Octave": 2, "Lua": 2, "Julia": 2, "JavaScript": 3}


def row(folder: Path, language: str, **files: str) -> Row:
    for name, text in files.items():
        (folder / name).write_bytes(text.encode("latin1"))
    return Row(
        name="mine",
        language=language,
        division="plain",
        run="x",
        sources=tuple(files),
        manifest=folder / "backend.toml",
    )


@pytest.mark.parametrize("language", CODE)
def test_blank_lines_and_comments_do_not_count_but_code_beside_a_comment_does(tmp_path: Path, language: str) -> None:
    assert lines_of_code(row(tmp_path, language, source=CODE[language])) == LINES[language]


def test_each_source_has_the_hash_of_its_bytes(tmp_path: Path) -> None:
    mine = row(tmp_path, "C", **{"a.c": "int x;", "b.c": "int y;"})
    assert hashes(mine) == {name: sha256(text).hexdigest() for name, text in (("a.c", b"int x;"), ("b.c", b"int y;"))}


def test_the_count_is_over_all_sources_and_none_without_sources(tmp_path: Path) -> None:
    assert lines_of_code(row(tmp_path, "C", a="int x;\n", b="int y;\nint z;")) == 3
    assert lines_of_code(row(tmp_path, "C")) is None


def test_every_line_that_is_not_blank_counts_in_an_unknown_language(tmp_path: Path) -> None:
    assert lines_of_code(row(tmp_path, "Volapük", source="; why\n\n  x\n\ty\n")) == 3


def test_bytes_that_are_not_utf_8_are_accepted(tmp_path: Path) -> None:
    assert lines_of_code(row(tmp_path, "C", source="/* \xe9 */\nint x;\n")) == 1


def test_every_built_in_backend_has_code_in_a_known_language() -> None:
    for built_in in registry.rows().values():
        count = lines_of_code(built_in)
        assert count is not None, built_in.name
        assert 50 < count < 3000, built_in.name
