"""The versions that results and pages name."""

import platform

from selfloop.versions import versions


def test_a_package_that_is_not_installed_is_left_out() -> None:
    found = versions(["bokeh", "no-such-package"])
    assert set(found) == {"python", "bokeh"}
    assert found["python"] == platform.python_version()
