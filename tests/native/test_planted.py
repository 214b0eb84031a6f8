"""The faults that ``python -m tests.native.planted`` plants stand where it looks for them."""

import pytest

from tests.native.planted import FAULTS, Fault, planted


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.file} {fault.text}"[:70])
def test_a_fault_has_its_place(fault: Fault) -> None:
    assert fault.instead in planted(fault)
