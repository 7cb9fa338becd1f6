"""The interface of py-hsm 2.5 over python-pkcs11: a bridge for code that was written for py-hsm.

Replace `pyhsm` by `hsm.pyhsm` in the imports and the code runs without py-hsm's C library. The
modules, names, arguments, defaults and results are those of py-hsm 2.5.0, so the style of the names
is its own too. What differs is listed in docs/py-hsm.md.

Rules:
- Every failure is `HsmError`. None carries an argument: one of them may be a PIN or a key.
- What the token or python-pkcs11 cannot do is refused with the way out, never done otherwise.
- The defaults stay as permissive as they are in py-hsm. Keys made with them may wrap and be
  wrapped: a service that inspects its token, as pinvault does, refuses to start beside them.
- The service never imports this package; it is for migration and for the operator's own scripts.
"""
