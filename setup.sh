#!/usr/bin/env bash
# Install what peerwatch needs on this machine: packages of the operating system (as root, on Debian and Ubuntu), a virtual
# environment in .venv from requirements/dev.lock, and the two kernel file systems that the agent wants. Says what it does;
# does nothing, quickly, when nothing is missing. Exit code 3: this machine cannot be set up, and the line says why.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly python=/usr/bin/python3 # the operating system's own, because bcc comes with it and is built for it
readonly stamp=.venv/.peerwatch-setup

# Without the first group nothing works; the second is what the probes, the demo and the tests with containers need.
readonly needed=(python3 python3-venv)
readonly wanted=(python3-bpfcc libbpf1 runc busybox-static iproute2 gcc libc6-dev)
# The third is a Kubernetes node for tests: file and package, because Docker's own packages bring some of these files, and would
# be removed for Debian's. What is missing is said by who needs it. Kubernetes itself is built, with Go 1.24 or later.
readonly node=(
	/usr/bin/containerd:containerd /usr/bin/etcd:etcd-server /usr/lib/cni/bridge:containernetworking-plugins
	/usr/sbin/conntrack:conntrack /usr/sbin/iptables:iptables /usr/bin/openssl:openssl
)

say() { printf 'setup: %s\n' "$*"; }
warn() { printf 'setup: %s\n' "$*" >&2; }
fail() {
	warn "$*"
	exit 3
}

is_debian_like() {
	[[ -r /etc/os-release ]] && command -v apt-get dpkg-query >/dev/null || return 1
	local id_like
	# shellcheck source=/dev/null
	id_like=$(. /etc/os-release && printf '%s %s' "${ID:-}" "${ID_LIKE:-}")
	[[ " $id_like " == *" debian "* || " $id_like " == *" ubuntu "* ]]
}

missing_packages() {
	local package
	for package in "$@"; do
		[[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" == installed ]] || printf '%s ' "$package"
	done
}

install_packages() {
	local missing
	missing=$(missing_packages "${needed[@]}" "${wanted[@]}")
	missing=${missing% }
	[[ -n "$missing" ]] || return 0
	if ((EUID == 0)); then
		say "installing with apt: $missing"
		export DEBIAN_FRONTEND=noninteractive
		apt-get update -q >/dev/null || warn "apt-get update failed; going on with the package lists that are here"
		# shellcheck disable=SC2086 # a list of names
		apt-get install -y -q --no-install-recommends $missing >/dev/null </dev/null || fail "apt could not install: $missing"
	elif [[ -n "$(missing_packages "${needed[@]}")" ]]; then
		fail "not root, and these are missing: run as root: apt-get install $missing"
	else
		warn "not root, so these are missing, and what needs them will say so; run as root: apt-get install $missing"
	fi
}

# Without their services: each node for tests starts its own etcd and containerd, and nothing else here wants them.
install_node_packages() {
	local each missing=() policy=/usr/sbin/policy-rc.d
	for each in "${node[@]}"; do
		[[ -e "${each%%:*}" ]] || missing+=("${each##*:}")
	done
	((${#missing[@]})) && ((EUID == 0)) || return 0
	say "installing with apt, for a Kubernetes node: ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -q >/dev/null || warn "apt-get update failed; going on with the package lists that are here"
	(
		if [[ ! -e "$policy" ]]; then
			trap 'rm -f "$policy"' EXIT # also when somebody interrupts: it keeps every service from being started
			printf '#!/bin/sh\nexit 101\n' >"$policy"
			chmod 755 "$policy"
		fi
		apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null </dev/null
	) || warn "apt could not install: ${missing[*]}; tests that need a Kubernetes node will be skipped"
}

# Where the operating system keeps the BPF Compiler Collection's bindings; empty if it has none.
find_bcc() {
	"$python" -c 'import bcc, os; assert hasattr(bcc, "BPF"); print(os.path.dirname(bcc.__file__))' 2>/dev/null || true
}

run_pip() { .venv/bin/python -m pip install -q --disable-pip-version-check --no-input "$@"; }

# uv is one of the locked packages and installs the others in 10 s where pip takes 60 s. But it does not read pip's
# configuration: where only pip knows the way to an index, pip does it.
install_locked() {
	run_pip --require-hashes -r <(awk '/^[a-z]/ { on = /^uv==/ } on' requirements/dev.lock)
	.venv/bin/uv pip install -q --python .venv/bin/python --require-hashes -r requirements/dev.lock 2>/dev/null ||
		run_pip --require-hashes -r requirements/dev.lock
}

make_venv() {
	local wanted_stamp bcc site
	wanted_stamp=$({ pwd -P && cat setup.sh pyproject.toml requirements/dev.lock; } | sha256sum)
	if [[ "$(cat "$stamp" 2>/dev/null)" != "$wanted_stamp" ]]; then
		"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
			fail "$("$python" --version) is too old: peerwatch needs the operating system's Python to be 3.11 or newer"
		if ! .venv/bin/python -c \
			'import os, sys; sys.exit(os.path.realpath(sys.prefix) != os.path.realpath(".venv") or sys.base_exec_prefix != "/usr")' 2>/dev/null; then
			say "making .venv with $("$python" --version)"
			"$python" -m venv --clear .venv || fail "cannot make a virtual environment: is python3-venv installed?"
		fi
		say "installing the Python packages of requirements/dev.lock into .venv"
		install_locked
		run_pip --no-deps --no-build-isolation --editable .
	fi
	site=$(echo .venv/lib/python3.*/site-packages)
	if [[ ! -e "$site/bcc/__init__.py" ]]; then
		bcc=$(find_bcc)
		if [[ -n "$bcc" ]]; then
			say "linking $bcc into .venv"
			ln -sfn "$bcc" "$site/bcc"
		else
			warn "no bcc for $python: the agent cannot load probes; as root: apt-get install python3-bpfcc"
		fi
	fi
	printf '%s\n' "$wanted_stamp" >"$stamp"
}

mount_missing() {
	local type=$1 path=$2 what=$3
	[[ "$(stat -f -c %T "$path" 2>/dev/null)" != "$type" ]] || return 0
	if ((EUID == 0)) && [[ -d "$path" ]] && mount -t "$what" "$what" "$path" 2>/dev/null; then
		say "mounted $what on $path"
	else
		warn "$what is not mounted on $path and cannot be mounted from here: probes may not load (mount -t $what $what $path)"
	fi
}

if is_debian_like; then
	install_packages
	install_node_packages
elif [[ ! -e "$stamp" ]]; then
	cat >&2 <<-'END'
		setup: this is neither Debian nor Ubuntu; peerwatch is tested on those. It needs, under whatever names they have here:
		setup:   Python >= 3.11 in /usr/bin with venv; the BPF Compiler Collection's Python bindings (bcc) for that Python; libbpf 1;
		setup:   and for tests and demo: runc, a static busybox, iproute2, gcc with the C library's headers;
		setup:   for a Kubernetes node in tests: etcd, containerd, the CNI plugins, conntrack, iptables, openssl, Go 1.24 or later.
		setup: Then: /usr/bin/python3 -m venv .venv && .venv/bin/pip install --require-hashes -r requirements/dev.lock
		setup:   && .venv/bin/pip install --no-deps --no-build-isolation --editable . && touch .venv/.peerwatch-setup
	END
	exit 3
else
	exit 0 # set up by hand, as told above
fi
make_venv
mount_missing bpf_fs /sys/fs/bpf bpf
mount_missing tracefs /sys/kernel/tracing tracefs
