"""The sections of the one TOML file, as frozen structs."""

from enum import StrEnum, unique
from typing import Annotated, Literal

from msgspec import Meta, field

from pinvault.config.key_blocks import KeyBlocks
from pinvault.config.key_life import KeyLife
from pinvault.config.profiles import PinLengthSection, ProfileSection
from pinvault.config.programs import ProgramSection
from pinvault.config.section import Address, Name, Seconds, Section
from pinvault.config.verification import Dukpt, PinRulesSection, SchemeSection, Script
from pinvault.config.webhooks import NotifySection, WebhookSection
from pinvault.model.pins import Format
from pinvault.server.identity import IdentityKind
from pinvault.server.role import Role

MethodName = Literal[
    "PinBlockService.EncryptPin",
    "PinBlockService.EncryptPinChange",
    "PinBlockService.TranslatePin",
    "PinBlockService.TranslatePinBatch",
    "PinBlockService.VerifyPin",
    "PinBlockService.GenerateVerificationValue",
    "PinBlockService.ChangeVerificationValue",
    "PinBlockService.GeneratePin",
    "PinBlockService.EncryptPinChangeScript",
    "CardPinService.RegisterCard",
    "CardPinService.GetCard",
    "CardPinService.SetCardStatus",
    "CardPinService.IssueControlToken",
    "CardPinService.GetControlToken",
    "CardPinService.SetPin",
    "CardPinService.ChangePin",
    "CardPinService.ResetPin",
    "CardPinService.ReissuePin",
    "CardPinService.CheckPin",
    "CardPinService.RevealPin",
    "CardPinService.UnblockPin",
    "CardPinService.CreatePinSession",
    "CardPinService.OpenPinSession",
    "CardPinService.SubmitPin",
    "KeyService.ListKeys",
    "KeyService.GetKey",
    "KeyService.GetPublicKey",
    "KeyService.ImportKeyBlock",
    "KeyService.ExportKeyBlock",
    "KeyService.ImportKeyCryptogram",
    "KeyService.RotateKey",
    "KeyService.RetireKey",
]


LegacyFormat = Literal[
    "OEM_1", "ECI_2", "ECI_3", "VISA_2", "VISA_3", "VISA_4", "PLUS", "MASTERCARD_35"
]


@unique
class RunMode(StrEnum):
    """How strict the start is."""

    PRODUCTION = "production"
    DEVELOPMENT = "development"


class Tls(Section, frozen=True):
    """PEM files of the server."""

    certificate_file: str
    private_key_file: str
    client_ca_file: str


class DeadlineSection(Section, frozen=True):
    """What time calls get, in seconds."""

    ceiling_s: Seconds = 10.0
    default_s: Seconds | None = None


class Server(Section, frozen=True):
    """The gRPC side."""

    listen: Address
    tls: Tls
    workers: Annotated[int, Meta(ge=1, le=256)] = 2
    confine_to_core: bool = True
    threads: Annotated[int, Meta(ge=1, le=1024)] = 64
    identity: IdentityKind = IdentityKind.SPIFFE
    max_request_bytes: Annotated[int, Meta(ge=1024, le=4 * 1024 * 1024)] = 65_536
    message_within_s: Seconds = 2.0
    grace_s: Seconds = 10.0
    max_connection_age_s: Annotated[int, Meta(ge=1, le=86_400)] = 600
    reflection: bool = False
    deadline: DeadlineSection = DeadlineSection()


class Admin(Section, frozen=True):
    """The admin port."""

    listen: Address = "127.0.0.1:9443"


class Hsm(Section, frozen=True):
    """The token and its key ring."""

    module: str
    token_label: str
    token_serial: str
    pin_file: str
    keyring_file: str
    hang_after_s: Seconds = 3.0


class Keys(Section, frozen=True):
    """The service's own keys, by name in the key ring."""

    index: Name
    audit_signing: Name


class Audit(Section, frozen=True):
    """Where the record is kept."""

    directory: str


class State(Section, frozen=True):
    """What the workers of a host share."""

    directory: str
    slots: Annotated[int, Meta(ge=1024, le=16_777_216)] = 1_048_576


class Protection(Section, frozen=True):
    """The time class of refusals."""

    refusal_quantum_ms: Annotated[int, Meta(ge=1, le=1000)] = 25


class StoreSection(Section, frozen=True):
    """What outlives the process is at `sqlite:////absolute/path` or `postgresql://…`.

    `pan_key` enciphers PANs, `reference_key` the blocks that PINs are compared with, `reveal_key`
    those that they are revealed from. A worker has at most `connections` to the database.
    """

    address: str
    pan_key: Name
    reference_key: Name | None = None
    reveal_key: Name | None = None
    connections: Annotated[int, Meta(ge=1, le=1024)] = 8

    def __repr__(self) -> str:
        return "<store>"  # whose address may hold a password

    def keys(self) -> dict[str, str]:
        """Give the names of the keys, by option."""
        named = {
            "pan_key": self.pan_key,
            "reference_key": self.reference_key,
            "reveal_key": self.reveal_key,
        }
        return {option: name for option, name in named.items() if name is not None}


class GrantSection(Section, frozen=True):
    """A row of the grants table, for one or more methods."""

    callers: Annotated[tuple[str, ...], Meta(min_length=1)]
    methods: Annotated[tuple[MethodName, ...], Meta(min_length=1)]
    keys: tuple[Name, ...] = ()
    formats: tuple[Format, ...] = ()
    profiles: tuple[Name, ...] = ()
    translations: tuple[
        Literal["iso-1-to-pan", "aes-to-tdes", "chosen-pin-to-offset", "block-to-reveal"], ...
    ] = ()
    schemes: tuple[Name, ...] = ()
    programs: tuple[Name, ...] = ()
    pin_length: PinLengthSection | None = None
    pin_rules: Name | None = None
    per_caller: str | None = None
    per_pan: str | None = None


class Config(Section, frozen=True):
    """The whole file."""

    mode: RunMode
    role: Role
    server: Server
    hsm: Hsm
    keys: Keys
    audit: Audit
    state: State
    admin: Admin = Admin()
    protection: Protection = Protection()
    dukpt: Dukpt = Dukpt()
    key_blocks: KeyBlocks = KeyBlocks()
    key_life: KeyLife = KeyLife()
    store: StoreSection | None = None
    legacy_formats: dict[Name, LegacyFormat] = field(default_factory=dict)
    profiles: dict[Name, ProfileSection] = field(default_factory=dict)
    verification: dict[Name, SchemeSection] = field(default_factory=dict)
    scripts: dict[Name, Script] = field(default_factory=dict)
    pin_rules: dict[Name, PinRulesSection] = field(default_factory=dict)
    programs: dict[Name, ProgramSection] = field(default_factory=dict)
    webhooks: dict[Name, WebhookSection] = field(default_factory=dict)
    notify: NotifySection = NotifySection()
    grants: tuple[GrantSection, ...] = ()
