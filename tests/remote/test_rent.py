"""Renting and giving back, with the real `vastai` and a provider that fails in all its ways."""

import getpass
import json
import socket

import pytest
import yaml
from provider import ACCOUNT_KEY, OFFER

from forge_core import paths
from forge_core.data import disk
from forge_core.remote import rent, ssh, vast
from forge_core.remote.rental import new, rentals

pytestmark = pytest.mark.slow
UP = ("up", "--profile", "embedded")
GOOD = OFFER | {"dph_total": 0.3}


@pytest.fixture
def closed_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_the_cheapest_offer_that_fits_is_shown_with_its_cost_and_rented_after_a_yes(project, account, forge, loopback):
    misfits = [
        {"gpu_ram": 6144}, {"compute_cap": 610}, {"disk_space": 10}, {"inet_down": 10}, {"reliability": 0.9},
        {"dph_total": 0.6}, {"rented": True}, {"direct_port_count": 0}, {"cuda_max_good": 12.4}, {"num_gpus": 2},
    ]  # fmt: skip
    offers = [{"id": 100 + number} | misfit for number, misfit in enumerate(misfits)]
    provider = account([{"id": 7, "dph_total": 0.44}, {"id": 8, "dph_total": 0.30}, *offers], loopback)
    status, said = forge(*UP, "--max-hours", 5, "--max-dollars", 0.9, answer="y\n")
    assert status == 0, said
    shown = [line.split() for line in said.splitlines() if line.strip().split(" ")[0].isdigit()]
    assert [row[0] for row in shown] == ["8", "7"]
    # 5 notebooks of 6 minutes are half an hour; $0.90 at $0.30/h, 2% of margin and 4 minutes to stop are 2.87 h
    assert [(row[5], row[6]) for row in shown] == [("$0.15", "$0.90"), ("$0.22", "$0.90")]
    assert "Rent offer 8, RTX 4090, on demand, $0.300/h, stopped by itself after 2.9 h ($0.90 and traffic)?" in said
    (body,) = provider.asked("PUT", "/api/v0/asks/8/")
    assert body["price"] is None and body["image"] == vast.IMAGE and "@sha256:" in body["image"]
    assert body["disk"] == disk.gb("embedded")
    assert body["runtype"] == "ssh_direc ssh_proxy" and body["cancel_unavail"] is True
    (rental,) = rentals()
    assert rental.instance == 9008 and rental.deadline - rental.began == pytest.approx(0.9 / 0.306 * 3600 - 240)


def test_a_no_rents_nothing(project, account, forge):
    provider = account([{}])
    status, said = forge(*UP, answer="n\n")
    assert status == 2 and "nothing rented" in said
    assert provider.asked("PUT", "/api/v0/asks") == [] and rentals() == []


def test_nobody_at_the_question_is_a_no(project, account, forge):
    provider = account([{}])
    status, said = forge(*UP, answer="")
    assert status == 2 and "nothing rented" in said and provider.asked("PUT", "/api/v0/asks") == []


@pytest.mark.parametrize("name", ["embedded/", "../embedded", "./embedded", "em'bedded", "em%bedded", "em\nbedded", ""])
def test_a_profile_that_is_no_plain_name_is_refused_before_vast_is_asked(project, account, forge, name):
    provider = account([{}])
    status, said = forge("up", "--profile", name, "--yes")
    assert status == 2 and f"{name!r} is not the plain name of a folder under params/ (embedded)" in said
    assert provider.requests == []


@pytest.mark.parametrize("character", ['"', "\\", "$", "\n", "\x1b"])
def test_a_path_that_ssh_cannot_take_is_refused_before_vast_is_asked(project, account, forge, monkeypatch, character):
    provider = account([{}])
    root = project.rename(project.with_name(f"a{character}b"))
    monkeypatch.setattr(paths, "ROOT", root)
    status, said = forge(*UP, "--yes")
    assert status == 2 and "cannot take" in said and "nothing rented" in said and provider.requests == []


def test_from_a_path_with_other_odd_characters_a_host_is_reached(project, loopback, vastai, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", project.rename(project.with_name("it's 100%h of `ünï`")))
    monkeypatch.setenv("FORGE_REMOTE_USER", getpass.getuser())
    monkeypatch.setenv("FORGE_REMOTE_DIR", str(loopback.home / "forge"))
    rent.check_here()
    with (loopback.folder / "client_key.pub").open("a") as keys:
        keys.write(ssh.key().with_suffix(".pub").read_text())
    rental = new("embedded", "RTX 4090", 0.4, False, 1.0)
    assert ssh.Host(ssh.config(rental, ("127.0.0.1", loopback.port))).run("echo here") == "here\n"
    assert (rental.folder / "known_hosts").stat().st_size


@pytest.mark.parametrize("limit", [("--bid", "nan"), ("--max-hours", "inf"), ("--max-dollars", "nan")], ids=" ".join)
def test_a_limit_that_is_no_number_is_refused(project, account, forge, limit):
    provider = account([{}])
    status, said = forge(*UP, "--yes", *limit)
    assert status == 2 and provider.requests == []


def test_money_that_buys_no_time_rents_nothing(project, account, forge):
    provider = account([{}])
    status, said = forge(*UP, "--yes", "--max-dollars", 0.02)
    assert status == 2 and "buys no hours" in said and provider.asked("PUT", "/api/v0/asks") == []


def test_offers_that_cannot_be_read_are_named_and_left_out(project, account, forge):
    provider = account([GOOD])
    prices = [0, -0.1, float("nan"), None, "0.1", [0.1], 9.0]
    odd = [GOOD | {"id": 11 + number, "dph_total": price} for number, price in enumerate(prices)]
    loud = GOOD | {"id": 2, "dph_total": 0.4, "gpu_name": "RTX\x1b[2J", "geolocation": "Here\nRent offer 3"}
    answer = {"offers": [*odd, "no row", GOOD | {"id": "12"}, GOOD, loud]}
    provider.faults = lambda method, path: (200, answer) if path == "/api/v0/bundles/" else None
    status, said = forge(*UP, answer="n\n")
    for number in range(11, 17):
        assert f"offer {number} is left out: dph_total: " in said
    assert "Rent offer 1, RTX 4090, on demand, $0.300/h" in said and status == 2
    assert [line.split()[0] for line in said.splitlines() if line.startswith("  ")][1:] == [
        "1",
        "2",
    ]  # not the dear one
    assert "\x1b" not in said and "RTX\\x1b[2J" in said and "Here\\nRent offer 3" in said


def test_an_answer_without_offers_is_one_line(project, account, forge, monkeypatch):
    monkeypatch.setattr(vast, "TRIES", 1)
    provider = account([{}])
    provider.faults = lambda method, path: (200, {"success": False})
    status, said = forge(*UP, "--yes")
    assert status == 2 and said.startswith("vastai search offers: ") and said.count("\n") == 1


def test_interruptible_is_asked_for_with_its_bid(project, account, forge, loopback):
    provider = account([{"id": 3, "min_bid": 0.2}, {"id": 4, "min_bid": 0.1}], loopback)
    status, said = forge(*UP, "--bid", 0.12, "--yes")
    assert status == 0, said
    assert [body["type"] for body in provider.asked("POST", "/api/v0/bundles/")] == ["bid"]
    (body,) = provider.asked("PUT", "/api/v0/asks/4/")
    assert body["price"] == 0.12 and rentals()[0].interruptible
    assert rentals()[0].usd_per_hour == pytest.approx(0.12 + 20 * 0.2 / 730)  # Vast bills the disk beside the bid


def test_no_offer_says_what_was_asked_for(project, account, forge):
    provider = account([{"gpu_ram": 4096}])
    status, said = forge(*UP, "--yes")
    assert status == 2
    assert "no offer fits; asked for 8 GB, compute capability 7.5, 20 GB of disk" in said
    assert "params/embedded/profile.yaml" in said and provider.asked("PUT", "/api/v0/asks") == []


def test_an_offer_that_is_gone_leads_to_the_next_after_another_yes(project, account, forge, loopback):
    provider = account([{"id": 1, "dph_total": 0.2}, {"id": 2, "dph_total": 0.3}], loopback)
    taken = provider.offers[0]

    def take(method, path):
        if method == "PUT" and path == "/api/v0/asks/1/":
            provider.offers = [offer for offer in provider.offers if offer is not taken]

    provider.faults = take
    status, said = forge(*UP, answer="y\ny\n")
    assert status == 0 and "offer 1 is gone" in said and said.count("Rent offer") == 2
    assert [rental.instance for rental in rentals()] == [9002] and list(provider.instances) == [9002]


def test_an_instance_that_never_comes_up_is_given_back(project, account, forge):
    provider = account([{}])
    provider.statuses = ["loading", "offline"]
    status, said = forge(*UP, "--yes")
    assert status == 2 and "instance 9001 is offline" in said and "it is destroyed" in said
    assert provider.instances == {} and rentals() == []


@pytest.mark.parametrize("state", ["loading", "running"], ids=["stuck loading", "no ssh"])
def test_an_instance_that_takes_too_long_is_given_back(project, account, forge, monkeypatch, closed_port, state):
    provider = account([{}])
    provider.statuses = [state]
    monkeypatch.setattr(rent, "LOADING", 1.0)
    provider.changes = {"ports": {"22/tcp": [{"HostPort": str(closed_port)}]}}
    status, said = forge(*UP, "--yes")
    assert status == 2 and f"still {state} after" in said and "it is destroyed" in said
    assert provider.instances == {} and rentals() == []


def test_a_busy_or_broken_api_is_asked_again(project, account, forge, loopback):
    provider = account([{}], loopback)
    left = [429, 500, 502]

    def busy(method, path):
        return (left.pop(), {"msg": "later"}) if left and method in ("POST", "GET") else None

    provider.faults = busy
    assert forge(*UP, "--yes")[0] == 0 and left == []
    assert len(provider.asked("PUT", "/api/v0/asks")) == 1


def test_an_answer_lost_after_renting_is_found_by_its_label(project, account, forge, loopback):
    provider = account([{}], loopback)

    def lose(method, path):
        if path.startswith("/api/v0/asks"):
            provider.answer(method, path, {}, provider.requests[-1][2], ACCOUNT_KEY)
            return 500, {"msg": "internal"}

    provider.faults = lose
    status, said = forge(*UP, "--yes")
    assert status == 0 and "instance 9001" in said
    assert len(provider.asked("PUT", "/api/v0/asks")) == 1 and rentals()[0].instance == 9001


def test_a_refusal_rents_nothing_and_is_passed_on(project, account, forge):
    provider = account([{}])
    refusal = (400, {"success": False, "error": "insufficient_credit", "msg": "Your account lacks credit"})
    provider.faults = lambda method, path: refusal if path.startswith("/api/v0/asks") else None
    status, said = forge(*UP, "--yes")
    assert status == 2 and "HTTP 400: Your account lacks credit" in said and rentals() == []


def test_what_nobody_knows_is_named_and_status_finds_out(project, account, forge):
    provider = account([{}])
    broken = []

    def go_down(method, path):
        if path.startswith("/api/v0/asks"):
            provider.answer(method, path, {}, provider.requests[-1][2], ACCOUNT_KEY)
            broken.append(True)
        return (500, {"msg": "down"}) if broken else None

    provider.faults = go_down
    status, said = forge(*UP, "--yes")
    (rental,) = rentals()
    assert status == 2 and f"whether {rental.label} was rented is not known" in said
    status, said = forge("status")
    assert "Vast does not answer" in said and f"{rental.label}: $0.400/h" in said
    provider.faults = lambda method, path: None
    assert "9001" in forge("status")[1] and rentals()[0].instance == 9001


def test_a_wrong_key_says_how_to_set_it_and_shows_none(project, account, forge, monkeypatch):
    account([{}])
    monkeypatch.setenv("VAST_API_KEY", "f" * 64)
    status, said = forge(*UP, "--yes")
    assert status == 2 and "HTTP 401" in said and "vastai set api-key KEY" in said and "f" * 64 not in said


def test_without_vastai_the_command_that_brings_it_is_named(project, account, forge, monkeypatch, tmp_path):
    account([{}])
    monkeypatch.setenv("PATH", str(tmp_path))
    status, said = forge(*UP, "--yes")
    assert status == 2 and "make vast" in said


def test_a_profile_without_rent_is_refused(project, account, forge):
    account([{}])
    file = project / "params" / "embedded" / "profile.yaml"
    values = yaml.safe_load(file.read_text())
    del values["rent"]
    file.write_text(yaml.safe_dump(values))
    status, said = forge(*UP, "--yes")
    assert status == 2 and "params/embedded/profile.yaml has no 'rent:' section" in said


def test_down_by_force_sees_the_end_and_says_what_was_charged(project, account, forge, loopback):
    provider = account([{}], loopback)
    assert forge(*UP, "--yes")[0] == 0
    provider.charges = [
        {"type": "instance", "source": "instance-9001", "start": 1, "end": 2, "amount": 0.25, "items": []},
        {"type": "instance", "source": "instance-5", "start": 1, "end": 2, "amount": 9.0, "items": []},
        {"type": "instance", "source": "instance-9001", "start": 2, "end": 3, "amount": 0.17, "items": []},
    ]
    status, said = forge("down", "--force")
    assert status == 0 and "instance 9001 is gone; Vast charged $0.42 for it" in said
    assert provider.instances == {} and rentals() == []


def test_a_charge_that_is_not_listed_yet_is_called_an_upper_bound(project, account, forge, loopback):
    account([{}], loopback)
    assert forge(*UP, "--yes")[0] == 0
    assert "not on Vast's list yet" in forge("down", "--force")[1]


def test_an_end_that_is_not_seen_is_not_believed(project, account, forge, loopback):
    provider = account([{}], loopback)
    assert forge(*UP, "--yes")[0] == 0
    provider.faults = lambda method, path: (200, {"success": True}) if method == "DELETE" else None
    status, said = forge("down", "--force")
    assert status == 2 and "MAY BE BILLED" in said and [each.instance for each in rentals()] == [9001]
    assert "9001" in forge("status")[1]
    provider.faults = lambda method, path: None
    assert forge("down", "--force")[0] == 0 and provider.instances == {}


def test_status_lists_all_that_is_billed_whoever_rented_it(project, account, forge, loopback):
    provider = account([{}, {"id": 2}], loopback)
    assert forge(*UP, "--yes")[0] == 0
    foreign = provider.instances[9001] | {"id": 77, "label": "mine", "statuses": iter([])}
    stopped = foreign | {"id": 78, "label": "forge-old", "actual_status": "stopped", "disk_space": 365.0}
    provider.instances |= {77: foreign | {"actual_status": "running"}, 78: stopped}
    lines = forge("status")[1].splitlines()
    assert len(lines) == 4 and "9001 forge-embedded-" in lines[2] and "guard at" in lines[2]
    assert "77 mine (not the Forge's): RTX 4090, running, $0.400/h" in lines[0]
    assert "78 forge-old (not rented from here): RTX 4090, stopped, $0.100/h" in lines[1]  # 365 GB at $0.2 a month
    assert lines[3] == "3 on the account, $0.900 billed each hour now"


def test_status_sees_all_pages_and_what_has_ended_elsewhere(project, account, forge, loopback):
    provider = account([{}], loopback)
    assert forge(*UP, "--yes")[0] == 0
    row = provider.instances.pop(9001) | {"statuses": iter([]), "actual_status": "running"}
    provider.instances = {number: row | {"id": number, "label": "other"} for number in range(1, 61)}
    said = forge("status")[1]
    assert "60 on the account, $24.000 billed each hour now" in said
    assert "not on Vast's list any more, no longer billed" in said and rentals() == []


def test_two_rentals_must_be_told_apart(project, forge):
    for number in (1, 2):  # in the same second, as from two laptops
        rental = rent.new("embedded", "GPU", 0.1, False, 1)
        rental.instance = number
        rental.save()
    rental_files = list((project / ".vast").glob("*/rental.json"))
    assert len(rental_files) == 2
    status, said = forge("pull")
    assert status == 2 and "several are rented, name one with --instance" in said
    assert json.loads(rental_files[0].read_text())["ended"] is None
