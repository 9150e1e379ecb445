"""Model cards: what is known of the folder, and no name that becomes a field, a heading or a line of its own."""

import pytest
import yaml
from hostile import record

from forge_core.models.adapter_folder import Record
from forge_core.models.publish import merged_card
from forge_core.training.adapter import model_card


@pytest.mark.parametrize("name", ["a\nlicense: mit", "a: b", "--- x", "'\"`# {}", "\x1b[2J", "ünïcode-名"])
def test_no_name_leaves_its_line_of_a_model_card(name):
    given = record(base_model=name, base_revision=name)
    given["training"]["data"] = given["identity"]["parent_adapter"] = f"{name}\n\n# Heading"
    card = model_card(given)
    _, head, body = card.split("---\n", 2)
    fields = yaml.safe_load(head)
    assert list(fields) == ["base_model", "library_name", "pipeline_tag"] and "\n" not in fields["base_model"]
    assert len(body.splitlines()) == len(model_card(record()).split("---\n", 2)[2].splitlines())
    assert "\x1b" not in card


def test_a_merged_card_has_the_base_of_the_hub_as_one_field():
    given = record(base_model="owner/name", base_revision="main")
    given["identity"]["base_sha256"] = None
    identity = Record.model_validate(given).identity
    card = merged_card({"merged_by": "1", "score": None, "adapter_sha256": "0" * 64}, identity)
    fields = yaml.safe_load(card.split("---\n", 2)[1])
    assert fields == {
        "base_model": "owner/name",
        "library_name": "transformers",
        "pipeline_tag": "image-text-to-text",
    }
