"""Claims about the prose check: it finds each kind of fault, and leaves quotations alone. The lint runs it."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("prose", ROOT / ".ci" / "prose.py")
assert SPEC is not None
assert SPEC.loader is not None
prose = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(prose)


@pytest.mark.parametrize(
    "word", ["told", "Tells", "whoever", "whatever", "lest", "thereof", "whereof", "said", "wants", "denormals"]
)
def test_a_word_that_the_project_does_not_use_is_found_with_its_line(word: str) -> None:
    assert list(prose.unused_words(f"A line.\nThis {word} a line.\n")) == [(2, f"uses the word {word!r}")]


@pytest.mark.parametrize("clause", [", for it is fast", "; for they differ", ": for nothing is stored"])
def test_for_in_the_sense_of_because_is_found(clause: str) -> None:
    ((number, fault),) = prose.unused_words(f"A line.\nIt runs{clause}.\n")
    assert (number, fault.startswith("uses 'for' as 'because'")) == (2, True)


def test_for_before_a_noun_is_no_fault() -> None:
    assert not list(prose.unused_words("Return the seconds, for all backends together."))


def test_a_quotation_may_use_any_word() -> None:
    assert not list(prose.unused_words("> he told us\n\nThe review says “whatever works”.\n"))


def test_a_word_within_another_is_no_fault() -> None:
    assert not list(prose.unused_words("celestial, untold_stories, foretells"))


@pytest.mark.parametrize(
    "opening", ["Who runs when.", "Whether it runs.", "By how much.", "That it runs.", "Of a run."]
)
@pytest.mark.parametrize("form", ['"""{}"""\n', 'class A:\n    """{}"""\n', 'def f():\n    """{}"""\n'])
def test_a_docstring_that_opens_with_neither_verb_nor_noun_is_found(form: str, opening: str) -> None:
    ((_, fault),) = prose.openings(form.format(opening))
    assert fault.startswith(f"opens a docstring with {opening.split()[0]!r}")


@pytest.mark.parametrize(
    "opening", ["Return the time.", "The time of a step.", "Whole epochs.", "Byte order of a file."]
)
def test_a_verb_or_a_noun_phrase_is_no_fault(opening: str) -> None:
    assert not list(prose.openings(f'def f():\n    """{opening}"""\n'))


def test_the_check_reads_code_documents_and_every_language() -> None:
    suffixes = {path.suffix for path in prose.tracked()}
    languages = {".cs", ".d", ".go", ".java", ".jl", ".lua", ".m", ".ml", ".nim", ".R", ".rs", ".zig"}
    assert {".py", ".md", ".toml", ".c", ".hpp", ".cu", *languages} <= suffixes
