import pytest

from forge_core.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;owned\x07\x1b[2J", "\\x1b]0;owned\\x07\\x1b[2J"),
        ("100%\rnothing is billed", "100%\\rnothing is billed"),
        ("\x9b31mred\x7f", "\\x9b31mred\\x7f"),
        ("invoice\u202egnp.exe\u200b", "invoice\\u202egnp.exe\\u200b"),
        ("lone \udcff surrogate", "lone \\udcff surrogate"),
        ("Zürich, 東京\u3000駅\u00a0█░ 42 % · é", "Zürich, 東京\u3000駅\u00a0█░ 42 % · é"),
        ("a\nb\tc", "a\\nb\\tc"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_as_its_escape(text, shown):
    assert printable(text) == shown


def test_lines_stay_lines_where_they_are_asked_for():
    assert printable("a\n\tb\r\x1b[A\n", lines=True) == "a\n\tb\\r\\x1b[A\n"
