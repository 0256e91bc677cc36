"""A study whose search came to its end."""

from __future__ import annotations

import pytest

from nas.study.folder import Study
from tests.helpers.studies import make_study


@pytest.fixture(scope="package")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make_study(tmp_path_factory.mktemp("finished") / "study", 20, starts=("cswin_tiny",))
