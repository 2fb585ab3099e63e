#!/usr/bin/env bash
# Render install.yaml, for `kubectl apply -f`, from the chart and its defaults. --check: write nothing, fail if the committed file is
# not what would be rendered; where Helm cannot be had, say so and leave it at that.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

render() {
	PYTHONPATH=tests .venv/bin/python -m helm template peerwatch daemonset/chart --namespace peerwatch --set namespace.create=true
}

made=$(mktemp)
trap 'rm -f "$made"' EXIT
code=0
{
	echo '# Made by `make chart` from daemonset/chart with its defaults; do not edit. Set the names of your images, then: kubectl apply -f'
	render
} >"$made" || code=$?
if ((code == 3)) && [[ "${1:-}" == --check ]]; then
	echo "daemonset/install.yaml was not compared with the chart" >&2
	exit 0
fi
((code == 0)) || exit "$code"
if [[ "${1:-}" == --check ]]; then
	diff -u daemonset/install.yaml "$made" >&2 || {
		echo "daemonset/install.yaml is not what the chart says: run 'make chart'" >&2
		exit 1
	}
else
	cat "$made" >daemonset/install.yaml
fi
