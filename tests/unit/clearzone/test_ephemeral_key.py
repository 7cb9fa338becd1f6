"""The ephemeral key of an ECDH envelope: every private key equally likely, and a fresh one each."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from hsm.errors import HsmDataRefused
from pinvault.clearzone.envelope import p256
from pinvault.clearzone.envelope.timed import TimedDevice
from pinvault.clearzone.pin import Malformed
from pinvault.model.call import Deadline
from tests.support.software_device import SoftwareDevice
from tests.unit.clearzone.other_ends import INCOMING, device, opened

# FIPS 186-5, SP 800-186 3.2.1.3: the order of the base point of P-256.
N = 115792089210356248762697446949407573529996955224135760342422259061068512044369


@pytest.mark.parametrize(
    ("drawn", "private"),
    [
        *((0, 1), (1, 2), (N - 2, N - 1), (N - 1, 1), (N, 2), (2 * N, 3)),
        (2**320 - 1, (2**320 - 1) % (N - 1) + 1),
    ],
)
def test_the_private_key_is_what_was_drawn_reduced(drawn: int, private: int) -> None:
    """64 bits more than the order has leave no bias that could be seen (FIPS 186-5, A.2.1)."""
    hsm = SoftwareDevice([])
    hsm.draw = lambda length: drawn.to_bytes(40) if length == 40 else b""
    made = p256.ephemeral(TimedDevice(hsm, Deadline.after(60)))
    assert made.private_numbers().private_value == private
    assert isinstance(made.curve, ec.SECP256R1)


def test_an_agreement_that_the_hsm_refuses_is_malformed(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = INCOMING["sealed-ecdh-block"]
    text = kind.seal("7392")
    monkeypatch.setattr(device(), "failure", HsmDataRefused)
    with pytest.raises(Malformed):
        opened(text, kind.profile)
