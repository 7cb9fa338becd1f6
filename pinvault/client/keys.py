"""The keys of a pinvault server as their keepers see them: `vault.keys`, a method a verb.

Rules:
- No key is in the clear here: keys come and go in key blocks and cryptograms.
- A change is never repeated by itself, since it may have been done. `rotate("name/version")` can
  be: it rotates only while that version is active.
- The last day of a cryptoperiod is a day in UTC, and belongs to it.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

from google.protobuf.timestamp_pb2 import Timestamp

from pinvault.client.answers import KeyUse
from pinvault.client.channel import Connection
from pinvault.client.sealing import SealingKey
from pinvault.client.sealing_keys import SealingKeys
from pinvault.v1 import key_pb2 as pb
from pinvault.v1 import key_pb2_grpc, resources_pb2

BlockVersion = Literal["B", "D", "E"]
_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyVersion:
    """One version of a key: X9.143 usage and mode of use, check value in upper-case hex.

    `state` is "ACTIVE", "DECIPHER_ONLY" or "RETIRED", `origin` "GENERATED" or "IMPORTED";
    `valid_until` is the last day of the cryptoperiod, None when it has no end.
    """

    name: str
    version: int
    usage: str
    algorithm: str
    mode_of_use: str
    check_value: str
    state: str
    origin: str
    valid_from: date
    valid_until: date | None

    @property
    def id(self) -> str:
        """`name/version`."""
        return f"{self.name}/{self.version}"

    @property
    def use(self) -> KeyUse:
        """The key as the answers of other verbs name it."""
        return KeyUse(name=self.name, version=self.version, check_value=self.check_value)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedKey:
    """A key block, and the key that is in it."""

    key_block: str = field(repr=False)
    key: KeyVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class RotatedKey:
    """The new version, and the one that it took over from."""

    key: KeyVersion
    previous: KeyVersion


class Keys:
    """The verbs of KeyService on one connection; see `Vault.keys`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = key_pb2_grpc.KeyServiceStub(connection.channel)

    def get(self, key: str, *, timeout_s: float | None = None) -> KeyVersion:
        """Tell of the active version of a name, or of `name/version`."""
        reply = self._connection.call(
            self._stub.GetKey, pb.GetKeyRequest(key=key), repeatable=True, timeout_s=timeout_s
        )
        return _read(reply.key)

    def wrapping_key(self, name: str, *, thumbprints: Collection[str] = ()) -> SealingKey:
        """Give the public half of a wrapping key (usage K2), for `wrap`. Pin its thumbprint."""
        return SealingKeys(self._connection, name=name, thumbprints=thumbprints).current()

    def import_block(
        self,
        name: str,
        key_block: str,
        *,
        kbpk: str,
        valid_until: date | None = None,
        previous_until: date | None = None,
        timeout_s: float | None = None,
    ) -> KeyVersion:
        """Import an X9.143 key block as the next version of a name.

        `previous_until` is the last day on which the version before deciphers.
        """
        reply = self._connection.call(
            self._stub.ImportKeyBlock,
            pb.ImportKeyBlockRequest(
                name=name,
                key_block=key_block,
                kbpk=kbpk,
                valid_until=_end_of(valid_until),
                previous_until=_end_of(previous_until),
            ),
            repeatable=False,
            timeout_s=timeout_s,
        )
        return _read(reply.key)

    def export_block(
        self, key: str, *, kbpk: str, version: BlockVersion, timeout_s: float | None = None
    ) -> ExportedKey:
        """Export an exportable key as an X9.143 key block: B under TDES, D or E under AES."""
        reply = self._connection.call(
            self._stub.ExportKeyBlock,
            pb.ExportKeyBlockRequest(
                key=key,
                kbpk=kbpk,
                version=pb.KeyBlockVersion.Value(f"KEY_BLOCK_VERSION_{version}"),
            ),
            repeatable=True,
            timeout_s=timeout_s,
        )
        return ExportedKey(key_block=reply.key_block, key=_read(reply.key))

    def import_cryptogram(
        self,
        name: str,
        wrapped_key: bytes,
        *,
        usage: str,
        algorithm: str,
        mode_of_use: str,
        wrapping_key: str,
        check_value: str,
        valid_until: date | None = None,
        previous_until: date | None = None,
        timeout_s: float | None = None,
    ) -> KeyVersion:
        """Import a key that was wrapped under `wrapping_key` as the next version of a name.

        `check_value` is what the key's sender told by another way, "P0" a usage, "TDES_3KEY" an
        algorithm, "D" a mode of use.
        """
        reply = self._connection.call(
            self._stub.ImportKeyCryptogram,
            pb.ImportKeyCryptogramRequest(
                name=name,
                usage=_USAGES.get(usage, pb.KEY_USAGE_UNSPECIFIED),
                algorithm=_ALGORITHMS.get(algorithm, resources_pb2.KEY_ALGORITHM_UNSPECIFIED),
                mode_of_use=_MODES.get(mode_of_use, pb.KEY_MODE_OF_USE_UNSPECIFIED),
                wrapping_key=wrapping_key,
                wrapped_key=wrapped_key,
                check_value=check_value,
                valid_until=_end_of(valid_until),
                previous_until=_end_of(previous_until),
            ),
            repeatable=False,
            timeout_s=timeout_s,
        )
        return _read(reply.key)

    def rotate(
        self,
        key: str,
        *,
        exportable: bool | None = None,
        valid_until: date | None = None,
        previous_until: date | None = None,
        timeout_s: float | None = None,
    ) -> RotatedKey:
        """Have the next version of a key made; `name/version` only while that one is active.

        `previous_until` is the last day on which the version before deciphers.
        """
        reply = self._connection.call(
            self._stub.RotateKey,
            pb.RotateKeyRequest(
                key=key,
                exportable=exportable,
                valid_until=_end_of(valid_until),
                previous_until=_end_of(previous_until),
            ),
            repeatable=False,
            timeout_s=timeout_s,
        )
        return RotatedKey(key=_read(reply.key), previous=_read(reply.previous))

    def retire(self, key: str, *, check_value: str, timeout_s: float | None = None) -> KeyVersion:
        """End the use of `name/version` for good; what it enciphered opens no more."""
        reply = self._connection.call(
            self._stub.RetireKey,
            pb.RetireKeyRequest(key=key, check_value=check_value),
            repeatable=False,
            timeout_s=timeout_s,
        )
        return _read(reply.key)


# By the codes of X9.143, which are the words of the contract's names after these many.
_USAGES = {name.split("_")[2]: value for name, value in pb.KeyUsage.items()}
_MODES = {name.split("_")[4]: value for name, value in pb.KeyModeOfUse.items()}
_ALGORITHMS = {
    name.removeprefix("KEY_ALGORITHM_"): value for name, value in resources_pb2.KeyAlgorithm.items()
}


def _read(key: pb.Key) -> KeyVersion:
    until = key.valid_until if key.HasField("valid_until") else None
    return KeyVersion(
        name=key.name,
        version=key.version,
        usage=pb.KeyUsage.Name(key.usage).split("_")[2],
        algorithm=resources_pb2.KeyAlgorithm.Name(key.algorithm).removeprefix("KEY_ALGORITHM_"),
        mode_of_use=pb.KeyModeOfUse.Name(key.mode_of_use).split("_")[4],
        check_value=key.check_value,
        state=pb.KeyState.Name(key.state).removeprefix("KEY_STATE_"),
        origin=pb.KeyOrigin.Name(key.origin).removeprefix("KEY_ORIGIN_"),
        valid_from=_day(key.valid_from),
        valid_until=_day(until) - _ONE_DAY if until is not None else None,
    )


def _day(moment: Timestamp) -> date:
    return moment.ToDatetime(tzinfo=UTC).date()


def _end_of(day: date | None) -> Timestamp | None:
    """Give the midnight after a day."""
    if day is None:
        return None
    moment = Timestamp()
    moment.FromDatetime(datetime.combine(day + _ONE_DAY, time(), tzinfo=UTC))
    return moment
