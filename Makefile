# One command each; continuous integration calls the same ones. The work is done by the scripts that are named here.
.DEFAULT_GOAL := help
.PHONY: help setup demo test check kernels bench bench-detection proto lock chart images clean cluster cluster-down

BIN := .venv/bin
# More arguments for the command behind a target: make test ARGS="-k wire", make demo ARGS=--keep
ARGS ?=

##@ Use

help: ## print this list
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {printf "%s%s\n", sep, substr($$0, 5); sep = "\n"} \
		/^[a-z][a-z-]*:.*## / {printf "  make %-15s %s\n", $$1, $$2}' Makefile

setup: ## install what is missing, into the system (apt) and into .venv; a second run does nothing
	@./setup.sh

demo: setup ## run the whole system on this host and watch it catch a replica
	@PYTHONPATH=tests $(BIN)/python -m demo $(ARGS)

cluster: setup ## start a Kubernetes node for tests on this host; the first time, Kubernetes is built
	@PYTHONPATH=tests $(BIN)/python -m cluster up

cluster-down: setup ## end that node and remove all that it made
	@PYTHONPATH=tests $(BIN)/python -m cluster down

##@ Check

test: setup ## all tests; what is missing for some is said where they are skipped. The first time, Kubernetes and Helm are built
	@PYTHONPATH=tests $(BIN)/python -m cluster build
	@PYTHONPATH=tests $(BIN)/python -m helm version --short >/dev/null || true
	@$(BIN)/pytest $(or $(ARGS),-n auto)

kernels: setup ## boot other kernels in QEMU and run tests of the probes there; ARGS="6.1 newest" names some. 1 GB the first time
	@PYTHONPATH=tests $(BIN)/python -m machines $(ARGS)

# Parts, so that `make -k check` names all that is wrong and not only the first.
CHECKS := check-lint check-format check-types check-imports check-proto check-generated check-locks check-chart
.PHONY: $(CHECKS)
check: $(CHECKS) ## lint, format, types, import rules, proto rules, generated code, lock files and install.yaml
$(CHECKS): setup
check-lint:
	@$(BIN)/ruff check .
check-format:
	@$(BIN)/ruff format --check .
check-types:
	@$(BIN)/mypy
check-imports:
	@$(BIN)/lint-imports --no-logo
check-proto:
	@$(BIN)/buf lint proto
	@proto/breaking.sh
check-generated:
	@proto/generate.sh --check
check-locks:
	@$(BIN)/python requirements/lock.py --check
check-chart:
	@daemonset/install.sh --check

bench: setup ## all benchmarks: a table here, each figure as JSON in bench/results/
	@$(BIN)/python bench/run.py $(ARGS)

bench-detection: setup ## what is found and what is false, peerwatch beside the published rules; ARGS=--help has the rest
	@$(BIN)/python bench/detection/run.py $(ARGS)

##@ Change

proto: setup ## generate peerwatch.v1 from the .proto files
	@proto/generate.sh

lock: setup ## write requirements/*.lock after a change of the dependencies; ARGS=--upgrade takes newer versions
	@$(BIN)/python requirements/lock.py $(ARGS)

chart: setup ## write daemonset/install.yaml after a change of the chart
	@daemonset/install.sh

images: ## build both container images with buildah, podman or docker; ARGS=--help has the rest
	@python3 daemonset/images.py $(ARGS)

clean: ## remove .venv, caches and build output; nothing else
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
