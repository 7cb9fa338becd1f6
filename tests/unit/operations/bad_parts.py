"""Sources and targets that no call may name, with what it is told and at which place below them."""

from pinvault.model.errors import Reason
from pinvault.model.pan import Pan
from pinvault.model.pins import EnvelopeSource, Format, PinBlockSource, PinSource, PinTarget
from tests.unit.operations.support import PAN, to_block, to_partner


def sealed_block(under: str, form: Format = Format.ISO_0, length: int = 8) -> PinBlockSource:
    """A source that names what it names; nothing will look at its ciphertext."""
    pan = Pan(PAN) if form.carries_pan else None
    return PinBlockSource(key=under, format=form, pan=pan, ciphertext=bytes(length))


def sealed_under(profile: str) -> EnvelopeSource:
    return EnvelopeSource(profile=profile, pan=Pan(PAN), ciphertext=bytes(200))


BAD_SOURCES: dict[str, tuple[PinSource, Reason, str]] = {
    "unknown key": (sealed_block("zpk-x"), Reason.KEY_UNKNOWN, "pin_block.key"),
    "unknown version": (sealed_block("zpk/4"), Reason.KEY_UNKNOWN, "pin_block.key"),
    "no active version": (sealed_block("zpk-gone"), Reason.KEY_UNKNOWN, "pin_block.key"),
    "retired version": (sealed_block("zpk/1"), Reason.KEY_STATE, "pin_block.key"),
    "not valid yet": (sealed_block("zpk-next"), Reason.KEY_STATE, "pin_block.key"),
    "key that only enciphers": (
        sealed_block("zpk-e"),
        Reason.KEY_USAGE_MISMATCH,
        "pin_block.key",
    ),
    "index key": (sealed_block("index"), Reason.KEY_USAGE_MISMATCH, "pin_block.key"),
    "sealing key": (sealed_block("pin-seal"), Reason.KEY_USAGE_MISMATCH, "pin_block.key"),
    "base key": (sealed_block("bdk"), Reason.KEY_USAGE_MISMATCH, "pin_block.key"),
    "PIN verification key": (sealed_block("pvk"), Reason.KEY_USAGE_MISMATCH, "pin_block.key"),
    **{
        f"key of what is stored, as {name}": (
            sealed_block(name, Format.ISO_4, 16),
            Reason.KEY_USAGE_MISMATCH,
            "pin_block.key",
        )
        for name in ("pin-stored", "pin-stored-too")
    },
    "format 2": (
        sealed_block("zpk", Format.ISO_2),
        Reason.TRANSLATION_FORBIDDEN,
        "pin_block.format",
    ),
    "format 4 under TDES": (
        sealed_block("zpk", Format.ISO_4, 16),
        Reason.FORMAT_KEY_MISMATCH,
        "pin_block.format",
    ),
    **{
        f"format {form.value} under AES": (
            sealed_block("zpk-aes", form),
            Reason.FORMAT_KEY_MISMATCH,
            "pin_block.format",
        )
        for form in (Format.ISO_0, Format.ISO_1, Format.ISO_3)
    },
    "16 bytes in a TDES format": (
        sealed_block("zpk", length=16),
        Reason.FORMAT_KEY_MISMATCH,
        "pin_block.ciphertext",
    ),
    "8 bytes in format 4": (
        sealed_block("zpk-aes", Format.ISO_4, 8),
        Reason.FORMAT_KEY_MISMATCH,
        "pin_block.ciphertext",
    ),
    "unknown profile": (sealed_under("sealed-x"), Reason.PROFILE_UNKNOWN, "envelope.profile"),
    "outgoing profile": (sealed_under("partner"), Reason.PROFILE_MISMATCH, "envelope.profile"),
    "profile of a key that is not valid yet": (
        *(sealed_under("agreed-next"), Reason.KEY_STATE),
        "envelope.profile",
    ),
    "profile of a retired key": (sealed_under("agreed-gone"), Reason.KEY_STATE, "envelope.profile"),
    "agreement under a sealing key": (
        *(sealed_under("agreed-under-seal"), Reason.KEY_USAGE_MISMATCH),
        "envelope.profile",
    ),
    "wrapped key under a sealing key": (
        *(sealed_under("unwrapped-under-seal"), Reason.KEY_USAGE_MISMATCH),
        "envelope.profile",
    ),
    "profile of a key that only enciphers": (
        sealed_under("sealed-under-partner"),
        Reason.KEY_USAGE_MISMATCH,
        "envelope.profile",
    ),
}

BAD_TARGETS: dict[str, tuple[PinTarget, Reason, str]] = {
    "unknown key": (to_block("zpk-x"), Reason.KEY_UNKNOWN, "pin_block.key"),
    "unknown version": (to_block("zpk/4"), Reason.KEY_UNKNOWN, "pin_block.key"),
    "no active version": (to_block("zpk-gone"), Reason.KEY_UNKNOWN, "pin_block.key"),
    "retired version": (to_block("zpk/1"), Reason.KEY_STATE, "pin_block.key"),
    "decipher-only version": (to_block("zpk/2"), Reason.KEY_STATE, "pin_block.key"),
    "not valid yet": (to_block("zpk-next"), Reason.KEY_STATE, "pin_block.key"),
    "not valid any more": (to_block("zpk-past"), Reason.KEY_STATE, "pin_block.key"),
    "key that only deciphers": (to_block("zpk-d"), Reason.KEY_USAGE_MISMATCH, "pin_block.key"),
    "index key": (to_block("index"), Reason.KEY_USAGE_MISMATCH, "pin_block.key"),
    "partner's key": (to_block("partner"), Reason.KEY_USAGE_MISMATCH, "pin_block.key"),
    "base key": (to_block("bdk"), Reason.KEY_USAGE_MISMATCH, "pin_block.key"),
    "master key of scripts": (to_block("imk-smc"), Reason.KEY_USAGE_MISMATCH, "pin_block.key"),
    **{
        f"key of what is stored, as {name}": (
            to_block(name, Format.ISO_4),
            Reason.KEY_USAGE_MISMATCH,
            "pin_block.key",
        )
        for name in ("pin-stored", "pin-stored-too")
    },
    "format 2": (to_block(form=Format.ISO_2), Reason.TRANSLATION_FORBIDDEN, "pin_block.format"),
    "legacy format": (
        to_block(form=Format.VISA_4),
        Reason.TRANSLATION_FORBIDDEN,
        "pin_block.format",
    ),
    "format 4 under TDES": (
        to_block("zpk", Format.ISO_4),
        Reason.FORMAT_KEY_MISMATCH,
        "pin_block.format",
    ),
    **{
        f"format {form.value} under AES": (
            to_block("zpk-aes", form),
            Reason.FORMAT_KEY_MISMATCH,
            "pin_block.format",
        )
        for form in (Format.ISO_0, Format.ISO_1, Format.ISO_3)
    },
    "unknown profile": (to_partner("partner-x"), Reason.PROFILE_UNKNOWN, "envelope.profile"),
    "incoming profile": (to_partner("sealed"), Reason.PROFILE_MISMATCH, "envelope.profile"),
    "profile of a key not valid any more": (
        to_partner("partner-past"),
        Reason.KEY_STATE,
        "envelope.profile",
    ),
    "profile of a retired key": (
        to_partner("partner-gone"),
        Reason.KEY_UNKNOWN,
        "envelope.profile",
    ),
    "agreement with an RSA key": (
        *(to_partner("agreed-with-rsa"), Reason.KEY_USAGE_MISMATCH),
        "envelope.profile",
    ),
    "profile of a key that only deciphers": (
        to_partner("partner-under-seal"),
        Reason.KEY_USAGE_MISMATCH,
        "envelope.profile",
    ),
}
