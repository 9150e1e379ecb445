"""Special tokens: strings that mean something to a model, to AGUVIS or to our answer form, and must not stand in data.

The base's tokenizer says which it has: of SmolVLM2's 145 no pattern would guess `<repo_name>`. Markers that most chat
templates use go as well, so that rows for one base are not poison to the next.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from huggingface_hub import hf_hub_download

from forge_core.json_files import read_object
from forge_core.paths import locate

# AGUVIS' place for the picture, the tags of stage 2's answers, and chat markers of any family
MARKERS = re.compile(r"<image>|</?(?:think|code)>|<\|[^<>|\s]{1,40}\|>|</?(?:s|unk|pad|bos|eos)>")


REACH = 64  # characters before a cut from which the search goes on; few tokens are longer


def tokens_of_base(base: str, revision: str = "main") -> list[str]:
    """The tokens added to a base's vocabulary, which are its special ones, from its tokenizer's two files alone.

    Raises OSError where its tokenizer.json could not be read, ValueError where that is none.
    """
    try:
        content = _read(base, revision, "tokenizer.json")
    except (OSError, ValueError) as error:  # a name that no repository can have is a ValueError
        reason = str(error).strip().splitlines()[0]
        raise OSError(f"base_model {base}@{revision}: its tokenizer.json could not be read ({reason})") from None
    try:
        settings = _read(base, revision, "tokenizer_config.json")
    except OSError:
        settings = {}
    try:
        added = [*content["added_tokens"], *settings.get("added_tokens_decoder", {}).values()]
        return list(dict.fromkeys(token["content"] for token in added))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"base_model {base}: its tokenizer.json is not one of a base ({error!r})") from None


def _read(base: str, revision: str, name: str) -> dict:
    folder = Path(locate(base))
    file = folder / name if folder.is_dir() else Path(hf_hub_download(base, name, revision=revision))
    return read_object(file)


def tokens_of(tokenizer) -> list[str]:
    """The special tokens of a loaded tokenizer (one of transformers')."""
    return [token.content for token in tokenizer.added_tokens_decoder.values()]


def special_of(tokenizer) -> re.Pattern[str]:
    """Matches what no text for the model of this tokenizer may hold."""
    return special_pattern(tokens_of(tokenizer))


def special_pattern(tokens: Iterable[str]) -> re.Pattern[str]:
    """Matches each of `tokens`, of two that begin alike the longer one, and the markers above."""
    longest_first = sorted(set(tokens), key=lambda token: (-len(token), token))
    return re.compile("|".join([*map(re.escape, longest_first), MARKERS.pattern]))


def clean(text: str, special: re.Pattern[str]) -> str:
    """The text without special tokens, and without those that appear out of the pieces around another."""
    start = 0
    while found := special.search(text, start) or (start and special.search(text)):
        text = text[: found.start()] + text[found.end() :]
        start = max(0, found.start() - REACH)
    return text.strip()
