# make run    the product with demo data at http://localhost:8000/ (PORT=… for another port)
# make test   every test, the browser's too
# make lint   ruff, mypy and bandit
# make audit  known weaknesses of the libraries (needs a network)
# make bench  figures beside references into docs/ (SIZE=small: two minutes, printed only)
# make backup / make restore FILE=…   the database to a file, and back (OVERWRITE=1 loses what it holds)
# make load   pages and calls at once, alone and while a night is settled, into docs/
# make attack   random bytes at every address, N each (10000)
# make lighthouse   Lighthouse on overview, buy and bill into docs/ (RUNS=5; Node 20 or later, npm, Chromium)
# make scaleout   the night on one worker host, on two, and with a cable pulled (root, iproute2)
# make torture   kills every process at random moments, N times (100); SEED=… plays a failed round again
# make messages   collect and compile the texts to translate (needs gettext)

SHELL := /bin/sh
.DELETE_ON_ERROR:
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 3
export PYTHONUNBUFFERED := 1
# or each of the tests' processes, some hundred, would compile the project anew, and pytest its tests
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test lint audit backup restore deploy-check bench lighthouse load attack scaleout torture messages

run: .venv/run .env
	@$(BIN)/python -m iss_billing.run

test: .venv/dev
	@$(BIN)/python -m tests.browser
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

lint: .venv/dev .env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml iss_billing accounts packs settlement

audit: .venv/dev
	$(BIN)/pip-audit --requirement requirements.txt --requirement requirements-dev.txt --strict --progress-spinner off

# no .env here: where production's variables come from elsewhere it would say DEBUG=1
backup: .venv/run
	@$(BIN)/python manage.py backup

restore: .venv/run
	@test -n "$(FILE)" || { echo "which? make restore FILE=var/backups/iss-….dump" >&2; exit 2; }
	@$(BIN)/python manage.py restore $(FILE) $(if $(OVERWRITE),--overwrite)

deploy-check: .venv/run
	@deploy/check

bench: .venv/dev
	@$(BIN)/python -m tests.bench

load: .venv/dev
	@$(BIN)/python -m tests.load

attack: .venv/dev
	@ATTACK_BODIES=$(or $(N),10000) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal tests/test_attack.py tests/test_attack_bytes.py tests/test_attack_probes.py $(ARGS)

lighthouse: .venv/dev
	@$(BIN)/python -m tests.browser
	@$(BIN)/python -m tests.lighthouse $(RUNS)

scaleout: .venv/dev
	@$(BIN)/python -m tests.scaleout

torture: .venv/dev
	@$(BIN)/python -m tests.torture $(if $(N),--kills $(N)) $(if $(SEED),--seed $(SEED)) $(if $(PLANT),--plant $(PLANT))

messages: export DJANGO_SETTINGS_MODULE = iss_billing.settings
messages: .venv/run .env
	@# the API's document holds texts too: shown to the collector as a file that is gone afterwards
	$(BIN)/python -c 'import django; django.setup(); from iss_billing.reference import texts; [print(f"_({text!r})") for text in texts()]' > iss_billing/texts.py
	$(BIN)/python manage.py makemessages -l zh_Hans --no-location --no-obsolete -i .venv -i var -i tests; code=$$?; rm iss_billing/texts.py; exit $$code
	$(BIN)/python manage.py compilemessages -l zh_Hans --ignore .venv

.venv/run: requirements.txt | .venv/made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/dev: requirements-dev.txt .venv/run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

.venv/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: PYTHON=python3.12 make …")'
	$(PYTHON) -m venv .venv
	@touch $@

.env: | .venv/made
	@umask 077; $(BIN)/python -c 'import secrets; print("DEBUG=1"); print("SECRET_KEY=" + secrets.token_urlsafe(50))' > $@
