"""Objects that come in the clear: data, public keys, certificates, and secret keys.

Rules:
- What comes is stored as it is: that a certificate or a point is well formed is the caller's care.
- A secret key is unwrapped under the session's own key where the token can, since there are tokens
  that take no secret in the clear. Where it cannot (SoftHSM), the key goes in as it came.
"""

import os
from typing import Final

from pkcs11 import Attribute, CertificateType, KeyType, Mechanism, ObjectClass
from pkcs11.exceptions import MechanismInvalid

from hsm.pyhsm import _raw
from hsm.pyhsm._border import guarded
from hsm.pyhsm._keys import Keys, curve, identified, value_length
from hsm.pyhsm.eccurveoids import EcCurveOids
from hsm.pyhsm.eccurves import EcCurves
from hsm.pyhsm.hsmenums import HsmMech, HsmSymKeyType
from hsm.pyhsm.hsmerror import HsmError

_IV_BYTES: Final = 16


class Imports(Keys):
    """What brings objects in: every method gives the handle. Labels, ids and flags as in `Keys`."""

    @guarded
    def import_data_object(
        self,
        data_label: str,
        value: bytes,
        data_id: bytes | None = None,
        token: bool = True,
        overwrite: bool = False,
    ) -> int:
        """Store a data object. `data_id` is for tokens that give data objects an id."""
        wanted = _raw.template(
            ObjectClass.DATA, label=data_label, id=data_id, value=value, token=token
        )
        return self._create(data_label, wanted, overwrite=overwrite)

    @guarded
    def import_rsa_public_key(
        self,
        key_label: str,
        modulus: bytes,
        exponent: bytes = b"\x01\x00\x01",
        key_id: bytes | None = None,
        token: bool = True,
        private: bool = True,
        modifiable: bool = False,
        verify: bool = True,
        encrypt: bool = True,
        wrap: bool = True,
        overwrite: bool = False,
    ) -> int:
        """Store an RSA public key; its numbers are big-endian."""
        wanted = _raw.template(
            ObjectClass.PUBLIC_KEY,
            key_type=KeyType.RSA,
            modulus=modulus,
            public_exponent=exponent,
            label=key_label,
            id=identified(key_id),
            token=token,
            private=private,
            verify=verify,
            encrypt=encrypt,
            wrap=wrap,
            modifiable=modifiable,
        )
        return self._create(key_label, wanted, overwrite=overwrite)

    @guarded
    def import_ec_public_key(
        self,
        key_label: str,
        ec_params: EcCurveOids | EcCurves | bytes,
        ec_point: bytes,
        key_id: bytes | None = None,
        token: bool = True,
        private: bool = True,
        modifiable: bool = False,
        verify: bool = True,
        encrypt: bool = True,
        wrap: bool = True,
        overwrite: bool = False,
    ) -> int:
        """Store the public key `ec_point`, a DER OCTET STRING of a point on the curve."""
        wanted = _raw.template(
            ObjectClass.PUBLIC_KEY,
            key_type=KeyType.EC,
            ec_params=curve(ec_params),
            ec_point=ec_point,
            label=key_label,
            id=identified(key_id),
            token=token,
            private=private,
            verify=verify,
            encrypt=encrypt,
            wrap=wrap,
            modifiable=modifiable,
        )
        return self._create(key_label, wanted, overwrite=overwrite)

    @guarded
    def import_public_cert(
        self,
        cert_label: str,
        cert_value: bytes,
        cert_serial: bytes | None = None,
        cert_subject: bytes | None = None,
        cert_issuer: bytes | None = None,
        cert_id: bytes | None = None,
        token: bool = True,
        private: bool = True,
        modifiable: bool = False,
        overwrite: bool = False,
    ) -> int:
        """Store an X.509 certificate; value, serial number and names are DER, unchecked."""
        wanted = _raw.template(
            ObjectClass.CERTIFICATE,
            certificate_type=CertificateType.X_509,
            value=cert_value,
            serial_number=cert_serial or b"",
            subject=cert_subject or b"",
            issuer=cert_issuer or b"",
            label=cert_label,
            id=identified(cert_id),
            token=token,
            private=private,
            modifiable=modifiable,
        )
        return self._create(cert_label, wanted, overwrite=overwrite)

    @guarded
    def import_secret_key(
        self,
        key_label: str,
        key_type: HsmSymKeyType,
        clear_key_data: bytes,
        key_size_in_bits: int = 0,
        token: bool = True,
        private: bool = True,
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
        """Store a symmetric key that comes in the clear; 0 bits are as many as there are."""
        wanted = _raw.template(
            ObjectClass.SECRET_KEY,
            key_type=key_type.value,
            label=key_label,
            id=identified(None),
            token=token,
            private=private,
            sensitive=True,
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
        length = value_length(key_type, key_size_in_bits)
        if length not in (None, _raw.packed(len(clear_key_data))):
            raise HsmError("key_size_in_bits is not the length of clear_key_data")
        carrier, iv = self.get_session_key_handle(), os.urandom(_IV_BYTES)
        sealed = self.encrypt(carrier, clear_key_data, HsmMech.AES_CBC_PAD, iv)
        self._make_room(key_label, overwrite=overwrite)
        try:
            return self._unwrap(carrier, Mechanism.AES_CBC_PAD, iv, sealed, wanted, length)
        except MechanismInvalid:
            pass
        as_it_came = {Attribute.VALUE: clear_key_data, **wanted}
        return self._create(key_label, as_it_came, overwrite=overwrite)

    def _create(self, label: str, wanted: _raw.Template, *, overwrite: bool) -> int:
        self._make_room(label, overwrite=overwrite)
        return self._meet(self._active().session.create_object(dict(wanted)))
