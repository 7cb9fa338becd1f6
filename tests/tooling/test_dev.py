"""`./dev`: its verbs, its set-up after an interruption; and what the lock may and must hold."""

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)


def load(script: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_loader("dev", SourceFileLoader("dev", str(script)))
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "dev", module)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert spec.loader is not None
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script of a checkout that holds nothing else, so that all it makes goes there."""
    shutil.copy(ROOT / "dev", tmp_path)
    (tmp_path / "requirements.lock").write_text("uv==1 \\\n    --hash=sha256:00\nsix==1\n")
    return load(tmp_path / "dev", monkeypatch)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "dev", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


# --- verbs


def test_alone_it_lists_its_verbs() -> None:
    done = run()
    assert done.returncode == 0
    listed = re.findall(r"^  (\w+) ", done.stdout, re.MULTILINE)
    assert {"demo", "run", "test", "lint", "proto", "bench", "mutate", "clean"} <= set(listed)


def test_an_unknown_verb_is_refused_with_the_list() -> None:
    done = run("destroy")
    assert done.returncode == 2
    assert "destroy" in done.stderr
    assert "  demo " in done.stderr
    assert done.stdout == ""


def test_set_up_leaves_stdout_to_the_verb(
    dev: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    dev.step("something", lambda: "a remark")
    heard = capsys.readouterr()
    assert heard.out == ""
    assert re.fullmatch(r"dev: something \.\.\. \d+\.\d s, a remark\n", heard.err)


def test_a_failed_set_up_ends_with_one_and_what_to_do(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PINVAULT_PKCS11_MODULE", "/nowhere/libsofthsm2.so")
    with pytest.raises(dev.DevError, match="PINVAULT_PKCS11_MODULE names no file"):
        dev.softhsm()


def test_children_never_see_the_system_s_softhsm_configuration(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOFTHSM2_CONF", "/etc/softhsm/softhsm2.conf")
    monkeypatch.setenv("PINVAULT_PKCS11_MODULE", __file__)
    dev.softhsm()
    told = Path(dev.environment()["SOFTHSM2_CONF"])
    assert dev.DEV in told.parents
    (tokens,) = re.findall(r"^directories.tokendir = (.*)$", told.read_text(), re.MULTILINE)
    assert dev.DEV in Path(tokens).parents
    assert list(Path(tokens).iterdir()) == []


def test_without_apt_it_says_what_to_install(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(dev.DevError, match="brew install softhsm"):
        dev.ensure(dev.SOFTHSM)


# --- interrupted set-up


class Maker:
    """Stands for the work of making the environment; can be interrupted half-way."""

    def __init__(self, dev: ModuleType) -> None:
        self.dev = dev
        self.interrupt = False
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        shutil.rmtree(self.dev.VENV, ignore_errors=True)
        (self.dev.VENV / "bin").mkdir(parents=True)
        (self.dev.VENV / "bin" / "python").touch()
        if self.interrupt:
            raise KeyboardInterrupt
        return "made"


@pytest.fixture
def maker(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Maker:
    made = Maker(dev)
    monkeypatch.setattr(dev, "make_venv", made)
    return made


def test_an_interrupted_environment_is_made_anew(dev: ModuleType, maker: Maker) -> None:
    maker.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        dev.venv()
    assert (dev.VENV / "bin" / "python").exists()
    maker.interrupt = False
    dev.venv()
    assert maker.calls == 2


def test_a_finished_environment_is_left_alone(dev: ModuleType, maker: Maker) -> None:
    dev.venv()
    dev.venv()
    assert maker.calls == 1


@pytest.mark.parametrize("change", ["lock", "interpreter", "half-written mark"])
def test_it_is_made_anew_when_its_ground_changed(
    dev: ModuleType, maker: Maker, change: str
) -> None:
    dev.venv()
    if change == "lock":
        dev.LOCK.write_text("six==2\n")
    elif change == "interpreter":
        (dev.VENV / "bin" / "python").unlink()
        (dev.VENV / "bin" / "python").symlink_to("/nowhere/python3")
    else:
        (dev.VENV / ".ready").write_text("")
    dev.venv()
    assert maker.calls == 2


def test_a_remake_that_is_interrupted_does_not_count(dev: ModuleType, maker: Maker) -> None:
    dev.venv()
    before = dev.LOCK.read_text()
    dev.LOCK.write_text("six==2\n")
    maker.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        dev.venv()
    dev.LOCK.write_text(before)  # the old mark would fit again, the environment does not
    maker.interrupt = False
    (dev.VENV / "bin" / "python").touch()
    dev.venv()
    assert maker.calls == 3


def test_when_uv_fails_pip_begins_from_nothing(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken_uv() -> None:
        (dev.VENV / "bin").mkdir(parents=True)
        raise dev.CommandError("failed (2): uv\nerror: no index")

    seen: list[bool] = []
    monkeypatch.setattr(dev, "install_with_uv", broken_uv)
    monkeypatch.setattr(dev, "install_with_pip", lambda: seen.append(dev.VENV.exists()))
    assert dev.make_venv() == "by pip, for uv said: error: no index"
    assert seen == [False]


def test_packages_half_unpacked_are_not_used(dev: ModuleType) -> None:
    for folder in ("softhsm.part", "p11-kit"):
        (dev.DEV / "debian" / folder / "usr" / "bin").mkdir(parents=True)
    assert dev.unpacked("usr/bin") == [dev.DEV / "debian" / "p11-kit" / "usr" / "bin"]


def test_an_unpacked_library_is_found_and_told(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    thing = dev.Native("thing", ("usr/lib/*/thing/libthing.so",), ("thing-util",), (), "")
    monkeypatch.setattr(dev, "SOFTHSM", thing)
    monkeypatch.delenv("PINVAULT_PKCS11_MODULE", raising=False)
    assert not dev.is_found(thing)
    root = dev.DEV / "debian" / "thing"
    module = root / "usr" / "lib" / "some-linux-gnu" / "thing" / "libthing.so"
    program = root / "usr" / "bin" / "thing-util"
    for file in (module, program):
        file.parent.mkdir(parents=True)
        file.touch(mode=0o755)
    assert dev.is_found(thing)
    told = dev.environment()
    assert told["PINVAULT_PKCS11_MODULE"] == str(module)
    assert str(program.parent) in told["PATH"].split(":")
    assert str(root / "usr" / "lib" / "some-linux-gnu") in told["LD_LIBRARY_PATH"].split(":")


@pytest.mark.parametrize("user", [0, 1000])
def test_what_would_start_a_service_is_unpacked_whoever_asks(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch, user: int
) -> None:
    assert _asked_for(dev, monkeypatch, dev.HAPROXY, user) == ["unpacked"]


@pytest.mark.parametrize(("user", "how"), [(0, "installed"), (1000, "unpacked")])
def test_root_installs_and_others_unpack(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch, user: int, how: str
) -> None:
    assert _asked_for(dev, monkeypatch, dev.GCC, user) == [how]


def _asked_for(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch, native: object, user: int
) -> list[str]:
    asked: list[str] = []
    monkeypatch.setattr(dev.shutil, "which", lambda name, **_: name)
    monkeypatch.setattr(dev.os, "geteuid", lambda: user)
    monkeypatch.setattr(dev, "is_found", lambda _: bool(asked))
    monkeypatch.setattr(dev, "apt_install", lambda _: asked.append("installed") or "")
    monkeypatch.setattr(dev, "unpack", lambda _: asked.append("unpacked") or "")
    dev.ensure(native)
    return asked


def test_a_service_s_program_is_found_where_it_was_unpacked(dev: ModuleType) -> None:
    thing = dev.Native("thing", (), ("thing-balancer",), (), "")
    program = dev.DEV / "debian" / "thing" / "usr" / "sbin" / "thing-balancer"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    assert dev.is_found(thing)
    assert str(program.parent) in dev.environment()["PATH"].split(":")


def test_the_load_balancer_is_needed_by_the_tests_alone(dev: ModuleType) -> None:
    assert [name for name, verb in dev.VERBS.items() if dev.haproxy in verb.needs] == ["test"]


@pytest.mark.parametrize("browser", ["chromium", "firefox"])
def test_the_browsers_are_needed_by_the_tests_alone(dev: ModuleType, browser: str) -> None:
    need = getattr(dev, browser)
    assert [name for name, verb in dev.VERBS.items() if need in verb.needs] == ["test"]


@pytest.mark.parametrize("browser", ["CHROMIUM", "FIREFOX"])
def test_a_browser_that_was_unpacked_is_told_with_its_libraries_and_fonts(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch, browser: str
) -> None:
    thing = dev.Native("thing", ("usr/lib/thing/thing",), (), (), "")
    monkeypatch.setattr(dev, browser, thing)
    monkeypatch.delenv(f"PINVAULT_{browser}", raising=False)
    assert f"PINVAULT_{browser}" not in dev.environment()
    root = dev.DEV / "debian" / "thing"
    program = root / "usr" / "lib" / "thing" / "thing"
    fonts, libraries = root / "usr" / "share" / "fonts", root / "lib" / "some-linux-gnu"
    for folder in (program.parent, fonts, libraries):
        folder.mkdir(parents=True)
    program.touch(mode=0o755)
    getattr(dev, browser.lower())()
    told = dev.environment()
    assert told[f"PINVAULT_{browser}"] == str(program)
    assert f"<dir>{fonts}</dir>" in Path(told["FONTCONFIG_FILE"]).read_text()
    assert str(libraries) in told["LD_LIBRARY_PATH"].split(":")


@pytest.mark.parametrize("browser", ["CHROMIUM", "FIREFOX"])
def test_a_browser_that_is_named_must_be_there(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch, browser: str
) -> None:
    monkeypatch.setenv(f"PINVAULT_{browser}", "/nowhere/browser")
    with pytest.raises(dev.DevError, match=f"PINVAULT_{browser} names no file"):
        getattr(dev, browser.lower())()


def test_what_came_with_another_is_not_fetched_again(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    for root, deb in (("one", "libdm_2%3a1.0-2_amd64.deb"), ("gone", "liblua_5.3_amd64.deb")):
        came = dev.DEV / "cache" / "debian" / root / deb
        came.parent.mkdir(parents=True)
        came.touch()
    (dev.DEV / "debian" / "one").mkdir(parents=True)
    plan = "".join(
        f"Inst {name} ({version} Debian:12.15/oldstable [amd64])\n"
        for name, version in (("libdm", "2:1.0-2"), ("liblua", "5.3"), ("thing", "1"))
    )
    called: list[tuple[object, ...]] = []
    monkeypatch.setattr(dev, "call", lambda *words, **_: called.append(words) or plan)
    dev.download(dev.Native("Thing", (), (), ("thing",), ""), ())
    assert called[-1][-2:] == ("liblua=5.3", "thing=1")


def test_a_compiler_is_told_of_unpacked_headers(dev: ModuleType) -> None:
    assert "CPATH" not in dev.environment()
    headers = dev.DEV / "debian" / "gcc" / "usr" / "include"
    (headers / "some-linux-gnu" / "sys").mkdir(parents=True)
    told = dev.environment()["CPATH"].split(":")
    assert told == [str(headers), str(headers / "some-linux-gnu")]


def test_two_at_a_time_wait_for_each_other(dev: ModuleType) -> None:
    waits = "import fcntl, sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    with dev.alone():
        done = subprocess.run(
            [sys.executable, "-c", waits, dev.__file__], capture_output=True, check=False
        )
    assert done.returncode == 1
    assert b"BlockingIOError" in done.stderr


# --- what uv is told


@pytest.mark.parametrize(
    ("listed", "index"),
    [
        ("global.index-url='a:'\n", "a:"),
        (":env:.index-url='b:'\nglobal.index-url='a:'\n", "b:"),
        ("global.extra-index-url='a:'\n", None),
        ("", None),
    ],
)
def test_uv_is_told_the_index_of_pip(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch, listed: str, index: str | None
) -> None:
    monkeypatch.delenv("UV_INDEX_URL", raising=False)
    monkeypatch.delenv("UV_DEFAULT_INDEX", raising=False)
    monkeypatch.setattr(dev, "call", lambda *_: listed)
    assert dev.uv_settings().get("UV_INDEX_URL") == index


def test_uv_keeps_the_index_it_was_given(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "mine:")
    monkeypatch.setattr(dev, "call", lambda *_: "global.index-url='a:'\n")
    assert "UV_INDEX_URL" not in dev.uv_settings()


# --- the lock


def test_the_split_of_the_lock_loses_nothing(dev: ModuleType) -> None:
    own, others = dev.split_lock(LOCK)
    assert PIN.findall(own) == [("uv", own.split("==")[1].split()[0])]
    assert sorted(PIN.findall(own) + PIN.findall(others)) == sorted(PIN.findall(LOCK))
    assert len(own) + len(others) == len(LOCK)


def test_every_locked_package_has_a_hash() -> None:
    entries = re.split(r"\n(?=\S)", LOCK.rstrip("\n"))
    assert len(entries) == len(PIN.findall(LOCK))
    without = [e.split()[0] for e in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}", e)]
    assert without == []


def test_the_lock_names_no_place() -> None:
    assert not re.search(r"://|--index|--extra-index|--find-links|--trusted| @ ", LOCK)


def test_the_lock_satisfies_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = {canonicalize_name(name): version for name, version in PIN.findall(LOCK)}
    wanted = [Requirement(r) for r in project["dependencies"]]
    wanted += [Requirement(r) for r in project["optional-dependencies"]["dev"]]
    unmet = [
        str(r)
        for r in wanted
        if not r.specifier.contains(pins.get(canonicalize_name(r.name), "0.dev0"))
    ]
    assert unmet == []


# --- no registry address


# Written in two halves: this file too is one of those that must hold no address.
@pytest.mark.parametrize(
    "address",
    ["https://py" + "pi.org/simple", "files.python" + "hosted.org", "deb." + "debian.org"],
)
def test_a_registry_address_is_found(dev: ModuleType, address: str) -> None:
    (dev.ROOT / "notes.txt").write_text(f"one\nsee {address} for it\n")
    with pytest.raises(dev.DevError, match=r"notes\.txt:2"):
        dev.no_registry_address()


def test_other_addresses_pass(dev: ModuleType) -> None:
    (dev.ROOT / "notes.txt").write_text("https://example.org and https://protobuf.dev\n")
    (dev.ROOT / ".venv").mkdir()
    (dev.ROOT / ".venv" / "RECORD").write_text("from py" + "pi.org\n")
    dev.no_registry_address()


def test_no_file_of_this_repository_names_a_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    load(ROOT / "dev", monkeypatch).no_registry_address()


# --- the generated code


def test_drift_names_each_file(dev: ModuleType, tmp_path: Path) -> None:
    made, committed = tmp_path / "made", tmp_path / "committed"
    for folder, files in ((made, "abc"), (committed, "bcd")):
        folder.mkdir()
        for name in files:
            (folder / f"{name}_pb2.py").write_text(name)
    (committed / "b_pb2.py").write_text("edited by hand")
    assert dev.differences(made, committed) == [
        "differs: b_pb2.py",
        "missing: a_pb2.py",
        "no longer made: d_pb2.py",
    ]
    assert dev.differences(made, tmp_path / "none")[0] == "missing: a_pb2.py"


def test_dev_can_be_started() -> None:
    assert (ROOT / "dev").stat().st_mode & 0o111 == 0o111
