"""The one exception of the façade."""


class HsmError(Exception):
    """What went wrong, in `message`, with the return value of PKCS#11 (CKR_…) where there is one.

    >>> error = HsmError(" login: CKR_PIN_INCORRECT ")
    >>> error.message, str(error), repr(error)
    ('login: CKR_PIN_INCORRECT', "'login: CKR_PIN_INCORRECT'", 'login: CKR_PIN_INCORRECT')
    """

    def __init__(self, message: str) -> None:
        self.message = message.strip()
        super().__init__(self.message)

    def __str__(self) -> str:
        return repr(self.message)

    def __repr__(self) -> str:
        return self.message
