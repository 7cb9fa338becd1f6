"""Whatever is done to a log's file, the verifier finds it and says where."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from pinvault.audit import AuditError, AuditUnavailable, verify
from pinvault.audit.durable import worker_path
from pinvault.audit.verify import MAX_FAULTS
from tests.unit.audit.support import (
    CHAIN_KEY,
    PUBLIC,
    Scribe,
    ends,
    judge,
    kinds,
    logs,
    open_log,
    put,
    steady,
)


@steady
@given(logs())
def test_an_untouched_log_is_ok(scribe: Scribe) -> None:
    report = judge(b"".join(scribe.lines))
    assert report.ok, report
    worker = report.workers[0]
    assert worker.records == len(scribe.lines)
    assert report.heads == {0: (len(scribe.lines), scribe.heads[-1])}
    assert judge(b"".join(scribe.lines), expect=report.heads).ok


@steady
@given(logs(), st.data())
def test_any_edited_byte_is_found(scribe: Scribe, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(scribe.lines) - 1))
    line = bytearray(scribe.lines[index])
    at = data.draw(st.integers(0, len(line) - 2))
    line[at] ^= data.draw(st.integers(1, 255))
    lines = [*scribe.lines[:index], bytes(line), *scribe.lines[index + 1 :]]
    report = judge(b"".join(lines))
    assert "edited" in kinds(report)
    assert report.workers[0].faults[0].line >= index + 1


@steady
@given(logs(), st.data())
def test_a_member_rewritten_by_hand_is_found_where_it_is(scribe: Scribe, data) -> None:
    index = data.draw(st.integers(0, len(scribe.lines) - 1))
    content = json.loads(scribe.lines[index]) | {"outcome": "PIN_SOURCE_REFUSED"}
    forged = json.dumps(content, separators=(",", ":")).encode() + b"\n"
    report = judge(b"".join([*scribe.lines[:index], forged, *scribe.lines[index + 1 :]]))
    assert (index + 1, "edited") in {(f.line, f.kind) for f in report.workers[0].faults}


@steady
@given(logs(), st.data())
def test_an_inserted_line_is_found(scribe: Scribe, data: st.DataObject) -> None:
    at = data.draw(st.integers(1, len(scribe.lines)))
    stranger = data.draw(st.sampled_from([b"{}\n", b"\n", b"x" * 8200 + b"\n", None]))
    if stranger is None:
        stranger = data.draw(st.sampled_from(scribe.lines[:at]))
    report = judge(b"".join([*scribe.lines[:at], stranger, *scribe.lines[at:]]))
    expected = {"inserted"} if at < len(scribe.lines) else {"inserted", "edited"}
    assert kinds(report) & expected
    assert report.workers[0].faults[0].line == at + 1


@steady
@given(logs(), st.data())
def test_deleted_lines_are_found(scribe: Scribe, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(scribe.lines) - 2))
    last = data.draw(st.integers(first + 1, len(scribe.lines) - 1))
    report = judge(b"".join([*scribe.lines[:first], *scribe.lines[last:]]))
    assert (first + 1, "deleted") in {(f.line, f.kind) for f in report.workers[0].faults}


@steady
@given(logs(), st.data())
def test_reordered_lines_are_found(scribe: Scribe, data: st.DataObject) -> None:
    lines = list(scribe.lines)
    source = data.draw(st.integers(0, len(lines) - 1))
    target = data.draw(st.integers(0, len(lines) - 1).filter(lambda at: at != source))
    lines.insert(target, lines.pop(source))
    assert kinds(judge(b"".join(lines))) & {"reordered", "forked"}


@steady
@given(logs(), st.data())
def test_a_file_cut_anywhere_is_found_by_whoever_knows_its_head(scribe, data) -> None:
    whole = b"".join(scribe.lines)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    known = {0: (len(scribe.lines), scribe.heads[-1])}
    assert "truncated" in kinds(judge(cut, expect=known))
    # Without that knowledge only a cut inside a line shows: a shorter log is a log.
    assert kinds(judge(cut)) == (set() if cut in ends(scribe) else {"torn-tail"})


@steady
@given(logs(), st.data())
def test_a_fork_after_a_restart_from_an_old_copy_is_found(scribe, data) -> None:
    keep = data.draw(st.integers(1, len(scribe.lines) - 1))
    other = Scribe(0, scribe.lines[:keep], scribe.heads[: keep + 1], scribe.moment)
    other.boot()
    other.calls(data.draw(st.integers(1, len(scribe.lines) + 5)))
    known = {0: (len(scribe.lines), scribe.heads[-1])}
    assert kinds(judge(b"".join(other.lines), expect=known)) & {"forked", "truncated"}
    # Both branches in one file, as a restored disk would leave them:
    both = judge(b"".join([*scribe.lines, *other.lines[keep:]]))
    assert (len(scribe.lines) + 1, "forked") in {(f.line, f.kind) for f in both.workers[0].faults}


@steady
@given(st.integers(21, 60))
def test_a_missing_checkpoint_is_found(count: int) -> None:
    scribe = Scribe()
    scribe.boot()
    scribe.calls(count, every=1000)
    assert kinds(judge(b"".join(scribe.lines), every=5)) == {"missing-checkpoint"}
    assert kinds(judge(b"".join(scribe.lines), every=1000)) == set()


@steady
@given(logs(), st.data())
def test_the_holder_of_the_chain_key_cannot_rewrite_what_was_signed(scribe, data) -> None:
    """Every hash is made anew; only the signatures cannot be."""
    signed = [index for index, line in enumerate(scribe.lines) if b'"checkpoint":{' in line]
    if not signed:
        return
    victim = data.draw(st.integers(0, signed[-1] - 1))
    forger = Scribe()
    for index, line in enumerate(scribe.lines):
        body = json.loads(line)
        for member in ("seq", "prev", "hash"):
            del body[member]
        if index == victim:
            body["profile"] = "harmless"
        forger.rewrite(json.dumps(body, separators=(",", ":")).encode())
    assert "bad-checkpoint" in kinds(judge(b"".join(forger.lines)))


def test_one_workers_file_is_not_anothers(tmp_path: Path) -> None:
    scribe = Scribe(worker=1)
    scribe.boot()
    scribe.calls(5)
    put(tmp_path / "a", b"".join(scribe.lines), worker=0)
    report = verify(tmp_path / "a", chain_key=CHAIN_KEY, public_key=PUBLIC)
    assert {"forked", "bad-checkpoint"} <= kinds(report)


def test_a_file_full_of_faults_does_not_fill_the_memory() -> None:
    scribe = Scribe()
    scribe.boot()
    scribe.calls(4200, every=10_000)
    # 2,100 gaps, and one word about the checkpoints that never came.
    every_other = judge(b"".join(scribe.lines[::2])).workers[0]
    assert (len(every_other.faults), every_other.more_faults) == (MAX_FAULTS, 1101)
    junk = judge(b"".join([scribe.lines[0], b"junk\n" * 3000, *scribe.lines[1:20]])).workers[0]
    assert (len(junk.faults), junk.more_faults) == (MAX_FAULTS, 2000)
    assert junk.records == 20


def test_a_missing_file_is_found_by_whoever_knows_of_it(tmp_path: Path) -> None:
    known = {3: (10, "0f" * 32)}
    report = verify(tmp_path, chain_key=CHAIN_KEY, public_key=PUBLIC, expect=known)
    assert kinds(report) == {"truncated"}
    assert report.workers[0].worker == 3


def test_reading_disturbs_no_writer_and_a_live_half_line_is_no_fault(tmp_path: Path) -> None:
    directory = tmp_path / "audit"
    log = open_log(directory)
    with worker_path(directory, 0).open("ab") as file:
        file.write(b'{"seq":3')
    report = verify(directory, chain_key=CHAIN_KEY, public_key=PUBLIC)
    assert report.ok
    assert report.workers[0].live
    with pytest.raises(AuditUnavailable):
        log.close()
    report = verify(directory, chain_key=CHAIN_KEY, public_key=PUBLIC)
    assert kinds(report) == {"torn-tail"}
    assert not report.workers[0].live


def test_keys_of_the_wrong_kind_are_refused(tmp_path: Path) -> None:
    der = PUBLIC.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert verify(tmp_path, chain_key=CHAIN_KEY, public_key=der).ok
    other = ec.derive_private_key(7, ec.SECP384R1()).public_key()
    with pytest.raises(ValueError):
        verify(tmp_path, chain_key=CHAIN_KEY, public_key=other)
    with pytest.raises(AuditError):
        verify(tmp_path / "nowhere", chain_key=CHAIN_KEY, public_key=der)
