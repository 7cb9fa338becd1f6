"""The description of a listener's API: OpenAPI 3.1, made of the types, kept by what is served."""

import pytest

from pinvault.edge.dialect import Answer, Arrived, EdgeReason, Endpoint, Parameter, Refused
from tests.support.openapi import call_all, is_well_formed
from tests.support.toy_edge import Served, Toy, ToyAnswer, ToyRequest

BOOLEANS = {"true", "false"}


class Described(Toy):
    """A toy that tells more of itself."""

    def endpoints(self) -> tuple[Endpoint, ...]:
        key = Parameter(name="x-key")
        return (
            Endpoint(
                "POST",
                "/toy/pin",
                self._run,
                takes_clear_pin=True,
                request=ToyRequest,
                answers={200: ToyAnswer},
                summary="Set a PIN",
                parameters=(key, Parameter(name="deep", where="query", required=False, kind=bool)),
                authentication="bearer",
            ),
            Endpoint("PUT", "/toy/pin", self._run, False, None, {204: None}),
        )


@pytest.fixture
def served() -> Served:
    return Served(Described(), clear_pins=True, base_path="/acme")


def test_it_is_openapi(served: Served) -> None:
    answer = served.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    assert document["openapi"] == "3.1.0"
    assert is_well_formed(document)
    assert not is_well_formed({**document, "info": {}})


def test_it_says_what_the_types_say(served: Served) -> None:
    document = served.get("/openapi.json").json()
    assert list(document["paths"]) == ["/acme/toy/pin"]
    told = document["paths"]["/acme/toy/pin"]["post"]
    schema = told["requestBody"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/ToyRequest"}
    pin = document["components"]["schemas"]["ToyRequest"]["properties"]["pin"]
    assert pin["writeOnly"]
    assert pin["pattern"] == "^[0-9]{4,12}$"
    assert [each["name"] for each in told["parameters"]] == ["x-key", "deep"]
    assert told["security"] == [{"bearer": []}]
    assert {"200", "400", "404", "405", "429"} <= told["responses"].keys()


def test_what_is_served_keeps_to_it() -> None:
    def flow(arrived: Arrived) -> Answer:
        if arrived.method == "PUT":
            return Answer(status=204)
        if arrived.headers.get("authorization") != "Bearer toy":
            raise Refused(EdgeReason.UNAUTHENTICATED)
        if "x-key" not in arrived.headers or arrived.query.get("deep", "true") not in BOOLEANS:
            raise Refused(EdgeReason.HEADER_MISSING)
        return toy._done(arrived)

    toy = Described(flow)
    app = Served(toy, clear_pins=True).app
    assert call_all(app, headers={"Authorization": "Bearer toy"}, examples=10) == 2
    assert len(toy.seen) > 10
