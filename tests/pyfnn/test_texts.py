"""Claims about text of other programs: terminals, tables and files get no control characters, and never much of it."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.rogue import HELLO, rogue

from bench.report.render import escape
from pyfnn.errors import PyfnnError, WorkerDied
from pyfnn.process import protocol
from pyfnn.texts import MOST, cleaned

RED = "\x1b[1;31mred\x1b[0m"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain: 50 % of θ\n\tand more", "plain: 50 % of θ\n\tand more"),
        (RED, "red"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link", "link"),
        ("a\x00b\x07c\rd\x7fe\x9bf", "a?b?c?d?e?f"),
        ("a\u202eb\u200bc\u2028d", "a?b?c?d"),
        ("\ud800", "?"),
        ("\x1b", "?"),
        ("x" * 900_000, "x" * MOST + "…"),
    ],
)
def test_text_is_shown_without_control_characters_and_cut(text: str, shown: str) -> None:
    assert cleaned(text) == shown


@given(st.text())
def test_cleaned_text_has_no_control_character_and_stays_as_it_is(text: str) -> None:
    shown = cleaned(text)
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c not in "\n\t"]
    assert cleaned(shown) == shown
    shown.encode()


def test_messages_of_a_worker_are_cleaned() -> None:
    with rogue(f"reply('error\\tmessage={RED}\\x00' + 'y' * 900000)") as worker, pytest.raises(PyfnnError) as caught:
        worker.call("theta")
    assert str(caught.value).startswith("red?yyy")
    assert len(str(caught.value)) <= MOST + 1
    with rogue(f"sys.stderr.write({RED!r}); sys.exit(1)") as worker, pytest.raises(WorkerDied, match=r"words: red$"):
        worker.call("theta")


def test_the_description_of_a_worker_is_cleaned() -> None:
    fields = protocol.parse_reply(HELLO.replace("compiler=", f"compiler={RED}"))[1]
    assert protocol.parse_description(fields).compiler.startswith("red")


def test_no_cell_of_markdown_is_an_image_or_a_link() -> None:
    assert escape(r"\\<img> \\| \\\*") == r"\\\\\<img> \\\\\| \\\\\\\*"
    assert escape(r"\<img> \| \*a \](b) c\d") == r"\\\<img> \\\| \\\*a \\]\(b) c\d"
    assert escape("![x](http://y) [a](b) 'pyfnn[bench]'") == r"![x]\(http://y) [a]\(b) 'pyfnn[bench]'"
