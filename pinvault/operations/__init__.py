"""Use cases, one a file: authorise, check, clear zone, reply; the gate around them records.

Rules:
- Whatever a caller can get wrong is refused before the HSM is touched.
- An operation sees ciphertext only. It notes for the audit record as it goes.
"""
