# Two commands for a newcomer: `make run` and `make test`. `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin
# what running takes; and, beside it, what testing and checking take
READY := .venv/ready
TOOLS := .venv/ready-tools

.PHONY: help run test fuzz faults stress interop check format bench plots clean
help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ —/'

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

$(TOOLS): requirements-dev.lock $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	touch $@

run: $(READY) ## a complete one-machine network on loopback, data under ./var
	$(BIN)/p2pmail demo ./var

test: $(TOOLS) ## every test that needs no other program
	$(BIN)/pytest -n auto --dist loadfile

fuzz: $(TOOLS) ## every property and fuzz test, fifty times as long as in `make test`
	HYPOTHESIS_PROFILE=long $(BIN)/pytest -n auto --dist loadfile --timeout 0 \
		$$(grep -rl --include='test_*.py' '^from hypothesis' tests)

faults: $(TOOLS) ## every fault at every suspension of a mail's way, each a run of its own (half an hour)
	$(BIN)/python -m tests.faults $(FAULTS)

stress: $(TOOLS) ## random IMAP clients beside a model of what may be so (three minutes), then servers broken on purpose
	$(BIN)/python -m tests.stress $(STRESS)
	$(BIN)/python -m tests.stress --mutations

interop: $(TOOLS) ## real Thunderbird, neomutt, mbsync, swaks, Postfix and Exim against a running p2pmail; installs them where apt works
	sh tests/interop/install.sh
	$(BIN)/pytest tests/interop -m interop -rs

check: $(TOOLS) ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# BENCH: a module of bench/ and its options
BENCH ?= delivery --one-machine
bench: $(TOOLS) ## figures: BENCH=delivery, smtp_receive, imap, lookup, scale, availability or churn, and options
	$(BIN)/python -m bench.$(BENCH)

plots: $(TOOLS) ## draw the pictures in docs/ anew from the figures beside them
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-plots.lock
	$(BIN)/python -m bench.plots

format: $(TOOLS) ## rewrite the code in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## forget the environment (never ./var)
	rm -rf .venv
