"""No instance is billed unseen: odd answers of the provider, looked at from `up`, `status` and `down`."""

import os
import signal

import pytest
from provider import ACCOUNT_KEY

from forge_core.remote import billed, rent, vast
from forge_core.remote.rental import new, rentals

pytestmark = pytest.mark.slow
UP = ("up", "--profile", "embedded", "--yes")
LIST, ONE, CREATE = "/api/v1/instances/", "/api/v0/instances/", "/api/v0/asks/"
EMPTY = (200, {"success": True, "instances": [], "next_token": None})


@pytest.fixture
def provider(project, account, monkeypatch):
    """With one offer, and no second try of a question."""
    monkeypatch.setattr(vast, "TRIES", 1)
    return account([{}])


@pytest.fixture
def rental(provider):
    """A rental that runs as 9001, without a host."""
    made = new("embedded", "RTX 4090", 0.4, False, 5)
    made.instance = 9001
    made.save()
    provider.instances[9001] = row(9001, made.label)
    return made


@pytest.fixture
def sigint():
    """Ctrl-C is heard, also where the tests run in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def row(number: int, label: str) -> dict:
    names = {"id": number, "label": label, "gpu_name": "RTX 4090", "actual_status": "running", "key": "k"}
    prices = {"dph_total": 0.4, "storage_cost": 0.2, "disk_space": 20.0, "start_date": 1.8e9}
    return names | prices | {"intended_status": "running", "statuses": iter([]), "extra_env": []}


def once(answer, path: str, method: str = "GET"):
    """A fault: this answer to the first such request."""
    left = [answer]
    return lambda verb, asked: left.pop() if left and (verb, asked) == (method, path) else None


@pytest.mark.parametrize("answer", [{"success": False}, []], ids=str)
def test_an_answer_that_is_no_list_is_not_an_empty_one(provider, answer):
    provider.faults = lambda method, path: (200, answer)
    with pytest.raises(vast.VastError, match="vastai show instances: .+"):
        vast.instances()


def test_without_a_list_all_that_may_be_billed_is_named(provider, rental, forge):
    provider.faults = lambda method, path: (200, {"instances": None}) if path == LIST else None
    said = forge("status")[1]
    assert "perhaps billed" in said and f"9001 {rental.label}: $0.400/h" in said
    status, said = forge("down", "--force")
    assert (
        status == 2 and f"instance 9001 ({rental.label}) may be billed" in said and "instances: Input should be" in said
    )
    assert 9001 in provider.instances and [each.instance for each in rentals()] == [9001]


def test_pages_without_an_end_are_no_list(provider):
    provider.faults = lambda method, path: (200, {"instances": [], "next_token": "-a"})
    with pytest.raises(vast.VastError, match="the pages have no end"):
        vast.instances()


def test_one_empty_list_ends_nothing(provider, rental, forge):
    provider.faults = once(EMPTY, LIST)
    said = forge("status")[1]
    assert f"9001 {rental.label}: RTX 4090, running, $0.400/h" in said and "1 on the account" in said
    provider.faults = once(EMPTY, LIST)
    status, said = forge("down", "--force")
    assert status == 0 and provider.instances == {} and "0 on the account" in said and rentals() == []


@pytest.mark.parametrize("answer", [(200, {}), (500, {"msg": "later"})], ids=str)
def test_an_empty_list_and_no_clear_word_of_the_number_end_nothing(provider, rental, forge, answer):
    provider.faults = lambda method, path: EMPTY if path == LIST else answer
    said = forge("status")[1]
    assert f"9001 {rental.label}: vastai show instance" in said and "perhaps billed" in said
    assert [each.instance for each in rentals()] == [9001]


@pytest.mark.parametrize("answer", [None, (404, {"msg": "no_such_instance"})], ids=["null", "404"])
def test_what_neither_the_list_nor_its_number_knows_is_gone(provider, rental, forge, answer):
    provider.instances.clear()
    provider.faults = lambda method, path: answer if path.startswith(ONE) else None
    assert (
        f"9001 {rental.label}: not on Vast's list any more, no longer billed" in forge("status")[1] and rentals() == []
    )


def test_what_was_thought_gone_and_is_listed_again_is_ours_again(provider, rental, forge):
    rental.end()
    assert "guard at" in forge("status")[1] and [each.instance for each in rentals()] == [9001]


def test_rows_that_cannot_be_read_are_named_all_the_same(provider, rental, forge):
    provider.instances |= {
        9001: row(9001, rental.label) | {"dph_total": "0.4", "gpu_name": "\x1b[2J", "actual_status": 7},
        9002: row(9002, "mine") | {"storage_cost": None},
        9003: row(9003, "forge-other") | {"public_id": 1},
    }
    del provider.instances[9003]["dph_total"], provider.instances[9002]["start_date"]
    said = forge("status")[1]
    assert f"9001 {rental.label}: \\x1b[2J, provisioning, price not known" in said and "not readable: " in said
    assert "dph_total: Input should be a valid number, got '0.4'" in said and "\x1b" not in said
    assert "9002 mine" in said and "9003 forge-other (not rented from here)" in said
    assert "3 on the account, $0.400 billed each hour now, and 2 of them at a price that Vast does not say" in said


def test_a_row_without_a_number_is_named_by_its_label_and_not_thought_gone(provider, rental, forge):
    provider.faults = lambda *_: (200, {"instances": [row(9001, rental.label) | {"id": "x", "statuses": 0}]})
    said = forge("status")[1]
    assert f"? {rental.label}: RTX 4090" in said and "id: Input should be" in said
    assert [each.instance for each in rentals()] == [9001]


def test_other_numbers_under_the_label_are_seen_and_destroyed(provider, rental, forge):
    foreign = row(77, "forge-embedded-of-another")
    provider.instances = {number: row(number, rental.label) for number in (9002, 9003)} | {77: foreign}
    said = forge("status")[1]
    assert f"9002 {rental.label}: " in said and f"9003 {rental.label}: " in said and "a second one" in said
    assert "77 forge-embedded-of-another (not rented from here)" in said and rentals()[0].instance == 9002
    status, said = forge("down", "--force")
    assert status == 0 and list(provider.instances) == [77] and "1 on the account" in said


def test_what_has_another_label_is_not_touched(provider, rental, forge):
    provider.instances[9001] |= {"label": "mine", "intended_status": "stopped", "actual_status": "stopped"}
    assert "9001 is mine on Vast's list" in forge("status")[1]
    for command in (["down", "--force"], ["pull"]):
        status, said = forge(*command)
        assert status == 2 and "not touched" in said and provider.instances[9001]["intended_status"] == "stopped"


def test_a_damaged_record_stops_nothing_and_what_is_billed_is_named(provider, rental, forge):
    for name, text in {"forge-a": "{", "forge-b": "\xff", "forge-c": rental.model_dump_json()}.items():
        folder = rental.folder.with_name(name)
        folder.mkdir()
        (folder / "rental.json").write_bytes(text.encode("latin-1"))
    (rental.folder.with_name("forge-d") / "rental.json").mkdir(parents=True)
    provider.instances[9002] = row(9002, "forge-a")
    said = forge("status")[1]
    assert f"9001 {rental.label}: " in said and "9002 forge-a: RTX 4090, running, $0.400/h" in said
    for name in "abcd":
        assert f".vast/forge-{name}/rental.json" in said
    status, said = forge("down", "--instance", 9002)
    assert status == 2 and "instance 9002 was not rented from here" in said and "9002 forge-a: RTX 4090" in said
    assert forge("down", "--force")[0] == 0 and list(provider.instances) == [9002]


@pytest.mark.parametrize("price", [8.0, None], ids=str)
def test_a_price_at_the_start_that_was_not_agreed_ends_it(provider, forge, price):
    provider.changes = {"dph_total": price}
    provider.statuses = ["loading"]
    status, said = forge(*UP, "--max-dollars", 1)
    assert status == 2 and "it is destroyed" in said and provider.instances == {} and rentals() == []
    assert ("costs $8.000/h, where $0.400/h were agreed" if price == 8.0 else "Vast does not say what") in said


@pytest.mark.parametrize("price", [0.07, 0.4, 2.99])
def test_the_highest_price_that_is_let_through_and_the_time_to_stop_fit_into_the_money(price):
    hours = rent.hours_of(price, 24, 1.5)
    assert (hours + rent.STOPPING / 3600) * price * rent.MARGIN <= 1.5 + 1e-9 and hours <= 24
    assert rent.hours_of(price, 0.5, 1.5) == min(0.5, hours) and rent.hours_of(price, 24, None) == 24


@pytest.mark.parametrize("answer", [{"success": True, "new_contract": 77}, "abc"], ids=str)
def test_an_odd_answer_to_create_is_settled_by_the_label(provider, forge, answer):
    provider.statuses = ["offline"]
    provider.instances[77] = row(77, "mine")
    create_and_answer(provider, (200, answer))
    status, said = forge(*UP)
    assert status == 2 and "instance 9001 is offline" in said and "it is destroyed" in said
    assert list(provider.instances) == [77] and rentals() == []


def create_and_answer(provider, answer) -> None:
    """It is rented, and the answer is another one."""

    def fault(method, path):
        if method == "PUT" and path.startswith(CREATE):
            provider.answer(method, path, {}, provider.requests[-1][2], ACCOUNT_KEY)
            return answer

    provider.faults = fault


def test_a_lost_answer_and_a_list_that_is_behind_forget_nothing(provider, forge):
    create_and_answer(provider, (502, {"msg": "bad gateway"}))
    rented = provider.faults
    provider.faults = lambda method, path: EMPTY if path == LIST else rented(method, path)
    status, said = forge(*UP)
    (rental,) = rentals()
    assert status == 2 and f"whether {rental.label} was rented is not known" in said
    assert len(provider.asked("PUT", CREATE)) == 1  # vastai would ask again, and be told that the offer is gone
    assert f"? {rental.label}: " in forge("status")[1] and len(rentals()) == 1
    provider.faults = lambda method, path: None
    assert f"9001 {rental.label}: RTX 4090" in forge("status")[1] and rentals()[0].instance == 9001


def test_what_was_never_rented_is_let_go_after_a_while(provider, forge, monkeypatch):
    new("embedded", "RTX 4090", 0.4, False, 5)
    assert "perhaps billed" in forge("status")[1]
    monkeypatch.setattr(billed, "UNSURE", 0)
    status, said = forge("down", "--force")
    assert status == 0 and "was never rented: nothing is billed" in said and rentals() == []


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("PUT", CREATE, "was rented is not known. `forge vast status` tells"),
        ("GET", LIST, "is rented and billed all the same"),
        ("DELETE", ONE, "MAY BE BILLED"),
    ],
    ids=["create", "waiting", "destroy"],
)
def test_ctrl_c_names_what_may_be_billed(provider, forge, sigint, method, path, words):
    provider.statuses = ["loading", "offline"] if method == "DELETE" else ["loading"]

    def interrupt(verb, asked):
        if verb == method and asked.startswith(path):
            if method == "PUT":
                provider.answer(verb, asked, {}, provider.requests[-1][2], ACCOUNT_KEY)
            provider.faults = lambda method, path: None
            os.kill(os.getpid(), signal.SIGINT)
            return 500, {"msg": "too late"}

    provider.faults = interrupt
    status, said = forge(*UP)
    (rental,) = rentals()
    assert status in (1, 130) and words in said and rental.label in said
    assert f"9001 {rental.label}" in forge("status")[1] and 9001 in provider.instances


def test_a_disk_that_is_full_after_create_ends_it(provider, project, forge):
    def fill(method, path):
        if path.startswith(CREATE):
            (folder,) = (project / ".vast").glob("forge-*")
            (folder / ".rental.json.tmp").mkdir()  # the record cannot be written

    provider.faults = fill
    status, said = forge(*UP)
    assert status == 2 and "it is destroyed" in said and "could not be written" in said and provider.instances == {}
    assert "0 on the account" in forge("status")[1]


def test_an_odd_address_is_none_and_is_said(provider, forge, project, monkeypatch):
    provider.changes = {"ssh_host": "a\n  ProxyCommand touch x", "ports": {}}
    monkeypatch.setattr(rent, "LOADING", 0.1)
    status, said = forge(*UP)
    assert status == 2 and "address.0: String should match pattern" in said and provider.instances == {}
    assert not list((project / ".vast").glob("*/ssh_config"))
