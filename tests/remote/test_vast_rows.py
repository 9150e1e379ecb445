"""Vast's rows: what is odd is named, what a stranger wrote cannot do anything, and nothing is left out."""

import pytest
from pydantic import ValidationError

from forge_core.remote import rows

ROW = {
    "id": 9001,
    "label": "forge-x",
    "dph_total": 0.4,
    "actual_status": "running",
    "ssh_host": "ssh1.vast.ai",
    "ssh_port": 10022,
}
DIRECT = {"public_ipaddr": " 203.0.113.7\n", "ports": {"22/tcp": [{"HostIp": "0.0.0.0", "HostPort": "41234"}]}}


@pytest.mark.parametrize(
    ("changes", "address"),
    [
        ({}, ("ssh1.vast.ai", 10022)),
        (DIRECT, ("203.0.113.7", 41234)),
        (DIRECT | {"public_ipaddr": "2001:db8::7"}, ("2001:db8::7", 41234)),
        ({"ports": [8080]}, ("ssh1.vast.ai", 10022)),
        ({"ssh_host": None}, None),
    ],
)
def test_the_address_is_its_own_port_or_the_relay(changes, address):
    found = rows.instance(ROW | changes)
    assert found.address == address and found.odd == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"ssh_host": "a\n  ProxyCommand touch /tmp/x"},
        {"ssh_host": "-oProxyCommand=x"},
        {"ssh_host": "a b"},
        {"ssh_host": "%h"},
        {"ssh_host": 5},
        {"ssh_port": 0},
        {"ssh_port": 65536},
        {"ssh_port": "22 "},
        {"ssh_port": "22\nProxyCommand x"},
        {"ssh_port": True},
        DIRECT | {"public_ipaddr": "1.2.3.4\nProxyCommand x"},
        DIRECT | {"ports": {"22/tcp": [{"HostPort": "22;x"}]}},
    ],
    ids=str,
)
def test_an_odd_address_is_none_and_is_named(changes):
    found = rows.instance(ROW | changes)
    assert found.address is None and "address" in found.odd and "\n" not in found.odd
    assert (found.id, found.label, found.usd_per_hour) == (9001, "forge-x", 0.4)


@pytest.mark.parametrize("price", ["0.4", -1, float("nan"), float("inf"), [], True], ids=str)
def test_an_odd_price_is_not_known_and_is_named(price):
    found = rows.instance(ROW | {"dph_total": price})
    assert found.usd_per_hour is None and found.billed_per_hour is None and "dph_total: " in found.odd
    assert found.label == "forge-x" and found.address


@pytest.mark.parametrize("row", [None, 5, "x", [], {}, {"id": "9001"}, {"id": -1}, {"id": True}], ids=str)
def test_a_row_without_a_number_is_kept(row):
    assert rows.instance(row).id == 0


def test_texts_of_strangers_are_printable_and_short():
    found = rows.instance(
        ROW | {"gpu_name": "RTX\x1b[2J\u202e", "status_msg": "a\nb" + "x" * 1000, "odd": "x", "address": "y"}
    )
    assert found.gpu == r"RTX\x1b[2J\u202e" and found.message.startswith(r"a\nb") and len(found.message) <= 200
    assert found.odd == "" and found.address == ("ssh1.vast.ai", 10022)  # of this side, whatever the row says


NO_LIST = [{}, {"instances": None}, {"instances": {}}, {"success": False, "instances": []}, [], "abc", None]


@pytest.mark.parametrize("answer", NO_LIST, ids=str)
def test_what_is_no_list_is_not_an_empty_one(answer):
    with pytest.raises(ValidationError):
        rows.Page.model_validate(answer)


NO_YES = [{"success": True}, {"new_contract": 5}, {"success": False, "new_contract": 5}, [], "abc", 5, None]
NO_YES += [{"success": True, "new_contract": number} for number in ("abc", "5", 0, -5, 5.5, True, None)]


@pytest.mark.parametrize("answer", NO_YES, ids=str)
def test_what_is_no_yes_with_a_number_is_no_yes(answer):
    with pytest.raises(ValidationError):
        rows.Created.model_validate(answer)
