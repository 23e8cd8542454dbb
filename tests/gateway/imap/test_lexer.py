"""The grammar rules that command files build on."""

import pytest

from gateway.imap.errors import Bad
from gateway.imap.lexer import Lexer
from gateway.imap.wire import Literal


def lexer(text: bytes, *rest: Literal | bytes) -> Lexer:
    return Lexer((text, *rest))


def test_strings() -> None:
    """An astring is an atom (with "]"), a quoted string with its escapes, or a literal (RFC 3501 §9)."""
    assert lexer(b"a]b+c rest").astring() == b"a]b+c"
    assert lexer(rb'"a \"b\" \\"').astring() == rb'a "b" \ '.strip()
    assert lexer(b"", Literal(3, b"x y"), b"").astring() == b"x y"
    assert lexer(b"nil").nstring() is None


@pytest.mark.parametrize("text", [b'"open', b'"a\\b"', b'"a\0b"', b"", b"(", b'"a\rb"'])
def test_what_is_no_string(text: bytes) -> None:
    """Unclosed quotes, unknown escapes, NUL and CR in quotes are refused (RFC 3501 §9: QUOTED-CHAR)."""
    with pytest.raises(Bad):
        lexer(text).astring()


def test_error_names_place_and_expectation() -> None:
    """A Bad says what was expected and what is there."""
    with pytest.raises(Bad, match='expected a number at "x y"'):
        lexer(b"x y").number()
    with pytest.raises(Bad, match="found the end of the line"):
        lexer(b"").atom()
    with pytest.raises(Bad, match="found a literal"):
        lexer(b"", Literal(1, b"1"), b"").number()


def test_lists() -> None:
    """Items of a list are separated by exactly one space (RFC 3501 §9)."""
    words = lexer(b"(a b c)")
    assert words.parenthesised(words.word) == ["A", "B", "C"]
    for text in (b"()", b"(a  b)", b"( a)", b"(a b", b"(a,b)"):
        broken = lexer(text)
        with pytest.raises(Bad):
            broken.parenthesised(broken.word)


def test_depth_is_bounded() -> None:
    """Parentheses nested too deep are an error, not a crash."""
    deep = lexer(b"(" * 10_000)

    def item() -> object:
        return deep.parenthesised(item)

    with pytest.raises(Bad, match="nested deeper"):
        item()


def test_numbers_are_32_bits() -> None:
    """RFC 3501 §9: number is an unsigned 32-bit integer."""
    assert lexer(b"4294967295").number() == 2**32 - 1
    with pytest.raises(Bad):
        lexer(b"4294967296").number()


def test_a_spooled_literal_is_no_string() -> None:
    """Octets that were sent elsewhere cannot be an argument."""
    with pytest.raises(Bad, match="too long"):
        lexer(b"", Literal(100_000, None), b"").astring()
