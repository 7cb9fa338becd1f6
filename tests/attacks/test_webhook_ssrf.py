"""A receiver of messages that wants the sender to reach into its own network.

Every case has a socket of ours where the attack leads: it must never be connected to.
"""

import asyncio
import socket
import time
from pathlib import Path

import pytest

from pinvault.notify.delivery import Courier, Outcome, Verdict
from pinvault.notify.endpoints import Endpoint
from pinvault.notify.guard import BadUrl, Target, read_network, read_url
from tests.support.receiver import Receiver, Trust, says, write_secret

LET_IN = "127.0.0.2"  # the one address that the endpoint may reach


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    return write_secret(tmp_path / "secret")


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    return Trust.make(tmp_path_factory.mktemp("trust"))


def deliver(
    target: Target, secret: Path, *, private: str = f"{LET_IN}/32", ca_file: Path | None = None
) -> Outcome:
    endpoint = Endpoint(
        name="core",
        target=target,
        secret_files=(secret,),
        programs=frozenset(),
        events=frozenset(),
        private=(read_network(private),),
        ca_file=ca_file,
        timeout_s=3,
    )
    return asyncio.run(Courier.of(endpoint, now=time.time).deliver("msg_1", "{}"))


def names(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Answer the system's questions for names in turn; give the list of what was asked."""
    asked: list[str] = []
    left = list(answers)
    real = socket.getaddrinfo

    def answer(host, port, *rest, **more):
        if host != "hooks.example":
            return real(host, port, *rest, **more)
        asked.append(host)
        found = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in found]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return asked


def test_a_name_that_changes_after_it_was_judged(secret: Path, monkeypatch) -> None:
    """DNS rebinding: good at first, inside then. It is asked for once, and that address is used."""
    with Receiver(host=LET_IN) as good, Receiver(host="127.0.0.1", port=good.port) as inside:
        asked = names(monkeypatch, [LET_IN], ["127.0.0.1"])
        outcome = deliver(Target("http", "hooks.example", good.port, "/"), secret)
        assert outcome.verdict is Verdict.DELIVERED
        assert asked == ["hooks.example"]
        assert good.received[0].headers["host"] == f"hooks.example:{good.port}"
        # The next attempt asks again, and what it is told is judged again.
        outcome = deliver(Target("http", "hooks.example", good.port, "/"), secret)
        assert outcome == Outcome(Verdict.FAILED, "address-forbidden")
        assert asked == ["hooks.example"] * 2
        assert inside.connections == 0


@pytest.mark.parametrize("answer", [["127.0.0.1"], [LET_IN, "127.0.0.1"], ["127.0.0.1", LET_IN]])
def test_a_name_of_which_one_address_is_inside(
    answer: list[str], secret: Path, monkeypatch
) -> None:
    with Receiver(host=LET_IN) as good, Receiver(host="127.0.0.1", port=good.port) as inside:
        names(monkeypatch, answer)
        for scheme in ("http", "https"):
            outcome = deliver(Target(scheme, "hooks.example", good.port, "/"), secret)
            assert outcome == Outcome(Verdict.FAILED, "address-forbidden")
        assert (good.connections, inside.connections) == (0, 0)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 Again", "308 There"])
def test_a_redirect_to_where_clouds_keep_their_credentials(status: str, secret: Path) -> None:
    with Receiver(host="127.0.0.1") as inside:
        for place in (f"http://127.0.0.1:{inside.port}/", "http://169.254.169.254/latest/"):
            with Receiver(says(status, f"Location: {place}"), host=LET_IN) as good:
                outcome = deliver(read_url(f"http://{LET_IN}:{good.port}/"), secret)
                assert outcome == Outcome(Verdict.FAILED, f"status-{status[:3]}")
                assert len(good.received) == 1
        for header in ("Refresh: 0; url=", "Content-Location: ", "Link: "):
            with Receiver(says("200 OK", f"{header}{place}"), host=LET_IN) as good:
                deliver(read_url(f"http://{LET_IN}:{good.port}/"), secret)
        assert inside.connections == 0


SPELLINGS = [
    *("localhost", "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1"),
    *("0177.0.0.1", "017700000001", "127.000.000.001", "127.0.0.1.", "localhost.", "LOCALHOST"),
    *("0", "0.0.0.0", "[::]", "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]"),
    *("[::ffff:7f00:1]", "[::127.0.0.1]", "[::7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]"),
    *("[64:ff9b:1::7f00:1]", "[fe80::1%25lo]", "[::1%25lo]", "127.0.0.1%00.example"),
    *(
        "user@127.0.0.1",
        "user:word@127.0.0.1",
        "hooks.example@127.0.0.1",
        "127.0.0.1#@hooks.example",
    ),
    *("hooks.example\\@127.0.0.1", "127.0.0.1\\.example", "127.0.0.1 .example", "127。0。0。1"),
    *("①②⑦.⓪.⓪.①", "\uff4cocalhost", "127.0.0.1\t", "127.0.0.1\r\nHost: x", "[127.0.0.1]"),
    *("[::1", "::1", "127.0.0.256", "1.2.3", "127.0.0.1,hooks.example", "%31%32%37.0.0.1"),
]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_this_host_in_every_spelling(scheme: str, spelling: str, secret: Path) -> None:
    with Receiver(host="127.0.0.1") as inside, socket.socket(socket.AF_INET6) as inside6:
        inside6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        inside6.bind(("::1", inside.port))
        inside6.listen()
        inside6.setblocking(False)
        try:
            target = read_url(f"{scheme}://{spelling}:{inside.port}/")
        except BadUrl:
            return
        assert deliver(target, secret) == Outcome(Verdict.FAILED, "address-forbidden")
        assert inside.connections == 0
        with pytest.raises(BlockingIOError):
            inside6.accept()


METADATA = [
    *("169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
    *("[fd00:ec2::254]", "[fd20:ce::254]", "[::ffff:a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]"),
    *("[2002:a9fe:a9fe::]", "[::a9fe:a9fe]", "[fe80::a9fe:a9fe]"),
    *("10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "[fc00::1]", "224.0.0.1"),
]


@pytest.mark.parametrize("host", METADATA)
def test_metadata_and_insides(host: str, secret: Path, monkeypatch) -> None:
    """Nothing is connected to at all."""

    def never(*_: object) -> None:
        raise AssertionError("connected")

    monkeypatch.setattr(socket.socket, "connect", never)
    monkeypatch.setattr(asyncio.BaseEventLoop, "sock_connect", never, raising=False)
    monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", never)
    outcome = deliver(read_url(f"https://{host}/"), secret)
    assert outcome == Outcome(Verdict.FAILED, "address-forbidden")


@pytest.mark.parametrize("port", ["0", "00443", "22", "25", "80", "6379x", "65536", "99999", "-1"])
def test_ports_of_other_services(port: str) -> None:
    with pytest.raises(BadUrl):
        read_url(f"https://hooks.example:{port}/")


@pytest.mark.parametrize(
    "url",
    [
        *(
            "file:///etc/passwd",
            "gopher://hooks.example/",
            "ftp://hooks.example/",
            "//hooks.example/",
        ),
        *(
            "https:hooks.example/",
            "https:/hooks.example/",
            "https:///hooks.example/",
            "HTTPS://h.example/",
        ),
        *(
            "https://hooks.example/a b",
            "https://hooks.example/\r\nX: y",
            "https://hooks.example/#x",
        ),
        *("https://hooks.example\\x", "https://hooks.example/\\x", " https://hooks.example/", ""),
        *(
            "https://-a.example/",
            "https://a-.example/",
            "https://a..example/",
            f"https://{'a' * 64}/",
        ),
        f"https://{'a.' * 130}example/",
    ],
)
def test_urls_that_two_readers_could_read_differently(url: str) -> None:
    with pytest.raises(BadUrl):
        read_url(url)


def test_a_name_that_leads_to_another_receiver(secret: Path, trust: Trust, monkeypatch) -> None:
    """Who takes a name over, but has no certificate of it, gets no message."""
    with Receiver(host=LET_IN, tls=trust.server) as other:
        names(monkeypatch, [LET_IN])
        target = Target("https", "hooks.example", other.port, "/")
        outcome = deliver(target, secret, ca_file=trust.ca_file)
        assert outcome == Outcome(Verdict.FAILED, "tls")
        assert not other.received
