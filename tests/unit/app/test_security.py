"""Which language-model server the key goes to, and which addresses are none."""

import threading
from collections.abc import Iterator

import pytest

from interp.errors import InputError
from interp.llm.openai import OpenAILLM
from interp.llm.servers import check_named, gets_key, server_of
from tests.llm_server import Failing, Reply, chat, said


@pytest.fixture
def two_servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Failing, Failing]]:
    """The operator's own server of language models, with a key for it, and somebody else's."""
    made = Failing(), Failing()
    for one in made:
        threading.Thread(target=one.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("OPENAI_BASE_URL", made[0].url)
    monkeypatch.setenv("OPENAI_API_KEY", "the-key")
    monkeypatch.setenv("OPENAI_ORG_ID", "the-organization")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "the-project")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Other-Key: the-other-key")
    yield made
    for one in made:
        one.shutdown()
        one.server_close()


def test_the_key_goes_to_the_operators_server_only(two_servers: tuple[Failing, Failing]) -> None:
    own, other = two_servers
    for address in (None, own.url, own.url.replace("/v1", "/another/path")):
        (found,) = OpenAILLM("m", address).complete([chat("hello")], max_tokens=1)
        assert found.text == "hello"
    assert len(own.requests) == 3
    for _, _, headers in own.requests:
        assert {"Bearer the-key", "the-organization", "the-project"} <= set(headers.values())
    # The same machine by another name is another server: the operator did not name it.
    for address in (other.url, own.url.replace("127.0.0.1", "localhost")):
        (found,) = OpenAILLM("m", address).complete([chat("hello")], max_tokens=1)
        assert found.text == "hello"
    for _, _, headers in [*other.requests, own.requests[-1]]:
        assert not [value for value in headers.values() if "the-" in value]


def test_who_wants_a_key_that_is_not_for_it(two_servers: tuple[Failing, Failing]) -> None:
    own, other = two_servers
    for server in two_servers:
        server.behave = lambda body, before: Reply(401, b"{}")
    with pytest.raises(InputError, match="OPENAI_BASE_URL"):
        OpenAILLM("m", other.url, retries=0).complete([chat("hello")], max_tokens=1)
    with pytest.raises(InputError, match="OPENAI_API_KEY"):
        OpenAILLM("m", own.url, retries=0).complete([chat("hello")], max_tokens=1)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_nobody_is_sent_on(two_servers: tuple[Failing, Failing], status: int) -> None:
    own, other = two_servers
    elsewhere = {"Location": f"{other.url}/chat/completions"}
    own.behave = lambda body, before: Reply(status, b"{}", elsewhere)
    other.behave = lambda body, before: said("stolen")
    (found,) = OpenAILLM("m", retries=0).complete([chat("a secret prompt")], max_tokens=1)
    assert found.text is None
    assert other.url in found.failure
    assert other.requests == [], "neither the key nor the prompt"


@pytest.mark.parametrize(
    ("address", "same"),
    [
        ("http://models.example/v1", True),
        ("http://MODELS.example:80/other", True),
        ("http://models.example:8000/v1", False),
        ("https://models.example/v1", False),
        ("http://models.example.attacker.example/v1", False),
        ("http://models.exampl/v1", False),
        ("http://attacker.example/http://models.example/v1", False),
        ("http://attacker.example#http://models.example", False),
    ],
)
def test_servers_are_compared_by_scheme_host_and_port(
    monkeypatch: pytest.MonkeyPatch, address: str, same: bool
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://models.example/v1")
    assert gets_key(address) is same
    if same:
        check_named(address, ())
    else:
        with pytest.raises(InputError, match="PALIMPSEST_SERVERS"):
            check_named(address, ())
        check_named(address, [address])


@pytest.mark.parametrize(
    "address",
    [
        "http://models.example@attacker.example/v1",
        "http://name:password@models.example/v1",
        "http://models.example\\@attacker.example/",
        "http://models.example\t.attacker.example/",
        "http://mödels.example/v1",
        "ftp://models.example/v1",
        "//models.example/v1",
        "http:///v1",
        "http://models.example:99999/",
        "http://[::1/",
        "file:///etc/passwd",
        "",
    ],
)
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(InputError):
        server_of(address)
