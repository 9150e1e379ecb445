"""Which pages of a site may be opened: robots.txt from servers that mean harm, addresses that are none, names."""

import pytest
from web_server import WebServer, unasked

from forge_core.capture import sites
from forge_core.capture.sites import AGENT, Place, opened


@pytest.fixture
def other():
    with unasked({"/robots.txt": "User-agent: *\nAllow: /"}) as server:
        yield server


@pytest.fixture
def server():
    server = WebServer()
    yield server
    server.stop()


def refusal(server: WebServer, robots, path: str = "/a") -> str:
    """Why a page of the site is not opened, "" where it is."""
    server.pages["/robots.txt"] = robots
    with opened(Place(server.url), set()) as site:
        return site.refusal(server.url + path)


@pytest.mark.parametrize(
    ("status", "headers", "text", "allowed"),
    [
        (200, {}, "User-agent: *\nDisallow: /private/", True),
        (200, {}, "User-agent: *\nDisallow: /a", False),
        (200, {}, f"User-agent: {AGENT}\nDisallow: /\n\nUser-agent: *\nAllow: /", False),
        (200, {}, b"\xff\xfe\0" * 1000, True),
        (200, {}, "User-agent: *\nDisallow: /a\n" + "# \n" * 400_000, False),  # the first 512 KiB count
        (404, {}, "User-agent: *\nDisallow: /", True),
        (302, {"Location": "/rules"}, "", False),
        (200, {}, "\ufeffUser-agent: *\nDisallow: /", False),
    ],
)
def test_rules_are_heeded(server, capsys, status, headers, text, allowed):
    server.pages["/rules"] = "User-agent: *\nDisallow: /"
    assert (refusal(server, (status, headers, text)) == "") == allowed
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("rules", "path", "allowed"),
    [
        ("Allow: /\nDisallow: /admin", "/admin/x", False),  # the longest counts, wherever it stands
        ("Disallow: /\nAllow: /docs/", "/docs/a", True),
        ("Disallow: /a\nAllow: /a", "/a", True),
        ("Disallow: /*/private", "/a/b/private/c", False),
        ("Disallow: /*?q=", "/a?p=1", True),
        ("Disallow: /*?q=", "/a?q=1", False),
        ("Disallow: /*.php$", "/a.php", False),
        ("Disallow: /*.php$", "/a.php5", True),
        ("Disallow: /a$", "/ab", True),
        ("Disallow: /a$", "/a", False),
        ("Disallow: /%7Ejoe/", "/~joe/a", False),
        ("Disallow: /caf\xe9", "/caf%C3%A9", False),
        ("Disallow: /x\n\nUser-agent: else\nDisallow: /\n\nUser-agent: *\nDisallow: /y", "/y", False),
        ("Disallow:", "/a", True),
        ("Disallow: /" + "*a" * 5000 + "$", "/" + "a" * 4000, True),
    ],
)
def test_a_rule_means_what_the_standard_says(server, rules, path, allowed):
    assert (refusal(server, f"User-agent: *\n{rules}", path) == "") == allowed


@pytest.mark.parametrize(
    "location", ["{other}/robots.txt", "http://169.254.169.254/", "http://10.0.0.5/", "file:///etc/passwd", "ftp://a/"]
)
def test_a_redirect_to_another_origin_is_not_followed_and_allows_nothing(server, other, capsys, location):
    answer = (302, {"Location": location.format(other=other.url)}, "")
    assert refusal(server, answer) == "robots.txt" and server.requests == ["/robots.txt"]
    said = capsys.readouterr().out
    assert f"{server.url}/robots.txt: " in said and "only the pages that you named are opened" in said


@pytest.mark.parametrize(
    "answer",
    [
        None,  # nothing is said, as long as the server lives
        (500, {}, "User-agent: *\nAllow: /"),
        (403, {}, "User-agent: *\nAllow: /"),
        (200, {"Content-Encoding": "gzip"}, b"\x1f\x8b"),
        (200, {"Content-Length": "999"}, "User-agent: *\nAllow: /"),
        (200, {}, "User-agent: *\nCrawl-delay: \N{SUPERSCRIPT TWO}"),
        (200, {}, "User-agent: *\nCrawl-delay: " + "9" * 5000),
        (200, {}, "User-agent: *\nDisallow: //[x"),
        (302, {"Location": "/robots.txt"}, ""),
    ],
)
def test_rules_that_cannot_be_had_allow_nothing(server, capsys, monkeypatch, answer):
    monkeypatch.setattr(sites, "ROBOTS_SECONDS", 0.5)
    assert refusal(server, answer) == "robots.txt"
    assert capsys.readouterr().out.startswith(f"{server.url}/robots.txt: ")


def test_a_crawl_delay_without_measure_is_cut(server):
    server.pages["/robots.txt"] = f"User-agent: *\nCrawl-delay: {'9' * 400}"
    with opened(Place(server.url), set()) as site:
        assert site.wait(0.5) == sites.MAX_WAIT


@pytest.mark.parametrize("url", ["http://[", "http://[::1", "javascript:alert(1)", "http://\u2100/", "", "http://a:b/"])
def test_what_is_no_address_is_of_another_origin(server, url):
    with opened(Place(server.url), set()) as site:
        assert site.refusal(url) == "another origin"


@pytest.mark.parametrize("name", ["../../etc", "a/b\\c", "a\n\x1b[2Jb", "..", "x" * 300, "\u4e16" * 300])
def test_a_name_of_a_site_is_safe_in_a_file_name(server, name):
    names = set()
    for _ in range(2):
        with opened(Place(server.url, name), names) as site:
            file = f"{site.name}-page.png"
            assert "/" not in file and file.isprintable() and len(file.encode()) < 200
    assert len(names) == 2
