"""Options and fixtures for every test; knows nothing about what is tested."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("tests.conformance_check")

# The same examples on every run; another profile, which looks for new ones, is chosen by its name.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-conformance", action="store_true", help="write runtime/conformance anew before the tests run"
    )


def pytest_sessionstart(session: pytest.Session) -> None:
    if session.config.getoption("--update-conformance"):
        from tests import conformance_build, conformance_encoders

        conformance_build.update()
        conformance_encoders.update()


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tiny models spend their time waiting when several threads share a busy machine."""
    import torch  # not every test needs it

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
