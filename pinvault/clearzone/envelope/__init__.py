"""PINs in envelopes: opened under a key of the HSM, or made for a partner, as a profile says.

Rules:
- The kind comes from the profile, never from what is in the envelope; nothing is negotiated.
- There is one way to write an envelope: one encoding, each member once, no bits to spare.
- Whatever is wrong with an envelope is `Malformed` and nothing else. A content key that cannot
  be unwrapped has a stand-in, so that bad padding looks like any other fault.
- Content keys, initialisation vectors, tokens and nonces that we make come from the HSM.
"""

from collections.abc import Mapping

from hsm.device import Device
from pinvault.clearzone.envelope.aes_block import make_aes_block, open_aes_block
from pinvault.clearzone.envelope.aes_data import make_aes_cbc, make_aes_gcm, open_aes_gcm
from pinvault.clearzone.envelope.ecdh_block import make_ecdh_block, open_ecdh_block
from pinvault.clearzone.envelope.jwe import make_jwe, open_jwe, open_plain_jwe
from pinvault.clearzone.envelope.opened import Opened
from pinvault.clearzone.envelope.rsa_field import make_field, open_field
from pinvault.clearzone.envelope.rsa_json import make_json, open_json
from pinvault.clearzone.envelope.timed import TimedDevice
from pinvault.clearzone.opening import length_of
from pinvault.clearzone.pin import Malformed, Pin
from pinvault.model.call import Deadline
from pinvault.model.keys import Key
from pinvault.model.pan import Pan
from pinvault.model.profiles import (
    EcdhBlockProfile,
    IncomingProfile,
    JweInProfile,
    JweProfile,
    OutgoingProfile,
    RsaAesBlockProfile,
    RsaAesCbcProfile,
    RsaAesGcmProfile,
    RsaFieldProfile,
    RsaJsonProfile,
    SealedAesBlockProfile,
    SealedAesGcmProfile,
    SealedEcdhBlockProfile,
    SealedJsonProfile,
    SealedJweProfile,
    SealedRsaProfile,
)

__all__ = ["MAX_BYTES", "Opened", "make_envelope", "open_envelope"]

MAX_BYTES = 8192


def open_envelope(
    ciphertext: bytes,
    *,
    profile: IncomingProfile,
    keys: Mapping[str, Key],
    pan: Pan | None,
    device: Device,
    deadline: Deadline,
) -> Opened:
    """Open an envelope of at most 8,192 bytes under one of `keys`, or raise Malformed.

    An envelope that can name its key (`kid`) opens under the key that it names; one that
    does not, under the active version and no other; in both cases only if that opens by a
    padding that the profile takes. Where the profile is bound by its block, `pan` is needed:
    ValueError without, from `Opened.pin` or from here.
    """
    if len(ciphertext) > MAX_BYTES:
        raise Malformed
    hsm = TimedDevice(device, deadline)
    keys = {key_id: key for key_id, key in keys.items() if profile.opens_by(key)}
    match profile:
        case SealedJweProfile():
            return open_jwe(ciphertext, keys=keys, hsm=hsm)
        case JweInProfile():
            return open_plain_jwe(ciphertext, profile=profile, keys=keys, pan=pan, hsm=hsm)
        case SealedRsaProfile():
            return open_field(ciphertext, profile=profile, keys=keys, pan=pan, hsm=hsm)
        case SealedJsonProfile():
            return open_json(ciphertext, keys=keys, hsm=hsm)
        case SealedAesBlockProfile():
            return open_aes_block(ciphertext, keys=keys, hsm=hsm)
        case SealedAesGcmProfile():
            return open_aes_gcm(ciphertext, profile=profile, keys=keys, pan=pan, hsm=hsm)
        case SealedEcdhBlockProfile():
            return open_ecdh_block(ciphertext, profile=profile, keys=keys, pan=pan, hsm=hsm)
        case _:
            raise TypeError("no kind of incoming envelope has such a profile")


def make_envelope(
    pin: Pin,
    *,
    profile: OutgoingProfile,
    key: Key,
    pan: Pan | None,
    device: Device,
    deadline: Deadline,
) -> str:
    """Give the envelope's text, or raise Malformed when the profile lets no such PIN through.

    `pan` is needed where the profile is bound: ValueError without.
    """
    if not profile.pin_length.allows(length_of(pin)):
        raise Malformed
    hsm = TimedDevice(device, deadline)
    match profile:
        case RsaFieldProfile():
            return make_field(pin, profile=profile, key=key, pan=pan, hsm=hsm)
        case RsaJsonProfile():
            return make_json(pin, profile=profile, key=key, hsm=hsm)
        case JweProfile():
            return make_jwe(pin, profile=profile, key=key, pan=pan, hsm=hsm)
        case RsaAesBlockProfile():
            return make_aes_block(pin, profile=profile, key=key, hsm=hsm)
        case RsaAesGcmProfile():
            return make_aes_gcm(pin, profile=profile, key=key, pan=pan, hsm=hsm)
        case RsaAesCbcProfile():
            return make_aes_cbc(pin, profile=profile, key=key, pan=pan, hsm=hsm)
        case EcdhBlockProfile():
            return make_ecdh_block(pin, profile=profile, key=key, pan=pan, hsm=hsm)
        case _:
            raise TypeError("no kind of outgoing envelope has such a profile")
