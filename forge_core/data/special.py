"""Special tokens: strings that mean something to a model, to AGUVIS or to our answer form, and must not stand in data.

The base's tokenizer says which it has: of SmolVLM2's 145 no pattern would guess `<repo_name>`. Markers that most chat
templates use go as well, so that rows for one base are not poison to the next.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path

from huggingface_hub import hf_hub_download

from forge_core.paths import locate

# AGUVIS' place for the picture, the tags of stage 2's answers, and chat markers of any family
MARKERS = re.compile(r"<image>|</?(?:think|code)>|<\|[^<>|\s]{1,40}\|>|</?(?:s|unk|pad|bos|eos)>")


def tokens_of_base(base: str, revision: str = "main") -> list[str]:
    """The special tokens of a base, from its tokenizer.json; nothing else of it is loaded.

    Raises OSError where that file is not to be had, ValueError where it is none.
    """
    folder, name = Path(locate(base)), "tokenizer.json"
    try:
        file = folder / name if folder.is_dir() else Path(hf_hub_download(base, name, revision=revision))
        content = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # a name that no repository can have is a ValueError
        reason = str(error).strip().splitlines()[0]
        raise OSError(f"base_model {base}@{revision}: its tokenizer.json is not to be had ({reason})") from None
    try:
        return [token["content"] for token in json.loads(content)["added_tokens"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file}: not the tokenizer.json of a base ({error!r})") from None


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
    """The text without special tokens; repeated, so that none appears out of the pieces around another."""
    while (stripped := special.sub("", text)) != text:
        text = stripped
    return text.strip()
