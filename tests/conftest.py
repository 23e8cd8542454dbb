"""How property tests search: the same examples in every `make test`, many and new ones in `make fuzz`."""

import os

from hypothesis import HealthCheck, settings

# Nothing here depends on time: a busy machine is no counterexample
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("short", settings.get_profile("untimed"), derandomize=True)
settings.register_profile("long", settings.get_profile("untimed"), max_examples=5_000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))
