"""Keys made in the token: generated and unwrapped.

Rules:
- The templates hold every capability, true or false. The permissive defaults are py-hsm's: name
  what a key may do, and leave it nothing else.
- With `overwrite`, the old object is gone before the new one is made. So it goes last, when nothing
  but the token can still refuse.
- CKA_VALUE_LEN is for types of more than one length. By the standard the template of an unwrapped
  key has none, but most tokens take it, as py-hsm gives it: one that does not is asked again
  without, and may then take a key of any length.
"""

import os
from typing import Final

from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.exceptions import AttributeReadOnly

from hsm.pyhsm import _raw
from hsm.pyhsm._border import guarded
from hsm.pyhsm._operations import Operations
from hsm.pyhsm.convert import bytes_to_hex
from hsm.pyhsm.eccurveoids import EcCurveOids
from hsm.pyhsm.eccurves import EcCurves
from hsm.pyhsm.hsmenums import HsmAsymKeyType, HsmMech, HsmSymKeyGen, HsmSymKeyType

_ID_BYTES: Final = 16
_ONE_LENGTH: Final = frozenset(
    {
        *(HsmSymKeyGen.DES, HsmSymKeyGen.DES2, HsmSymKeyGen.DES3),
        *(HsmSymKeyType.DES, HsmSymKeyType.DES2, HsmSymKeyType.DES3),
    }
)


class Keys(Operations):
    """What makes objects: every method gives handles.

    Labels are ASCII; an id that is not given is 16 random bytes, and the same for both keys of a
    pair. `token` keeps the object beyond the session; the other flags are those of PKCS#11.
    """

    @guarded
    def create_secret_key(
        self,
        key_label: str,
        key_id: bytes | None = None,
        key_type: HsmSymKeyGen = HsmSymKeyGen.AES,
        key_size_in_bits: int = 256,
        token: bool = True,
        private: bool = True,
        sensitive: bool = True,
        modifiable: bool = False,
        extractable: bool = True,
        sign: bool = True,
        verify: bool = True,
        encrypt: bool = True,
        decrypt: bool = True,
        wrap: bool = True,
        unwrap: bool = True,
        derive: bool = False,
        overwrite: bool = False,
    ) -> int:
        """Generate a symmetric key. DES keys have the length of their type, whatever is asked."""
        wanted = _raw.template(
            ObjectClass.SECRET_KEY,
            value_len=value_length(key_type, key_size_in_bits),
            label=key_label,
            id=identified(key_id),
            token=token,
            private=private,
            sensitive=sensitive,
            extractable=extractable,
            sign=sign,
            verify=verify,
            encrypt=encrypt,
            decrypt=decrypt,
            wrap=wrap,
            unwrap=unwrap,
            derive=derive,
            modifiable=modifiable,
        )
        how = _raw.mechanism(key_type.value)
        self._make_room(key_label, overwrite=overwrite)
        return self._meet(_raw.generate(self._active().session, how, wanted))

    @guarded
    def create_rsa_key_pair(
        self,
        public_key_label: str,
        private_key_label: str,
        public_key_id: bytes | None = None,
        private_key_id: bytes | None = None,
        mechanism: HsmMech | int = HsmMech.RSA_PKCS_KEY_PAIR_GEN,
        key_length: int = 2048,
        public_exponent: bytes = b"\x01\x00\x01",
        token: bool = True,
        public_private: bool = True,
        private_private: bool = True,
        sensitive: bool = True,
        modifiable: bool = False,
        extractable: bool = True,
        sign_verify: bool = True,
        encrypt_decrypt: bool = True,
        wrap_unwrap: bool = True,
        derive: bool = False,
        overwrite: bool = False,
    ) -> tuple[int, int]:
        """Generate an RSA key pair of `key_length` bits: the public key's handle, the private's."""
        public_id = identified(public_key_id)
        public = _raw.template(
            ObjectClass.PUBLIC_KEY,
            key_type=KeyType.RSA,
            modulus_bits=key_length,
            public_exponent=public_exponent,
            label=public_key_label,
            id=public_id,
            token=token,
            private=public_private,
            verify=sign_verify,
            encrypt=encrypt_decrypt,
            wrap=wrap_unwrap,
            modifiable=modifiable,
        )
        private = _raw.template(
            ObjectClass.PRIVATE_KEY,
            key_type=KeyType.RSA,
            label=private_key_label,
            id=public_id if private_key_id is None else private_key_id,
            token=token,
            private=private_private,
            sensitive=sensitive,
            extractable=extractable,
            sign=sign_verify,
            decrypt=encrypt_decrypt,
            unwrap=wrap_unwrap,
            derive=derive,
            modifiable=modifiable,
        )
        how = _raw.mechanism(mechanism)
        self._make_room(public_key_label, private_key_label, overwrite=overwrite)
        return self._pair(how, public, private)

    @guarded
    def create_ecc_key_pair(
        self,
        public_key_label: str,
        private_key_label: str,
        public_key_id: bytes | None = None,
        private_key_id: bytes | None = None,
        ec_params: EcCurveOids | EcCurves | bytes = EcCurveOids.P256,
        token: bool = True,
        public_private: bool = True,
        private_private: bool = True,
        sensitive: bool = True,
        modifiable: bool = False,
        extractable: bool = True,
        sign_verify: bool = True,
        encrypt_decrypt: bool = True,
        wrap_unwrap: bool = True,
        derive: bool = False,
        overwrite: bool = False,
    ) -> tuple[int, int]:
        """Generate a key pair on a curve: the public key's handle, the private key's."""
        public_id = identified(public_key_id)
        public = _raw.template(
            ObjectClass.PUBLIC_KEY,
            key_type=KeyType.EC,
            ec_params=curve(ec_params),
            label=public_key_label,
            id=public_id,
            token=token,
            private=public_private,
            verify=sign_verify,
            encrypt=encrypt_decrypt,
            wrap=wrap_unwrap,
            derive=derive,
            modifiable=modifiable,
        )
        private = _raw.template(
            ObjectClass.PRIVATE_KEY,
            key_type=KeyType.EC,
            label=private_key_label,
            id=public_id if private_key_id is None else private_key_id,
            token=token,
            private=private_private,
            sensitive=sensitive,
            extractable=extractable,
            sign=sign_verify,
            decrypt=encrypt_decrypt,
            unwrap=wrap_unwrap,
            derive=derive,
            modifiable=modifiable,
        )
        self._make_room(public_key_label, private_key_label, overwrite=overwrite)
        return self._pair(Mechanism.EC_KEY_PAIR_GEN, public, private)

    @guarded
    def unwrap_secret_key(
        self,
        wrap_key_handle: int,
        wrap_key_mech: HsmMech | int,
        wrap_key_iv: bytes,
        key_label: str,
        key_data: bytes,
        key_type: HsmSymKeyType = HsmSymKeyType.AES,
        key_size_in_bits: int = 256,
        key_id: bytes | None = None,
        token: bool = True,
        private: bool = True,
        sensitive: bool = True,
        modifiable: bool = False,
        extractable: bool = True,
        sign: bool = True,
        verify: bool = True,
        encrypt: bool = True,
        decrypt: bool = True,
        wrap: bool = True,
        unwrap: bool = True,
        derive: bool = False,
        overwrite: bool = False,
    ) -> int:
        """Unwrap the symmetric key in `key_data`. `wrap_key_iv` is as in `wrap_key`."""
        wanted = _raw.template(
            ObjectClass.SECRET_KEY,
            key_type=key_type.value,
            label=key_label,
            id=identified(key_id),
            token=token,
            private=private,
            sensitive=sensitive,
            extractable=extractable,
            sign=sign,
            verify=verify,
            encrypt=encrypt,
            decrypt=decrypt,
            wrap=wrap,
            unwrap=unwrap,
            derive=derive,
            modifiable=modifiable,
        )
        how = _raw.mechanism(wrap_key_mech)
        parameter = _raw.vector(how, wrap_key_iv, label=wrap_key_iv)
        length = value_length(key_type, key_size_in_bits)
        self._make_room(key_label, overwrite=overwrite)
        return self._unwrap(wrap_key_handle, how, parameter, key_data, wanted, length)

    @guarded
    def unwrap_private_key(
        self,
        wrap_key_handle: int,
        wrap_key_mechanism: HsmMech | int,
        wrap_key_iv: bytes,
        key_label: str,
        key_data: bytes,
        key_id: bytes | None = None,
        key_type: HsmAsymKeyType = HsmAsymKeyType.RSA,
        token: bool = True,
        private: bool = True,
        sensitive: bool = True,
        modifiable: bool = False,
        extractable: bool = True,
        sign: bool = True,
        decrypt: bool = True,
        unwrap: bool = False,
        derive: bool = False,
        overwrite: bool = False,
    ) -> int:
        """Unwrap the private key in `key_data`. `wrap_key_iv` is as in `wrap_key`."""
        wanted = _raw.template(
            ObjectClass.PRIVATE_KEY,
            key_type=key_type.value,
            label=key_label,
            id=identified(key_id),
            token=token,
            private=private,
            sensitive=sensitive,
            extractable=extractable,
            sign=sign,
            decrypt=decrypt,
            unwrap=unwrap,
            derive=derive,
            modifiable=modifiable,
        )
        how = _raw.mechanism(wrap_key_mechanism)
        parameter = _raw.vector(how, wrap_key_iv, label=wrap_key_iv)
        self._make_room(key_label, overwrite=overwrite)
        return self._unwrap(wrap_key_handle, how, parameter, key_data, wanted)

    @guarded
    def get_session_key_handle(self) -> int:
        """An AES key of 256 bits that lives as long as the session; made when first asked for."""
        opened = self._active()
        if not opened.session_key:
            label = "TEMP_SESSION_KEY_" + bytes_to_hex(os.urandom(3))
            opened.session_key = self.create_secret_key(label, token=False)
        return opened.session_key

    def _pair(
        self, how: Mechanism, public: _raw.Template, private: _raw.Template
    ) -> tuple[int, int]:
        made = _raw.generate_pair(self._active().session, how, public, private)
        return self._meet(made[0]), self._meet(made[1])

    def _unwrap(
        self,
        carrier: int,
        how: Mechanism,
        parameter: object,
        wrapped: bytes,
        wanted: _raw.Template,
        length: bytes | None = None,
    ) -> int:
        """C_UnwrapKey; with the CKA_VALUE_LEN that `value_length` gave, if the token takes one."""
        wrapping = self._key(carrier)
        if length is not None:
            measured = {Attribute.VALUE_LEN: length, **wanted}
            try:
                return self._meet(_raw.unwrap(wrapping, wrapped, how, parameter, measured))
            except AttributeReadOnly:
                pass
        return self._meet(_raw.unwrap(wrapping, wrapped, how, parameter, wanted))


def value_length(key_type: HsmSymKeyGen | HsmSymKeyType, bits: int) -> bytes | None:
    """CKA_VALUE_LEN, packed; None where the type or the data say it."""
    return None if key_type in _ONE_LENGTH or bits == 0 else _raw.packed(bits // 8)


def identified(given: bytes | None) -> bytes:
    """The id given, or a random one."""
    return os.urandom(_ID_BYTES) if given is None else given


def curve(given: EcCurveOids | EcCurves | bytes) -> bytes:
    """CKA_EC_PARAMS of a curve by name or by definition."""
    return given if isinstance(given, bytes) else given.value
