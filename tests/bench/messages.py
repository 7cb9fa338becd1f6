"""The requests that are measured: one PIN from a terminal's zone, or sealed by an application."""

import time
import warnings

import grpc

from pinvault.client.sealing import LIFETIME_S, SealingKey, seal
from pinvault.client.vault import Vault
from pinvault.development.environment import Environment
from pinvault.v1 import pin_block_pb2 as pb
from pinvault.v1 import resources_pb2 as resources
from tests.support import zone

# A published sample PAN.
PAN = "5060990000000151002"
PIN = "4829"
FORMATS = {
    "ISO_0": resources.PinBlockFormat(iso_format_0=resources.IsoFormat0(pan=PAN)),
    "ISO_3": resources.PinBlockFormat(iso_format_3=resources.IsoFormat3(pan=PAN)),
}


def from_block(environment: Environment) -> bytes:
    """Give a request: format 0 under the terminal's key to format 0 under the switch's."""
    return _request(terminal_pin(environment))


def terminal_pin(environment: Environment) -> resources.PinSource:
    """Give the PIN as it comes from the terminal's zone."""
    return resources.PinSource(pin_block=_terminal_source(environment))


def translation(environment: Environment, *, to: zone.Format) -> bytes:
    """Give a request: format 0 under the terminal's key to ISO_0 or ISO_3 under the switch's."""
    target = resources.PinBlockTarget(key="zpk-switch", format=FORMATS[to])
    return pb.TranslatePinRequest(
        source=_terminal_source(environment), target=target
    ).SerializeToString()


def terminal_block(environment: Environment) -> bytes:
    """Give the PIN as a block of format 0 under the terminal's key."""
    key = environment.zone_key("zpk-terminal")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # psec, the oracle, takes TDES from where it stood
        return zone.block(PIN, pan=PAN, form="ISO_0", key=key)


def _terminal_source(environment: Environment) -> resources.PinBlockSource:
    return resources.PinBlockSource(
        key="zpk-terminal", format=FORMATS["ISO_0"], ciphertext=terminal_block(environment)
    )


def from_envelopes(port: int, count: int) -> list[bytes]:
    """Give requests whose sources are envelopes, each good for one call in the next minutes."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        vault = Vault(
            channel,
            sealing_profile="sealed-pin",
            sealing_key="pin-seal",
            thumbprints=(),
            timeout_s=10.0,
        )
        return [from_envelope(vault.sealing_key()) for _ in range(count)]


def from_envelope(key: SealingKey) -> bytes:
    """Give a request: a sealed envelope to format 0 under the switch's key."""
    ciphertext = seal(PIN, key=key, pan=PAN, expires=int(time.time()) + LIFETIME_S)
    source = resources.EnvelopeSource(profile="sealed-pin", ciphertext=ciphertext, pan=PAN)
    return _request(resources.PinSource(envelope=source))


def _request(source: resources.PinSource) -> bytes:
    target = resources.PinBlockTarget(key="zpk-switch", format=FORMATS["ISO_0"])
    return pb.EncryptPinRequest(
        source=source, target=resources.PinTarget(pin_block=target)
    ).SerializeToString()
