"""The sections that fix how PINs are verified, chosen, derived and written to a card's chip."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta, field

from pinvault.config.profiles import PinLengthSection
from pinvault.config.section import Name, Section
from pinvault.model.pin_rules import PinRules
from pinvault.model.scripts import ScriptBlock, ScriptPadding, ScriptProfile
from pinvault.model.verification import Ibm3624Scheme, ValidationLayout, VisaPvvScheme

KeyIndex = Annotated[str, Meta(pattern="^[0-6]$")]
Digits = Annotated[int, Meta(ge=4, le=12)]


class VisaPvv(Section, frozen=True, tag_field="kind", tag="visa-pvv"):
    """A Visa PVV scheme: the key (usage V2) of each index."""

    keys: dict[KeyIndex, Name]

    def to_model(self, name: str) -> VisaPvvScheme:
        """Give the model's form; ValueError says what is wrong."""
        return VisaPvvScheme(name=name, keys={int(index): key for index, key in self.keys.items()})


class Ibm3624(Section, frozen=True, tag_field="kind", tag="ibm-3624"):
    """An IBM 3624 scheme under one key (usage V1)."""

    key: Name
    decimalisation_table: str
    validation: str
    pad: str = "F"
    check_length: Digits = 4
    pin_length: Digits | None = None

    def to_model(self, name: str) -> Ibm3624Scheme:
        """Give the model's form; ValueError says what is wrong."""
        return Ibm3624Scheme(
            name=name,
            key=self.key,
            decimalisation_table=self.decimalisation_table,
            validation=ValidationLayout(template=self.validation, pad=self.pad),
            check_length=self.check_length,
            pin_length=self.pin_length or self.check_length,
        )


SchemeSection = VisaPvv | Ibm3624


class PinRulesSection(Section, frozen=True):
    """What new PINs may not be. `excluded_file` holds one PIN a line."""

    pin_length: PinLengthSection = PinLengthSection()
    refuse_repeated: bool = True
    refuse_mostly_repeated: bool = False
    refuse_sequential: bool = True
    refuse_dates: bool = True
    refuse_current: bool = True
    excluded_file: str | None = None

    def to_model(self, name: str, folder: Path) -> PinRules:
        """Give the model's form; ValueError says what is wrong, OSError that a file is missing."""
        excluded = frozenset[str]()
        if self.excluded_file is not None:
            excluded = frozenset((folder / self.excluded_file).read_text().split())
        return PinRules(
            name=name,
            pin_length=self.pin_length.to_model(),
            refuse_repeated=self.refuse_repeated,
            refuse_mostly_repeated=self.refuse_mostly_repeated,
            refuse_sequential=self.refuse_sequential,
            refuse_dates=self.refuse_dates,
            refuse_current=self.refuse_current,
            excluded=excluded,
        )


class Dukpt(Section, frozen=True):
    """DUKPT: how long a key serial number stays spent, and which TDES base keys may be used.

    `tdes_variants` gives, by the name of a TDES base derivation key, that of its variant in
    the HSM. Without an entry TDES DUKPT is off.
    """

    replay_window_s: Annotated[float, Meta(ge=60, le=31 * 86_400)] = 86_400.0
    tdes_variants: dict[Name, Name] = field(default_factory=dict)


class Script(Section, frozen=True):
    """A script profile, with its issuer master keys (usages E1, E2 and E0)."""

    block: ScriptBlock
    padding: ScriptPadding
    confidentiality: Name
    integrity: Name
    cryptograms: Name | None = None

    def to_model(self, name: str) -> ScriptProfile:
        """Give the model's form; ValueError says what is wrong."""
        return ScriptProfile(
            name=name,
            block=self.block,
            padding=self.padding,
            confidentiality=self.confidentiality,
            integrity=self.integrity,
            cryptograms=self.cryptograms,
        )
