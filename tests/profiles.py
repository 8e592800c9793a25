"""How much the tests repeat: little before a commit, everything with `scripts/test --thorough`.

This is the one place that decides. Both profiles run every test and check every assertion. They differ in how often
a test repeats itself with other chances: examples of Hypothesis, seeds, kills, rounds. A test asks for its count:

    @settings(QUICK, max_examples=rounds(15, thorough=60))
    SEEDS = range(rounds(10, thorough=200))

The environment names the profile, so that it holds while modules are imported, in the workers of pytest-xdist, and
in every process that a test begins. Without scripts/test: TEST_PROFILE=thorough .venv/bin/pytest …
"""

import os
from enum import StrEnum

from hypothesis import settings

__all__ = ["VARIABLE", "Profile", "current", "rounds"]

VARIABLE = "TEST_PROFILE"


class Profile(StrEnum):
    COMMIT = "commit"
    THOROUGH = "thorough"


def current() -> Profile:
    """Returns the profile of this run. Raises ValueError if the environment names none that exists."""
    return Profile(os.environ.get(VARIABLE) or Profile.COMMIT)


def rounds(commit: int, thorough: int) -> int:
    """Returns the count of the profile of this run; it may be asked for while a module is imported."""
    assert 0 < commit <= thorough
    return thorough if current() is Profile.THOROUGH else commit


# For tests with `@given` that name no count. The machine may be busy: a slow example is no finding.
settings.register_profile(Profile.COMMIT, max_examples=25, deadline=None)
settings.register_profile(Profile.THOROUGH, max_examples=100, deadline=None)
settings.load_profile(current())
