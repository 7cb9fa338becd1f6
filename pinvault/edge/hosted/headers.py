"""The headers of the page, of its files and of its calls.

Rules:
- The document may load its own two files and call its own server: nothing else, not even inline.
- Who may embed it is said by `frame-ancestors`, exactly, and by nothing that could say it again
  otherwise: there is no X-Frame-Options.
- No header lets another origin read anything but the script for those who embed the page.
"""

from collections.abc import Mapping, Sequence
from typing import Final

YEAR_S: Final = 31_536_000
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors {origins}; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_FEATURES: Final = (
    *("camera", "microphone", "geolocation", "payment", "usb"),
    *("clipboard-read", "display-capture", "publickey-credentials-get"),
)
OURS_ALONE: Final[Mapping[str, str]] = {"Cross-Origin-Resource-Policy": "same-origin"}
FOR_ALL: Final[Mapping[str, str]] = {
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Access-Control-Allow-Origin": "*",
}


def document(origins: Sequence[str], *, is_tls: bool) -> dict[str, str]:
    """Give the headers of a document that these origins may embed."""
    return {
        "Content-Security-Policy": _POLICY.format(origins=" ".join(origins)),
        "Referrer-Policy": "no-referrer",
        "Permissions-Policy": ", ".join(f"{feature}=()" for feature in _FEATURES),
        "Cross-Origin-Opener-Policy": "same-origin",
        **OURS_ALONE,
        **({"Strict-Transport-Security": f"max-age={YEAR_S}"} if is_tls else {}),
    }
