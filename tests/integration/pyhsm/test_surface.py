"""Every name, parameter, default and number of py-hsm 2.5.0 is there. The lists are in
surface.json, read from the syntax tree of its published source.
"""

import importlib
import inspect
import json
from enum import Enum
from pathlib import Path

import pytest

from hsm.pyhsm import convert, hsmclient, hsmenums
from hsm.pyhsm.eccurveoids import EcCurveOids
from hsm.pyhsm.eccurves import EcCurves
from hsm.pyhsm.hsmclient import HsmClient

SURFACE = json.loads(Path(__file__).with_name("surface.json").read_text())
BINARY_FIELDS = ("sect", "c2pnb", "c2tnb", "K", "B")
CORRECTED = {"sect233k1": "06052b8104001a", "K233": "06052b8104001a"}
"""SEC 2, A.2.2: 1.3.132.0.26. py-hsm gives them the identifier of sect193r2."""


def parameters(function) -> list[str]:
    """Names and defaults, as they are written in a definition."""
    found = list(inspect.signature(function).parameters.values())
    return [shown(each) for each in found if each.name != "self"]


def shown(parameter: inspect.Parameter) -> str:
    default = parameter.default
    if default is inspect.Parameter.empty:
        return parameter.name
    return f"{parameter.name}={default if isinstance(default, Enum) else repr(default)}"


@pytest.mark.parametrize("method", SURFACE["client"])
def test_every_method_takes_what_it_took(method):
    theirs = SURFACE["client"][method]
    # The default curve by either of its names.
    theirs = [each.replace("EcCurveOids.P256", "EcCurveOids.secp256r1") for each in theirs]
    assert parameters(getattr(HsmClient, method)) == theirs


def test_there_are_no_methods_of_our_own():
    ours = {name for name in dir(HsmClient) if not name.startswith("_")}
    assert ours == {name for name in SURFACE["client"] if not name.startswith("_")}


@pytest.mark.parametrize("name", SURFACE["convert"])
def test_every_conversion_takes_what_it_took(name):
    assert parameters(getattr(convert, name)) == SURFACE["convert"][name]


@pytest.mark.parametrize("name", SURFACE["enums"])
def test_every_number_is_the_same(name):
    members = getattr(hsmenums, name).__members__
    ours = {member: members[member].value for member in SURFACE["enums"][name]}
    assert ours == SURFACE["enums"][name]


@pytest.mark.parametrize("name", SURFACE["fields"])
def test_every_field_is_there(name):
    module, kind = name.split(".")
    found = getattr(importlib.import_module(f"hsm.pyhsm.{module}"), kind)
    assert not set(SURFACE["fields"][name]) - set(dir(found)) - set(found.__dataclass_fields__)


def test_every_curve_has_its_identifier():
    ours = {name: curve.value.hex() for name, curve in EcCurveOids.__members__.items()}
    assert ours == {**SURFACE["oids"], **CORRECTED}


def test_every_curve_over_a_prime_field_has_its_definition():
    theirs = [name for name in SURFACE["curves"] if not name.startswith(BINARY_FIELDS)]
    assert set(theirs) - set(EcCurves.__members__) == {"playreadyp160"}
    assert set(EcCurves.__members__) <= set(theirs)


@pytest.mark.parametrize("name", ["HsmAttribute", "HsmMech", "HsmSymKeyGen", "HsmUser", "HsmError"])
def test_the_client_gives_what_else_scripts_import_from_it(name):
    assert hasattr(hsmclient, name)
