"""Trials of life: keys end when they should and are found again, and how long each call takes.

Rules:
- An old handle must fail after its object, its session or the library has ended. Which error it
  gives decides where recovery begins (`hsm.recovery`).
- Times are means of calls in one thread, as the lane makes them, told and not judged.
- Two threads at once are what the service never does. What they do to the library is told last: it
  may end the process.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from pkcs11 import Attribute, Mechanism
from pkcs11.exceptions import PKCS11Error

from hsm import derivation
from hsm.attributes import KEY_TYPES
from hsm.derivation import Step
from hsm.keys import CALL_BYTES
from hsm.mechanisms import ECB, ENCRYPT_DATA
from hsm.passing import NO_DEFAULTS, destroy
from hsm.qualify_bench import Bench, Need, Shortfall, Trial, expect, in_software, name_of, trial
from hsm.qualify_pairs import decrypt, oaep, unwrap, working_hash
from hsm.roles import passing_template
from hsm.vocabulary import Algorithm, Family, Mode, Usage

_BLOCK: Final = bytes(16)
_MEASURED: Final = 0.05
"""Seconds for which a call is repeated to be timed."""
_TOGETHER: Final = 0.3
"""Seconds for which two threads call at once."""
_BLOCKS_A_CALL: Final = (1, 64, 1_024)


def _key(bench: Bench) -> Any:
    return bench.secret(Algorithm.AES_128, (Attribute.ENCRYPT,), (Mechanism.AES_ECB,))


def _use(key: Any) -> bytes:
    return bytes(key.encrypt(_BLOCK, mechanism=Mechanism.AES_ECB))


def _is_gone(key: Any) -> str:
    try:
        _use(key)
    except PKCS11Error as error:
        return name_of(error)
    raise Shortfall("the old handle still works")


def _destroyed(bench: Bench) -> str:
    key = _key(bench)
    _use(key)
    destroy(key)
    return f"the handle answers {_is_gone(key)}"


def _found(bench: Bench) -> str:
    """By label, id and class together, as the service finds its keys."""
    name = os.urandom(8).hex()
    names = {Attribute.LABEL: name, Attribute.ID: name.encode()}
    made = bench.secret(Algorithm.AES_128, changes=names)
    wanted = {Attribute.CLASS: made[Attribute.CLASS], **names}
    numbers = [
        sum(1 for _ in bench.session.get_objects(each))
        for each in (wanted, {**wanted, Attribute.ID: b"another"})
    ]
    expect(numbers == [1, 0], f"found {numbers[0]}, and {numbers[1]} of another id")
    return "found once, and not by another id"


def _session_ends(bench: Bench) -> str:
    return _reborn(bench, bench.close)


def _library_ends(bench: Bench) -> str:
    return _reborn(bench, bench.library.reinitialize)


def _reborn(bench: Bench, end: Callable[[], None]) -> str:
    """Old handles fail, passing keys are gone, and the token's own objects are found again."""
    name = {Attribute.LABEL: os.urandom(8).hex()}
    key = bench.secret(Algorithm.AES_128, (Attribute.ENCRYPT,), changes=name)
    kept = bench.kept_objects()
    end()
    answer = _is_gone(key)
    bench.open()
    left = sum(1 for _ in bench.session.get_objects(name))
    found = bench.kept_objects()
    expect(not left, f"{left} passing keys lived on")
    expect(found == kept, f"{found} of the token's {kept} objects are found again")
    return f"the handle answers {answer}; objects of the token found again: {found}"


def _nothing_kept(bench: Bench) -> str:
    """The session is read-only: C_GenerateKey of a token object must fail in it."""
    template = passing_template((), (Mechanism.AES_ECB,))
    try:
        made = bench.session.generate_key(
            KEY_TYPES[Algorithm.AES_128],
            128,
            capabilities=NO_DEFAULTS,
            template={**template, Attribute.TOKEN: True},
        )
    except PKCS11Error as error:
        return f"a key of the token is refused: {name_of(error)}"
    destroy(made)
    raise Shortfall("a key of the token was made, and destroyed")


def _batches(bench: Bench, algorithm: Algorithm) -> str:
    """Encipherment in ever larger calls, up to the largest that the service makes."""
    by = ECB[algorithm.family]
    key = bench.secret(algorithm, (Attribute.ENCRYPT,), (by,))
    told: list[str] = []
    for blocks in (*_BLOCKS_A_CALL, CALL_BYTES // algorithm.block_size):
        data = bytes(blocks * algorithm.block_size)
        try:
            told.append(f"{blocks:,}: {_timed(lambda: key.encrypt(data, mechanism=by))}")  # noqa: B023
        except PKCS11Error as error:
            raise Shortfall("; ".join([*told, f"{blocks:,}: {name_of(error)}"])) from None
    return "; ".join(told)


def _timed(call: Callable[[], object]) -> str:
    """The mean of one call, in microseconds or milliseconds."""
    began, count = time.perf_counter(), 0
    while count < 3 or time.perf_counter() - began < _MEASURED:
        call()
        count += 1
    micros = (time.perf_counter() - began) / count * 1e6
    return f"{micros / 1000:.1f} ms" if micros >= 1000 else f"{micros:.0f} µs"


def _random(bench: Bench) -> str:
    return f"32 bytes: {_timed(lambda: bench.session.generate_random(256))}"


def _mac(bench: Bench) -> str:
    by = Mechanism.SHA256_HMAC
    key = bench.secret(Algorithm.HMAC_SHA256, (Attribute.SIGN,), (by,))
    return _timed(lambda: key.sign(_BLOCK, mechanism=by))


def _signature(bench: Bench) -> str:
    _, private = bench.pair(Usage.S0, Family.EC, Mode.S)
    return _timed(lambda: private.sign(bytes(32), mechanism=Mechanism.ECDSA))


def _opening(bench: Bench) -> str:
    public, private = bench.pair(Usage.D1, Family.RSA, Mode.D)
    chosen = working_hash(bench)
    sealed = public.encrypt(bytes(32), oaep(chosen))
    return _timed(lambda: decrypt(private, sealed, chosen))


def _unwrapping(bench: Bench) -> str:
    public, private = bench.pair(Usage.K0, Family.RSA, Mode.D)
    chosen = working_hash(bench)
    sealed = public.encrypt(bytes(32), oaep(chosen))
    return _timed(lambda: unwrap(private, sealed, chosen))


def _derivation(bench: Bench) -> str:
    by = ENCRYPT_DATA[Family.AES]
    parent = bench.secret(Algorithm.AES_128, (Attribute.DERIVE,), (by,))
    path = (Step(Algorithm.AES_128, _BLOCK),)

    def once() -> None:
        with derivation.derived(parent, Family.AES, path, enciphers=True) as cipher:
            cipher.encipher(_BLOCK)

    return _timed(once)


def _two_threads(bench: Bench) -> str:
    """Two sessions of one process, used at once; both know what must come out."""
    value = bytes(range(16))
    keys = [bench.load(Algorithm.AES_128, value, (Attribute.ENCRYPT,))]
    bench.session, first = bench.another_session(), bench.session
    try:
        keys.append(bench.load(Algorithm.AES_128, value, (Attribute.ENCRYPT,)))
    finally:
        bench.session = first
    with ThreadPoolExecutor(len(keys)) as threads:
        calls = sum(
            threads.map(partial(_work, in_software(Algorithm.AES_128, value, _BLOCK)), keys)
        )
    return f"no crash in {calls:,} calls"


def _work(expected: bytes, key: Any) -> int:
    """Call for a while; how often."""
    until, count = time.perf_counter() + _TOGETHER, 0
    while time.perf_counter() < until:
        try:
            result = _use(key)
        except PKCS11Error as error:
            raise Shortfall(f"no crash, but a call failed: {name_of(error)}") from None
        expect(result == expected, "no crash, but wrong results")
        count += 1
    return count


def _told(
    name: str,
    call: str,
    mechanisms: tuple[Mechanism, ...],
    attempt: Callable[[Bench], str],
    patience: float = 60.0,
) -> Trial:
    need = Need(
        name=name,
        call=call,
        mechanisms=mechanisms,
        lost="",
        remedy="",
        only_told=True,
        patience=patience,
    )
    return Trial(need, attempt)


_STALE: Final = "use another module: recovery cannot tell old keys from new ones"
_SMALLER: Final = "keep batches, and callers at once, below what one call takes"

LIFE: Final = (
    trial(
        "keys are found by label, id and class",
        "C_FindObjects",
        (),
        _found,
        lost="everything",
        remedy="use a token that searches by CKA_LABEL, CKA_ID and CKA_CLASS",
        vital=True,
    ),
    *(
        trial(name, call, (), attempt, lost="everything", remedy=_STALE, vital=True)
        for name, call, attempt in (
            ("a destroyed key is gone", "C_DestroyObject", _destroyed),
            ("a closed session ends its keys", "C_Logout, C_CloseSession", _session_ends),
            ("a finalised library ends its keys", "C_Finalize, C_Initialize", _library_ends),
        )
    ),
    trial(
        "nothing is kept by these trials",
        "C_GenerateKey",
        (Mechanism.AES_KEY_GEN,),
        _nothing_kept,
        lost="trials without traces; the service itself loses nothing",
        remedy="look through the token for what the trials left",
    ),
)
"""Whether keys end when they should."""

TIMES: Final = (
    *(
        trial(
            f"blocks in one call, {algorithm}",
            "C_Encrypt",
            (ECB[algorithm.family],),
            _batches,
            algorithm,
            lost="larger batches",
            remedy=_SMALLER,
        )
        for algorithm in (Algorithm.TDES_2KEY, Algorithm.AES_128)
    ),
    _told("time of random bytes", "C_GenerateRandom", (), _random),
    _told("time of a MAC", "C_Sign", (Mechanism.SHA256_HMAC,), _mac),
    _told("time of a signature", "C_Sign", (Mechanism.ECDSA,), _signature),
    _told("time of opening", "C_Decrypt", (Mechanism.RSA_PKCS_OAEP,), _opening),
    _told("time of unwrapping", "C_UnwrapKey", (Mechanism.RSA_PKCS_OAEP,), _unwrapping),
    _told("time of a derivation", "C_DeriveKey", (Mechanism.AES_ECB_ENCRYPT_DATA,), _derivation),
)
"""How long calls take."""

THREADS: Final = (
    _told(
        "two threads at once",
        "C_Encrypt",
        (Mechanism.AES_ECB,),
        _two_threads,
        patience=5.0,
    ),
)
"""What the service, which has one lane a process, never does; told because others may."""
