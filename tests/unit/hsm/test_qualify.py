"""Qualification without a token: how verdicts come about, and how a fall of the child is told."""

from types import SimpleNamespace

import pytest
from pkcs11 import Attribute, Mechanism
from pkcs11.exceptions import AttributeTypeInvalid, DeviceError, MechanismInvalid

from hsm import qualify, qualify_bench
from hsm.errors import Fault, HsmDataRefused
from hsm.mechanisms import CBC, CMAC, CONTENT
from hsm.qualify_bench import Bench, Need, Row, Shortfall, Suitability, Trial, in_software
from hsm.qualify_pairs import _TOLERATED, _answer
from hsm.qualify_refusals import _differences, _refused
from hsm.roles import ROLES
from hsm.vocabulary import Algorithm, Family, Mode, Usage
from tests.support import falling

GOOD, LIMITED, UNUSABLE = Suitability.GOOD, Suitability.LIMITED, Suitability.UNUSABLE


def need(**more):
    return Need(**{"name": "n", "call": "C_Call", "lost": "much", "remedy": "mend it", **more})


def row(verdict):
    return Row.of(need(), verdict, "found")


@pytest.fixture
def bench():
    made = Bench.__new__(Bench)
    made._passing = []
    return made


def raising(error):
    def attempt(_):
        raise error

    return attempt


def test_every_mechanism_of_every_role_is_tried():
    used = {
        mechanism
        for role in ROLES.values()
        for grant in role.grants.values()
        for mechanism in grant.mechanisms
    }
    used |= {*CONTENT, *CBC.values(), *CMAC.values(), Mechanism.AES_CTR}
    tried = {each for trial in qualify.TRIALS for each in trial.need.mechanisms}
    assert used <= tried


def test_every_need_has_a_name_of_its_own_and_says_what_is_lost():
    names = [trial.need.name for trial in qualify.TRIALS]
    assert len(set(names)) == len(names)
    for trial in qualify.TRIALS:
        assert trial.need.call.startswith("C_")
        assert trial.need.only_told or (trial.need.lost and trial.need.remedy)


def test_the_trial_that_may_end_the_process_is_the_last():
    assert qualify.TRIALS[-1].need.name == "two threads at once"


@pytest.mark.parametrize(
    ("verdicts", "conclusion", "code", "text"),
    [
        ((GOOD, GOOD), qualify.Conclusion.QUALIFIED, 0, "qualified"),
        ((GOOD, LIMITED), qualify.Conclusion.WITH_LIMITS, 1, "qualified with limits"),
        ((UNUSABLE, LIMITED), qualify.Conclusion.NOT_QUALIFIED, 2, "not qualified"),
    ],
)
def test_the_worst_verdict_decides(verdicts, conclusion, code, text):
    concluded = qualify.conclude(tuple(map(row, verdicts)))
    assert (concluded, int(concluded), concluded.text) == (conclusion, code, text)


@pytest.mark.parametrize(
    ("more", "verdict"),
    [({}, LIMITED), ({"vital": True}, UNUSABLE), ({"only_told": True}, GOOD)],
)
@pytest.mark.parametrize(
    ("error", "found"),
    [
        (Shortfall("it repeats itself"), "it repeats itself"),
        (MechanismInvalid(), "CKR_MECHANISM_INVALID"),
        (HsmDataRefused(), "the HSM refused the data"),
    ],
)
def test_what_is_not_met_is_as_bad_as_the_need_says(bench, more, verdict, error, found):
    told = bench.examine(Trial(need(**more), raising(error)))
    assert (told.verdict, told.found) == (verdict, found)
    assert bool(told.remedy) is bool(told.lost) is (verdict is not GOOD)


def test_what_a_trial_made_is_destroyed_even_when_it_fails(bench):
    gone = []

    def attempt(bench):
        for name in "ab":
            bench._passing.append(SimpleNamespace(destroy=lambda name=name: gone.append(name)))
        raise Shortfall("no")

    bench.examine(Trial(need(), attempt))
    assert gone == ["b", "a"]
    assert not bench._passing


def test_a_denial_must_be_a_refusal():
    def refuse():
        raise MechanismInvalid

    def break_down():
        raise DeviceError

    assert _refused(lambda: None, refuse) == "refused: CKR_MECHANISM_INVALID"
    assert _refused(refuse, refuse) == "refused to every key: CKR_MECHANISM_INVALID"
    with pytest.raises(Shortfall, match="all the same"):
        _refused(lambda: None, lambda: None)
    with pytest.raises(Shortfall, match="CKR_DEVICE_ERROR, which is no refusal"):
        _refused(lambda: None, break_down)


def test_what_opens_or_looks_like_a_dead_device_is_no_tolerable_answer():
    def break_down():
        raise DeviceError

    for answered in (_answer(lambda: None), _answer(break_down)):
        assert answered[1] not in _TOLERATED
    assert _answer(lambda: (_ for _ in ()).throw(HsmDataRefused))[1] is Fault.DATA


class OddToken:
    """It knows no CKA_COPYABLE, and makes every key modifiable."""

    def generate_key(self, _type, _bits, *, template, **_):
        if Attribute.COPYABLE in template:
            raise AttributeTypeInvalid
        return OddKey(template)


class OddKey:
    wrapper = None

    def __init__(self, template):
        self.template = {**template, Attribute.MODIFIABLE: True}

    def __getitem__(self, name):
        try:
            return self.template[name]
        except KeyError:
            raise AttributeTypeInvalid from None

    def destroy(self):
        return


def test_what_a_token_refuses_or_changes_of_a_template_is_named(bench, monkeypatch):
    monkeypatch.setattr(qualify_bench, "unbound", lambda made, _: made)
    bench.session, bench.unbearable = OddToken(), frozenset()
    told = bench.examine(qualify.TRIALS[0])
    assert told.verdict is UNUSABLE
    assert told.found == "CKA_COPYABLE: CKR_ATTRIBUTE_TYPE_INVALID; CKA_MODIFIABLE is True"
    assert bench.unbearable == {Attribute.COPYABLE}
    bench.secret(Algorithm.AES_128)  # the other trials go on without it


class NoTemplates:
    """It knows no CKA_UNWRAP_TEMPLATE."""

    def generate_keypair(self, *_, private_template, **__):
        if Attribute.UNWRAP_TEMPLATE in private_template:
            raise AttributeTypeInvalid
        raise DeviceError  # far enough


def test_a_token_without_templates_for_unwrapped_keys_is_good_for_all_but_transport_keys(bench):
    bench.session, bench.unbearable, bench._pairs = NoTemplates(), frozenset(), {}
    (wanted,) = (each for each in qualify.TRIALS if each.need.name == "CKA_UNWRAP_TEMPLATE")
    told = bench.examine(wanted)
    assert (told.verdict, told.found) == (LIMITED, "CKR_ATTRIBUTE_TYPE_INVALID")
    assert told.lost.startswith("keys of usage K0 and K2")
    assert bench.unbearable == {Attribute.UNWRAP_TEMPLATE}
    with pytest.raises(DeviceError):  # the other trials go on without it
        bench.pair(Usage.K0, Family.RSA, Mode.D)


def test_only_what_a_token_may_lack_counts_as_false():
    wanted = {Attribute.DERIVE: False, Attribute.COPYABLE: False, Attribute.PRIVATE: True}
    assert _differences(OddKey({}), wanted) == ["CKA_COPYABLE is absent", "CKA_PRIVATE is absent"]


def test_a_key_of_two_halves_is_the_key_of_three_with_the_first_again():
    two, block = bytes(range(16)), bytes(8)
    three = in_software(Algorithm.TDES_3KEY, two + two[:8], block)
    assert in_software(Algorithm.TDES_2KEY, two, block) == three


def test_a_crash_and_a_hang_are_verdicts_and_the_rest_is_tried(monkeypatch):
    monkeypatch.setattr(qualify, "_serve", falling.falling)
    rows = qualify.qualify(None)
    assert [(each.need, each.verdict, each.found) for each in rows] == [
        ("first", GOOD, "works"),
        ("crashing", UNUSABLE, "crashed (SIGSEGV)"),
        ("hanging", UNUSABLE, "no answer in 0.2 s"),
        ("last", GOOD, "works"),
        ("told", GOOD, "crashed (SIGSEGV)"),
    ]


def test_an_end_without_a_word_is_a_verdict(monkeypatch):
    monkeypatch.setattr(qualify, "_serve", falling.raising)
    assert [each.found for each in qualify.qualify(None)] == ["works", "ended with code 7"]


def test_a_module_that_crashes_at_once_is_not_loaded_again(monkeypatch):
    monkeypatch.setattr(qualify, "_serve", falling.never_initialised)
    (told,) = qualify.qualify(None)
    assert (told.need, told.verdict) == ("the module loads", UNUSABLE)
