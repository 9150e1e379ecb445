"""Personal data in captured pages: what is covered before a picture is taken. Names of people have to be given."""

import re

# regular expressions that Python and JavaScript read alike
PERSONAL = (
    r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+",  # e-mail addresses
    r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b",  # IBAN
    r"\+?[0-9](?:[ ()/.-]{0,2}[0-9]){8,}",  # telephone, card and account numbers: nine digits and more
)


def patterns(personal: bool, words: list[str]) -> tuple[str, ...]:
    """Regular expressions for what is to be covered: personal data by their form, and the very `words`.

    Raises ValueError for an empty word, which would cover everything.
    """
    if any(not word.strip() for word in words):
        raise ValueError("a word to mask is empty")
    return (*(PERSONAL if personal else ()), *(re.escape(word).replace(r"\ ", " ") for word in words))


def covered(text: str, rules: tuple[str, ...]) -> str:
    """The text with a block over every letter and digit that a rule matches."""
    for rule in rules:
        text = re.sub(rule, lambda match: re.sub(r"\w", "\N{FULL BLOCK}", match[0]), text, flags=re.IGNORECASE)
    return text
