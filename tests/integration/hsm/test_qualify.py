"""Qualification of SoftHSM, directly and through p11-kit: as the page says, and no trace left."""

import json
import os
from dataclasses import replace

import pytest
from pkcs11 import Attribute

from hsm import provisioning, qualify
from tests.integration.hsm.support import raw_session
from tests.support import qualification
from tests.support.qualification import DIRECT, KEY, PROXIED, documented, report, verdicts

AGAIN = "docs/tokens.md is out of date: python -m tests.support.qualification"


@pytest.fixture
def location(new_token):
    made = new_token("qualified")
    provisioning.generate(made, KEY)
    return made


@pytest.fixture
def client_module():
    found = qualification.client_module()
    if found is not None:
        return found
    if os.environ.get("CI"):
        pytest.fail("p11-kit and p11-kit-modules are not installed")
    pytest.skip("p11-kit and p11-kit-modules are not installed")


def kept(location):
    with raw_session(location) as session:
        names = (Attribute.CLASS, Attribute.LABEL, Attribute.ID)
        objects = session.get_objects({Attribute.TOKEN: True})
        return [[each[name] for name in names] for each in objects]


def test_softhsm_is_what_the_page_says_and_keeps_nothing(location):
    before = kept(location)
    text, code = report(location)
    assert verdicts(text) == verdicts(documented(DIRECT)), AGAIN
    assert text.endswith("qualified with limits")
    assert code == 1
    assert kept(location) == before


def test_p11_kit_is_what_the_page_says(location, client_module, tmp_path):
    with qualification.served(location.module, tmp_path) as environment:
        text, code = report(replace(location, module=client_module), **environment)
    assert verdicts(text) == verdicts(documented(PROXIED)), AGAIN
    assert code == 1
    assert "taken, but not read back" in " ".join(text.split())


def test_a_refused_login_ends_it_and_is_told_to_machines(location, tmp_path):
    pin_file = tmp_path / "pin"
    pin_file.write_text("wrong")
    pin_file.chmod(0o600)
    text, code = report(replace(location, pin_file=pin_file), "--json")
    told = json.loads(text)
    assert code == 2
    assert told["conclusion"] == "not qualified"
    assert [each["need"] for each in told["needs"]] == ["the module loads", "the token lets in"]
    assert told["needs"][1]["verdict"] == "not usable"
    assert "CKR_PIN_INCORRECT" in told["needs"][1]["found"]
    assert told["needs"][1]["remedy"]


def test_what_is_no_module_is_not_qualified(location, tmp_path):
    path = tmp_path / "text.so"
    path.write_text("text")
    (row,) = qualify.qualify(replace(location, module=path))
    assert qualify.conclude((row,)) is qualify.Conclusion.NOT_QUALIFIED
    assert (row.call, row.verdict.value) == ("C_Initialize", "not usable")


def test_each_documented_verdict_has_a_trial():
    names = [trial.need.name for trial in qualify.TRIALS]
    for report_name in (DIRECT, PROXIED):
        needs = [row[1] for row in verdicts(documented(report_name))[:-1]]
        assert needs == ["the module loads", "the token lets in", *names], AGAIN
