"""HTML by elements: whatever is not made here is hostile text, and is escaped."""

from __future__ import annotations

import html
import unicodedata

__all__ = ["Html", "clean", "join", "number", "tag", "visible"]

_VOID = frozenset({"br", "col", "hr", "img", "link", "meta"})
_LONGEST = 2000
"""Characters of a text that are shown."""
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn")
"""Unicode categories that have no glyph of their own: control and direction characters, surrogates, unassigned."""


class Html(str):
    """Text that is markup already, however long it is."""

    __slots__ = ()


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """Return an element.

    Parameters
    ----------
    name
        Of the element.
    children
        `Html` stays as it is, None is left out, all else is escaped.
    attributes
        Escaped. Underscores become hyphens, one at the end falls away (``class_``); None and False are left out, True
        has no value.

    Examples
    --------
    >>> tag("b", "<i>", class_="a b", hidden=True)
    '<b class="a b" hidden>&lt;i&gt;</b>'
    """
    shown = []
    for key, value in attributes.items():
        label = key.rstrip("_").replace("_", "-")
        if value is True:
            shown.append(f" {label}")
        elif value is not None and value is not False:
            shown.append(f' {label}="{value if isinstance(value, Html) else clean(number(value))}"')
    start = f"<{name}{''.join(shown)}>"
    return Html(start if name in _VOID else f"{start}{join(*children)}</{name}>")


def join(*children: object) -> Html:
    """Return parts one after the other, escaped where they are no `Html`.

    Examples
    --------
    >>> join(tag("i", 1), None, " & ")
    '<i>1</i> &amp; '
    """
    return Html("".join(child if isinstance(child, Html) else clean(child) for child in children if child is not None))


def clean(value: object, *, longest: int = _LONGEST) -> Html:
    r"""Return a text that can stand in an element or an attribute, without characters that nobody sees.

    Examples
    --------
    >>> clean("<a\u202e\0>"), clean("abcdef", longest=3)
    ('&lt;a\ufffd\ufffd&gt;', 'abc...')
    """
    text = str(value)
    if len(text) > longest:
        text = f"{text[:longest]}..."
    return Html(html.escape(visible(text), quote=True))


def visible(text: str) -> str:
    r"""Return a text without characters that nobody sees, which can turn its direction or steer a terminal.

    Examples
    --------
    >>> visible("a\x1b[2Jb\n")
    'a\ufffd[2Jb\n'
    """
    if text.isprintable():
        return text
    return "".join(
        "\ufffd" if letter not in "\n\t" and unicodedata.category(letter) in _HIDDEN else letter for letter in text
    )


def number(value: object) -> object:
    """Return floats as short texts, and all else as it is.

    Examples
    --------
    >>> number(1 / 3), number(2.0)
    ('0.333', '2')
    """
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
