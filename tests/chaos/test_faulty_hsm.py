"""A token that fails: what its callers get is the right answer or HsmUnavailable, and it mends.

One fault, at whatever call and of whatever kind, is mended on the way: nobody notices.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from hypothesis import given, settings
from hypothesis import strategies as st

from hsm.device import DeviceStatus, RsaPadding
from hsm.errors import RETURN_VALUES, HsmTimeout, HsmUnavailable
from hsm.pauses import LONGEST_PAUSE
from tests.integration.hsm.support import AES_VALUE

CODES = {value.name: value.code for value in RETURN_VALUES.values()}
FAULTS = (
    "CKR_HOST_MEMORY",
    "CKR_GENERAL_ERROR",
    "CKR_DEVICE_ERROR",
    "CKR_DEVICE_REMOVED",
    "CKR_OBJECT_HANDLE_INVALID",
    "CKR_SESSION_HANDLE_INVALID",
)
WIRED = (
    *("C_GetSlotList", "C_GetTokenInfo", "C_OpenSession", "C_CloseSession", "C_Login", "C_Logout"),
    *("C_FindObjectsInit", "C_FindObjects", "C_FindObjectsFinal"),
    *("C_DecryptInit", "C_Decrypt", "C_EncryptInit", "C_Encrypt", "C_GenerateRandom"),
)
"""What is used of a token once its library is initialised, but for attributes."""
EVERY_CALL = 1_000_000
TIMEOUT = 5.0

# A PIN block of format 0 and its PIN field exclusive-ored with the PAN's (jPOS's test vector).
BLOCK, FIELD = bytes.fromhex("ABE38E29B58EA392"), bytes.fromhex("0412719876FEDCBA")
AES_ZEROS = Cipher(AES(AES_VALUE), ECB()).encryptor().update(bytes(16))

# A search that a fault cut off is ended by python-pkcs11's finaliser, which may fail as well.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Journey:
    """What EncryptPin asks of a token, on one device: decipher, draw, encipher."""

    def __init__(self, device):
        self.device = device
        self._drawn = {bytes(8)}

    def decipher(self):
        assert self.device.decipher("tdes/1", BLOCK, timeout=TIMEOUT) == FIELD

    def draw(self):
        drawn = self.device.random(8, timeout=TIMEOUT)
        assert len(drawn) == 8
        assert drawn not in self._drawn
        self._drawn.add(drawn)

    def encipher(self):
        assert self.device.encipher("aes/1", bytes(16), timeout=TIMEOUT) == AES_ZEROS

    def walk(self):
        """Every step gives the right answer."""
        for step in (self.decipher, self.draw, self.encipher):
            step()
        assert self.device.status is DeviceStatus.SERVING
        assert self.device.sealed_keys == frozenset()

    def struggle(self):
        """Every step gives the right answer or HsmUnavailable; how often the latter."""
        failed = 0
        for step in (self.decipher, self.draw, self.encipher):
            try:
                step()
            except HsmUnavailable:
                failed += 1
        return failed


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def journey(open_device, clock):
    return Journey(open_device(clock=clock))


def forget(device):
    """Make the device find every key again, as after a new session."""
    device._link._keys.clear()


def strike_each_call(shim, device, walk, *, answer, after, cold):
    """Walk with the first call struck, then with the second, … until one is past the end."""
    nth, reached = 0, True
    while reached:
        nth += 1
        if cold:
            forget(device)
        begin = shim.calls()
        shim.strike(CODES[answer], nth=nth, after=after)
        walk()
        reached = shim.calls() >= begin + nth
        shim.relent()
        walk()
    assert nth > 1


@pytest.mark.parametrize("answer", FAULTS)
@pytest.mark.parametrize("after", [False, True], ids=["undone", "done and lost"])
@pytest.mark.parametrize("cold", [False, True], ids=["keys known", "keys to be found"])
def test_one_fault_at_any_call_is_not_noticed(open_device, shim, answer, after, cold):
    device = open_device(inspect=False)
    walk = Journey(device).walk
    strike_each_call(shim, device, walk, answer=answer, after=after, cold=cold)


@pytest.mark.parametrize("answer", FAULTS)
def test_one_fault_is_not_noticed_while_attributes_are_reviewed(journey, shim, answer):
    device = journey.device
    strike_each_call(shim, device, journey.walk, answer=answer, after=False, cold=True)


def test_attributes_that_cannot_be_read_for_a_while_seal_no_key_for_good(open_device, shim, clock):
    journey = Journey(open_device(clock=clock, inspect=False))
    forget(journey.device)
    shim.strike(CODES["CKR_DEVICE_ERROR"], function="C_GetAttributeValue", times=3)
    journey.struggle()
    clock.now += LONGEST_PAUSE
    journey.walk()


@pytest.mark.parametrize("answer", FAULTS)
def test_a_token_that_always_fails_is_left_alone_until_it_is_back(journey, shim, clock, answer):
    journey.walk()
    for function in WIRED:
        shim.strike(CODES[answer], function=function, times=EVERY_CALL)
    with pytest.raises(HsmUnavailable):
        journey.decipher()
    assert journey.device.status is DeviceStatus.DOWN
    tried = shim.calls()
    assert journey.struggle() == 3
    assert shim.calls() == tried
    shim.relent()
    clock.now += LONGEST_PAUSE
    journey.walk()


@pytest.mark.parametrize(("function", "after"), [("C_Finalize", False), ("C_Initialize", True)])
def test_a_library_that_fails_while_it_is_initialised_again_is_mended(
    journey, shim, clock, function, after
):
    shim.strike(CODES["CKR_DEVICE_ERROR"], function="C_Decrypt")
    shim.strike(CODES["CKR_GENERAL_ERROR"], function=function, after=after)
    journey.struggle()
    clock.now += LONGEST_PAUSE
    journey.walk()


def test_faults_on_faults_give_right_answers_or_none(open_device, shim, clock):
    """Also those that strike what the recovery itself does."""
    strike = st.fixed_dictionaries(
        {
            "function": st.sampled_from(WIRED),
            "answer": st.sampled_from(FAULTS).map(CODES.__getitem__),
            "nth": st.integers(1, 12),
            "times": st.integers(1, 12),
            "after": st.booleans(),
        }
    )

    @settings(max_examples=60)
    @given(st.lists(strike, min_size=1, max_size=3), st.booleans())
    def under(strikes, cold):
        device = open_device(clock=clock, inspect=False)
        journey = Journey(device)
        if cold:
            forget(device)
        for each in strikes:
            shim.strike(**each)
        journey.struggle()
        shim.relent()
        clock.now += LONGEST_PAUSE
        journey.walk()
        device.close()

    under()


@pytest.mark.parametrize("answer", ["CKR_GENERAL_ERROR", "CKR_HOST_MEMORY"])
def test_one_fault_is_not_blamed_on_good_data(open_device, shim, answer):
    device = open_device()
    oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), label=None)
    public = serialization.load_der_public_key(device.public_key("seal/1"))
    sealed = public.encrypt(b"sealed", oaep)
    shim.strike(CODES[answer], function="C_Decrypt", nth=2, after=True)
    opened = device.rsa_decrypt("seal/1", sealed, padding=RsaPadding.OAEP_SHA1, timeout=TIMEOUT)
    assert opened == b"sealed"


# --- a token that hangs

HANG = 0.6
HANG_AFTER = 0.1


def until(condition):
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.005)


@pytest.mark.parametrize("answer", [None, "CKR_DEVICE_ERROR"], ids=["answers", "fails"])
def test_a_token_that_hangs_holds_up_one_caller_and_frees_the_others(open_device, shim, answer):
    """Who is in the token waits for it; who waits for a turn waits no longer than it wants."""
    journey = Journey(open_device(hang_after=HANG_AFTER))
    device = journey.device
    shim.strike(CODES[answer] if answer else 0, function="C_Decrypt", hang=HANG)
    with ThreadPoolExecutor(1) as pool:
        stuck = pool.submit(journey.decipher)
        until(lambda: device.status is DeviceStatus.HUNG)
        began = time.monotonic()
        with pytest.raises(HsmTimeout):
            device.random(8, timeout=0.05)
        assert 0.05 <= time.monotonic() - began < HANG / 2
        with pytest.raises(HsmUnavailable):
            device.probe()
        assert not stuck.done()
    stuck.result()
    journey.walk()
    device.probe()


def test_who_gave_up_on_a_hung_token_is_not_served_afterwards(open_device, shim):
    journey = Journey(open_device())
    device = journey.device
    shim.strike(function="C_Decrypt", hang=HANG / 2)
    drawn = shim.calls("C_GenerateRandom")
    stuck = threading.Thread(target=journey.decipher)
    stuck.start()
    until(lambda: device.busy_since is not None)
    with pytest.raises(HsmTimeout):
        device.random(8, timeout=0.01)
    stuck.join()
    journey.encipher()
    assert shim.calls("C_GenerateRandom") == drawn
