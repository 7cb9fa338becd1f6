"""Named elliptic curves by their object identifiers: what CKA_EC_PARAMS wants to be."""

from enum import Enum


def _named(identifier: str) -> bytes:
    """An object identifier in DER (X.690, 8.19).

    >>> _named("1.2.840.10045.3.1.7").hex()
    '06082a8648ce3d030107'
    """
    first, second, *arcs = map(int, identifier.split("."))
    content = bytes([40 * first + second]) + b"".join(map(_base_128, arcs))
    return bytes([0x06, len(content)]) + content


def _base_128(arc: int) -> bytes:
    digits = [arc & 0x7F]
    while arc := arc >> 7:
        digits.append(0x80 | arc & 0x7F)
    return bytes(reversed(digits))


class EcCurveOids(Enum):
    """SEC 2, X9.62, the NIST names of some of these (FIPS 186), and Brainpool (RFC 5639)."""

    secp160k1 = _named("1.3.132.0.9")
    secp160r1 = _named("1.3.132.0.8")
    secp160r2 = _named("1.3.132.0.30")
    sect163k1 = _named("1.3.132.0.1")
    sect163r1 = _named("1.3.132.0.2")
    sect163r2 = _named("1.3.132.0.15")
    secp192k1 = _named("1.3.132.0.31")
    secp192r1 = _named("1.2.840.10045.3.1.1")
    sect193r1 = _named("1.3.132.0.24")
    sect193r2 = _named("1.3.132.0.25")
    secp224k1 = _named("1.3.132.0.32")
    secp224r1 = _named("1.3.132.0.33")
    sect233k1 = _named("1.3.132.0.26")
    sect233r1 = _named("1.3.132.0.27")
    sect239k1 = _named("1.3.132.0.3")
    secp256k1 = _named("1.3.132.0.10")
    secp256r1 = _named("1.2.840.10045.3.1.7")
    sect283k1 = _named("1.3.132.0.16")
    sect283r1 = _named("1.3.132.0.17")
    secp384r1 = _named("1.3.132.0.34")
    sect409k1 = _named("1.3.132.0.36")
    sect409r1 = _named("1.3.132.0.37")
    secp521r1 = _named("1.3.132.0.35")
    sect571k1 = _named("1.3.132.0.38")
    sect571r1 = _named("1.3.132.0.39")

    c2pnb163v1 = _named("1.2.840.10045.3.0.1")
    c2pnb163v2 = _named("1.2.840.10045.3.0.2")
    c2pnb163v3 = _named("1.2.840.10045.3.0.3")
    c2tnb191v1 = _named("1.2.840.10045.3.0.5")
    c2tnb191v2 = _named("1.2.840.10045.3.0.6")
    c2tnb191v3 = _named("1.2.840.10045.3.0.7")
    prime192v1 = secp192r1
    prime192v2 = _named("1.2.840.10045.3.1.2")
    prime192v3 = _named("1.2.840.10045.3.1.3")
    c2pnb208w1 = _named("1.2.840.10045.3.0.10")
    prime239v2 = _named("1.2.840.10045.3.1.5")
    prime239v3 = _named("1.2.840.10045.3.1.6")
    c2tnb239v1 = _named("1.2.840.10045.3.0.11")
    c2tnb239v2 = _named("1.2.840.10045.3.0.12")
    c2tnb239v3 = _named("1.2.840.10045.3.0.13")
    prime256v1 = secp256r1
    c2pnb272w1 = _named("1.2.840.10045.3.0.16")
    c2pnb304w1 = _named("1.2.840.10045.3.0.17")
    c2tnb359v1 = _named("1.2.840.10045.3.0.18")
    c2pnb368w1 = _named("1.2.840.10045.3.0.19")
    c2tnb431r1 = _named("1.2.840.10045.3.0.20")

    K163 = sect163k1
    B163 = sect163r2
    P192 = secp192r1
    P224 = secp224r1
    K233 = sect233k1
    B233 = sect233r1
    P256 = secp256r1
    K283 = sect283k1
    B283 = sect283r1
    P384 = secp384r1
    K409 = sect409k1
    B409 = sect409r1
    P512 = secp521r1
    K571 = sect571k1
    B571 = sect571r1

    brainpoolP160r1 = _named("1.3.36.3.3.2.8.1.1.1")
    brainpoolP160t1 = _named("1.3.36.3.3.2.8.1.1.2")
    brainpoolP192r1 = _named("1.3.36.3.3.2.8.1.1.3")
    brainpoolP192t1 = _named("1.3.36.3.3.2.8.1.1.4")
    brainpoolP224r1 = _named("1.3.36.3.3.2.8.1.1.5")
    brainpoolP224t1 = _named("1.3.36.3.3.2.8.1.1.6")
    brainpoolP256r1 = _named("1.3.36.3.3.2.8.1.1.7")
    brainpoolP256t1 = _named("1.3.36.3.3.2.8.1.1.8")
    brainpoolP320r1 = _named("1.3.36.3.3.2.8.1.1.9")
    brainpoolP320t1 = _named("1.3.36.3.3.2.8.1.1.10")
    brainpoolP384r1 = _named("1.3.36.3.3.2.8.1.1.11")
    brainpoolP384t1 = _named("1.3.36.3.3.2.8.1.1.12")
    brainpoolP512r1 = _named("1.3.36.3.3.2.8.1.1.13")
    brainpoolP512t1 = _named("1.3.36.3.3.2.8.1.1.14")
