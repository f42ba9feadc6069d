"""Bounds of what is predicted."""


def check_clip(clip):
    """Raise where ``clip`` is neither None nor "range" nor two numbers, the least first."""
    clip_bounds(clip, (0.0, 0.0))


def clip_bounds(clip, seen):
    """Return the bounds that ``clip`` asks for of predictions; ``seen`` are those of y."""
    if clip is None or isinstance(clip, str):
        return None if clip is None else seen
    try:
        low, high = (float(bound) for bound in clip)
    except (TypeError, ValueError) as error:
        raise ValueError(f'clip={clip!r}: expected "range" or two numbers.') from error
    if not low <= high:
        raise ValueError(f"clip={clip!r}: the least value comes first, and neither is NaN.")
    return low, high
