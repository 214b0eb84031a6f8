"""Options and fixtures for every test; knows nothing about what is tested."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-conformance", action="store_true", help="write runtime/conformance anew before the tests run"
    )


def pytest_sessionstart(session: pytest.Session) -> None:
    if session.config.getoption("--update-conformance"):
        from tests.conformance_build import update

        update()
