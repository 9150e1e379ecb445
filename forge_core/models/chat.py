"""SmolVLM's chat template, with the assistant's part marked so that transformers can say which tokens are supervised.

Renders the same text as the template that the SmolVLM processors carry (a test compares it with TRL's copy). The marked
part is the space after "Assistant:", the answer, and `<end_of_utterance>`; the newline that follows is not supervised.
"""

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
