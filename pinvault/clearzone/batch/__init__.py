"""Translates PIN blocks by the thousand: the codecs of `iso9564`, on columns in place of items.

Rules:
- An item ends exactly as the one-at-a-time codecs would end it; they are the tests' oracle.
- No loop goes from item to item (but one over the accounts, where some are repeated), and no
  step is left out for what a block holds: neither the time nor the calls of the HSM tell one
  PIN field from another.
- Clear fields live in bytes and ints for the length of one function, and are never shown.
"""
