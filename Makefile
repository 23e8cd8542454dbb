# Two commands for a newcomer: `make run` and `make test`. `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.PHONY: help run test fuzz faults interop check format bench plots clean
help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ —/'

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

run: $(READY) ## a complete one-machine network on loopback, data under ./var
	$(BIN)/p2pmail demo ./var

test: $(READY) ## every test
	$(BIN)/pytest -n auto --dist loadfile

fuzz: $(READY) ## every property and fuzz test, fifty times as long as in `make test`
	HYPOTHESIS_PROFILE=long $(BIN)/pytest -n auto --dist loadfile --timeout 0 \
		$$(grep -rl --include='test_*.py' '^from hypothesis' tests)

faults: $(READY) ## every fault at every suspension of a mail's way, each a run of its own (half an hour)
	$(BIN)/python -m tests.faults $(FAULTS)

interop: $(READY) ## real Thunderbird, Postfix, swaks and mbsync against a running p2pmail; installs them where apt works
	sh tests/interop/install.sh
	$(BIN)/pytest tests/interop -m interop -rs

check: $(READY) ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY) ## figures beside Postfix and Dovecot, where installed (some minutes)
	$(BIN)/python -m bench.delivery --one-machine $(BENCH)

plots: $(READY) ## draw the pictures in docs/ anew from the figures beside them
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-plots.lock
	$(BIN)/python -m bench.plots

format: $(READY) ## rewrite the code in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## forget the environment (never ./var)
	rm -rf .venv
