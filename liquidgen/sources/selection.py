"""Which pictures of a source are taken when not all are."""


def spread(count: int, most: int | None) -> range | list[int]:
    """Choose at most `most` of `count` positions, evenly over all of them and in order.

    Sources are often sorted by class, so the first ones would miss most classes.
    """
    if most is None or most >= count:
        return range(count)
    return [position * count // most for position in range(most)]
