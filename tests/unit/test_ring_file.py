"""The key ring file under change: what a reviewer wrote survives, whatever happens meanwhile."""

import multiprocessing
import os
import re
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsm import keyring, ring_file
from hsm.errors import KeyringError, UnknownKey
from hsm.keyring import Algorithm, KeyEntry, Keyring, Mode, Origin, State, Usage
from hsm.ring_file import amend, retired, with_key

FIRST = KeyEntry(
    name="zpk",
    version=1,
    usage=Usage.P0,
    algorithm=Algorithm.TDES_3KEY,
    mode=Mode.E,
    check_value="ABCDEF",
    origin=Origin.GENERATED,
    state=State.ACTIVE,
    valid_from=date(2026, 1, 1),
)
SECOND = replace(FIRST, version=2, check_value="ABCDE0")
REVIEWED = """\
# The key ring of the test. Reviewed.

[[key]]  # the switch
name = 'zpk'            # literal
version = 1
usage = "P0"
algorithm="TDES_3KEY"
mode = "E"
check_value = "ABCDEF"  # as the ceremony's record says
origin = "generated"
state = "active"\t# since May
valid_from = 2026-01-01

# of the other one:
#   a note
[[key]]
check_value = "012345"
name = "zpk-b"
version = 7
usage = "P0"
algorithm = "AES_128"
mode = "E"
origin = "imported"
state = "decipher-only"
valid_from = 2026-01-01
valid_until = 2026-12-31 # the end
# last words"""

notes = st.text(st.sampled_from("abc xyz#\"'=[]"), max_size=12).map(lambda text: f"# {text}\n")
gaps = st.lists(st.one_of(st.just("\n"), notes), max_size=3).map("".join)
states = st.sampled_from(State)
dates = st.none() | st.dates(date(2026, 2, 1), date(2030, 1, 1))


@st.composite
def rings(draw) -> Keyring:
    """Key rings of a few names, with one active version each at the most."""
    entries = []
    for name in draw(st.lists(st.sampled_from(["zpk", "seal", "a-b"]), unique=True, max_size=3)):
        older = st.sampled_from([State.DECIPHER_ONLY, State.RETIRED])
        count = draw(st.integers(1, 3))
        for version in range(1, count + 1):
            state = draw(states if version == count else older)
            until = draw(dates)
            entries.append(
                replace(FIRST, name=name, version=version, state=state, valid_until=until)
            )
    return Keyring(keys=tuple(entries))


@st.composite
def changes(draw, ring: Keyring):
    """A wanted key ring: some states and ends otherwise, and perhaps new keys at the end."""
    kept = []
    for entry in ring.keys:
        if draw(st.booleans()):
            state = draw(st.sampled_from([State.DECIPHER_ONLY, State.RETIRED]))
            entry = replace(entry, state=state, valid_until=draw(dates))
        kept.append(entry)
    added = [replace(FIRST, name=f"new-{n}") for n in range(draw(st.integers(0, 2)))]
    return Keyring(keys=(*kept, *added))


def annotated(ring: Keyring, draw) -> str:
    """The file as a reviewer may have left it: notes above, between, beside and below."""
    lines = keyring.dump(ring).splitlines(keepends=True)
    beside = [re.sub("\n$", f"  {draw(notes)}", x) if draw(st.booleans()) else x for x in lines]
    text = draw(gaps) + "".join(draw(gaps) + line for line in beside) + draw(gaps)
    return text.removesuffix("\n") if draw(st.booleans()) else text


def notes_of(text: str) -> list[str]:
    return re.findall("#.*", text)


@settings(max_examples=60)
@given(data=st.data())
def test_notes_and_order_survive_every_change_and_the_result_reads_back(
    data, tmp_path_factory
) -> None:
    path = tmp_path_factory.mktemp("ring") / "keyring.toml"
    ring = data.draw(rings())
    text = annotated(ring, data.draw)
    path.write_text(text)
    wanted = data.draw(changes(ring))
    assert amend(path, lambda _: wanted) == wanted == keyring.load(path)
    after = path.read_text()
    removed = [m for m in notes_of(text) if m not in notes_of(after)]
    assert len(removed) <= sum(  # a note beside a member goes with the member
        old.valid_until is not None and new.valid_until is None
        for old, new in zip(ring.keys, wanted.keys, strict=False)
    )
    untouched = [line for line in text.splitlines() if not re.match("state|valid_until", line)]
    rest = iter(after.splitlines())
    assert all(line in rest for line in untouched), "lines that nobody changed keep their order"


def test_only_the_lines_that_change_are_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "keyring.toml"
    path.write_text(REVIEWED)
    amend(path, lambda ring: with_key(ring, SECOND, previous_until=date(2026, 9, 30)))
    expected = REVIEWED.replace('"active"\t#', '"decipher-only"\t#').replace(
        "valid_from = 2026-01-01\n\n", "valid_from = 2026-01-01\nvalid_until = 2026-09-30\n\n", 1
    )
    assert path.read_text() == expected + "\n\n" + keyring.dump(Keyring(keys=(SECOND,)))


def test_a_rotation_hands_over_and_says_how_long_the_old_version_opens() -> None:
    other = replace(FIRST, name="other")
    ring = with_key(Keyring(keys=(FIRST, other)), SECOND, previous_until=date(2026, 9, 30))
    stepped = replace(FIRST, state=State.DECIPHER_ONLY, valid_until=date(2026, 9, 30))
    assert ring.keys == (stepped, other, SECOND)
    assert with_key(ring, SECOND) == ring, "said twice, it is done once"
    unbounded = with_key(Keyring(keys=(FIRST,)), SECOND)
    assert unbounded.keys[0].valid_until is None


def test_a_key_that_is_not_active_takes_over_from_nobody() -> None:
    waiting = replace(SECOND, state=State.DECIPHER_ONLY)
    assert with_key(Keyring(keys=(FIRST,)), waiting).keys == (FIRST, waiting)


def test_an_id_is_not_given_twice_and_what_is_unknown_not_retired() -> None:
    with pytest.raises(KeyringError):
        with_key(Keyring(keys=(FIRST,)), replace(FIRST, check_value="FFFFFF"))
    with pytest.raises(UnknownKey):
        retired(Keyring(keys=(FIRST,)), "zpk/2")
    assert retired(Keyring(keys=(FIRST,)), "zpk/1").keys[0].state is State.RETIRED


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param((), id="a key left out"),
        pytest.param((FIRST, replace(SECOND, state=State.ACTIVE)), id="two active versions"),
        pytest.param((replace(FIRST, check_value="abc"),), id="a malformed check value"),
        pytest.param((replace(FIRST, name='x"\n[[key]]'),), id="a name that breaks out"),
        pytest.param((SECOND, FIRST), id="another order"),
    ],
)
def test_what_would_not_read_back_is_not_written(
    tmp_path: Path, wanted: tuple[KeyEntry, ...]
) -> None:
    path = tmp_path / "keyring.toml"
    path.write_text(keyring.dump(Keyring(keys=(FIRST,))))
    before = path.read_bytes()
    with pytest.raises(KeyringError):
        amend(path, lambda _: Keyring(keys=wanted))
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ["key = 3", "[[key]]\nname = 1", "not toml", "\udcff"])
def test_a_file_that_is_wrong_is_told_and_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keyring.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(KeyringError) as refused:
        amend(path, lambda ring: ring)
    assert refused.value.facts["remedy"]
    assert path.read_bytes() == text.encode("utf-8", "surrogateescape")


def test_a_row_that_is_no_table_of_its_own_can_be_read_and_not_amended(tmp_path: Path) -> None:
    inline = "key = [{" + keyring.dump(Keyring(keys=(FIRST,))).replace("\n", ", ")[9:-2] + "}]\n"
    path = tmp_path / "keyring.toml"
    path.write_text(inline)
    assert keyring.load(path).keys == (FIRST,)
    with pytest.raises(KeyringError) as refused:
        amend(path, lambda ring: with_key(ring, SECOND))
    assert "[[key]]" in refused.value.facts["remedy"]
    assert path.read_text() == inline


def test_line_ends_of_another_system_stay(tmp_path: Path) -> None:
    path = tmp_path / "keyring.toml"
    path.write_bytes(REVIEWED.replace("\n", "\r\n").encode())
    amend(path, lambda ring: retired(ring, "zpk/1"))
    expected = REVIEWED.replace('"active"', '"retired"').replace("\n", "\r\n")
    assert path.read_bytes().decode() == expected


@pytest.mark.parametrize("text", [None, "", "# nothing yet\n"], ids=["missing", "empty", "a note"])
def test_the_first_key_begins_the_file(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "keyring.toml"
    if text is not None:
        path.write_text(text)
    amend(path, lambda ring: with_key(ring, FIRST))
    assert keyring.load(path).keys == (FIRST,)
    assert path.read_text().startswith(text or "[[key]]")
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o444])
def test_the_mode_stays_and_the_lock_is_private(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "keyring.toml"
    path.write_text(REVIEWED)
    path.chmod(mode)
    amend(path, lambda ring: retired(ring, "zpk/1"))
    assert path.stat().st_mode & 0o7777 == mode
    assert (tmp_path / "keyring.toml.lock").stat().st_mode & 0o777 == 0o600
    assert sorted(each.name for each in tmp_path.iterdir()) == ["keyring.toml", "keyring.toml.lock"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real = tmp_path / "real" / "ring.toml"
    real.parent.mkdir()
    real.write_text(REVIEWED)
    link = tmp_path / "keyring.toml"
    link.symlink_to(real)
    amend(link, lambda ring: retired(ring, "zpk/1"))
    assert link.is_symlink()
    assert keyring.load(real).entry("zpk/1").state is State.RETIRED
    assert (real.parent / "ring.toml.lock").exists(), "whatever the way to it, there is one lock"


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    path, victim = tmp_path / "keyring.toml", tmp_path / "victim"
    path.write_text(REVIEWED)
    victim.write_text("untouched")
    (tmp_path / ".keyring.toml.new").symlink_to(victim)
    amend(path, lambda ring: retired(ring, "zpk/1"))
    assert victim.read_text() == "untouched"
    assert not path.is_symlink()


class Crash(BaseException):
    """The process ends here, as far as the file can tell."""


STEPS = ("open", "write", "fchmod", "fsync", "replace", "fsync-folder")


@contextmanager
def crashing(step: str):
    """Have the process end at a step of putting a text in place."""
    with pytest.MonkeyPatch.context() as patch:
        if step == "replace":
            patch.setattr(Path, "replace", _crash)
        elif step == "write":
            patch.setattr(ring_file.os, "fdopen", _half_written)
        elif step == "open":
            patch.setattr(ring_file.os, "open", _crash_at_the_new_file)
        else:
            calls = iter([False, True] if step == "fsync-folder" else [True])
            name = step.partition("-")[0]
            real = getattr(os, name)

            def call(*arguments):
                if next(calls):
                    raise Crash
                return real(*arguments)

            patch.setattr(ring_file.os, name, call)
        yield


def _crash(*_: object) -> None:
    raise Crash


_REAL_OPEN, _REAL_FDOPEN = os.open, os.fdopen


def _crash_at_the_new_file(path, *arguments):
    if str(path).endswith(".new"):
        raise Crash
    return _REAL_OPEN(path, *arguments)


def _half_written(handle, mode):
    if mode == "rb":
        return _REAL_FDOPEN(handle, mode)
    os.write(handle, b"[[key")
    os.close(handle)
    raise Crash


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_any_step_leaves_one_whole_file_and_the_next_try_succeeds(
    tmp_path: Path, step: str
) -> None:
    path = tmp_path / "keyring.toml"
    path.write_text(REVIEWED)
    with crashing(step), suppress(Crash):
        amend(path, lambda ring: retired(ring, "zpk/1"))
    state = keyring.load(path).entry("zpk/1").state
    assert state is (State.RETIRED if step == "fsync-folder" else State.ACTIVE)
    amend(path, lambda ring: retired(ring, "zpk/1"))
    assert path.read_text() == REVIEWED.replace('"active"', '"retired"')


def test_an_edit_that_comes_between_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "keyring.toml"
    path.write_text(REVIEWED)
    edits = iter([REVIEWED + "\n# a second thought\n"])

    def change(ring: Keyring) -> Keyring:
        for text in edits:
            path.write_text(text)
        return retired(ring, "zpk/1")

    amend(path, change)
    assert path.read_text().endswith("# a second thought\n")
    assert keyring.load(path).entry("zpk/1").state is State.RETIRED


def test_what_the_change_raises_leaves_the_file_and_frees_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "keyring.toml"
    path.write_text(REVIEWED)
    with pytest.raises(UnknownKey):
        amend(path, lambda ring: retired(ring, "nobody/1"))
    assert path.read_text() == REVIEWED
    amend(path, lambda ring: ring)
    assert path.read_text() == REVIEWED


def test_a_lock_that_is_held_for_too_long_is_told(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "keyring.toml"
    path.write_text(REVIEWED)
    monkeypatch.setattr(ring_file, "LOCK_TIMEOUT_S", 0.05)
    refused: list[str] = []

    def change(ring: Keyring) -> Keyring:
        with pytest.raises(KeyringError) as inner:
            amend(path, lambda inner: inner)
        refused.append(inner.value.facts["remedy"])
        return ring

    amend(path, change)
    assert "process" in refused[0]


def _add_keys(path: Path, name: str, count: int) -> None:
    for version in range(1, count + 1):
        amend(path, lambda ring, v=version: with_key(ring, replace(FIRST, name=name, version=v)))


def test_two_processes_that_amend_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keyring.toml"
    path.write_text(REVIEWED)
    forked = multiprocessing.get_context("fork")
    names, count = ("left", "right"), 12
    both = [forked.Process(target=_add_keys, args=(path, name, count)) for name in names]
    for process in both:
        process.start()
    for process in both:
        process.join(30)
        assert process.exitcode == 0
    ring = keyring.load(path)
    assert [len(ring.versions(name)) for name in names] == [count, count]
    assert path.read_text().startswith(REVIEWED)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(KeyringError) as refused:
        amend(tmp_path / "nowhere" / "keyring.toml", lambda ring: with_key(ring, FIRST))
    assert refused.value.facts["reason"] == "No such file or directory"


@pytest.mark.parametrize("planted", ["keyring.toml", ".keyring.toml.new"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path, planted: str) -> None:
    path = tmp_path / "keyring.toml"
    os.mkfifo(tmp_path / planted)
    if planted == path.name:
        for read in (lambda: keyring.load(path), lambda: amend(path, lambda ring: ring)):
            with pytest.raises(KeyringError):
                read()
        return
    amend(path, lambda ring: with_key(ring, FIRST))
    assert keyring.load(path).keys == (FIRST,)


def test_a_device_is_not_read_without_end() -> None:
    with pytest.raises(KeyringError, match="cannot be read"):
        keyring.load(Path("/dev/zero"))
