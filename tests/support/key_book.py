"""A `KeyBook` in memory: the key ring that `Custody` changes in tests."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date

from pinvault.model.custody import MadeKey
from pinvault.model.errors import Reason, Refusal
from pinvault.model.keys import Key, KeyDirectory, State


class MemoryBook:
    """Keys and stored key blocks. `adopt` is told every key ring before it stands.

    Set `busy` to have another's change be under way. Outside a turn nothing can be changed.
    """

    def __init__(
        self, keys: Iterable[Key], *, adopt: Callable[[KeyDirectory], None] = lambda _: None
    ) -> None:
        self.blocks: dict[str, str] = {}
        self.busy = False
        self.turns = 0
        self._keys = {key.id: key for key in keys}
        self._adopt = adopt
        self._in_turn = False

    def directory(self) -> KeyDirectory:
        return KeyDirectory(self._keys.values())

    @contextmanager
    def turn(self) -> Iterator[None]:
        assert not self._in_turn
        if self.busy:
            raise Refusal(Reason.KEY_BUSY, retry_after_s=1.0)
        self._in_turn, self.turns = True, self.turns + 1
        try:
            yield
        finally:
            self._in_turn = False

    def add(self, made: MadeKey, *, previous_until: date | None) -> Key:
        assert self._in_turn
        new = made.key
        key = Key(
            name=new.name,
            version=new.version,
            usage=new.usage,
            algorithm=new.algorithm,
            mode=new.mode,
            check_value=made.check_value,
            state=State.ACTIVE,
            origin=made.origin,
            valid_from=new.valid_from,
            valid_until=new.valid_until,
            jwa=new.jwa,
        )
        assert key.id not in self._keys
        changed = dict(self._keys)
        for other in self._keys.values():
            if other.name == key.name and other.state is State.ACTIVE:
                until = previous_until or other.valid_until
                changed[other.id] = replace(other, state=State.DECIPHER_ONLY, valid_until=until)
        self._stand(changed | {key.id: key})
        return key

    def keep(self, key_id: str, block: str) -> None:
        assert self._in_turn
        assert key_id not in self._keys
        self.blocks[key_id] = block

    def retire(self, key_id: str) -> Key:
        assert self._in_turn
        retired = replace(self._keys[key_id], state=State.RETIRED)
        self._stand(self._keys | {key_id: retired})
        self.blocks.pop(key_id, None)
        return retired

    def block_of(self, key_id: str) -> str | None:
        return self.blocks.get(key_id)

    def _stand(self, keys: dict[str, Key]) -> None:
        self._adopt(KeyDirectory(keys.values()))
        self._keys = keys
