"""Envelopes named by what is wrong with them, each forged so that nothing else is.

`FORGED` cannot be opened; `AUTHENTIC` open, and what they hold is no sealed PIN.
"""

import json
from collections.abc import Callable
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric import padding

from tests.unit.clearzone.support import (
    NOW,
    OLDER_SEAL,
    PAN,
    PARTNER,
    SEAL,
    SEAL_256,
    content,
    forge,
    header,
    private_key,
)

Make = Callable[[], bytes]


def with_header(**changes: object) -> Make:
    return lambda: forge(header_bytes=header(SEAL, **changes)).compact()


def with_header_bytes(found: bytes) -> Make:
    return lambda: forge(header_bytes=found).compact()


def with_content(**changes: object) -> Make:
    return lambda: forge(content_bytes=content(**changes)).compact()


def with_content_bytes(found: bytes) -> Make:
    return lambda: forge(content_bytes=found).compact()


def raw_pin(spelled: str) -> Make:
    """Content whose `pin` is spelled in JSON exactly so."""
    return lambda: forge(content_bytes=content(pin="*").replace(b'"*"', spelled.encode())).compact()


def cut(part: str, by: int) -> Make:
    def make() -> bytes:
        parts = forge()
        return replace(parts, **{part: getattr(parts, part)[:-by]}).compact()

    return make


def text_of(change: Callable[[bytes], bytes]) -> Make:
    return lambda: change(forge().compact())


def swapped(first: int, second: int) -> Make:
    def change(compact: bytes) -> bytes:
        parts = compact.split(b".")
        parts[first], parts[second] = parts[second], parts[first]
        return b".".join(parts)

    return text_of(change)


def of_two(part: str) -> Make:
    """One part taken from another good envelope."""
    return lambda: replace(forge(), **{part: getattr(forge(), part)}).compact()


FORGED: dict[str, Make] = {
    "empty": lambda: b"",
    "dots only": lambda: b"....",
    "not ascii": text_of(lambda compact: compact[:-2] + "\u00e9".encode()),
    "four parts": text_of(lambda compact: compact.rpartition(b".")[0]),
    "six parts": text_of(lambda compact: compact + b".AAAA"),
    "an empty part": text_of(lambda compact: compact[: compact.rindex(b".") + 1]),
    "a trailing newline": text_of(lambda compact: compact + b"\n"),
    "a leading space": text_of(lambda compact: b" " + compact),
    "base64 with padding": text_of(lambda compact: compact + b"=="),
    "base64 of the other alphabet": text_of(lambda compact: compact[:-2] + b"+/"),
    "base64 of an impossible length": text_of(lambda compact: compact + b"AAA"),
    "oversized": lambda: forge(content_bytes=content(pad="x" * 8192)).compact(),
    "oversized header": with_header(kid="x" * 2000),
    "header not JSON": with_header_bytes(b"{"),
    "header a list": with_header_bytes(b"[]"),
    "header null": with_header_bytes(b"null"),
    "header with a comment behind": with_header_bytes(header() + b"x"),
    "header without alg": with_header(alg=None),
    "header without enc": with_header(enc=None),
    "header without kid": with_header(kid=None),
    "header with alg twice": lambda: forge(
        header_bytes=header().replace(b"{", b'{"alg":"RSA-OAEP",')
    ).compact(),
    "alg none": with_header(alg="none"),
    "alg dir": with_header(alg="dir"),
    "alg RSA1_5": with_header(alg="RSA1_5"),
    "alg of another key": with_header(alg="RSA-OAEP-256"),
    "alg in lower case": with_header(alg="rsa-oaep"),
    "alg a number": with_header(alg=1),
    "enc A128GCM": with_header(enc="A128GCM"),
    "enc A256CBC-HS512": with_header(enc="A256CBC-HS512"),
    "kid unknown": with_header(kid="pin-seal/3"),
    "kid without version": with_header(kid="pin-seal"),
    "kid of a partner": with_header(kid=PARTNER.id),
    "kid empty": with_header(kid=""),
    "kid of another key": lambda: forge(header_bytes=header(OLDER_SEAL)).compact(),
    "zip": with_header(zip="DEF"),
    "crit": with_header(crit=["exp"], exp=1),
    "typ": with_header(typ="JWE"),
    "cty": with_header(cty="json"),
    "jwk": with_header(jwk={}),
    "p2c": with_header(p2c=10**9),
    "wrapped key cut": cut("wrapped", 1),
    "wrapped key short": cut("wrapped", 250),
    "wrapped key of zeros": lambda: replace(forge(), wrapped=bytes(256)).compact(),
    "wrapped key above the modulus": lambda: replace(forge(), wrapped=b"\xff" * 256).compact(),
    "wrapped key under another key": lambda: forge(
        public=private_key("a stranger").public_key()
    ).compact(),
    "wrapped key as PKCS1": lambda: forge(wrap=padding.PKCS1v15()).compact(),
    "wrapped key of SHA-256": lambda: forge(
        under=SEAL_256, header_bytes=header(), public=private_key(SEAL.id).public_key()
    ).compact(),
    "content key of 16 bytes": lambda: forge(content_key=bytes(16)).compact(),
    "content key of 24 bytes": lambda: forge(content_key=bytes(24)).compact(),
    # What takes the place of a key that could not be unwrapped must not be guessable.
    "content key of zeros and no wrapped key": lambda: replace(
        forge(content_key=bytes(32)), wrapped=bytes(256)
    ).compact(),
    "iv short": cut("iv", 1),
    "iv of 16 bytes": lambda: replace(forge(), iv=bytes(16)).compact(),
    "sealed with an iv of 8 bytes": lambda: forge(iv=bytes(8)).compact(),
    "sealed with an iv of 16 bytes": lambda: forge(iv=bytes(16)).compact(),
    "tag short": cut("tag", 4),
    "tag long": lambda: replace(forge(), tag=bytes(17)).compact(),
    "ciphertext cut": cut("ciphertext", 1),
    "tag of another envelope": of_two("tag"),
    "iv of another envelope": of_two("iv"),
    "ciphertext of another envelope": of_two("ciphertext"),
    "wrapped key of another envelope": of_two("wrapped"),
    "parts swapped": swapped(2, 4),
}

AUTHENTIC: dict[str, Make] = {
    "content not JSON": with_content_bytes(b"{"),
    "content a list": with_content_bytes(b'["7392"]'),
    "content a string": with_content_bytes(b'"7392"'),
    "content with something behind": lambda: forge(content_bytes=content() + b"x").compact(),
    "content in UTF-16": lambda: forge(
        content_bytes=json.dumps(json.loads(content())).encode("utf-16")
    ).compact(),
    "without pin": with_content(pin=None),
    "without nonce": with_content(nonce=None),
    "without exp": with_content(exp=None),
    "an extra member": with_content(format="ISO_0"),
    "nonce short": with_content(nonce="A" * 15),
    "nonce long": with_content(nonce="A" * 65),
    "nonce of another alphabet": with_content(nonce="A" * 16 + "+"),
    "nonce a number": with_content(nonce=10**20),
    "exp a text": with_content(exp=str(NOW + 120)),
    "exp a fraction": with_content(exp=NOW + 0.5),
    "exp true": with_content(exp=True),
    "exp zero": with_content(exp=0),
    "exp negative": with_content(exp=-NOW),
    "exp beyond all time": with_content(exp=1 << 40),
    "caller empty": with_content(caller=""),
    "caller long": with_content(caller="a" * 129),
    "caller with a space": with_content(caller="card app"),
    "caller with a newline": with_content(caller="card-app\n"),
    "caller a number": with_content(caller=1),
    "pin twice": lambda: forge(
        content_bytes=content().replace(b'{"pin"', b'{"pin":"7392","pin"')
    ).compact(),
    "nonce twice": lambda: forge(
        content_bytes=content().replace(b'{"pin"', b'{"nonce":"AAAAAAAAAAAAAAAA","pin"')
    ).compact(),
    "exp twice": lambda: forge(
        content_bytes=content().replace(b'{"pin"', b'{"exp":1,"pin"')
    ).compact(),
    "pan short": with_content(pan=PAN[:11]),
    "pan long": with_content(pan=PAN + "0"),
    "pan a number": with_content(pan=int(PAN)),
    "pan with spaces": with_content(pan="5060 9900 0000 0151 002"),
}

NO_PIN: dict[str, Make] = {
    "empty": raw_pin('""'),
    "3 digits": raw_pin('"739"'),
    "13 digits": raw_pin('"7392051846271"'),
    "letters": raw_pin('"73a2"'),
    "a space behind": raw_pin('"7392 "'),
    "a newline behind": raw_pin('"7392\\n"'),
    "a sign": raw_pin('"-7392"'),
    "an escape": raw_pin('"\\u0037392"'),
    "digits of another script": raw_pin('"\u0667\u0663\u0669\u0662"'),
    "fullwidth digits": raw_pin('"\uff17\uff13\uff19\uff12"'),
    "a number": raw_pin("7392"),
    "true": raw_pin("true"),
    "null": raw_pin("null"),
    "a list": raw_pin('["7392"]'),
    "an object": raw_pin('{"pin":"7392"}'),
    "invalid UTF-8": lambda: forge(
        content_bytes=content(pin="*").replace(b'"*"', b'"73\xff2"')
    ).compact(),
}
