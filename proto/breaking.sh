#!/usr/bin/env bash
# Does a change of the .proto files break those who use them? Compares with what others have: the main branch, or, on main
# itself, the commit before. Where there is no history (an archive, a clone of depth 1), it compares with the last commit.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The checkout may belong to another user (CI in a container); we only read it.
git() { command git -c safe.directory="$PWD" "$@"; }

base() {
	local head ref
	head=$(git rev-parse --verify --quiet 'HEAD^{commit}') || return 1
	for ref in refs/remotes/origin/main refs/heads/main 'HEAD~1'; do
		ref=$(git rev-parse --verify --quiet "$ref^{commit}") || continue
		[[ "$ref" == "$head" ]] || {
			git merge-base "$ref" "$head" 2>/dev/null || echo "$ref"
			return
		}
	done
	echo "$head"
}

if ! commit=$(base) || ! git cat-file -e "$commit:proto/buf.yaml" 2>/dev/null; then
	echo "proto: no earlier version here to compare with; breaking changes not checked" >&2
	exit 0
fi
before=$(mktemp -d)
trap 'rm -rf "$before"' EXIT
git archive "$commit" proto | tar -x -C "$before"
.venv/bin/buf breaking proto --against "$before/proto"
