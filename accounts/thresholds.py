"""When something that runs low is told: the moment that it falls to its threshold, and not again until it has risen."""


def fell_below(before: int, after: int, threshold: int | None) -> bool:
    """Whether a posting took a balance below the customer's threshold, all in fen; None: never.

    Below 0 there is nothing to tell beside the arrears.
    """
    return threshold is not None and 0 <= after < threshold <= before


def fell_to_percent(before: int, after: int, total: int, percent: int) -> bool:
    """Whether a pack fell to the percentage of its total now, or below it; 0: never."""
    return percent > 0 and is_at_percent(after, total, percent) and not is_at_percent(before, total, percent)


def is_at_percent(remaining: int, total: int, percent: int) -> bool:
    """Whether so much or less of the total is left."""
    return remaining * 100 <= total * percent
