"""What of a configuration cannot be, though each of its sections can: told at start, in this order.

Rules:
- What a row of the grants lets through must be bounded where asking often tells of PINs.
- What is named must be there, and what is kept for the store is for nobody's calls.
- What is granted can be used.
"""

from pinvault.config.loaded import ConfigError, Loaded
from pinvault.config.section import split_address
from pinvault.config.sections import GrantSection, RunMode
from pinvault.server.identity import is_name
from pinvault.server.role import Role

MAX_PORT = 65_535
NEEDS_PAN_RATE = frozenset(
    {
        "PinBlockService.VerifyPin",
        "PinBlockService.GenerateVerificationValue",
        "PinBlockService.ChangeVerificationValue",
        "PinBlockService.GeneratePin",
        "PinBlockService.EncryptPinChangeScript",
        "CardPinService.SetPin",
        "CardPinService.ChangePin",
        "CardPinService.ResetPin",
        "CardPinService.ReissuePin",
        "CardPinService.CheckPin",
        "CardPinService.RevealPin",
        "CardPinService.SubmitPin",
    }
)
BATCH = "PinBlockService.TranslatePinBatch"
LOOKS_AFTER = frozenset({"KeyService.ListKeys", "KeyService.GetKey", "KeyService.RotateKey"})
IMPORTS = frozenset({"KeyService.ImportKeyBlock", "KeyService.ImportKeyCryptogram"})


def check(loaded: Loaded) -> None:
    """Raise ConfigError with the first fault."""
    _check_addresses(loaded)
    _check_lengths(loaded)
    _check_models(loaded)
    _check_key_blocks(loaded)
    _check_store(loaded)
    _check_webhooks(loaded)
    _check_grants(loaded)
    _check_mode(loaded)


def _check_addresses(loaded: Loaded) -> None:
    for option, address in (
        ("server.listen", loaded.config.server.listen),
        ("admin.listen", loaded.config.admin.listen),
        ("notify.listen", loaded.config.notify.listen),
    ):
        if split_address(address)[1] > MAX_PORT:
            raise ConfigError(loaded.path, option, "a port is at most 65535: correct it")


def _check_models(loaded: Loaded) -> None:
    """Build what the sections become; a model that cannot be is told with its place."""
    loaded.profiles()
    loaded.verification()
    loaded.scripts()
    loaded.pin_rules()
    loaded.programs()
    both = loaded.config.verification.keys() & loaded.config.scripts.keys()
    if both:
        text = "a scheme and a script profile share this name: rename one of them"
        raise ConfigError(loaded.path, f"scripts.{min(both)}", text)


def _check_key_blocks(loaded: Loaded) -> None:
    """Refuse what only clear keys are for while they are off."""
    section = loaded.config.key_blocks
    for option, value in (("storage_key", section.storage_key), ("variants", section.variants)):
        if value and not section.clear_keys:
            text = "nothing is done with it while clear keys are off: set clear_keys = true"
            raise ConfigError(loaded.path, f"key_blocks.{option}", text)


def _check_store(loaded: Loaded) -> None:
    """Refuse a key that would be two in the store."""
    store = loaded.config.store
    seen: dict[str, str] = {}
    for option, name in store.keys().items() if store is not None else ():
        if name in seen:
            text = f"it is {seen[name]} already, and a key has one purpose: name another key"
            raise ConfigError(loaded.path, f"store.{option}", text)
        seen[name] = option


def _check_webhooks(loaded: Loaded) -> None:
    """Refuse receivers that cannot be, are of programs that are not there, or have no turn."""
    loaded.webhooks()
    for name, section in loaded.config.webhooks.items():
        for program in section.programs:
            if program not in loaded.config.programs:
                text = f"nothing is named {program}: add [programs.{program}] or correct the name"
                raise ConfigError(loaded.path, f"webhooks.{name}.programs", text)
    count = len(loaded.config.webhooks)
    if loaded.config.notify.at_once < count:
        text = f"each of {count} endpoints needs a place of its own: raise it to {count} at least"
        raise ConfigError(loaded.path, "notify.at_once", text)


def _check_lengths(loaded: Loaded) -> None:
    config = loaded.config
    sections = {
        **{f"profiles.{name}": section.pin_length for name, section in config.profiles.items()},
        **{f"grants[{n}]": row.pin_length for n, row in enumerate(config.grants)},
    }
    for option, length in sections.items():
        if length is not None and length.minimum > length.maximum:
            text = "the minimum is above the maximum: exchange them"
            raise ConfigError(loaded.path, f"{option}.pin_length", text)


def _check_grants(loaded: Loaded) -> None:
    for number, section in enumerate(loaded.config.grants):
        option = f"grants[{number}]"
        if not all(map(is_name, section.callers)):
            text = (
                "a caller cannot be recorded under this name: 1 to 128 letters, digits and "
                "._:/@=-, beginning with a letter, without 12 digits or 16 hex digits in a row"
            )
            raise ConfigError(loaded.path, f"{option}.callers", text)
        _check_names(loaded, section, option)
        _check_row(loaded, section, option)
    _check_rates(loaded)
    _check_tokens(loaded)


def _check_names(loaded: Loaded, section: GrantSection, option: str) -> None:
    """Refuse names of profiles, schemes, programs and rules that the file does not have."""
    config = loaded.config
    rules = (section.pin_rules,) if section.pin_rules is not None else ()
    for place, wanted, known, table in (
        ("profiles", section.profiles, config.profiles.keys(), "profiles"),
        (
            "schemes",
            section.schemes,
            config.verification.keys() | config.scripts.keys(),
            "verification",
        ),
        ("programs", section.programs, config.programs.keys(), "programs"),
        ("pin_rules", rules, config.pin_rules.keys(), "pin_rules"),
    ):
        for name in wanted:
            if name not in known:
                text = f"nothing is named {name}: add [{table}.{name}] or correct the name"
                raise ConfigError(loaded.path, f"{option}.{place}", text)


def _check_keys(loaded: Loaded, section: GrantSection, option: str) -> None:
    """Refuse to grant what the store stands on, but to who looks after keys."""
    kept = loaded.store_keys() & set(section.keys)
    if kept and not LOOKS_AFTER.issuperset(section.methods):
        text = (
            f"{min(kept)} is kept for the store, whose cards' calls find it by themselves: take it "
            "out, or name it in a row of ListKeys, GetKey and RotateKey alone"
        )
        raise ConfigError(loaded.path, f"{option}.keys", text)


def _check_row(loaded: Loaded, section: GrantSection, option: str) -> None:
    """Refuse methods that the role does not serve, and rows without the rates that they need."""
    _check_keys(loaded, section, option)
    role = loaded.config.role
    for method in section.methods:
        if not role.serves(method):
            text = (
                f'an acquiring server has no {method}: take it out, or set role = "issuing" '
                "on a server of its own"
            )
            raise ConfigError(loaded.path, f"{option}.methods", text)
    _check_cards(loaded, section, option)
    pin_methods = {m for m in section.methods if m.startswith("PinBlockService.")}
    if section.programs and pin_methods and not section.per_caller:
        text = (
            "who may take stored PINs out without end may have those of all cards, so a row of "
            'PinBlockService with programs needs a rate: add per_caller = "10/min"'
        )
        raise ConfigError(loaded.path, f"{option}.per_caller", text)
    asked_often = any(form.needs_pan_rate for form in section.formats) and pin_methods - {BATCH}
    if not section.per_pan and (asked_often or NEEDS_PAN_RATE.intersection(section.methods)):
        text = (
            "blocks of any format but ISO_1 and ISO_4, and every method that verifies, generates, "
            "sets, changes or reveals, tell of PINs to whoever may ask often, so they need a rate "
            'per PAN: add per_pan = "10/h"'
        )
        raise ConfigError(loaded.path, f"{option}.per_pan", text)
    if BATCH in pin_methods and not section.per_caller:
        text = (
            "an account stands once in a batch, so the rate of batches is the rate per PAN, and "
            'a row with TranslatePinBatch needs one: add per_caller = "10/h"'
        )
        raise ConfigError(loaded.path, f"{option}.per_caller", text)
    if IMPORTS.intersection(section.methods) and not section.per_caller:
        text = (
            "who may try key blocks and cryptograms without end may come to one that opens, so a "
            'row with an import needs a rate: add per_caller = "10/h"'
        )
        raise ConfigError(loaded.path, f"{option}.per_caller", text)


def _check_cards(loaded: Loaded, section: GrantSection, option: str) -> None:
    """Refuse rows for cards that name no program, or repeat what their programs say."""
    cards = [method for method in section.methods if method.startswith("CardPinService.")]
    if not cards:
        return
    if not section.programs:
        text = f"{cards[0]} is granted for the cards of programs: add programs = [...]"
        raise ConfigError(loaded.path, f"{option}.programs", text)
    for place, value in (
        ("schemes", section.schemes),
        ("pin_length", section.pin_length),
        ("pin_rules", section.pin_rules),
    ):
        if value:
            text = (
                f"of the cards of {cards[0]} this stands in their programs: take it out, or give "
                "the other methods a row of their own"
            )
            raise ConfigError(loaded.path, f"{option}.{place}", text)
    if not section.per_caller:
        text = (
            "who may ask without end may find which PANs are cards, and by RevealPin have the PINs "
            'of all cards, so a row for cards needs a rate: add per_caller = "10/min"'
        )
        raise ConfigError(loaded.path, f"{option}.per_caller", text)


def _check_rates(loaded: Loaded) -> None:
    """Refuse two rates for one account: the stricter would lock out the looser."""
    seen: dict[tuple[str, ...], object] = {}
    for row in loaded.grants():
        for caller in row.callers:
            for account, rate, name in (
                ((caller, row.method), row.per_caller, "per_caller"),
                ((caller,), row.per_pan, "per_pan"),
            ):
                if rate is not None and seen.setdefault((name, *account), rate) != rate:
                    text = f"{caller} has two different rates for one account: make them the same"
                    raise ConfigError(loaded.path, f"grants.{name}", text)


def _check_tokens(loaded: Loaded) -> None:
    """Refuse a right to reveal that nobody can use: it takes a token that its caller had issued."""
    by_method = {
        method: {
            (caller, program)
            for row in loaded.grants()
            if row.method == f"CardPinService.{method}"
            for caller in row.callers
            for program in row.programs
        }
        for method in ("RevealPin", "IssueControlToken")
    }
    for caller, program in sorted(by_method["RevealPin"] - by_method["IssueControlToken"]):
        text = (
            f"{caller} may reveal PINs of {program} by control tokens of its own alone, and may "
            "have none issued: grant it CardPinService.IssueControlToken"
        )
        raise ConfigError(loaded.path, "grants", text)


def _check_mode(loaded: Loaded) -> None:
    config = loaded.config
    if config.programs and config.role is not Role.ISSUING:
        text = (
            'an acquiring server keeps no PINs of cards: take programs out, or set role = "issuing"'
        )
        raise ConfigError(loaded.path, "programs", text)
    if config.mode is RunMode.PRODUCTION and config.server.reflection:
        text = "reflection is for development: set it to false"
        raise ConfigError(loaded.path, "server.reflection", text)
