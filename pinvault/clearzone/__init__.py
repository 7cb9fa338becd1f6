"""The only place where PIN digits exist, each for the length of one function.

Rules:
- Ciphertext comes in and ciphertext goes out; no public function of this package
  takes or gives a clear PIN, a PIN field, or a `Pin`.
- Only `opening` reads a `Pin`'s digits, and only this package imports it.
- Every way in which a source fails to open leaves as one refusal (see `one_face`).
"""
