"""One request and its one answer: what is refused, in whose words, and what nobody is told."""

import json
import time
from collections.abc import AsyncIterator, Callable

import anyio
import grpc
import httpx
import pytest

from pinvault.client import PinvaultError, SealingKeyChanged
from pinvault.edge.app import Placed
from pinvault.edge.dialect import ALL_REASONS, Answer, Arrived, EdgeReason, Refused
from tests.support.leaks import without_chance
from tests.support.toy_edge import Served, Toy

SECRET = "4831"
TRAP = f"the PIN is {SECRET}"


def raising(error: BaseException) -> Callable[[Arrived], Answer]:
    def flow(_: Arrived) -> Answer:
        raise error

    return flow


def test_a_flow_gets_the_whole_request_and_gives_the_answer() -> None:
    served = Served(Toy())
    answer = served.post("/toy/do?a=1&b=&b=2", content=b"{}", headers={"X-Key": "k"})
    assert (answer.status_code, answer.json()) == (200, {"done": True})
    (arrived,) = served.toy.seen
    assert (arrived.method, arrived.path) == ("POST", "/toy/do")
    assert arrived.raw_path_and_query == "/toy/do?a=1&b=&b=2"
    assert (arrived.query, arrived.body) == ({"a": "1"}, b"{}")
    assert (arrived.headers["x-key"], arrived.clear_pins, arrived.client) == ("k", False, "")
    assert answer.headers["x-request-id"] == arrived.request_id
    assert "x-key" not in repr(arrived)


@pytest.mark.parametrize("path", ["/toy/do", "/toy/other", "/openapi.json", "/nowhere"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "BREW"])
def test_no_answer_is_stored_or_taken_for_another_type(path: str, method: str) -> None:
    answer = Served(Toy()).call(method, path)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_dialect_cannot_have_its_answers_stored() -> None:
    flow = Toy(lambda _: Answer(status=200, headers={"Cache-Control": "public", "x-other": "1"}))
    answer = Served(flow).get("/toy/do")
    assert (answer.headers["cache-control"], answer.headers["x-other"]) == ("no-store", "1")


def test_no_content_has_no_body_and_no_length() -> None:
    answer = Served(Toy(lambda _: Answer(status=204))).get("/toy/do")
    assert (answer.status_code, answer.content) == (204, b"")
    assert not {"content-length", "content-type"} & set(answer.headers)


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "BREW"])
def test_another_method_is_refused_in_the_dialects_words(method: str) -> None:
    served = Served(Toy())
    answer = served.call(method, "/toy/do")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")
    assert served.toy.seen == []
    assert served.lines()[-1]["method"] in {method, "-"}
    assert "BREW" not in served.log


def test_an_unknown_path_is_refused_by_the_dialect_that_is_most_like_it() -> None:
    first, second = Toy(base="/v1/cards"), Toy(base="/v1/pins")
    second.name = "second"
    other = Placed("test", "", second, "dialects.second")
    served = Served(first, others=[other])
    for path, dialect in (("/v1/cards/x", "toy"), ("/v1/pins/x", "second"), ("/v1/do", "toy")):
        assert served.get(path).json()["reason"] == "NOT_FOUND"
        assert served.lines()[-1]["dialect"] == dialect
    answer = served.get("/elsewhere")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:pinvault:problem:not-found"
    assert "elsewhere" not in served.log + answer.text


def test_the_only_dialect_of_a_listener_refuses_what_nobody_has() -> None:
    served = Served(Toy())
    assert served.get("/elsewhere").json()["code"] == "gone"
    assert served.get("/toy/do/").json()["code"] == "gone"  # not redirected


def test_the_base_path_is_not_the_dialects() -> None:
    served = Served(Toy(), base_path="/acme")
    assert served.post("/acme/toy/do?x=1").status_code == 200
    assert served.post("/toy/do").status_code == 404
    assert served.toy.seen[0].path == "/toy/do"
    assert served.toy.seen[0].raw_path_and_query == "/toy/do?x=1"
    assert served.lines()[0]["route"] == "/acme/toy/do"


@pytest.mark.parametrize("reason", sorted(ALL_REASONS))
def test_every_reason_of_the_server_becomes_the_dialects_answer(reason: str) -> None:
    error = PinvaultError(grpc.StatusCode.INTERNAL, reason, TRAP, "c" * 32, {"pin": TRAP})
    served = Served(Toy(raising(error)))
    answer = served.post("/toy/do")
    assert answer.json()["reason"] == reason
    assert answer.status_code == served.toy.codes[reason].status
    assert SECRET not in without_chance(answer.text + served.log)
    line = served.lines()[-1]
    assert (line["reason"], line["call_id"]) == (reason, "c" * 32)
    assert f'reason="{reason}"' in served.metrics.text().decode()


@pytest.mark.parametrize(
    ("error", "reason", "is_fault"),
    [
        (PinvaultError(grpc.StatusCode.UNAVAILABLE, "", TRAP), "UNAVAILABLE", False),
        (PinvaultError(grpc.StatusCode.DEADLINE_EXCEEDED, "", TRAP), "UNAVAILABLE", False),
        (PinvaultError(grpc.StatusCode.UNKNOWN, "", TRAP), "INTERNAL", False),
        (PinvaultError(grpc.StatusCode.INTERNAL, "A_LATER_REASON", TRAP), "INTERNAL", False),
        (SealingKeyChanged(offered=("x",)), "UNAVAILABLE", True),
        (Refused(EdgeReason.PIN_WRONG), "PIN_WRONG", False),
        (Refused("NO_SUCH_REASON"), "INTERNAL", False),
        (ValueError(TRAP), "INTERNAL", True),
        (KeyError(SECRET), "INTERNAL", True),
        (RecursionError(TRAP), "INTERNAL", True),
        (MemoryError(TRAP), "INTERNAL", True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_every_exception_becomes_an_answer_and_its_text_goes_nowhere(
    error: Exception, reason: str, is_fault: bool
) -> None:
    served = Served(Toy(raising(error)))
    answer = served.post("/toy/do", content=SECRET)
    assert answer.json()["reason"] == reason
    assert SECRET not in without_chance(answer.text + served.log)
    faults = [line for line in served.lines() if line["level"] == "error"]
    assert len(faults) == is_fault
    if is_fault:
        assert faults[0]["error"] == type(error).__name__
        assert faults[0]["request_id"] == answer.headers["x-request-id"]
        assert any("test_exchange.py" in place for place in faults[0]["frames"])


def test_a_dialect_that_cannot_say_its_refusal_is_spoken_for() -> None:
    class Mute(Toy):
        def render(self, refused: Refused, arrived: Arrived) -> Answer:
            raise ValueError(TRAP)

    served = Served(Mute(raising(ValueError(TRAP))))
    answer = served.post("/toy/do")
    assert (answer.status_code, answer.json()["type"]) == (500, "urn:pinvault:problem:internal")
    assert SECRET not in without_chance(answer.text + served.log)


def test_a_refusal_says_when_to_come_back() -> None:
    refused = Refused(EdgeReason.RATE_EXCEEDED, retry_after_s=2.2)
    answer = Served(Toy(raising(refused))).post("/toy/do")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")


# Guesses


def guarded(arrived: Arrived) -> Answer:
    """Authenticate, and then do what the body says."""
    if arrived.headers.get("x-key") != "right":
        raise Refused(EdgeReason.UNAUTHENTICATED)
    if arrived.body:
        raise Refused(arrived.body.decode())
    return Answer(status=200)


def asks(served: Served, key: str, content: str = "", **who: str) -> int:
    headers = {"x-key": key}
    return served.call("POST", "/toy/do", headers=headers, content=content, **who).status_code


def test_guesses_end_and_a_right_one_is_not_told_from_a_wrong_one() -> None:
    served = Served(Toy(guarded), failures="3/h")
    assert [asks(served, str(number)) for number in range(50)] == [401] * 3 + [429] * 47
    right, wrong = (served.post("/toy/do", headers={"x-key": key}) for key in ("right", "wrong"))
    assert (right.status_code, right.content) == (wrong.status_code, wrong.content)
    assert right.json() == {"reason": "RATE_EXCEEDED", "code": "slow"}
    assert right.headers["retry-after"] == "1200"
    assert len(served.toy.seen) == 3
    assert served.lines()[-1]["reason"] == "RATE_EXCEEDED"


@pytest.mark.parametrize("reason", ["UNAUTHENTICATED", "SIGNATURE_REFUSED"])
def test_wrong_signatures_are_counted_as_wrong_credentials_are(reason: str) -> None:
    served = Served(Toy(raising(Refused(reason))), failures="3/h")
    told = [served.post("/toy/do").json()["reason"] for _ in range(5)]
    assert told == [reason] * 3 + ["RATE_EXCEEDED"] * 2


def test_who_is_known_is_not_counted_whatever_else_is_refused() -> None:
    served = Served(Toy(guarded), failures="1/h")
    others = sorted(ALL_REASONS - {"UNAUTHENTICATED", "SIGNATURE_REFUSED"})
    for reason in others:
        assert asks(served, "right", reason) >= 400
    assert asks(served, "right") == 200
    assert len(served.toy.seen) == len(others) + 1


def test_strangers_are_counted_by_address_and_dialect() -> None:
    served = Served(Toy(guarded), failures="1/h")
    first = "2001:db8:0:1::1"
    assert [asks(served, "wrong", address=first) for _ in range(2)] == [401, 429]
    assert asks(served, "right", address="2001:db8:0:1:ffff::2") == 429
    assert asks(served, "right", address="2001:db8:0:2::1") == 200
    assert asks(served, "right", address="192.0.2.1") == 200
    second = Toy(guarded, base="/second")
    second.name = "second"
    both = Served(Toy(guarded), failures="1/h", others=[Placed("test", "", second, "dialects.b")])
    assert [asks(both, "wrong") for _ in range(2)] == [401, 429]
    assert both.post("/second/do", headers={"x-key": "right"}).status_code == 200


def test_clients_with_certificates_are_counted_by_these() -> None:
    served = Served(Toy(guarded), failures="1/h", clients=frozenset({"CN=one", "CN=two"}))
    shared = "192.0.2.1"
    one = [asks(served, "wrong", address=shared, client="CN=one") for _ in range(2)]
    assert one == [401, 429]
    assert asks(served, "right", address="198.51.100.7", client="CN=one") == 429
    assert asks(served, "right", address=shared, client="CN=two") == 200


def test_guesses_that_come_at_once_are_few_more() -> None:
    async def at_once() -> None:
        transport = httpx.ASGITransport(served.app)
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://e", verify=False) as client,
            anyio.create_task_group() as group,
        ):
            for _ in range(60):
                group.start_soon(client.post, "/toy/do")

    def slowly(arrived: Arrived) -> Answer:
        time.sleep(0.005)
        return guarded(arrived)

    served = Served(Toy(slowly), failures="3/h")
    anyio.run(at_once)
    threads = int(served.house.threads.total_tokens)
    assert 3 <= len(served.toy.seen) < 3 + threads
    assert sum(line["status"] == 429 for line in served.lines()) == 60 - len(served.toy.seen)


# Clear PINs


BODY = json.dumps({"card": "c1", "pin": SECRET})


def test_clear_pins_are_refused_before_the_body_is_read() -> None:
    served = Served(Toy())
    answer = served.post("/toy/pin", content=BODY)
    assert answer.json()["reason"] == "CLEAR_PINS_OFF"
    assert (served.toy.seen, answer.headers["connection"]) == ([], "close")


def test_clear_pins_are_for_known_clients() -> None:
    served = Served(Toy(), clear_pins=True, clients=frozenset({"CN=acme"}))
    assert served.post("/toy/pin", content=BODY).json()["reason"] == "UNAUTHENTICATED"
    assert served.toy.seen == []


def test_clear_pins_are_decoded_where_they_may_be() -> None:
    served = Served(Toy(), clear_pins=True)
    assert served.post("/toy/pin", content=BODY).json() == {"done": True}
    assert SECRET not in without_chance(served.log)


# Bodies


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"\xff\xfe", b'{"card": "\xff", "pin": "1"}', b"[" * 10_000),
        *(b'{"card": "c", "pin": 4831}', b'{"card": "c", "pin": "48 31"}', b'{"card": "4831"}'),
    ],
)
def test_a_bad_body_is_told_by_its_place(body: bytes) -> None:
    served = Served(Toy(), clear_pins=True)
    answer = served.post("/toy/pin", content=body)
    told = answer.json()
    assert told["reason"] == "BODY_INVALID"
    assert told["path"].startswith("$")
    assert SECRET not in without_chance(answer.text + served.log)


@pytest.mark.parametrize("declared", [True, False])
def test_a_huge_body_is_not_read(declared: bool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b"4" * 1024

    served = Served(Toy())
    content = b"4" * 65_536 if declared else pieces()
    answer = served.post("/toy/do", content=content)
    assert answer.json()["reason"] == "REQUEST_TOO_LARGE"
    assert (served.toy.seen, answer.headers["connection"]) == ([], "close")


def called(served: Served, messages: list[dict[str, object]]) -> list[dict[str, object]]:
    """Call the application as a server would, with what a client sends bit by bit."""
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        if not messages:
            await anyio.sleep_forever()
        return messages.pop(0)

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/toy/do",
        "raw_path": b"/toy/do",
        "query_string": b"\xff=\xff&" + b"a&" * 5_000,
        "headers": [(b"x-twice", b"1"), (b"x-twice", b"2"), (b"x-odd", b"\xff\xfe")],
    }
    anyio.run(served.app, scope, receive, send)
    return sent


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    served = Served(Toy(), body_s=0.05)
    start, body = called(served, [{"type": "http.request", "body": b"{", "more_body": True}])
    assert start["status"] == 400
    assert b"did not come whole" in body["body"]
    assert served.toy.seen == []


def test_a_client_that_goes_away_is_no_fault() -> None:
    served = Served(Toy())
    called(served, [{"type": "http.disconnect"}])
    assert served.toy.seen == []
    assert all(line["level"] == "info" for line in served.lines())


def test_what_is_said_twice_is_not_heard() -> None:
    served = Served(Toy())
    called(served, [{"type": "http.request", "body": b"", "more_body": False}])
    (arrived,) = served.toy.seen
    assert "x-twice" not in arrived.headers
    assert arrived.headers["x-odd"] == "ÿþ"
    with pytest.raises(Refused) as refused:
        arrived.header("x-twice")
    assert refused.value.reason == "HEADER_MISSING"


def test_nothing_from_outside_is_logged() -> None:
    served = Served(Toy())
    marks = {"path": "/toy/do/markpath", "query": "markquery", "header": "markheader"}
    served.post(f"{marks['path']}?{marks['query']}", headers={"x-a": marks["header"]})
    served.post(f"/toy/do?{marks['query']}=1", content="markbody")
    assert "mark" not in served.log
    assert set(served.lines()[-1]) == {
        *("listener", "dialect", "method", "route", "status", "reason", "request_id", "call_id"),
        *("duration_ms", "level", "timestamp", "event"),
    }


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\nb", "a\0b"])
def test_a_header_cannot_be_injected_by_an_answer(value: str) -> None:
    served = Served(Toy(lambda _: Answer(status=200, headers={"x-a": value})))
    answer = served.post("/toy/do")
    assert answer.json()["reason"] == "INTERNAL"
    assert not {"x-a", "x-evil"} & set(answer.headers)
