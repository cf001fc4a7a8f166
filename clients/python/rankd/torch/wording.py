# SPDX-License-Identifier: Apache-2.0
"""Errors in the words of a call. A module may have another name for an input than the client and
the daemon, or may have made it flat, so that its positions are others."""
from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from ..errors import InvalidRequest

Place = tuple[int, ...]


@contextmanager
def in_words_of(names: Mapping[str, str], place: Callable[[Place], Place] | None = None) -> Iterator[None]:
    """Within, sentences about an input that `names` has are told with its new name; and with
    `place`, of a position in what was sent, the position in what was given."""
    try:
        yield
    except InvalidRequest as error:
        told = InvalidRequest(_told(error.sentence, names, place), code=error.code, retry_after=error.retry_after)
        told.__dict__ = {**error.__dict__, **told.__dict__}  # what else is known of it, such as its rank
        raise told from error
    except (TypeError, ValueError) as error:
        if type(error) not in (TypeError, ValueError):
            raise
        raise type(error)(_told(str(error), names, place)) from error


def _told(sentence: str, names: Mapping[str, str], place: Callable[[Place], Place] | None) -> str:
    def moved(found: re.Match[str]) -> str:
        if found[2] is None:
            return names[found[1]]
        at = tuple(map(int, found[2].split(",")))
        return f"{names[found[1]]}[{', '.join(map(str, place(at) if place else at))}]"

    return re.sub(rf"\b({'|'.join(map(re.escape, names))})\b(?:\[(\d+(?:, \d+)*)\])?", moved, sentence) if names else sentence


def in_lists(sizes: list[int]) -> Callable[[Place], Place]:
    """The list and the position in it of a position in the lists joined."""
    def place(at: Place) -> Place:
        left = at[0]
        for number, size in enumerate(sizes):
            if left < size:
                return number, left
            left -= size
        return at

    return place
