"""SoftHSM in a process of its own, behind p11-kit: it is killed, it is back, it hangs.

The client runs in a subprocess too, because a process has one PKCS#11 library.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hsm import keyring as keyrings
from hsm import provisioning
from tests.integration.hsm.support import TDES_VALUE, spec

CLIENT_MODULES = (
    "/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so",
    "/usr/lib/aarch64-linux-gnu/pkcs11/p11-kit-client.so",
    "/usr/lib64/pkcs11/p11-kit-client.so",
)

SCRIPT = """
import json, os, signal, subprocess, sys, threading, time
from pathlib import Path
from hsm import keyring as keyrings
from hsm.device import Device, DeviceStatus, RsaPadding
from hsm.errors import HsmDataRefused, HsmTimeout, HsmUnavailable
from hsm.token import TokenLocation

module, client, socket, label, serial, pin_file, ring = sys.argv[1:]
os.environ["P11_KIT_SERVER_ADDRESS"] = "unix:path=" + socket


def serve():
    Path(socket).unlink(missing_ok=True)
    process = subprocess.Popen(
        ["p11-kit", "server", "--foreground", "--name", socket, "--provider", module, "pkcs11:"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    for _ in range(500):
        if Path(socket).exists():
            return process
        time.sleep(0.01)
    raise SystemExit("the server did not start")


def kill(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def works():
    return device.encipher("tdes-e/1", bytes(8), timeout=5)[:3].hex() == "6fb1c8"


def until_works(bound):
    started = time.monotonic()
    while time.monotonic() - started < bound:
        try:
            return works() and time.monotonic() - started
        except HsmUnavailable:
            time.sleep(0.02)
    raise SystemExit("no recovery")


server = serve()
location = TokenLocation(
    module=Path(client), label=label, serial=serial, pin_file=Path(pin_file)
)
device = Device.open(location, keyrings.load(Path(ring)), hang_after=0.3)
told = {"opened": works()}
try:
    device.rsa_decrypt("seal/1", bytes(256), padding=RsaPadding.OAEP_SHA1, timeout=5)
except HsmDataRefused:
    told["garbage"] = device.status.value

kill(server)
server = serve()
told["restarted"] = until_works(5) < 5

kill(server)
started = time.monotonic()
try:
    works()
except HsmUnavailable:
    told["killed"] = device.status.value
try:
    works()
except HsmUnavailable:
    told["breaker"] = time.monotonic() - started < 5
server = serve()
told["back"] = until_works(10) < 10

os.killpg(server.pid, signal.SIGSTOP)
stuck = threading.Thread(target=works, daemon=True)
stuck.start()
time.sleep(0.4)
told["hung"] = device.status.value
started = time.monotonic()
try:
    device.encipher("tdes-e/1", bytes(8), timeout=0.1)
except HsmTimeout:
    told["in time"] = time.monotonic() - started < 2
os.killpg(server.pid, signal.SIGCONT)
stuck.join(5)
told["resumed"] = works() and device.status is DeviceStatus.SERVING
device.close()
kill(server)
print(json.dumps(told))
"""


@pytest.fixture
def client_module():
    named = os.environ.get("PINVAULT_P11_KIT_CLIENT", "")
    found = [path for path in (named, *CLIENT_MODULES) if Path(path).is_file()]
    if found and shutil.which("p11-kit"):
        return found[0]
    if os.environ.get("CI"):
        pytest.fail("p11-kit and p11-kit-modules are not installed")
    pytest.skip("p11-kit and p11-kit-modules are not installed")


@pytest.fixture
def location(new_token):
    """A token of its own: p11-kit 0.24 transports no mechanism that derives, and no array of two
    mechanisms, so not every role can be reached through it.
    """
    return new_token("other-process")


def test_killed_restarted_and_hung(client_module, location, tmp_path):
    ring = tmp_path / "keyring.toml"
    keys = (
        provisioning.import_secret(location, spec("tdes-e", "P0", "TDES_2KEY", "E"), TDES_VALUE),
        provisioning.generate(location, spec("aes-b", "P0", "AES_256", "B")),
        provisioning.generate(location, spec("mac", "M7", "HMAC_SHA256", "G")),
        provisioning.generate(location, spec("sign", "S0", "EC_P256", "S")),
        provisioning.generate(location, spec("seal", "D1", "RSA_2048", "D", jwa="RSA-OAEP")),
    )
    ring.write_text(keyrings.dump(keyrings.Keyring(keys=keys)))
    done = subprocess.run(
        [
            *(sys.executable, "-c", SCRIPT, str(location.module), client_module),
            *(str(tmp_path / "socket"), location.label, location.serial),
            *(str(location.pin_file), str(ring)),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.strip() == (
        '{"opened": true, "garbage": "serving", "restarted": true, "killed": "down",'
        ' "breaker": true, "back": true, "hung": "hung", "in time": true, "resumed": true}'
    )
