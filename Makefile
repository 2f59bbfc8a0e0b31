# Two commands set everything up on a fresh machine: `make align` (all alignments, report written) and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
SYSTEM ?= all
CONFIG ?= test_tipc/configs/mvf/train_infer_python.txt
MODE ?= lite_train_lite_infer

.PHONY: align thorough faults test lint tipc bench clean

$(VENV)/.installed: requirements.txt requirements-align.txt requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

# The main job: each planted fault in one system, then all alignments; one page with both.
align: $(VENV)/.installed
	status=0; \
	$(BIN)/python -m alignment faults $(SYSTEM) --reduced --report report || status=1; \
	$(BIN)/python -m alignment $(SYSTEM) --golden --report report || status=1; \
	exit $$status

# The same with nothing left out: every fault in every system, recorded training of the largest networks.
thorough: $(VENV)/.installed
	status=0; \
	$(BIN)/python -m alignment faults $(SYSTEM) --report report || status=1; \
	$(BIN)/python -m alignment $(SYSTEM) --thorough --report report || status=1; \
	exit $$status

faults: $(VENV)/.installed
	$(BIN)/python -m alignment faults all --report report

test: $(VENV)/.installed lint
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

lint: $(VENV)/.installed
	$(BIN)/ruff check .

tipc: $(VENV)/.installed
	PATH="$(abspath $(BIN)):$$PATH" bash test_tipc/prepare.sh $(CONFIG) $(MODE)
	PATH="$(abspath $(BIN)):$$PATH" bash test_tipc/test_train_inference_python.sh $(CONFIG) $(MODE)

bench: $(VENV)/.installed
	for name in mvf actionclip xclip avs mivos dff; do $(BIN)/python -m benchmarks.$$name || exit 1; done

clean:
	rm -rf $(VENV) report output
