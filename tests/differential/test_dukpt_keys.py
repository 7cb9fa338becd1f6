"""TDES DUKPT beside pydukpt's, which stands on another DES: initial, transaction and PIN keys.

AES DUKPT has no such package; the standard's vectors and a second reading of it stand in
`tests/vectors` and `tests/property`.
"""

import pydukpt

from pinvault.clearzone.dukpt import tdes
from pinvault.clearzone.iso9564.fields import xor
from pinvault.model.dukpt import TDES_KSN
from tests.differential.cases import cases
from tests.support import dukpt as clear


def test_tdes_dukpt_is_pydukpts() -> None:
    for case in cases("TDES DUKPT"):
        base = case.rng.randbytes(16)
        variant = xor(base, tdes.KEY_VARIANT)
        places = case.rng.sample(range(TDES_KSN.counter_bits), case.rng.randint(1, 10))
        ksn = pydukpt.ksn_with_counter(case.rng.randbytes(10), sum(1 << at for at in places))
        how = {
            "encipher_left": lambda block, key=base: clear.tdes(key, block),
            "encipher_right": lambda block, key=variant: clear.tdes(key, block),
        }
        key = tdes.initial_key(ksn, **how)
        assert key == pydukpt.derive_ipek(base, ksn)
        tdes.advance(key, ksn)
        assert key == pydukpt.derive_key(pydukpt.derive_ipek(base, ksn), ksn)
        block = case.rng.randbytes(8)
        with tdes.pin_key(ksn, **how) as pin_key:
            assert pin_key.encipher(block) == clear.tdes(pydukpt.pin_key(key), block)
