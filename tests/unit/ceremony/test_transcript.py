"""Transcripts: signed facts, the text that is made of them, and nothing secret in either."""

from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from pinvault.ceremony import transcript
from pinvault.ceremony.plan import Plan
from pinvault.ceremony.transcript import (
    REHEARSAL_MARK,
    Ground,
    Signature,
    SignedTranscript,
    Transcript,
)
from tests.unit.ceremony import support
from tests.unit.ceremony.support import ANNA, BEN, ONE, TWO, good_answers, hold, plan_of

pytestmark = pytest.mark.usefixtures("cheap_hashes")
PRIVATE = ec.derive_private_key(0xA0D17, ec.SECP256R1())
GROUND = Ground(
    operator="operator:root",
    host="hsm-1",
    software="pinvault 0.1.0",
    token_label="pinvault",
    token_serial="0123",
    config_sha256="ab" * 32,
)


def signed_of(told: Transcript) -> SignedTranscript:
    digest = bytes.fromhex(transcript.digest(told))
    der = PRIVATE.sign(digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
    raw = b"".join(part.to_bytes(32, "big") for part in utils.decode_dss_signature(der))
    public = PRIVATE.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    signature = Signature(signer="audit-signing/1", public_key=public.hex(), signature=raw.hex())
    return SignedTranscript(transcript=told, signature=signature)


def told_of(plan: Plan, *answers: str | BaseException, rehearsal: bool = False) -> Transcript:
    ending, _, _ = hold(plan, answers or good_answers(plan), rehearsal=rehearsal)
    return Transcript(
        kind="REHEARSAL" if rehearsal else "CEREMONY",
        ceremony_file=plan.path.name,
        ceremony_sha256=plan.sha256,
        ground=GROUND,
        key=ending.key,
        custodians=tuple(map(transcript.person, plan.custodians)),
        steps=ending.steps,
        result=ending.result,
        cause=ending.cause,
    )


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory, cheap_hashes: None) -> Plan:
    return plan_of(tmp_path_factory.mktemp("plan"))


@pytest.fixture(scope="module")
def signed(plan: Plan) -> SignedTranscript:
    return signed_of(told_of(plan))


def test_what_was_signed_is_genuine_and_reads_back(signed: SignedTranscript) -> None:
    assert transcript.is_genuine(signed)
    assert transcript.decode(transcript.encode(signed)) == signed


def test_every_fact_counts(signed: SignedTranscript) -> None:
    """A change of any text anywhere in the facts ends the signature."""
    facts = msgspec.to_builtins(signed.transcript)

    def changes(node: object) -> list[object]:
        if isinstance(node, dict):
            return [{**node, name: new} for name in node for new in changes(node[name])]
        if isinstance(node, list | tuple):
            return [
                [*node[:at], new, *node[at + 1 :]]
                for at in range(len(node))
                for new in changes(node[at])
            ]
        return [not node] if isinstance(node, bool) else [f"{node}0"]

    tried = 0
    for changed in changes(facts):
        try:
            other = msgspec.convert(changed, Transcript)
        except msgspec.ValidationError:
            continue
        tried += 1
        assert not transcript.is_genuine(
            SignedTranscript(transcript=other, signature=signed.signature)
        )
        assert transcript.render(signed_of(other)) != transcript.render(signed)
    assert tried > 30


def test_every_byte_of_the_signature_counts(signed: SignedTranscript) -> None:
    assert signed.signature is not None
    good = bytes.fromhex(signed.signature.signature)
    for at in range(len(good)):
        bad = good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]
        other = msgspec.structs.replace(signed.signature, signature=bad.hex())
        assert not transcript.is_genuine(
            SignedTranscript(transcript=signed.transcript, signature=other)
        )


def test_the_text_is_for_people(signed: SignedTranscript, plan: Plan) -> None:
    text = transcript.render(signed)
    for expected in (
        *("KEY CEREMONY", plan.sha256, "zmk-partner/1", "40D522", "RESULT: LOADED"),
        *("By hand, Anna", "By hand, Ben", "operator:root on hsm-1"),
    ):
        assert expected in text
    assert all(ord(character) < 128 for character in text)
    assert max(map(len, text.splitlines())) <= 132


def test_a_rehearsal_says_so_first(plan: Plan) -> None:
    text = transcript.render(signed_of(told_of(plan, rehearsal=True)))
    assert text.splitlines()[0] == REHEARSAL_MARK
    assert "RESULT: REHEARSED" in text
    assert "KEY CEREMONY" not in text


def test_an_unsigned_one_says_so(plan: Plan) -> None:
    unsigned = SignedTranscript(transcript=told_of(plan, KeyboardInterrupt()), signature=None)
    assert not transcript.is_genuine(unsigned)
    text = transcript.render(unsigned)
    assert "NOT SIGNED" in text
    assert "RESULT: ABORTED (interrupted)" in text


@pytest.mark.parametrize("noise", [b"", b"{}", b"[]", b"\xff", b'{"transcript": {}}'])
def test_noise_is_no_transcript(noise: bytes) -> None:
    with pytest.raises(ValueError, match="no transcript"):
        transcript.decode(noise)


def test_nothing_secret_stands_in_it(signed: SignedTranscript) -> None:
    for written in (transcript.encode(signed), transcript.render(signed).encode()):
        for component in (ONE, TWO):
            for form in (component, component.lower(), bytes.fromhex(component).decode("latin-1")):
                assert form.encode("latin-1") not in written
        for passphrase in (ANNA, BEN):
            assert passphrase.encode() not in written


def test_what_a_certificate_signed_is_checked_again(tmp_path: Path) -> None:
    sha256 = support.save(tmp_path, "ben", ec.generate_private_key(ec.SECP256R1()))
    means = f'certificate = "ben.pem"\ncertificate_sha256 = "{sha256}"'
    people = (support.with_passphrase("Anna", ANNA), support.person("Ben", means))
    plan = plan_of(tmp_path, support.KEY_TABLE, *people)
    answers = [str(tmp_path / "ben.key") if it is BEN else it for it in good_answers(plan)]
    told = told_of(plan, *answers)
    assert transcript.unsigned_steps(told) == []
    assert sha256 in transcript.render(signed_of(told))
    forged = tuple(
        msgspec.structs.replace(step, statement=step.statement and step.statement + "!")
        for step in told.steps
    )
    assert len(transcript.unsigned_steps(msgspec.structs.replace(told, steps=forged))) == 2
