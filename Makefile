PYTHON ?= python3
RUN = .venv/bin/python
OLDEST = .venv-oldest/bin/python
NEWEST = .venv-newest/bin/python
# Two processes, each of which takes whole files of tests.
TESTS = pytest -n 2 --dist loadfile
WHEEL = $(CURDIR)/.venv-dist/bin/python

.PHONY: demo test test-oldest test-newest dist lint docs clean

demo: .venv/ready
	$(RUN) examples/demo.py

test: .venv/ready
	$(RUN) -m $(TESTS)

# The lowest versions that setup.cfg allows; what needs PyTorch is skipped. Newer ones of pyparsing
# warn of what matplotlib of that time calls.
test-oldest: .venv-oldest/ready
	NUMBA_CACHE_DIR=.venv-oldest/numba $(OLDEST) -m $(TESTS)

# What is newest on the index, pre-releases too: this may fail, and tells of what is to come.
test-newest:
	rm -rf .venv-newest
	$(PYTHON) -m venv .venv-newest
	$(NEWEST) -m pip install --quiet --pre -e ".[test]"
	NUMBA_CACHE_DIR=.venv-newest/numba $(NEWEST) -m $(TESTS)

# Archive and wheel, checked; the wheel runs in an environment and a folder of its own.
dist: .venv/dist
	rm -rf dist .venv-dist
	$(RUN) -m build
	$(RUN) -m twine check --strict dist/*
	$(PYTHON) -m venv .venv-dist
	$(WHEEL) -m pip install --quiet -c constraints.txt "$$(ls dist/*.whl)[plot]"
	mkdir .venv-dist/elsewhere
	cd .venv-dist/elsewhere && $(WHEEL) -c "import sktf; sktf.show_versions(); print(sktf.__file__)"
	cd .venv-dist/elsewhere && $(WHEEL) $(CURDIR)/examples/demo.py

lint: .venv/lint
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m codespell_lib
	$(RUN) -m mypy
	$(RUN) -m mypy tests/typing/user.py
	$(RUN) -m pyright --pythonpath $(RUN)

docs: .venv/docs
	rm -rf docs/generated
	SKTF_DOCS_OFFLINE=1 $(RUN) -m sphinx -W --keep-going -b html docs docs/_build/html

.venv/ready: setup.cfg constraints.txt
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet -c constraints.txt -e ".[test]"
	touch $@

.venv-oldest/ready: setup.cfg constraints-oldest.txt
	$(PYTHON) -m venv .venv-oldest
	$(OLDEST) -m pip install --quiet --only-binary=:all: -r constraints-oldest.txt "pyparsing<3.2"
	$(OLDEST) -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

.venv/dist: .venv/ready
	$(RUN) -m pip install --quiet -c constraints.txt -e ".[dist]"
	touch $@

.venv/lint: .venv/ready
	$(RUN) -m pip install --quiet -c constraints.txt -e ".[lint]"
	touch $@

.venv/docs: .venv/ready
	$(RUN) -m pip install --quiet -c constraints.txt -e ".[docs]"
	touch $@

clean:
	rm -rf .venv .venv-oldest .venv-newest .venv-dist build dist *.egg-info docs/_build docs/generated docs/gallery
