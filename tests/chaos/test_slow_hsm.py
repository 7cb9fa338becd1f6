"""A token that takes a millisecond a call: callers who combine are many times as quick."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from tests.integration.hsm.support import AES_VALUE
from tests.support.callers import rate

CALLERS = 64
BAR = 15
"""Times the throughput of one caller that so many callers must have."""
SECONDS = 0.1
LEAST_ROUNDS, MOST_ROUNDS = 3, 40
TIMEOUT = 10.0

BLOCKS = [number.to_bytes(16, "big") for number in range(CALLERS)]
ENCIPHERED = [Cipher(AES(AES_VALUE), ECB()).encryptor().update(block) for block in BLOCKS]


@pytest.fixture
def slow_device(open_device, shim):
    device = open_device()
    shim.slow(0.001)
    return device


def decipher(device, _number):
    device.decipher("tdes/1", bytes(8), timeout=TIMEOUT)


def encipher(device, number):
    found = device.encipher("aes/1", BLOCKS[number], timeout=TIMEOUT)
    assert found == ENCIPHERED[number], "a caller got another's answer"


def random(device, _number):
    device.random(8, timeout=TIMEOUT)


@pytest.mark.parametrize("call", [decipher, encipher, random])
def test_many_callers_have_fifteen_times_the_throughput_of_one(slow_device, call):
    """By the best round of each, since a busy machine can only slow callers down."""

    def measured(callers):
        return rate(lambda number: call(slow_device, number), callers=callers, seconds=SECONDS)

    rounds: list[tuple[float, float]] = []
    ratio = 0.0
    while len(rounds) < LEAST_ROUNDS or ratio < BAR:
        assert len(rounds) < MOST_ROUNDS, f"{ratio:.1f} times, after {len(rounds)} rounds"
        rounds.append((measured(1), measured(CALLERS)))
        one, many = map(max, zip(*rounds, strict=True))
        ratio = many / one


def test_all_who_wait_for_a_turn_are_answered_in_one(open_device, shim):
    """The cause of that, counted and not timed."""
    device = open_device()
    shim.slow(0.2, functions=("C_GenerateRandom",))
    before = shim.calls("C_GenerateRandom")

    def draw():
        return device.random(8, timeout=TIMEOUT)

    with ThreadPoolExecutor(CALLERS) as pool:
        drawn = [pool.submit(draw) for _ in range(CALLERS)]
    assert len({each.result() for each in drawn}) == CALLERS
    assert shim.calls("C_GenerateRandom") - before <= CALLERS // BAR
