"""What docs/py-hsm.md shows runs."""

import re
import subprocess
from pathlib import Path

DOCUMENT = Path(__file__).parents[3] / "docs" / "py-hsm.md"


def shown(kind: str) -> str:
    """The one block of this kind."""
    (block,) = re.findall(rf"(?ms)^```{kind}\n(.*?)^```$", DOCUMENT.read_text())
    return block


def test_the_program(at, capsys):
    program = shown("python")
    for printed, real in (
        ('"partition_password"', repr(at.pin)),
        ("slot=1", f"slot={at.slot}"),
        ("/usr/lib/softhsm/libsofthsm2.so", at.module),
    ):
        assert printed in program
        program = program.replace(printed, real)
    exec(compile(program, str(DOCUMENT), "exec"), {})
    assert re.fullmatch(r"[0-9a-f]{64}\n", capsys.readouterr().out)


def test_the_command(tmp_path):
    script = tmp_path / "scripts" / "keys.py"
    script.parent.mkdir()
    script.write_text("from pyhsm.hsmclient import HsmClient\nfrom pyhsm import convert\n")
    subprocess.run(["bash", "-euc", shown("sh")], cwd=tmp_path, check=True)
    changed = "from hsm.pyhsm.hsmclient import HsmClient\nfrom hsm.pyhsm import convert\n"
    assert script.read_text() == changed
