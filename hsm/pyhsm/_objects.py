"""Objects by handle and label: found, read, changed, destroyed.

Rules:
- A handle is the token's own number. python-pkcs11 will not read an object by a number, so the
  objects of the session are remembered by theirs as they are met.
- Making an object never leaves two of one label: the label is free, or its object gives way.
"""

from typing import Any

from pkcs11 import Attribute
from pkcs11.exceptions import ObjectHandleInvalid

from hsm.pyhsm import _raw
from hsm.pyhsm._border import guarded
from hsm.pyhsm._connection import Connection
from hsm.pyhsm.hsmenums import HsmAttribute
from hsm.pyhsm.hsmerror import HsmError
from hsm.pyhsm.hsmobject import HsmObject


class Objects(Connection):
    """What can be done with an object of any class."""

    @guarded
    def find_objects(self) -> list[int]:
        """The handles of all objects that the session sees."""
        return self._search({})

    @guarded
    def get_object_handle(self, label: str) -> int:
        """The handle of the first object with this label; 0 if there is none."""
        return next(iter(self._search({Attribute.LABEL: _raw.packed(label)})), 0)

    @guarded
    def does_object_exist(self, handle: int) -> bool:
        """Whether the session sees an object with this handle."""
        self._active()
        try:
            self.get_attribute_value(handle, HsmAttribute.LABEL)
        except HsmError:
            return False
        return True

    @guarded
    def get_object(self, handle: int, fast_load: bool = False) -> HsmObject:
        """An object with all its attributes, or with `fast_load` the usual ones."""
        if not self.does_object_exist(handle):
            raise ObjectHandleInvalid
        return HsmObject.read(self, handle, fast_load=fast_load)

    @guarded
    def get_objects(self, fast_load: bool = False) -> list[HsmObject]:
        """All objects that the session sees."""
        return [self.get_object(handle, fast_load) for handle in self.find_objects()]

    @guarded
    def get_attribute_value(
        self, handle: int, attribute_type: HsmAttribute = HsmAttribute.LABEL
    ) -> bytes:
        """One attribute as the token holds it: numbers in the machine's byte order."""
        return bytes(self._object(handle)[attribute_type.value])

    @guarded
    def set_attribute_value(
        self, handle: int, attribute_type: HsmAttribute, attribute_value: bytes
    ) -> None:
        """Write one attribute of an object that is modifiable."""
        self._object(handle)[attribute_type.value] = attribute_value

    @guarded
    def destroy_object(self, handle: int) -> None:
        """Destroy an object for good."""
        self._object(handle).destroy()

    def _search(self, template: _raw.Template) -> list[int]:
        opened = self._active()
        return [self._meet(found) for found in opened.session.get_objects(dict(template))]

    def _meet(self, found: Any) -> int:
        """Remember an object of python-pkcs11; its handle."""
        self._active().met[found.handle] = found
        return int(found.handle)

    def _object(self, handle: int) -> Any:
        met = self._active().met
        if handle not in met:
            self.find_objects()
        if handle not in met:
            raise ObjectHandleInvalid
        return met[handle]

    def _make_room(self, *labels: str, overwrite: bool) -> None:
        """Free these labels. HsmError if one is taken and may not be overwritten."""
        if not overwrite and any(self.get_object_handle(label) for label in labels):
            raise HsmError("the label is taken: choose another, or overwrite=True")
        for label in labels:
            handle = self.get_object_handle(label)
            if handle:
                self.destroy_object(handle)
