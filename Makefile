# Two commands matter: `make demo` and `make test`. Each sets up what it needs in .venv first.

PYTHON ?= python3
VENV   ?= .venv
BUILD  ?= build
BIN    := $(VENV)/bin

C_SOURCES := $(shell find src include examples tests benchmarks -name '*.[ch]')
SOURCES := $(shell find src include -type f -not -name '*.pyc') pyproject.toml meson.build

.PHONY: demo test build check core-tests contract-tests other-pythons test-extras stress every-step fuzz sanitize verify bench docs wheels stub picture format clean

build: $(VENV)/installed

$(VENV)/ready: pyproject.toml
	@sh tests/machine.sh "$(PYTHON)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; o = p["optional-dependencies"]; print(*p["dependencies"], *o["test"], *[r for r in o["develop"] if not r.startswith("memlane")], sep="\n")' > $(VENV)/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $(VENV)/requirements.txt
	touch $@

$(VENV)/installed: $(VENV)/ready $(SOURCES)
	@mkdir -p $(BUILD)/extension
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --force-reinstall --config-settings=build-dir=$(BUILD)/extension .
	touch $@

demo: build
	$(BIN)/memlane demo

test: build check core-tests contract-tests other-pythons

check: build
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/clang-format --dry-run -Werror $(C_SOURCES)
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest memlane._core --allowlist tests/stubtest-allowlist.txt

core-tests: $(VENV)/ready
	@if [ -f $(BUILD)/core/build.ninja ]; then :; else PATH="$(abspath $(BIN)):$$PATH" $(BIN)/meson setup $(BUILD)/core tests/core; fi
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/meson test -C $(BUILD)/core --print-errorlogs --timeout-multiplier 10

contract-tests: build
	$(BIN)/python -m pytest -n auto tests

other-pythons: build
	sh tests/other_pythons.sh $(BIN)/python $(BUILD)

# With the real torch and pyarrow, a gigabyte in an environment of their own. No part of `make test`.
test-extras: build
	sh tests/extras.sh $(BIN)/python $(BUILD)

# Minutes, not seconds: thousands of processes killed and stopped under load.
stress: build
	$(BIN)/python -m tests.system.crash --mix rings --rounds 10000
	$(BIN)/python -m tests.system.crash --mix slot --rounds 2000
	$(BIN)/python -m tests.system.crash --mix topics --rounds 10000
	$(BIN)/python -m tests.system.cancellations
	MEMLANE_MODEL_SEQUENCES=10000 $(BIN)/python -m pytest -q tests/mapping/test_mapping_model.py

# A million spoilt inputs: most of them in C, where the address sanitizer looks on.
fuzz: build
	@if [ -f $(BUILD)/core/build.ninja ]; then :; else PATH="$(abspath $(BIN)):$$PATH" $(BIN)/meson setup $(BUILD)/core tests/core; fi
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/ninja -C $(BUILD)/core hostile_address
	MEMLANE_INPUTS=900000 $(BUILD)/core/hostile_address
	$(BIN)/python -m tests.system.fuzz_region --inputs 100000

# Minutes, most of them for compiling: the extension with the address and undefined behavior sanitizers in it.
# SANITIZED="tests/ring -k spoilt" runs other tests than the usual ones.
sanitize: $(VENV)/ready
	sh tests/sanitize.sh $(BIN)/python $(BUILD)/sanitize $(SANITIZED)

# Half an hour to two: a process killed, and another one stopped, at every instruction of what a program can do.
every-step: build
	$(BIN)/python -m tests.system.every_step --how both

# The protocols as models, every order of steps and every death in them. No part of `make test`: needs spin.
verify: $(VENV)/ready
	$(BIN)/python -m tests.models.verify

# memlane and its alternatives in an environment of their own, so that all run in one interpreter.
$(BUILD)/alternatives/installed: $(VENV)/installed benchmarks/requirements.txt benchmarks/install_alternatives.sh
	PATH="$(abspath $(BIN)):$$PATH" sh benchmarks/install_alternatives.sh $(BIN)/python $(BUILD)
	touch $@

# A quarter of an hour. BENCH="--case 64B --alternative memlane --alternative subetha" measures less.
bench: $(BUILD)/alternatives/installed
	$(BUILD)/alternatives/bin/python benchmarks/bench.py $(BENCH)

# The source archive and wheels from it, in dist: WHEELS="--python 3.13 --machine aarch64" makes fewer.
wheels:
	$(PYTHON) -m tools.build_wheels $(WHEELS)

# The site, in build/site: the pages of docs/ and a reference of all public names. A warning is an error.
docs: build
	$(PYTHON) -m venv $(BUILD)/docs
	$(BUILD)/docs/bin/python -m pip install --quiet --disable-pip-version-check -r docs/site/requirements.txt
	PYTHONPATH="$$($(BIN)/python -c 'import memlane, pathlib; print(pathlib.Path(memlane.__file__).parents[1])')" \
		$(BUILD)/docs/bin/sphinx-build -q -W --keep-going -b html -c docs/site docs $(BUILD)/site

# The docstrings of the extension, in its stub, too: that is where editors look for them.
stub: build
	$(BIN)/python -m tests.face.stub_docs --write

# Who imports whom, into docs/architecture.md.
picture: $(VENV)/ready
	$(BIN)/python -m tools.draw_imports --write

format: $(VENV)/ready stub picture
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(C_SOURCES)
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) $(BUILD)
