"""Generate the committed gRPC stubs from the schema beside this file.

Stubs refuse a runtime older than their generator, so an old one is pinned: they then load on
everything from grpcio 1.71.2 and protobuf 5.29 upwards. That generator needs a protobuf older than
the one the project runs on, hence an environment of its own, kept in .venv-proto.

    python proto/generate.py           write client/labelcast/v2
    python proto/generate.py --check   write nothing; exit 1 if what is committed differs
"""

import argparse
import difflib
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

REQUIREMENTS = ("grpcio-tools==1.71.2", "grpcio==1.71.2", "protobuf==5.29.6")

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = ROOT / "proto"
CLIENT = ROOT / "client"
ENVIRONMENT = ROOT / ".venv-proto"


def generator_python() -> Path:
    """Return the interpreter that has the pinned generator, installing it on first use."""
    python = ENVIRONMENT / "bin" / "python"
    stamp = ENVIRONMENT / "requirements.txt"
    wanted = "\n".join(REQUIREMENTS)
    if not stamp.exists() or stamp.read_text() != wanted:
        venv.create(ENVIRONMENT, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-qq", *REQUIREMENTS], check=True)
        stamp.write_text(wanted)
    return python


def generate() -> dict[str, str]:
    """Return the stubs of every schema file, by a path that mirrors the schema's."""
    schemas = sorted(str(path.relative_to(SCHEMA)) for path in SCHEMA.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        outputs = [f"--{kind}_out={folder}" for kind in ("python", "pyi", "grpc_python")]
        command = [str(generator_python()), "-m", "grpc_tools.protoc", "-I.", *outputs, *schemas]
        subprocess.run(command, cwd=SCHEMA, check=True)
        return read_stubs(Path(folder))


def read_stubs(root: Path) -> dict[str, str]:
    """Return the text of every generated file under `root`, by path relative to it."""
    return {
        str(path.relative_to(root)): path.read_text()
        for path in sorted(root.rglob("*_pb2*"))
        if path.suffix in {".py", ".pyi"}
    }


def describe_drift(committed: dict[str, str], generated: dict[str, str]) -> list[str]:
    """Name each file that differs, with its count of changed lines; empty if none does."""
    drift = []
    for name in sorted(committed.keys() | generated.keys()):
        if name not in committed:
            drift.append(f"{name}: missing")
        elif name not in generated:
            drift.append(f"{name}: no schema makes it")
        elif committed[name] != generated[name]:
            before, after = committed[name].splitlines(), generated[name].splitlines()
            diff = list(difflib.unified_diff(before, after, n=0, lineterm=""))[2:]
            added = sum(line.startswith("+") for line in diff)
            removed = sum(line.startswith("-") for line in diff)
            drift.append(f"{name}: +{added} -{removed} lines")
    return drift


def main() -> int:
    """Generate or check; return the exit status."""
    parser = argparse.ArgumentParser(description="Generate the gRPC stubs.")
    parser.add_argument("--check", action="store_true", help="fail if the committed stubs differ")
    arguments = parser.parse_args()
    committed, generated = read_stubs(CLIENT), generate()
    if arguments.check:
        drift = describe_drift(committed, generated)
        if drift:
            print("stubs differ from the schema, run `make proto`:", file=sys.stderr)
            print(*drift, sep="\n", file=sys.stderr)
        return 1 if drift else 0
    for name in committed.keys() - generated.keys():
        (CLIENT / name).unlink()
    for name, text in generated.items():
        (CLIENT / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
