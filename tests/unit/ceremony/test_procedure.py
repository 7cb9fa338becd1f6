"""The steps: what a good ceremony loads, and that whatever goes wrong loads nothing."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from pinvault.ceremony.plan import COMPONENT_BYTES, Plan
from pinvault.ceremony.procedure import Aborted, Procedure
from pinvault.cli.key.ceremony import _interruptible
from pinvault.model.errors import Reason, Refusal
from pinvault.model.keys import Key
from tests.unit.ceremony import support
from tests.unit.ceremony.support import (
    ANNA,
    BEN,
    CLEO,
    COMBINED_CHECK,
    ONE,
    TWO,
    ScriptedTerminal,
    SoftwareCustody,
    check_of,
    good_answers,
    hold,
    plan_of,
    turn,
    xor,
)

pytestmark = pytest.mark.usefixtures("cheap_hashes")
quick = settings(max_examples=10)
ONE_CHECK, TWO_CHECK = (check_of(bytes.fromhex(value), "TDES_2KEY") for value in (ONE, TWO))


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory, cheap_hashes: None) -> Plan:
    return plan_of(tmp_path_factory.mktemp("plan"))


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory, cheap_hashes: None) -> dict[str, Plan]:
    """A plan for every algorithm, of one custodian's hash: identity is not what is tried here."""
    made = {}
    for algorithm in COMPONENT_BYTES:
        key = support.KEY_TABLE.replace("TDES_2KEY", algorithm)
        made[algorithm.value] = plan_of(tmp_path_factory.mktemp("plans"), key)
    return made


@given(data=st.data(), algorithm=st.sampled_from(sorted(COMPONENT_BYTES)))
@quick
def test_the_key_is_the_sum_of_what_was_typed(
    plans: dict[str, Plan], data: st.DataObject, algorithm: str
) -> None:
    plan, size = plans[algorithm], COMPONENT_BYTES[algorithm]
    values = data.draw(
        st.lists(
            st.binary(min_size=size, max_size=size).filter(any),
            min_size=2,
            max_size=2,
            unique=True,
        )
    )
    answers = [
        step
        for value, who in zip(values, (ANNA, BEN), strict=True)
        for step in turn(plan, who, value.hex(" ", 8), check_of(value, algorithm).lower())
    ]
    ending, terminal, custody = hold(plan, [*answers, ANNA, BEN])
    assert (ending.result, ending.cause) == ("loaded", "")
    assert custody.loaded == [xor(*values)]
    assert ending.key.check_value == check_of(xor(*values), algorithm)
    for value in values:
        assert value.hex() not in "".join(terminal.shown).replace(" ", "").lower()


def test_published_components_make_the_published_key(plan: Plan) -> None:
    ending, terminal, custody = hold(plan, good_answers(plan))
    assert ending.result == "loaded"
    assert ending.key.check_value == COMBINED_CHECK
    assert custody.loaded == [xor(bytes.fromhex(ONE), bytes.fromhex(TWO))]
    assert [step.done for step in ending.steps] == [
        *("reviewed the ceremony file", "proved who they are", "gave component 1"),
        *("reviewed the ceremony file", "proved who they are", "gave component 2"),
        *("agreed to the key", "agreed to the key"),
    ]
    assert ending.key.id == "zmk-partner/1"
    assert len(terminal.hidden_prompts) == 8


def test_what_was_typed_is_wiped_however_it_ends(plan: Plan) -> None:
    _, _, custody = hold(plan, good_answers(plan))
    assert [component.is_zero for component in custody.given] == [True, True]


def test_a_variant_is_added(tmp_path: Path) -> None:
    variant = "45" * 16
    plan = plan_of(tmp_path, support.KEY_TABLE + f'variant = "{variant}"\n')
    ending, _, custody = hold(plan, good_answers(plan))
    wanted = xor(bytes.fromhex(ONE), bytes.fromhex(TWO), bytes.fromhex(variant))
    assert custody.loaded == [wanted]
    assert ending.key.variant
    assert ending.key.check_value == check_of(wanted, "TDES_2KEY") != COMBINED_CHECK


def test_an_expected_check_value_must_agree(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, support.KEY_TABLE + f'check_value = "{COMBINED_CHECK}"\n')
    assert hold(plan, good_answers(plan))[0].result == "loaded"


def test_another_check_value_than_the_expected_ends_it_before_anybody_agrees(
    tmp_path: Path,
) -> None:
    plan = plan_of(tmp_path, support.KEY_TABLE + 'check_value = "000000"\n')
    ending, terminal, custody = hold(plan, good_answers(plan))
    assert (ending.result, ending.cause) == ("aborted", "check-value")
    assert custody.loaded == []
    assert len(terminal.answers) == 2


def test_one_wrong_answer_to_each_question_is_forgiven(plan: Plan) -> None:
    anna = [
        *("0" * 16, plan.sha256[:16]),
        *("not hers at all", ANNA),
        *(ONE, TWO),  # she mistypes the second time
        *(ONE, ONE, ONE_CHECK),
    ]
    ben = [plan.sha256, BEN, TWO, TWO, TWO_CHECK]
    ending, _, custody = hold(plan, [*anna, *ben, "wrong passphrase", ANNA, BEN])
    assert ending.result == "loaded"
    assert len(custody.loaded) == 1
    wrong = [step.done for step in ending.steps if "wrong" in step.done]
    assert wrong == [
        f"gave a wrong answer: {it}" for it in ("review", "identity", "component", "agreement")
    ]


def answers_up_to(plan: Plan, question: str) -> list[str | BaseException]:
    """Good answers as far as this question, in the turn of the second custodian."""
    before = [*turn(plan, ANNA, ONE, ONE_CHECK)]
    second = {"review": 0, "identity": 1, "component": 2, "agreement": 5}[question]
    return [*before, *turn(plan, BEN, TWO, TWO_CHECK)[:second]]


ZEROS = "00" * 16
WRONG = [
    ("review", ["", "0"], "review"),
    ("review", ["ffff", "f" * 64], "review"),
    ("identity", [ANNA, ANNA], "identity"),
    ("identity", ["", "\x00"], "identity"),
    ("component", ["xyz", TWO + "00"], "component"),
    ("component", [TWO[:-1], TWO + TWO], "component"),
    ("component", [TWO, ONE, ONE, TWO], "component"),
    ("component", [ZEROS, ZEROS, ZEROS, ZEROS], "component"),
    ("component", [TWO, TWO, "000000", TWO, TWO, TWO_CHECK[:5]], "component"),
    ("component", [TWO, TWO, ONE_CHECK, TWO, TWO, TWO_CHECK + "00"], "component"),
    ("component", [ONE, ONE], "equal-components"),
    ("agreement", [BEN, BEN], "agreement"),
]


@pytest.mark.parametrize(("question", "answers", "cause"), WRONG)
def test_the_second_wrong_answer_ends_it(
    plan: Plan, question: str, answers: list[str], cause: str
) -> None:
    rest = [plan.sha256, *good_answers(plan)]
    ending, _, custody = hold(plan, [*answers_up_to(plan, question), *answers, *rest])
    assert (ending.result, ending.cause) == ("aborted", cause)
    assert custody.loaded == []
    assert ending.loaded is None


@pytest.mark.parametrize("place", range(12))
@pytest.mark.parametrize(
    ("end", "cause"),
    [(KeyboardInterrupt(), "interrupted"), (Aborted("idle"), "idle")],
    ids=["ctrl-c", "idle"],
)
def test_an_end_at_any_question_loads_nothing(
    plan: Plan, place: int, end: BaseException, cause: str
) -> None:
    answers = good_answers(plan)
    ending, _, custody = hold(plan, [*answers[:place], end])
    assert len(answers) == 12
    assert (ending.result, ending.cause) == ("aborted", cause)
    assert custody.loaded == []


def test_a_refused_load_is_told(plan: Plan) -> None:
    custody = SoftwareCustody(error=Refusal(Reason.KEY_ALREADY_EXISTS))
    ending, _, _ = hold(plan, good_answers(plan), custody=custody)
    assert (ending.result, ending.cause) == ("refused", "key_already_exists")


def test_a_fault_is_kept_to_be_raised(plan: Plan) -> None:
    fault = RuntimeError("a fault of the program")
    ending, _, _ = hold(plan, good_answers(plan), custody=SoftwareCustody(error=fault))
    assert (ending.result, ending.fault) == ("failed", fault)


def test_a_rehearsal_takes_every_step_and_loads_nothing(plan: Plan) -> None:
    ending, terminal, custody = hold(plan, good_answers(plan), rehearsal=True)
    assert (ending.result, ending.key.check_value) == ("rehearsed", COMBINED_CHECK)
    assert custody.loaded == []
    assert terminal.shown[0].startswith("REHEARSAL")
    assert terminal.answers == []


def test_three_custodians(tmp_path: Path) -> None:
    people = [
        support.with_passphrase(name, secret, salt)
        for salt, (name, secret) in enumerate([("Anna", ANNA), ("Ben", BEN), ("Cleo", CLEO)])
    ]
    plan = plan_of(tmp_path, support.KEY_TABLE, *people)
    three = "0123456789ABCDEFFEDCBA9876543210"
    answers = [
        *good_answers(plan)[:10],
        *turn(plan, CLEO, three, check_of(bytes.fromhex(three), "TDES_2KEY")),
        *(ANNA, BEN, CLEO),
    ]
    ending, _, custody = hold(plan, answers)
    assert ending.result == "loaded"
    assert custody.loaded == [xor(*(bytes.fromhex(it) for it in (ONE, TWO, three)))]


def test_a_certificate_signs_what_its_holder_agrees_to(tmp_path: Path) -> None:
    sha256 = support.save(tmp_path, "ben", ec.generate_private_key(ec.SECP256R1()))
    means = f'certificate = "ben.pem"\ncertificate_sha256 = "{sha256}"'
    plan = plan_of(
        tmp_path,
        support.KEY_TABLE,
        support.with_passphrase("Anna", ANNA),
        support.person("Ben", means),
    )
    answers = [str(tmp_path / "ben.key") if it is BEN else it for it in good_answers(plan)]
    ending, _, _ = hold(plan, answers)
    assert ending.result == "loaded"
    signed = [step for step in ending.steps if step.signature]
    assert [(step.who, step.done) for step in signed] == [
        ("Ben", "proved who they are"),
        ("Ben", "agreed to the key"),
    ]
    assert COMBINED_CHECK in signed[1].statement
    assert plan.sha256 in signed[1].statement


def test_parity_is_a_note(plan: Plan) -> None:
    _, terminal, _ = hold(plan, good_answers(plan))
    assert not any("parity" in text for text in terminal.shown)
    even = ONE[:-1] + "0"
    check = check_of(bytes.fromhex(even), "TDES_2KEY")
    ending, terminal, _ = hold(
        plan, [*turn(plan, ANNA, even, check), *turn(plan, BEN, TWO, TWO_CHECK), ANNA, BEN]
    )
    assert ending.result == "loaded"
    assert sum("parity" in text for text in terminal.shown) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_the_key_is_loaded_does_not_undo_it(
    plan: Plan, number: signal.Signals
) -> None:
    """Threads run beside it, as that of the audit log does: one of them may catch the signal."""

    class Interrupted(SoftwareCustody):
        def load_components(self, *words: object, **named: object) -> Key:
            os.kill(os.getpid(), number)
            time.sleep(0.01)
            return super().load_components(*words, **named)  # type: ignore[arg-type]

    stop = threading.Event()
    beside = threading.Thread(target=stop.wait, args=(10,))
    beside.start()
    try:
        with _interruptible() as no_return:
            ending, _, custody = hold(
                plan, good_answers(plan), custody=Interrupted(), no_return=no_return
            )
    finally:
        stop.set()
        beside.join()
    assert (ending.result, len(custody.loaded)) == ("loaded", 1)


def test_a_signal_at_a_question_ends_it_once(plan: Plan) -> None:
    class Signalled(ScriptedTerminal):
        def hidden(self, prompt: str) -> bytearray:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
            raise AssertionError

    with _interruptible() as no_return:
        ending = Procedure(
            plan,
            rehearsal=False,
            terminal=Signalled([plan.sha256]),
            custody=SoftwareCustody(),
            nonce=bytes,
            now=lambda: support.NOW,
            no_return=no_return,
        ).run()
        os.kill(os.getpid(), signal.SIGTERM)  # again, while the end is written down
    assert (ending.result, ending.cause) == ("aborted", "interrupted")
