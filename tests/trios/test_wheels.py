"""Wheels of what is installed: the same files as there, and what cannot be packed is told."""

from __future__ import annotations

import base64
import hashlib
import sys
import zipfile
from collections.abc import Mapping
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path

import pytest

from edgeproxy.errors import BundleError, Cancelled
from edgeproxy.trios.bundle import repack, wheels

INFO = "odd_name-1.0.dist-info"
WHEEL = "Wheel-Version: 1.0\nRoot-Is-Purelib: false\n"
FILES = {
    "odd/__init__.py": b"VALUE = 1\n",
    "odd/data, with a comma.txt": b"data",
    "odd/__pycache__/__init__.cpython-311.pyc": b"compiled",
    f"{INFO}/METADATA": b"Metadata-Version: 2.1\nName: odd-name\nVersion: 1.0\n",
    f"{INFO}/WHEEL": (WHEEL + "Tag: py3-none-any\n").encode(),
    f"{INFO}/INSTALLER": b"pip\n",
    f"{INFO}/entry_points.txt": b"[console_scripts]\nodd = odd:main\n",
}


def digest(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def lay(root: Path, files: Mapping[str, bytes], record: str | None = None) -> Distribution:
    """Files as an installer lays them, with their RECORD; what is installed so."""
    rows = []
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        listed = f'"{name}"' if "," in name else name
        rows.append(f"{listed},{'' if name.endswith('.pyc') else digest(data)},{len(data)}")
    rows.append(f"{INFO}/RECORD,,")
    (root / INFO / "RECORD").write_text("\n".join(rows) + "\n" if record is None else record)
    return PathDistribution(root / INFO)


def unfit(found: Distribution, folder: Path, said: str) -> None:
    with pytest.raises(repack.Unfit, match=said):
        repack.repack(found, folder)
    assert list(folder.glob("*.whl")) == []


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as file:
        return {name: file.read(name) for name in file.namelist()}


def test_a_wheel_holds_what_was_installed_and_nothing_of_the_installer(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    wheel = repack.repack(lay(tmp_path / "site", FILES), tmp_path / "out")
    assert wheel.name == "odd_name-1.0-py3-none-any.whl"
    held = contents(wheel)
    record = held.pop(f"{INFO}/RECORD").decode()
    assert held == {
        name: data for name, data in FILES.items() if not name.endswith((".pyc", "INSTALLER"))
    }
    assert '"odd/data, with a comma.txt",sha256=' in record
    assert record.endswith(f"{INFO}/RECORD,,\n")
    assert list(held)[-1].startswith(INFO)


def test_the_same_files_make_the_same_wheel(tmp_path: Path) -> None:
    made = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        wheel = repack.repack(lay(tmp_path / f"site-{folder}", FILES), tmp_path / folder)
        made.append(wheel.read_bytes())
    assert made[0] == made[1]


def test_scripts_and_data_go_where_an_installer_looks_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {"scripts": str(tmp_path / "env" / "bin"), "data": str(tmp_path / "env")}
    monkeypatch.setattr("sysconfig.get_path", places.__getitem__)
    more = {
        "../../bin/odd": b"#!/env/bin/python\nmade by the installer\n",
        "../../bin/tool": b"#!/env/bin/python3.11\nimport odd\n",
        "../../bin/binary": b"\x7fELF",
        "../../share/man/odd.1": b"manual",
    }
    (tmp_path / "out").mkdir()
    found = lay(tmp_path / "env" / "lib" / "site", {**FILES, **more})
    held = contents(repack.repack(found, tmp_path / "out"))
    assert held["odd_name-1.0.data/scripts/tool"] == b"#!python\nimport odd\n"
    assert held["odd_name-1.0.data/scripts/binary"] == b"\x7fELF"
    assert held["odd_name-1.0.data/data/share/man/odd.1"] == b"manual"
    assert "odd_name-1.0.data/scripts/odd" not in held
    unfit(lay(tmp_path / "env" / "lib" / "two", {"../../../evil": b""} | FILES), tmp_path, "place")


def test_what_cannot_be_packed(tmp_path: Path) -> None:
    site, out = tmp_path / "site", tmp_path / "out"
    out.mkdir()
    found = lay(site, FILES)
    (site / "odd" / "__init__.py").write_text("VALUE = 2\n")
    unfit(found, out, "is not what was installed")
    (site / "odd" / "__init__.py").unlink()
    unfit(found, out, "is missing")
    unfit(lay(site, FILES, record=""), out, "RECORD is missing")
    unfit(lay(site, {**FILES, f"{INFO}/WHEEL": WHEEL.encode()}), out, "where it works")
    link = b'{"dir_info": {"editable": true}, "url": "file:///x"}'
    unfit(lay(site, {**FILES, f"{INFO}/direct_url.json": link}), out, "a link to its source")


@pytest.mark.parametrize(
    ("tags", "name"),
    [
        (["py2-none-any", "py3-none-any"], "py2.py3-none-any"),
        (["cp311-cp311-linux_x86_64"], "cp311-cp311-linux_x86_64"),
        (
            [
                "cp311-abi3-manylinux2014_x86_64",
                "cp311-abi3-manylinux_2_17_x86_64",
                "cp311-abi3-manylinux_2_28_x86_64",
            ],
            "cp311-abi3-manylinux_2_17_x86_64.manylinux_2_28_x86_64",
        ),
    ],
)
def test_names_of_wheels(tmp_path: Path, tags: list[str], name: str) -> None:
    text = WHEEL + "".join(f"Tag: {tag}\n" for tag in tags)
    found = lay(tmp_path / "site", {**FILES, f"{INFO}/WHEEL": text.encode()})
    assert repack.repack(found, tmp_path).name == f"odd_name-1.0-{name}.whl"


def test_a_real_distribution(tmp_path: Path) -> None:
    found = distribution("click")
    held = contents(repack.repack(found, tmp_path))
    for name, data in held.items():
        if not name.endswith("RECORD"):
            assert Path(str(found.locate_file(name))).read_bytes() == data
    assert "click/core.py" in held


def test_all_that_edgeproxy_needs_and_no_more() -> None:
    needed = {found.name.lower() for found in wheels._closure(distribution("edgeproxy"), [])}
    with_chat = wheels._closure(distribution("edgeproxy"), ["chat"])
    assert {"numpy", "llama_cpp_python", "jinja2", "markupsafe"} <= needed
    assert not needed & {"pytest", "mypy", "torch", "prompt_toolkit", "edgeproxy"}
    assert {"prompt_toolkit", "wcwidth"} <= {found.name.lower() for found in with_chat}


def test_extras_are_carried_where_they_are_installed(tmp_path: Path) -> None:
    metadata = (
        b"Metadata-Version: 2.1\nName: odd-name\nVersion: 1.0\nProvides-Extra: some\n"
        b"Provides-Extra: more\nRequires-Dist: click\nRequires-Dist: numpy; extra == 'some'\n"
        b"Requires-Dist: no-such-package-here; extra == 'more'\n"
        b"Requires-Dist: neither; python_version < '3'\n"
    )
    found = lay(tmp_path / "site", {**FILES, f"{INFO}/METADATA": metadata})
    assert wheels._is_installed(found, "some")
    assert not wheels._is_installed(found, "more")
    assert not wheels._is_installed(found, "unheard-of")
    with pytest.raises(BundleError, match="odd-name needs no-such-package-here, which is not"):
        wheels._closure(found, ["more"])


def test_pip_is_asked_for_what_cannot_be_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def by_pip(what: str, folder: Path, progress: wheels.Progress) -> Path:
        asked.append(what)
        return folder / "x.whl"

    monkeypatch.setattr(wheels, "_by_pip", by_pip)
    found = lay(tmp_path / "site", FILES, record="")
    told: list[str] = []
    wheels._wheel(found, tmp_path, told.append)
    assert asked == ["odd-name==1.0"]
    assert told == [
        "asking pip for odd-name 1.0 (its RECORD is missing; it was not installed by pip)"
    ]


def test_where_pip_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = tmp_path / "none"
    with pytest.raises(
        BundleError, match=r"pip made no wheel of .*none .*ERROR: .*; try it by hand"
    ):
        wheels._by_pip(str(missing), tmp_path, lambda _: None)
    monkeypatch.setattr(sys, "executable", str(Path(sys.executable).with_name("no-python")))
    with pytest.raises((BundleError, OSError)):
        wheels._by_pip(str(missing), tmp_path, lambda _: None)


def test_pip_ends_when_it_is_to_stop(tmp_path: Path) -> None:
    def stop(_: str) -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        wheels._by_pip(str(tmp_path), tmp_path, stop)


def test_a_frozen_application_is_not_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(BundleError, match="a frozen application has no wheels to carry"):
        wheels.collect(tmp_path, ["chat"], lambda _: None)
    assert list(tmp_path.iterdir()) == []
