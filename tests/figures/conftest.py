"""Synthetic tables for tests of figures."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def synthetic():
    """The module beside this file that makes tables."""
    spec = importlib.util.spec_from_file_location("synthetic_tables", Path(__file__).with_name("synthetic.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
