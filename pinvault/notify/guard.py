"""Where messages may go: URLs that can be read in one way, and addresses that are nobody's insides.

Rules:
- A URL is plain in every part. What two readers could read differently is refused: no user
  information, no numbers for names, no port of another well-known service.
- Every address of a name must be public, or of a network that the endpoint was given. Where clouds
  keep their credentials nobody is let, whatever the endpoint was given.
- An IPv6 address that carries an IPv4 one is judged by that, or refused.
- Whoever connects, connects to an address that was judged here: nobody asks for the name again.
"""

import asyncio
import contextlib
import re
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives the addresses of a name, for a port, as text; none when there are none."""

_LABEL: Final = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_NAME: Final = rf"({_LABEL}\.)*[a-z]([a-z0-9-]{{0,61}}[a-z0-9])?"
_ADDRESS: Final = r"[0-9.]{7,15}|\[[0-9a-f:]{2,39}\]"
_URL: Final = re.compile(
    rf"(?P<scheme>https?)://((?P<name>{_NAME})|(?P<address>{_ADDRESS}))(:(?P<port>[1-9][0-9]{{0,4}}))?"
    r"(?P<path>/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?"
)
_PORTS: Final = {"http": 80, "https": 443}
_FIRST_FREE_PORT: Final = 1024
_LAST_PORT: Final = 65_535
_LONGEST_NAME: Final = 253


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(map(ip_network, texts))


_NOBODY: Final = _networks(
    # Nothing, link-local (where clouds keep their metadata), many, and reserved.
    *("0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/128", "fe80::/10", "ff00::/8"),
    # Metadata and platform services of clouds that are not link-local.
    *("168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32"),
    *("fd00:ec2::254/128", "fd20:ce::254/128"),
)
_PRIVATE: Final = _networks(
    *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8"),
    *("fc00::/7", "::1/128"),
)
_UNICAST: Final = IPv6Network("2000::/3")
_SPECIAL: Final = _networks(
    "192.88.99.0/24",  # 6to4 relays (RFC 7526)
    "2001::/23",  # IETF protocols, of these Teredo (RFC 2928)
    "2001:db8::/32",  # documentation (RFC 3849)
    "2002::/16",  # 6to4 (RFC 3056)
    "3fff::/20",  # documentation (RFC 9637)
)
_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052


class BadUrl(ValueError):
    """A URL that no message is sent to; the text says what to write."""


class Forbidden(Exception):
    """The name leads to an address that the endpoint may not reach."""


class NameUnknown(Exception):
    """The name leads nowhere."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL in its parts; `host` is without brackets, `path` begins with a slash."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """What a request's Host says (RFC 9110, 7.2)."""
        return self.on(self.host, port=self.port if self.port != _PORTS[self.scheme] else None)

    @property
    def url(self) -> str:
        """The URL as it is written, but for a port that goes without saying."""
        return f"{self.scheme}://{self.authority}{self.path}"

    def url_at(self, address: Address) -> str:
        """Give the URL with an address in place of the name."""
        return f"{self.scheme}://{self.on(str(address), port=self.port)}{self.path}"

    @staticmethod
    def on(host: str, *, port: int | None) -> str:
        """Write host and port."""
        name = f"[{host}]" if ":" in host else host
        return name if port is None else f"{name}:{port}"


def read_url(text: str) -> Target:
    """Read an endpoint's URL, or raise BadUrl.

    >>> read_url("https://hooks.example/pins?v=1")
    Target(scheme='https', host='hooks.example', port=443, path='/pins?v=1')
    """
    match = _URL.fullmatch(text)
    if match is None:
        raise BadUrl(
            "write https://name/path, or https://name:port/path, in small letters: no user, no "
            "fragment, and no address but a plain one"
        )
    scheme, host = match["scheme"], match["name"] or match["address"].strip("[]")
    if len(host) > _LONGEST_NAME or (match["address"] and not _is_address(host)):
        raise BadUrl("the host is neither a name nor a plain address: correct it")
    port = int(match["port"] or _PORTS[scheme])
    if port > _LAST_PORT or (port < _FIRST_FREE_PORT and port != _PORTS[scheme]):
        raise BadUrl(f"the port is another service's: use {_PORTS[scheme]}, or 1024 to 65535")
    return Target(scheme, host, port, match["path"] or "/")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def read_network(text: str) -> Network:
    """Read a private network as `10.1.0.0/16`, or raise ValueError that says what to write."""
    try:
        network = ip_network(text)
    except ValueError:
        raise ValueError("write networks as 10.1.0.0/16 or fd12:3456::/32") from None
    for private in _PRIVATE:
        if network.version == private.version and network.subnet_of(private):  # type: ignore[arg-type]
            return network
    raise ValueError("a network is none that is private: public addresses need no leave")


def may_reach(address: Address, private: Sequence[Network] = ()) -> bool:
    """Tell whether an address is public, or of the private networks that were given."""
    if any(address in network for network in _NOBODY):
        return False
    return any(address in network for network in private) or _is_public(address)


def _is_public(address: Address) -> bool:
    """Judge by the registries of special addresses (RFC 6890), the same in every Python."""
    if any(address in network for network in _SPECIAL):
        return False
    if isinstance(address, IPv4Address):
        return address.is_global
    if address in _NAT64:
        return may_reach(IPv4Address(int(address) & 0xFFFFFFFF))
    return address in _UNICAST


async def judged(
    target: Target, private: Sequence[Network], *, resolve: Resolve
) -> tuple[Address, ...]:
    """Give the addresses of a URL's host, if the endpoint may reach them all.

    Forbidden when it may not reach one, NameUnknown when there is none. What is not under TLS
    stays on this host.
    """
    found = [target.host] if _is_address(target.host) else await resolve(target.host, target.port)
    try:
        addresses = tuple(map(ip_address, dict.fromkeys(found)))
    except ValueError:
        raise Forbidden from None
    if not addresses:
        raise NameUnknown
    for address in addresses:
        if not may_reach(address, private):
            raise Forbidden
        if target.scheme == "http" and not address.is_loopback:
            raise Forbidden
    return addresses


async def system_resolve(host: str, port: int) -> Sequence[str]:
    """Ask the system for the addresses of a name, in a thread that nobody has to wait for.

    The system takes as long as it likes, and cannot be told to stop.
    """
    loop = asyncio.get_running_loop()
    answer = loop.create_future()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            found = []
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(tell, [str(place[0]) for *_, place in found])

    def tell(found: list[str]) -> None:
        if not answer.done():
            answer.set_result(found)

    threading.Thread(target=ask, name="resolver", daemon=True).start()
    result: list[str] = await answer
    return result
