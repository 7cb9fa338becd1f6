"""Programs: what the example says becomes the model; what does not fit is told with a remedy."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pinvault.config import ConfigError, Loaded, load
from pinvault.model.cards import CardStatus, PinUse, TokenKind, Window
from pinvault.model.profiles import PinLength
from pinvault.model.references import SchemeRef

Change = tuple[str, str]


@pytest.fixture
def changed(repository: Path, tmp_path: Path) -> Callable[..., Loaded]:
    example = (repository / "pinvault.example.toml").read_text()
    before, header, rest = example.partition("[programs.debit]\n")
    section, *after = rest.partition("# --- Script profiles")

    def make(*changes: Change) -> Loaded:
        text = section
        everything = before, "".join(after)
        for right, wrong in changes:
            assert right in "".join((*everything, text)), right
            text = text.replace(right, wrong, 1)
            everything = tuple(part.replace(right, wrong) for part in everything)
        path = tmp_path / "pinvault.toml"
        path.write_text(everything[0] + header + text + everything[1])
        return load(path)

    return make


def test_the_examples_program_is_the_models(changed: Callable[..., Loaded]) -> None:
    loaded = changed()
    program = loaded.programs()["debit"]
    assert program.name == "debit"
    assert program.scheme == SchemeRef(name="visa", key_index=1)
    assert program.pin_length == PinLength(minimum=4, maximum=4)
    assert program.rules == loaded.pin_rules()["cards"]
    assert (program.try_limit, program.reveal) == (3, False)
    assert program.changes == Window(count=10, period_s=86_400)
    assert program.reveals == Window(count=5, period_s=86_400)
    assert program.token_s == {TokenKind.SET_PIN: 3600, TokenKind.REVEAL_PIN: 300}
    assert program.statuses == {
        PinUse.SET: {CardStatus.INACTIVE, CardStatus.ACTIVE},
        PinUse.CHECK: {CardStatus.ACTIVE},
        PinUse.REVEAL: {CardStatus.ACTIVE},
    }
    assert (program.origins, program.session_s) == (("https://cards.example.org",), 600)


def test_a_program_without_anything_keeps_a_reference_block(changed: Callable[..., Loaded]) -> None:
    program = changed(
        ('scheme = "visa"', ""), ("key_index = 1", ""), ('pin_rules = "cards"', "")
    ).programs()["debit"]
    assert (program.scheme, program.rules) == (None, None)


def test_an_offset_program_has_the_schemes_length(changed: Callable[..., Loaded]) -> None:
    offset = (('scheme = "visa"', 'scheme = "offset"'), ("key_index = 1", ""))
    assert changed(*offset).programs()["debit"].scheme == SchemeRef(name="offset")


@pytest.mark.parametrize("port", ["", ":8080"])
def test_a_page_on_this_host_may_embed_in_development(
    changed: Callable[..., Loaded], port: str
) -> None:
    origin = ('"https://cards.example.org"', f'"http://localhost{port}"')
    development = ('mode = "production"', 'mode = "development"')
    assert changed(origin, development).programs()["debit"].origins == (f"http://localhost{port}",)
    with pytest.raises(ConfigError, match="not an origin"):
        changed(origin)


NO_SCHEME = (('scheme = "visa"', ""), ("key_index = 1", ""))
OFFSET = (('scheme = "visa"', 'scheme = "offset"'), ("key_index = 1", ""))
SECTION = "pin_length = { minimum = 4, maximum = 4 }\n# The rules"
MISTAKES: dict[str, tuple[tuple[Change, ...], str, str]] = {
    "no such scheme": ((('scheme = "visa"', 'scheme = "mine"'),), "scheme", "nothing is named"),
    "no index": ((("key_index = 1", ""),), "key_index", "index of one of its keys"),
    "no key of this index": ((("key_index = 1", "key_index = 2"),), "key_index", "of its keys"),
    "index of no scheme": ((('scheme = "visa"', ""),), "key_index", "name the scheme"),
    "index of an offset scheme": ((OFFSET[0],), "key_index", "take the index out"),
    "lengths of an offset scheme": (
        (*OFFSET, (SECTION, SECTION.replace("maximum = 4", "maximum = 5"))),
        "pin_length",
        "make both ends 4",
    ),
    "lengths the wrong way round": (
        ((SECTION, SECTION.replace("minimum = 4", "minimum = 5")),),
        "pin_length",
        "exchange them",
    ),
    "lengths that the rules refuse": (
        ((SECTION, SECTION.replace("maximum = 4", "maximum = 7")),),
        "pin_length",
        "keep to theirs",
    ),
    "no such rules": (
        (('pin_rules = "cards"\n# Wrong', 'pin_rules = "card"\n# Wrong'),),
        "pin_rules",
        "nothing is named card",
    ),
    "no reference key": (
        (*NO_SCHEME, ("\nreference_key", "\n# reference_key")),
        "scheme",
        "store.reference_key",
    ),
    "no reveal key": (
        (("reveal = false", "reveal = true"), ("\nreveal_key", "\n# reveal_key")),
        "reveal",
        "store.reveal_key",
    ),
    "no tries": ((("try_limit = 3", "try_limit = 0"),), "try_limit", ">= 1"),
    "too many tries": ((("try_limit = 3", "try_limit = 16"),), "try_limit", "<= 15"),
    "unreadable window": ((('changes = "10/day"', 'changes = "ten"'),), "changes", "not a rate"),
    "burst": ((('reveals = "5/day"', 'reveals = "5/day burst 2"'),), "reveals", "the burst out"),
    "no such status": (
        (('check_pin_in = ["active"]', 'check_pin_in = ["lost"]'),),
        "check_pin_in",
        "Invalid enum",
    ),
    "no status": ((('check_pin_in = ["active"]', "check_pin_in = []"),), "check_pin_in", ">= 1"),
    **{
        f"origin {number}": (
            (('"https://cards.example.org"', f'"{origin}"'),),
            "origins",
            "not an origin",
        )
        for number, origin in enumerate(
            (
                *("http://cards.example.org", "https://cards.example.org/", "https://*.example"),
                *("https://Cards.example.org", "https://u@cards.example.org", "null", "https://"),
                *("https://cards.example.org:0", "https://cards.example.org\\n"),
            )
        )
    },
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_told_with_option_and_remedy(
    changed: Callable[..., Loaded], name: str
) -> None:
    changes, option, text = MISTAKES[name]
    with pytest.raises(ConfigError, match=text) as refused:
        changed(*changes)
    assert refused.value.option.removesuffix("[...]").startswith("programs")
    if "Expected" not in str(refused.value) and "Invalid" not in str(refused.value):
        assert refused.value.option == f"programs.debit.{option}"


def test_programs_need_a_store(changed: Callable[..., Loaded], repository: Path) -> None:
    example = (repository / "pinvault.example.toml").read_text()
    section = example[example.index("[store]\n") : example.index("# --- Programs")]
    with pytest.raises(ConfigError, match=r"add \[store\]") as refused:
        changed((section, ""))
    assert refused.value.option == "programs.debit"
