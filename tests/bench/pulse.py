"""How fast the machine is just now: seconds of a fixed piece of pure Python, the same in every run of the bench.

Figures of two runs compare only as far as their pulses do.
"""

import time

STEPS = 3_000_000
NAMES = 5_000


def seconds() -> float:
    """What the fixed piece takes."""
    begun = time.perf_counter()
    held: dict[int, str] = {}
    for number in range(STEPS):
        held[number % NAMES] = str(number)
    return time.perf_counter() - begun


if __name__ == "__main__":
    print(seconds())  # noqa: T201 - its answer
