"""Settings are read from the variables that the README names, and from no other."""

import pytest

from models.settings import Settings


@pytest.mark.parametrize("name", Settings.model_fields)
def test_the_name_of_a_field_is_no_variable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # HOME, HOST and PORT stand in many environments, and mean something else there.
    alias = Settings.model_fields[name].alias
    assert alias is not None
    monkeypatch.delenv(alias, raising=False)
    before = Settings()
    if alias != name.upper():
        monkeypatch.setenv(name.upper(), "7")
    assert getattr(Settings(), name) == getattr(before, name)
