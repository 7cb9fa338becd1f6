"""PVVs, IBM 3624 offsets, natural PINs and PINs of offsets beside psec's."""

import random
from collections.abc import Callable

from psec import des
from psec import pin as psec

from pinvault.clearzone.pin import Pin
from pinvault.clearzone.verification import ibm3624, pvv
from pinvault.model.pan import Pan
from pinvault.model.verification import Ibm3624Scheme, PinOffset, Pvv, ValidationLayout
from tests.differential.cases import Case, cases, read


def under(key: bytes) -> Callable[[bytes], bytes]:
    return lambda block: des.encrypt_tdes_ecb(key, block)


def test_pvvs_are_psecs() -> None:
    for case in cases("PVV", shortest_pan=12, pin_lengths=range(4, 5)):
        key, index, pan = case.rng.randbytes(24), case.rng.randrange(7), Pan(case.pan)
        theirs = psec.generate_visa_pvv(key, str(index), case.pin, case.pan)
        ours = pvv.pvv(Pin(case.pin.encode()), pan=pan, key_index=index, encipher=under(key))
        assert ours.value == theirs
        value = Pvv(value=theirs, key_index=index)
        assert pvv.verify(Pin(case.pin.encode()), value=value, pan=pan, encipher=under(key))


def test_ibm_3624_is_psecs() -> None:
    for case in cases("IBM 3624"):
        key, (scheme, start, taken) = case.rng.randbytes(24), scheme_for(case)
        how = {"pan": Pan(case.pan), "scheme": scheme, "encipher": under(key)}
        same = {
            "pvk": key,
            "conversion_table": scheme.decimalisation_table,
            "pan": case.pan,
            "pan_verify_offset": start,
            "pan_verify_length": taken,
            "pan_pad": scheme.validation.pad,
        }
        offset = psec.generate_ibm3624_offset(pin=case.pin, **same)
        ours = PinOffset(value=offset)
        assert ibm3624.offset(Pin(case.pin.encode()), **how).value == offset
        assert read(ibm3624.pin_from_offset(ours, **how)) == case.pin
        assert ibm3624.verify(Pin(case.pin.encode()), offset=ours, **how)
        natural = psec.generate_ibm3624_pin(offset="0" * len(case.pin), **same)
        assert read(ibm3624.natural_pin(**how)) == natural


def scheme_for(case: Case) -> tuple[Ibm3624Scheme, int, int]:
    """Make a scheme, and tell which digits of the PAN it takes: from where, and how many."""
    rng, length = case.rng, len(case.pan)
    taken = rng.randint(1, 12)
    layouts = {"first": 0, "last": length - taken, "account": length - taken - 1}
    token = rng.choice(sorted(layouts))
    layout = ValidationLayout(template=f"{{{token}{taken}}}", pad=rng.choice("0123456789ABCDEF"))
    scheme = Ibm3624Scheme(
        name="any",
        key="pvk",
        decimalisation_table=table(rng),
        validation=layout,
        check_length=len(case.pin),
        pin_length=len(case.pin),
    )
    return scheme, layouts[token], taken


def table(rng: random.Random) -> str:
    """Draw a decimalisation table with all ten digits, some of them up to four times."""
    drawn = [*"0123456789", *rng.sample("0123456789" * 3, 6)]
    rng.shuffle(drawn)
    return "".join(drawn)
