"""Text for screens nobody has seen: words of Python's own documentation, interface words, names, numbers, nonsense."""

import pydoc_data.topics
import re
from functools import cache
from random import Random

from forge_core.data.screens import WORDS

CONSONANTS, VOWELS = "bcdfghjklmnpqrstvwxz", "aeiouy"
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
SIGNS = ("&", "-", "/", "+", "|", "*", "#1", "(2)", "99+", "...", "$", "%", "?", "!", "v2.0", "@")

ICONS = {  # what people call what an icon font calls otherwise
    "magnifying glass": ("search",),
    "xmark": ("close",),
    "x": ("close",),
    "bars": ("menu", "toggle navigation"),
    "list": ("menu",),
    "gear": ("settings",),
    "cog": ("settings",),
    "house": ("home",),
    "trash": ("delete", "remove"),
    "trash can": ("delete",),
    "pen": ("edit",),
    "pencil": ("edit",),
    "pen to square": ("edit",),
    "bell": ("notifications", "alerts"),
    "envelope": ("mail", "messages"),
    "user": ("profile", "account"),
    "person": ("profile", "user"),
    "plus": ("add", "new"),
    "circle user": ("profile",),
    "heart": ("like", "favorite"),
    "ellipsis": ("more",),
    "three dots": ("more",),
    "arrow left": ("back",),
    "chevron left": ("previous", "back"),
    "chevron right": ("next",),
    "arrow right": ("next",),
    "rotate": ("refresh",),
    "arrow clockwise": ("refresh",),
    "cart shopping": ("cart",),
    "right from bracket": ("logout",),
    "box arrow right": ("logout",),
    "floppy disk": ("save",),
    "circle question": ("help",),
    "question circle": ("help",),
}


@cache
def vocabulary() -> list[str]:
    """Every word of two letters and more in the documentation that ships with Python, sorted."""
    text = " ".join(pydoc_data.topics.topics.values())
    return sorted({word.lower() for word in re.findall(r"[A-Za-z]{2,14}", text)})


def word(rng: Random) -> str:
    """One word in lower case, a number, or something nobody has a word for."""
    lot = rng.random()
    if lot < 0.4:
        return rng.choice(vocabulary())
    if lot < 0.55:
        return rng.choice(WORDS).lower()
    if lot < 0.85:
        syllables = rng.choice((1, 2, 2, 2, 3, 3, 4))
        made = "".join(
            rng.choice(CONSONANTS) + rng.choice(VOWELS) + rng.choice(("", rng.choice(CONSONANTS)))
            for _ in range(syllables)
        )
        return made[rng.random() < 0.3 :]
    if lot < 0.93:
        return number(rng)
    if lot < 0.97:
        return "".join(rng.choices(ALPHABET, k=rng.randint(1, 8)))
    return rng.choice(SIGNS)


def number(rng: Random) -> str:
    """A count, price, date, share or time."""
    value = rng.randrange(10 ** rng.randint(1, 5))
    form = rng.choice(("{}", "{}", "{:,}", "${:,}.99", "{}%", "12/{}", "20{:02d}-11", "{}.5", "{}:30", "#{}", "+{}"))
    return form.format(value % 100 if ":" in form[1:] and "," not in form else value)


def phrase(rng: Random, longest: int = 4) -> str:
    """What a control may say: one to `longest` words, in one of the usual cases."""
    words = [word(rng) for _ in range(rng.choice([1, 1, 1, 2, 2, 2, 3, 3, 4, 5][: 3 * longest] or [1]))][:longest]
    lot = rng.random()
    if lot < 0.45:
        words = [each[:1].upper() + each[1:] for each in words]
    elif lot < 0.8:
        words[0] = words[0][:1].upper() + words[0][1:]
    elif lot < 0.87:
        words = [each.upper() for each in words]
    return " ".join(words)


def sentence(rng: Random, count: int) -> str:
    """`count` words that make no sense."""
    words = [word(rng) for _ in range(count)]
    return " ".join(words).capitalize() + rng.choice((".", ".", "", "?", "!", ":"))


def like(rng: Random, text: str) -> str:
    """Other words in place of those of `text`, each of about its length and in its case; signs stay."""

    def other(found: re.Match) -> str:
        old = found[0]
        new = min((word(rng) for _ in range(4)), key=lambda each: abs(len(each) - len(old)))
        return new.upper() if old.isupper() and len(old) > 1 else new.capitalize() if old[0].isupper() else new

    return re.sub(r"[A-Za-z][A-Za-z']*", other, re.sub(r"\d", lambda _: str(rng.randrange(10)), text))
