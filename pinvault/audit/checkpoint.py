"""Checkpoints: what the HSM signs of the log, and how the signature is checked.

Rules kept here:
- The statement is text of fixed lines, one meaning each, and names its purpose: the signature
  can stand for nothing else.
- It names the worker, so that a checkpoint of one file says nothing about another.
- ECDSA on P-256 over SHA-256 of the statement; 64 bytes, r then s, as PKCS#11 gives it.
"""

import hashlib
from collections.abc import Callable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import load_der_public_key

from pinvault.audit.record import Checkpoint

SIGNATURE_BYTES = 64

Sign = Callable[[bytes], bytes]
"""Takes the SHA-256 digest of a statement, gives the raw signature."""


def sign_checkpoint(
    sign: Sign, *, worker: int, size: int, head: str, time: str, signer: str
) -> Checkpoint:
    """Have the statement about `size` records ending in `head` signed.

    Raises ValueError when the signer gives something else than 64 bytes, and whatever
    the signer raises.
    """
    signature = sign(_digest(worker=worker, size=size, head=head, time=time, signer=signer))
    if len(signature) != SIGNATURE_BYTES:
        raise ValueError("a P-256 signature has 64 bytes")
    return Checkpoint(size=size, head=head, signer=signer, signature=signature.hex())


def is_genuine(
    checkpoint: Checkpoint, *, public_key: ec.EllipticCurvePublicKey, worker: int, time: str
) -> bool:
    """Tell whether the checkpoint was signed by the key, for this worker, at this time."""
    digest = _digest(
        worker=worker,
        size=checkpoint.size,
        head=checkpoint.head,
        time=time,
        signer=checkpoint.signer,
    )
    raw = bytes.fromhex(checkpoint.signature)
    half = SIGNATURE_BYTES // 2
    der = utils.encode_dss_signature(
        int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big")
    )
    try:
        public_key.verify(der, digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
    except InvalidSignature:
        return False
    return True


def load_public_key(key: ec.EllipticCurvePublicKey | bytes) -> ec.EllipticCurvePublicKey:
    """Give a P-256 public key, from DER (SubjectPublicKeyInfo) where it comes as bytes."""
    loaded = load_der_public_key(key) if isinstance(key, bytes) else key
    if isinstance(loaded, ec.EllipticCurvePublicKey) and isinstance(loaded.curve, ec.SECP256R1):
        return loaded
    raise ValueError("checkpoints are signed with an EC key on P-256")


def _digest(*, worker: int, size: int, head: str, time: str, signer: str) -> bytes:
    statement = f"pinvault audit checkpoint v1\nworker-{worker}\n{size}\n{head}\n{time}\n{signer}\n"
    return hashlib.sha256(statement.encode()).digest()
