"""Trials of refusal: what a key's attributes deny is really denied, and what they tell is true.

Rules:
- Each denial is tried twice: on a key that permits the act, and on one that differs in this one
  attribute. What no key can do at all is denied too, and told as such.
- Only a refusal counts (`hsm.errors.Fault`): the start would take another answer for a broken
  device.
- These trials are vital: on a token that fails one, an attribute is a label and not a lock.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import padding
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.exceptions import PKCS11Error

from hsm import derivation, unwrapping
from hsm.attributes import display, read
from hsm.derivation import Step
from hsm.errors import Fault, return_value
from hsm.inspection import differences
from hsm.mechanisms import CONTENT, Operation, RsaPadding, invocation
from hsm.passing import destroy
from hsm.qualify_bench import Bench, Shortfall, Trial, expect, name_of, trial
from hsm.qualify_pairs import decrypt, oaep, unwrap, working_hash
from hsm.roles import ROLES, Grant, Role, Template, passing_template
from hsm.vocabulary import Algorithm, Family, Mode, Usage

_BLOCK: Final = bytes(16)
_PATH: Final = (Step(Algorithm.AES_128, _BLOCK),)
_OPEN: Final = Role(
    usage=Usage.D1,
    family=Family.RSA,
    mode=Mode.N,
    grants={
        ObjectClass.PRIVATE_KEY: Grant(
            frozenset({Attribute.DECRYPT, Attribute.UNWRAP, Attribute.SIGN}),
            frozenset(
                {Mechanism.RSA_PKCS_OAEP, Mechanism.RSA_PKCS, Mechanism.RSA_X_509},
            ),
        ),
        ObjectClass.PUBLIC_KEY: Grant(frozenset(), frozenset({Mechanism.RSA_PKCS_OAEP})),
    },
)
"""What no pair of the service is: one that may do everything, and unwraps whatever is asked for."""


def _refused(permitted: Callable[[], object], denied: Callable[[], object]) -> str:
    """What the token answers to the denied act, once the permitted one has been tried."""
    try:
        permitted()
        refused = "refused"
    except PKCS11Error:
        refused = "refused to every key"
    try:
        denied()
    except PKCS11Error as error:
        is_refusal = return_value(error).fault is Fault.REFUSAL
        expect(is_refusal, f"{name_of(error)}, which is no refusal")
        return f"{refused}: {name_of(error)}"
    raise Shortfall("done all the same")


def _capability(bench: Bench, name: Attribute, act: Callable[[Any], object], by: Mechanism) -> str:
    """A capability that is false, on a key that is bound to the very mechanism of the act."""
    algorithm = Algorithm.HMAC_SHA256 if name is Attribute.SIGN else Algorithm.AES_128
    free = bench.secret(algorithm, (name,), (by,))
    bound = bench.secret(algorithm, (), (by,))
    return _refused(partial(act, free), partial(act, bound))


def _flag(
    bench: Bench, permitting: dict[Attribute, bool], name: Attribute, act: Callable[..., object]
) -> str:
    """An attribute that protects the key, among others that do not."""
    free = bench.secret(Algorithm.AES_128, changes=permitting)
    bound = bench.secret(Algorithm.AES_128, changes={**permitting, name: not permitting[name]})
    return _refused(partial(act, bench, free), partial(act, bench, bound))


def _mechanism(bench: Bench) -> str:
    """A key bound to another mechanism than that of the act."""
    encrypt = (Attribute.ENCRYPT,)
    free = bench.secret(Algorithm.AES_128, encrypt, (Mechanism.AES_ECB,))
    bound = bench.secret(Algorithm.AES_128, encrypt, (Mechanism.AES_CBC,))
    return _refused(partial(_encrypt, free), partial(_encrypt, bound))


def _private(bench: Bench, usage: Usage, act: Callable[[Any, Any, RsaPadding], object]) -> str:
    """What a pair of one usage may not do, after a pair that may do everything."""
    chosen = working_hash(bench)
    return _refused(
        lambda: act(*bench.pair_of(_OPEN), chosen),
        partial(act, *bench.pair(usage, Family.RSA, Mode.D), chosen),
    )


def _encrypt(key: Any) -> object:
    return key.encrypt(_BLOCK, mechanism=Mechanism.AES_ECB)


def _decrypt(key: Any) -> object:
    return key.decrypt(_BLOCK, mechanism=Mechanism.AES_ECB)


def _sign(key: Any) -> object:
    return key.sign(_BLOCK, mechanism=Mechanism.SHA256_HMAC)


def _derive(key: Any) -> None:
    with derivation.derived(key, Family.AES, _PATH, enciphers=True):
        return


def _wrap_with(bench: Bench, key: Any) -> object:
    target = {Attribute.EXTRACTABLE: True, Attribute.WRAP_WITH_TRUSTED: False}
    return _wrapped(key, bench.secret(Algorithm.AES_128, changes=target))


def _wrap(bench: Bench, key: Any) -> object:
    return _wrapped(bench.secret(Algorithm.AES_128, (Attribute.WRAP,)), key)


def _wrapped(wrapping: Any, key: Any) -> object:
    return wrapping.wrap_key(key, mechanism=Mechanism.AES_KEY_WRAP)


def _read_value(_: Bench, key: Any) -> object:
    return len(key[Attribute.VALUE])


def _modify(_: Bench, key: Any) -> None:
    key[Attribute.LABEL] = "tried"


def _copy(bench: Bench, key: Any) -> object:
    return bench.adopt(key.copy({Attribute.TOKEN: False}))


def _destroy(_: Bench, key: Any) -> None:
    key.destroy()


def _rsa_decrypt(public: Any, private: Any, chosen: RsaPadding) -> object:
    return decrypt(private, public.encrypt(_BLOCK, oaep(chosen)), chosen)


def _rsa_unwrap(public: Any, private: Any, chosen: RsaPadding) -> None:
    unwrap(private, public.encrypt(_BLOCK * 2, oaep(chosen)), chosen)


def _rsa_unwrap_readable(public: Any, private: Any, chosen: RsaPadding) -> None:
    how = invocation(Operation.UNWRAP, Family.RSA, chosen)
    sealed = public.encrypt(_BLOCK * 2, oaep(chosen))
    readable = {**unwrapping.TEMPLATE, **_READABLE}
    destroy(unwrapping.unwrap(private, sealed, how, KeyType.AES, readable))


def _rsa_sign(_: Any, private: Any, __: RsaPadding) -> object:
    return private.sign(bytes(20), mechanism=Mechanism.RSA_PKCS)


def _rsa_pkcs1(public: Any, private: Any, _: RsaPadding) -> object:
    sealed = public.encrypt(_BLOCK, padding.PKCS1v15())
    return private.decrypt(sealed, mechanism=Mechanism.RSA_PKCS)


def _rsa_raw(_: Any, private: Any, __: RsaPadding) -> object:
    return private.decrypt(bytes(255) + b"\x02", mechanism=Mechanism.RSA_X_509)


def _unwrap_template(bench: Bench) -> str:
    """A pair by whose template nothing readable is unwrapped, after one that has none."""
    try:
        bench.pair(Usage.K0, Family.RSA, Mode.D)
    except PKCS11Error:
        bench.unbearable |= {Attribute.UNWRAP_TEMPLATE}  # the other trials go on without it
        raise
    return _private(bench, Usage.K0, _rsa_unwrap_readable)


def _secret_template(bench: Bench) -> str:
    """The template of a secret key, read back whole; what is refused is found one by one."""
    wanted = passing_template((Attribute.ENCRYPT,), (Mechanism.AES_ECB,))
    refused = {name: code for name in wanted if (code := _refuses(bench, name, wanted[name]))}
    bench.unbearable = frozenset(refused)
    told = [f"CKA_{name.name}: {code}" for name, code in refused.items()]
    made = bench.secret(Algorithm.AES_128, (Attribute.ENCRYPT,), (Mechanism.AES_ECB,))
    told += _differences(made, {name: wanted[name] for name in wanted.keys() - refused.keys()})
    expect(not told, "; ".join(told))
    return f"{len(wanted)} attributes kept"


def _refuses(bench: Bench, name: Attribute, value: Any) -> str | None:
    """What the token answers to one attribute of the template alone; None when it takes it."""
    bench.unbearable = frozenset(passing_template((), (Mechanism.AES_ECB,))) - {
        name,
        Attribute.TOKEN,
    }
    try:
        bench.secret(Algorithm.AES_128, (), (Mechanism.AES_ECB,), {name: value})
    except PKCS11Error as error:
        return name_of(error)
    finally:
        bench.unbearable = frozenset()
    return None


def _pair_template(bench: Bench, role: Role) -> str:
    """Both templates of a pair, read back whole."""
    public, private = bench.make_pair(role)
    halves = ((ObjectClass.PUBLIC_KEY, public), (ObjectClass.PRIVATE_KEY, private))
    told: list[str] = []
    count = 0
    for object_class, made in halves:
        bench.adopt(made, object_class)
        wanted = {**role.template(object_class, destroyable=True), Attribute.TOKEN: False}
        told += _differences(made, wanted)
        count += len(wanted)
    expect(not told, "; ".join(told))
    return f"{count} attributes kept"


def _differences(made: Any, wanted: Template) -> list[str]:
    """The attributes that read back as another value, as the start would find them."""
    return [f"CKA_{name.name} is {display(found)}" for name, found in differences(made, wanted)]


def _two_mechanisms(bench: Bench) -> str:
    wanted = frozenset(int(each) for each in CONTENT)
    made = bench.secret(Algorithm.AES_128, (Attribute.DECRYPT,), CONTENT)
    try:
        kept = made[Attribute.ALLOWED_MECHANISMS] == wanted
    except PKCS11Error as error:
        raise Shortfall(f"taken, but not read back: {name_of(error)}") from None
    expect(kept, "another set is read back")
    return "kept"


def _origin(bench: Bench) -> str:
    """The flags that only the token sets: all true of a key it made, none of one it was given."""
    names = (Attribute.LOCAL, Attribute.ALWAYS_SENSITIVE, Attribute.NEVER_EXTRACTABLE)
    made = bench.secret(Algorithm.AES_128)
    untrue = [name.name for name in names if read(made, name) is not True]
    expect(not untrue, f"not told of a key made there: {', '.join(untrue)}")
    try:
        given = bench.load(Algorithm.AES_128, _BLOCK, ())
    except PKCS11Error:
        return "true of a key made there; none can be loaded"
    expect(read(given, Attribute.LOCAL) is False, "LOCAL is told of a key made elsewhere")
    told = [name.name for name in names if read(given, name) is True]
    return f"true of a key made there, of a loaded one: {', '.join(told) or 'false'}"


_LOST: Final = "everything: the start demands it of every key"
_OTHER: Final = "use a token, or a mode of it, that keeps to the attribute"


def _denial(
    name: str, call: str, mechanisms: tuple[Mechanism, ...], attempt: Any, *given: object
) -> Trial:
    return trial(name, call, mechanisms, attempt, *given, lost=_LOST, remedy=_OTHER, vital=True)


_READABLE: Final = {Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}
_WRAPPABLE: Final = {Attribute.EXTRACTABLE: True, Attribute.WRAP_WITH_TRUSTED: False}
_COPYABLE: Final = {Attribute.COPYABLE: True, Attribute.MODIFIABLE: True}
_GENERATE: Final = "C_GenerateKey, C_GetAttributeValue"
_WRAP: Final = (Mechanism.AES_KEY_WRAP,)
_OAEP: Final = (Mechanism.RSA_PKCS_OAEP,)

TEMPLATES: Final = (
    _denial("template of a secret key", _GENERATE, (Mechanism.AES_KEY_GEN,), _secret_template),
    *(
        _denial(
            f"template of a pair, {family}",
            "C_GenerateKeyPair, C_GetAttributeValue",
            (by,),
            _pair_template,
            ROLES[usage, family, mode],
        )
        for usage, family, mode, by in (
            (Usage.D1, Family.RSA, Mode.D, Mechanism.RSA_PKCS_KEY_PAIR_GEN),
            (Usage.S0, Family.EC, Mode.S, Mechanism.EC_KEY_PAIR_GEN),
        )
    ),
    trial(
        "two allowed mechanisms on one key",
        _GENERATE,
        tuple(sorted(CONTENT)),
        _two_mechanisms,
        lost="encryption for partners: the start reads the set back",
        remedy="reach the token by its own module, not through one that cannot carry the array",
    ),
    _denial("flags of origin", _GENERATE, (), _origin),
    trial(
        "CKA_UNWRAP_TEMPLATE",
        "C_GenerateKeyPair, C_UnwrapKey",
        _OAEP,
        _unwrap_template,
        lost="keys of usage K0 and K2, so envelopes with a content key, and key cryptograms",
        remedy="use a token that keeps to it, or its own module to make these keys",
    ),
)
"""Whether templates are kept; some also tell the bench which attributes to leave out."""

DENIALS: Final = (
    *(
        _denial(f"CKA_{name.name} false", call, (by,), _capability, name, act, by)
        for name, call, act, by in (
            (Attribute.ENCRYPT, "C_Encrypt", _encrypt, Mechanism.AES_ECB),
            (Attribute.DECRYPT, "C_Decrypt", _decrypt, Mechanism.AES_ECB),
            (Attribute.SIGN, "C_Sign", _sign, Mechanism.SHA256_HMAC),
            (Attribute.DERIVE, "C_DeriveKey", _derive, Mechanism.AES_ECB_ENCRYPT_DATA),
        )
    ),
    _denial(
        "CKA_WRAP false",
        "C_WrapKey",
        _WRAP,
        lambda bench: _capability(
            bench, Attribute.WRAP, partial(_wrap_with, bench), Mechanism.AES_KEY_WRAP
        ),
    ),
    *(
        _denial(
            f"CKA_{name.name} {str(not before[name]).lower()}", call, by, _flag, before, name, act
        )
        for name, before, call, by, act in (
            (Attribute.SENSITIVE, _READABLE, "C_GetAttributeValue", (), _read_value),
            (Attribute.EXTRACTABLE, _WRAPPABLE, "C_WrapKey", _WRAP, _wrap),
            (Attribute.WRAP_WITH_TRUSTED, _WRAPPABLE, "C_WrapKey", _WRAP, _wrap),
            (
                Attribute.MODIFIABLE,
                {Attribute.MODIFIABLE: True},
                "C_SetAttributeValue",
                (),
                _modify,
            ),
            (Attribute.COPYABLE, _COPYABLE, "C_CopyObject", (), _copy),
            (Attribute.DESTROYABLE, {Attribute.DESTROYABLE: True}, "C_DestroyObject", (), _destroy),
        )
    ),
    _denial("CKA_ALLOWED_MECHANISMS without it", "C_Encrypt", (Mechanism.AES_ECB,), _mechanism),
    *(
        _denial(name, call, (by,), _private, usage, act)
        for name, call, by, usage, act in (
            ("a transport key that deciphers", "C_Decrypt", _OAEP[0], Usage.K0, _rsa_decrypt),
            ("a sealing key that unwraps", "C_UnwrapKey", _OAEP[0], Usage.D1, _rsa_unwrap),
            ("a sealing key that signs", "C_Sign", Mechanism.RSA_PKCS, Usage.D1, _rsa_sign),
            (
                "a sealing key by PKCS #1 v1.5",
                "C_Decrypt",
                Mechanism.RSA_PKCS,
                Usage.D1,
                _rsa_pkcs1,
            ),
            ("a sealing key by raw RSA", "C_Decrypt", Mechanism.RSA_X_509, Usage.D1, _rsa_raw),
        )
    ),
)
"""Whether what attributes deny is denied."""
