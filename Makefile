# `make demo` and `make test` do everything from a fresh clone; they need git, make and Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
BROWSER := .venv/.browser

.PHONY: demo demo-1.5b test format lint types tests benchmark docs clean

demo: $(READY)
	$(BIN)/spanwise demo --output out/demo

demo-1.5b: $(READY)
	$(BIN)/python benchmarks/demo_1_5b.py --output out/demo-1.5b

test: lint types tests

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

tests: $(READY) $(BROWSER)
	$(BIN)/pytest -m "not slow" -n auto --dist loadfile

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

benchmark: $(READY)
	$(BIN)/python benchmarks/speed.py

docs: $(READY)
	$(BIN)/python docs/make_pages.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "out/site/index.html; with search: $(BIN)/python -m http.server --directory out/site"

clean:
	rm -rf .venv out

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; set PYTHON=... to one."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

# The report's tests drive a browser. Where there is none and it cannot be had, they are skipped and say so.
$(BROWSER): $(READY)
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		echo "installing chromium and fonts for the report's tests (apt-get)" && \
		{ apt-get update && apt-get install -y --no-install-recommends \
			chromium fonts-noto-core fonts-noto-cjk fonts-noto-color-emoji; } >/dev/null 2>&1; } || true
	@touch $@
