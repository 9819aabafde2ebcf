"""Where credentials may go, and by which way."""

from collections.abc import Mapping

import pytest

from jobform.clients.hosts import Base, base_url, is_loopback, proxy_for
from jobform.model.errors import BackendError

DEFAULT = "https://api.example.com"
OWN = ("api.example.com", "*.svc.example.com")


def base(setting: str | None, environ: Mapping[str, str] | None = None) -> Base:
    return base_url(setting, ("SERVICE_URL", "SERVICE_BASE_URL"), DEFAULT, OWN, environ or {})


def refusal(setting: str | None, environ: Mapping[str, str] | None = None) -> str:
    with pytest.raises(BackendError) as caught:
        base(setting, environ)
    return f"{caught.value.summary}: {caught.value.detail}"


def test_the_services_own_address_is_the_default() -> None:
    assert base(None) == Base(DEFAULT, "the service's own address")


def test_a_variable_of_the_runner_goes_first_and_anywhere() -> None:
    found = base("https://api.example.com", {"SERVICE_BASE_URL": "http://10.0.0.7:8080/v2/", "SERVICE_URL": ""})
    assert found == Base("http://10.0.0.7:8080/v2", "SERVICE_BASE_URL")
    assert (found.host, found.path) == ("10.0.0.7", "/v2")


@pytest.mark.parametrize("url", [
    "https://api.example.com", "https://API.Example.com/", "https://eu.svc.example.com/v1", "http://127.0.0.1:80", "http://[::1]:8/",
    "http://localhost:1", "https://localhost",
])
def test_a_setting_may_name(url: str) -> None:
    assert base(url).source == "`url` of the backend"


@pytest.mark.parametrize("url", [
    "https://evil.example", "https://api.example.com.evil.example", "https://xapi.example.com", "https://svc.example.com",
    "https://api.example.com.", "https://0.0.0.0", "https://2130706433", "https://[::ffff:10.0.0.1]", "https://10.0.0.1",
])
def test_a_setting_may_not_name(url: str) -> None:
    told = refusal(url)
    assert "credentials are not sent to" in told
    assert "JOBFORM_ALLOW_HOSTS" in told


@pytest.mark.parametrize("allow", ["ml.example.org", "a.b, ML.Example.org", "*.example.org x.y"])
def test_the_runner_allows_further_hosts(allow: str) -> None:
    assert base("https://ml.example.org", {"JOBFORM_ALLOW_HOSTS": allow}).host == "ml.example.org"


@pytest.mark.parametrize("allow", ["example.org", "*.ml.example.org", "*", "ml.example.org.uk", "*.org.uk", "ml.example.orgx"])
def test_what_the_runner_did_not_allow(allow: str) -> None:
    assert "credentials are not sent" in refusal("https://ml.example.org", {"JOBFORM_ALLOW_HOSTS": allow})


def test_credentials_are_not_sent_in_the_clear_unless_the_runner_says_so() -> None:
    assert "unencrypted" in refusal("http://api.example.com")
    assert base("http://api.example.com", {"JOBFORM_ALLOW_HOSTS": "api.example.com"}).url == "http://api.example.com"


@pytest.mark.parametrize("url", [
    "https://user@api.example.com", "https://user:secret@api.example.com", "https://@api.example.com",
    "https://api.example.com?x=1",
    "https://api.example.com/?", "https://api.example.com/#", "https://api.example.com#x", "ftp://api.example.com",
    "api.example.com",
    "//api.example.com", "https://", "https:///x", "https://api.example.com:99999", "https://api.example.com:0",
    "https://api.example.com:x", "https://api.exa\tmple.com", "https://api.example.com\n.evil.example",
    "https://evil.example\\.api.example.com",
    "https://api.example.com\\@evil.example", "https://evil.example\\.x.svc.example.com", "https://api。example。com", "https://[::1",
    "https://api.example.com/a b", "file:///etc/passwd", "https://exämple.com", " ",
])
@pytest.mark.parametrize("place", ["setting", "SERVICE_URL"])
def test_what_is_no_address(url: str, place: str) -> None:
    told = refusal(url) if place == "setting" else refusal(None, {place: url})
    assert "no address" in told
    assert "secret" not in told


def test_no_address_at_all() -> None:
    with pytest.raises(BackendError) as caught:
        base_url(None, ("SERVICE_URL",), None, (), {})
    assert "SERVICE_URL" in caught.value.detail
    assert "`url`" in caught.value.detail


@pytest.mark.parametrize(("host", "found"), [
    ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("localhost.example.com", False), ("", False),
    ("127.0.0.1.nip.io", False), ("10.0.0.1", False), ("0", False),
])
def test_loopback(host: str, found: bool) -> None:
    assert is_loopback(host) is found


PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(("url", "environ", "found"), [
    ("https://a.example", {"HTTPS_PROXY": PROXY}, ("HTTPS_PROXY", PROXY)),
    ("https://a.example", {"HTTPS_PROXY": "http://other.example", "https_proxy": PROXY}, ("https_proxy", PROXY)),
    ("https://a.example", {"HTTP_PROXY": PROXY}, None), ("http://a.example", {"http_proxy": PROXY}, ("http_proxy", PROXY)),
    ("https://a.example", {"ALL_PROXY": PROXY, "HTTPS_PROXY": ""}, ("ALL_PROXY", PROXY)), ("https://a.example", {}, None),
    ("https://a.example", {"HTTPS_PROXY": "proxy.example:3128"}, ("HTTPS_PROXY", PROXY)),
    ("https://a.example", {"HTTPS_PROXY": PROXY, "NO_PROXY": "b.example,a.example"}, None),
    ("https://x.a.example:444", {"HTTPS_PROXY": PROXY, "no_proxy": ".a.example"}, None),
    ("https://xa.example", {"HTTPS_PROXY": PROXY, "no_proxy": "a.example"}, ("HTTPS_PROXY", PROXY)),
    ("https://a.example", {"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, None),
    ("http://127.0.0.1:1", {"HTTP_PROXY": PROXY, "ALL_PROXY": PROXY}, None), ("http://[::1]:1", {"HTTP_PROXY": PROXY}, None),
    ("http://localhost:1", {"HTTP_PROXY": PROXY}, None),
])
def test_proxies(url: str, environ: dict[str, str], found: tuple[str, str] | None) -> None:
    proxy = proxy_for(url, environ)
    assert (proxy and (proxy.source, proxy.url)) == found


@pytest.mark.parametrize("text", [
    "socks5://p.example:1", "http://", "http://:3128", "http://p.example:x", "http://u:secret@p q/", "\n",
])
def test_proxies_that_cannot_be_used(text: str) -> None:
    with pytest.raises(BackendError) as caught:
        proxy_for("https://a.example", {"HTTPS_PROXY": text})
    assert "HTTPS_PROXY" in caught.value.summary
    assert "secret" not in f"{caught.value.summary} {caught.value.detail}"


def test_a_proxys_user_is_not_shown() -> None:
    assert "secret" not in repr(proxy_for("https://a.example", {"HTTPS_PROXY": "http://u:secret@p.example"}))
