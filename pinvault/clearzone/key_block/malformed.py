"""What can be wrong with a key block: its shape, which is told, and its inside, which is not.

Rules:
- A text is constant and holds nothing of the block; `part` names where the fault is,
  `rule` what it breaks.
- Every failure after the shape is `Refused` and looks the same: wrong key, wrong MAC, wrong
  payload. `cause` is for the operator's record, and only for what has proved authentic.
"""


class MalformedBlock(Exception):
    """A key block, or what shall become one, breaks a rule of X9.143 that anyone can check."""

    def __init__(self, part: str, rule: str) -> None:
        super().__init__(f"{part}: {rule}")
        self.part = part
        self.rule = rule


class Refused(Exception):
    """A key block does not open under this key, or holds no key that may be used."""

    def __init__(self, cause: str = "") -> None:
        super().__init__()
        self.cause = cause
