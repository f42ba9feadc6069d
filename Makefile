PYTHON ?= python3
RUN = .venv/bin/python

.PHONY: demo test lint docs clean

demo: .venv/ready
	$(RUN) examples/demo.py

test: .venv/ready
	$(RUN) -m pytest

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

.venv/lint: .venv/ready
	$(RUN) -m pip install --quiet -c constraints.txt -e ".[lint]"
	touch $@

.venv/docs: .venv/ready
	$(RUN) -m pip install --quiet -c constraints.txt -e ".[docs]"
	touch $@

clean:
	rm -rf .venv build dist *.egg-info docs/_build docs/generated docs/gallery
