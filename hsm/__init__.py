"""PKCS#11 and nothing else: the keys of a token, and the operations they permit.

This package knows no PIN and no network protocol. It imports nothing from the service above it,
and it is the only package that imports `pkcs11`.
"""
