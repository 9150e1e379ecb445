"""tokenizer.json of somebody else: what a tokenizer may do with a text."""

from typing import Annotated, Literal, TypeVar

from pydantic import Field

from forge_core.json_files import Outside

FEW = 16
Item = TypeVar("Item")
Few = Annotated[list[Item], Field(max_length=FEW)]
OneOf = Annotated[Item, Field(discriminator="type")]


class Piece(Outside):
    """A step of a tokenizer that makes no text longer and searches for no pattern of its file's own."""

    type: Literal["ByteLevel", "Digits", "Metaspace", "ByteFallback", "Fuse"]


class Splits(Outside):
    """Several steps before the vocabulary is looked at."""

    type: Literal["Sequence"]
    pretokenizers: Few[Piece]


class Joins(Outside):
    """Several steps from tokens to text."""

    type: Literal["Sequence"]
    decoders: Few[Piece]


class Special(Outside):
    """What stands for a special token."""

    ids: Few[int]


class Frame(Outside):
    """Special tokens round a text."""

    type: Literal["TemplateProcessing"]
    single: Few[dict]
    special_tokens: Annotated[dict[str, Special], Field(max_length=FEW)] = {}


class Frames(Outside):
    """Several steps from tokens to what is given back."""

    type: Literal["Sequence"]
    processors: Few[OneOf[Piece | Frame]]


class Vocabulary(Outside):
    """Tokens and how a text is cut into them."""

    type: Literal["BPE", "Unigram"]
    continuing_subword_prefix: Literal["", None] = None
    end_of_word_suffix: Literal["", None] = None


class NormalForm(Outside):
    """Unicode's canonical composition."""

    type: Literal["NFC"]


class Tokenizer(Outside):
    """tokenizer.json: texts are cut and not rewritten, as a rewriting may repeat itself until no memory holds it."""

    normalizer: NormalForm | None = None
    pre_tokenizer: OneOf[Piece | Splits] | None = None
    post_processor: OneOf[Piece | Frame | Frames] | None = None
    decoder: OneOf[Piece | Joins] | None = None
    model: Vocabulary
