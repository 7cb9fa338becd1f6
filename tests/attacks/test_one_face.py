"""Attack: tell from code, text, details or time why a PIN source did not open.

Bleichenbacher, Manger and Clulow all live on such a difference. Every class of bad ciphertext is
sent many times; what comes back must be the same to the byte but for the call id, and no class may
be answered sooner or later than another.
"""

import math
import secrets
import statistics
import time
from collections.abc import Callable

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from pinvault.client import Vault
from pinvault.development.server import RunningServer
from pinvault.v1 import pin_block_pb2, resources_pb2
from tests.conftest import OTHER_PAN, PAN
from tests.support import zone

ROUNDS = 30
BOUND = 1e-6
METHOD = "/pinvault.v1.PinBlockService/EncryptPin"

Make = Callable[[RunningServer, Vault], resources_pb2.PinSource]


def envelope(compact: bytes) -> resources_pb2.PinSource:
    return resources_pb2.PinSource(
        envelope=resources_pb2.EnvelopeSource(profile="sealed-pin", ciphertext=compact, pan=PAN)
    )


def block(ciphertext: bytes) -> resources_pb2.PinSource:
    format_0 = resources_pb2.PinBlockFormat(iso_format_0=resources_pb2.IsoFormat0(pan=PAN))
    return resources_pb2.PinSource(
        pin_block=resources_pb2.PinBlockSource(
            key="zpk-terminal", format=format_0, ciphertext=ciphertext
        )
    )


def jwe(vault: Vault, part: int, change: Callable[[bytes], bytes]) -> resources_pb2.PinSource:
    """Seal well, then change one of the five parts."""
    parts = vault.seal("4831", pan=PAN).ciphertext.split(b".")
    parts[part] = change(parts[part])
    return envelope(b".".join(parts))


def other_letters(text: bytes) -> bytes:
    return secrets.token_urlsafe(len(text)).encode()[: len(text)]


def terminal_block(server: RunningServer, *, pin: str = "4831", pan: str = PAN) -> bytes:
    key = server.environment.zone_key("zpk-terminal")
    return zone.block(pin, pan=pan, form="ISO_0", key=key)


ENVELOPES: dict[str, Make] = {
    "wrapped key is random": lambda _, vault: jwe(vault, 1, other_letters),
    "wrapped key is above the modulus": lambda _, vault: jwe(vault, 1, lambda t: b"_" * len(t)),
    "wrapped key is zero": lambda _, vault: jwe(vault, 1, lambda t: b"A" * len(t)),
    "wrapped key is short": lambda _, vault: jwe(vault, 1, lambda t: t[:-4]),
    "tag is random": lambda _, vault: jwe(vault, 4, other_letters),
    "content is random": lambda _, vault: jwe(vault, 3, other_letters),
    "PAN is another": lambda _, vault: envelope(vault.seal("4831", pan=OTHER_PAN).ciphertext),
    "not a JWE": lambda _, __: envelope(other_letters(b"x" * 700)),
}
BLOCKS: dict[str, Make] = {
    "random block": lambda _, __: block(secrets.token_bytes(8)),
    "another PAN": lambda server, _: block(terminal_block(server, pan=OTHER_PAN)),
    "another key": lambda server, _: block(
        zone.block("4831", pan=PAN, form="ISO_0", key=server.environment.zone_key("zpk-switch"))
    ),
    "another format": lambda server, _: block(
        zone.block("4831", pan=PAN, form="ISO_3", key=server.environment.zone_key("zpk-terminal"))
    ),
}


def ask(channel: grpc.Channel, source: resources_pb2.PinSource) -> tuple[float, bytes]:
    """Send a source; give the seconds it took, and the whole answer without its call id."""
    target = resources_pb2.PinTarget(
        pin_block=resources_pb2.PinBlockTarget(
            key="zpk-switch",
            format=resources_pb2.PinBlockFormat(iso_format_0=resources_pb2.IsoFormat0(pan=PAN)),
        )
    )
    request = pin_block_pb2.EncryptPinRequest(source=source, target=target).SerializeToString()
    began = time.perf_counter()
    with pytest.raises(grpc.RpcError) as failed:
        channel.unary_unary(METHOD)(request, timeout=10)
    took = time.perf_counter() - began
    return took, face_of(failed.value)


def face_of(error: grpc.RpcError) -> bytes:
    metadata = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(metadata.pop("grpc-status-details-bin"))
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.metadata.pop("call_id")
    status.details[0].Pack(info)
    return repr((error.code(), error.details(), metadata, status.SerializeToString())).encode()


@pytest.mark.parametrize("classes", [ENVELOPES, BLOCKS], ids=["envelopes", "blocks"])
def test_no_class_of_bad_source_can_be_told_from_another(
    server: RunningServer, classes: dict[str, Make]
) -> None:
    times: dict[str, list[float]] = {name: [] for name in classes}
    faces: set[bytes] = set()
    tls = server.environment.tls
    credentials = grpc.ssl_channel_credentials(
        (tls / "ca.pem").read_bytes(),
        (tls / "card-app.key").read_bytes(),
        (tls / "card-app.pem").read_bytes(),
    )
    with (
        server.connect() as vault,
        grpc.secure_channel(f"localhost:{server.port}", credentials) as channel,
    ):
        for _ in range(ROUNDS):
            for name, make in classes.items():
                took, face = ask(channel, make(server, vault))
                times[name].append(took)
                faces.add(face)
    assert len(faces) == 1
    for name in classes:
        rest = [t for other, found in times.items() if other != name for t in found]
        p = mann_whitney(times[name], rest)
        assert p > BOUND / len(classes), f"{name}: {statistics.median(times[name])} s, p = {p}"


def mann_whitney(left: list[float], right: list[float]) -> float:
    """Give the two-sided probability that two samples of one distribution differ this much."""
    ranked = sorted((value, side) for side, found in enumerate((left, right)) for value in found)
    ranks = sum(rank for rank, (_, side) in enumerate(ranked, 1) if side == 0)
    n, m = len(left), len(right)
    u = ranks - n * (n + 1) / 2
    z = (u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
    return math.erfc(abs(z) / math.sqrt(2))


def test_the_measure_would_notice_a_difference() -> None:
    """The same statistic finds a difference of 20 microseconds where nothing hides it."""
    noise = [i * 1e-6 for i in range(ROUNDS)]
    assert mann_whitney(noise, [value + 20e-6 for value in noise] * 7) < BOUND / len(ENVELOPES)
