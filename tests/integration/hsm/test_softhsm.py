"""Development tokens: found, made once, made again after an interruption, and private."""

import os
import stat

import pytest

from hsm import softhsm
from hsm.errors import ModuleUnusable, ProvisioningError


def prepare(root, module, **more):
    return softhsm.prepare(root, module=module, label="dev", environ=os.environ, **more)


def test_the_module_is_found_by_the_environment_first(tmp_path):
    path = tmp_path / "usr" / "lib" / "softhsm" / softhsm.MODULE_NAME
    path.parent.mkdir(parents=True)
    path.touch()
    assert softhsm.find_module({softhsm.MODULE_VARIABLE: str(path)}) == path
    assert softhsm.find_module({}, root=tmp_path) == path


def test_a_module_that_is_nowhere_comes_with_a_remedy(tmp_path):
    with pytest.raises(ModuleUnusable) as caught:
        softhsm.find_module({softhsm.MODULE_VARIABLE: str(tmp_path / "none.so")})
    assert "apt-get install softhsm2" in caught.value.facts["remedy"]


def test_a_token_is_made_once(softhsm_module, tmp_path):
    made = prepare(tmp_path / "token", softhsm_module)
    assert prepare(tmp_path / "token", softhsm_module) == made
    assert prepare(tmp_path / "token", softhsm_module, fresh=True) != made


def test_an_interrupted_run_is_made_again(softhsm_module, tmp_path):
    root = tmp_path / "token"
    first = prepare(root, softhsm_module)
    (root / "token.json").unlink()
    again = prepare(root, softhsm_module)
    assert again.location.serial != first.location.serial
    assert len(list((root / "tokens").iterdir())) == 1


def test_nobody_else_can_read_it(softhsm_module, tmp_path):
    root = tmp_path / "token"
    made = prepare(root, softhsm_module)
    for path, mode in [
        (root, 0o700),
        (root / "tokens", 0o700),
        (made.location.pin_file, 0o600),
        (root / "so.pin", 0o600),
    ]:
        assert stat.S_IMODE(path.stat().st_mode) == mode
    assert made.environment == {"SOFTHSM2_CONF": str(root / "softhsm2.conf")}


def test_a_failing_utility_does_not_show_the_pins(softhsm_module, tmp_path):
    root = tmp_path / "token"
    with pytest.raises(ProvisioningError) as caught:
        softhsm.prepare(root, module=softhsm_module, label="x" * 40, environ=os.environ)
    pins = [path.read_text().strip() for path in root.glob("*.pin")]
    assert len(pins) == 2
    assert not any(pin in repr(caught.value.__context__) + str(caught.value) for pin in pins)
    assert not (root / "token.json").exists()


def test_a_missing_utility_is_named(tmp_path):
    module = tmp_path / "lib.so"
    module.touch()
    with pytest.raises(ProvisioningError, match="utility is missing"):
        softhsm.prepare(tmp_path / "t", module=module, label="dev", environ={"PATH": "/nowhere"})
