#!/usr/bin/env bash
# Generate peerwatch.v1 from the .proto files, beside them. --check: write nothing, fail if the committed code is not what
# would be generated. The generator is pinned in pyproject.toml, because the output names its version.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export PATH="$PWD/.venv/bin:$PATH" # the plug-ins of protoc
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

python -m grpc_tools.protoc -I proto --python_out="$out" --grpc_python_out="$out" --mypy_out=quiet:"$out" --mypy_grpc_out=quiet:"$out" \
	proto/peerwatch/v1/*.proto

generated=proto/peerwatch/v1
if [[ "${1:-}" == --check ]]; then
	diff -rq --exclude='*.proto' --exclude=__init__.py --exclude=__pycache__ "$out/peerwatch/v1" "$generated" || {
		echo "the generated code is not what the .proto files say: run 'make proto'" >&2
		exit 1
	}
else
	rm -f "$generated"/*_pb2*.py "$generated"/*_pb2*.pyi # what no .proto file stands for any more goes, too
	cp "$out"/peerwatch/v1/* "$generated"/
fi
