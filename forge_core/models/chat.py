"""SmolVLM's chat template, with the assistant's part marked so that transformers can say which tokens are supervised.

Renders the same text as the template that the SmolVLM processors carry (a test compares it with TRL's copy). The marked
part is the space after "Assistant:", the answer, and `<end_of_utterance>`; the newline that follows is not supervised.
And what the template of somebody else's base may do: jinja's sandbox, in which transformers runs it, has no limits.
"""

import re
from pathlib import Path

from jinja2 import Environment, TemplateError, nodes

CHAT_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}:"
    "{% if message['role'] == 'assistant' %}{% generation %}"
    "{% for part in message['content'] %}{% if loop.first %} {% endif %}{{ part['text'] }}{% endfor %}"
    "<end_of_utterance>{% endgeneration %}"
    "{% else %}{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>"
    "{% else %}{% if loop.first %} {% endif %}{{ part['text'] }}{% endif %}{% endfor %}<end_of_utterance>{% endif %}"
    "{{ '\n' }}{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
END_OF_TURN = "<end_of_utterance>"
LONGEST = 2**14  # characters of a chat template
LOOPS = 2  # inside one another
MARKS = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")  # transformers' own tags round what is supervised
FILTERS = {"capitalize", "trim", "upper", "lower", "title", "length", "first", "last"}
ALLOWED = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.For, nodes.If, nodes.CondExpr, nodes.Name, nodes.Const),
    *(nodes.Getitem, nodes.Getattr, nodes.Filter, nodes.Compare, nodes.Operand, nodes.Not, nodes.And, nodes.Or),
    *(nodes.Concat, nodes.Add, nodes.Test),
)


def check_template(text: object, file: Path) -> None:
    """Raise ValueError unless a chat template only goes through messages and writes them.

    No call, no product, no variable: so it ends in time that grows with the conversation, whatever it says.
    """
    if not isinstance(text, str) or len(text) > LONGEST:
        raise ValueError(f"{file}: chat_template must be one text of at most {LONGEST:,} characters")
    try:
        _check_node(Environment().parse(MARKS.sub("", text)), 0)
    except (TemplateError, RecursionError, ValueError) as error:
        raise ValueError(f"{file}: the chat template does what a template here may not ({error})") from None


def _check_node(node: nodes.Node, loops: int) -> None:
    if not isinstance(node, ALLOWED) or (isinstance(node, nodes.Filter) and (node.name not in FILTERS or node.args)):
        what = getattr(node, "name", "")
        raise ValueError(f"line {node.lineno}: {type(node).__name__} {what}".rstrip())
    if isinstance(node, nodes.For):
        loops += 1
        if loops > LOOPS or node.recursive or not _is_of_messages(node.iter):
            raise ValueError(f"line {node.lineno}: a loop over something else than messages and their contents")
    for child in node.iter_child_nodes():
        _check_node(child, loops)


def _is_of_messages(node: nodes.Node) -> bool:
    """Whether it is `messages`, or the content of one of them."""
    if isinstance(node, nodes.Getattr):
        return node.attr == "content"
    if isinstance(node, nodes.Getitem):
        return isinstance(node.arg, nodes.Const) and node.arg.value == "content"
    return isinstance(node, nodes.Name) and node.name == "messages"
