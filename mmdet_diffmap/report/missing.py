# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What a page lacks, since images failed or a run was interrupted."""
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..io.files import printable


class MissingImages:
    """The images that a page was to show, and does not.

    >>> missing = MissingImages()
    >>> missing.note(['a.png', 'b.png', 'c.png'], ['a.png'], {'b.png': 'bad'})
    >>> missing.described()['text']
    '1 of 3 photographs: the run was interrupted, 1 failed.'
    """

    def __init__(self) -> None:
        #: How often each image was asked for.
        self.asked: Counter[str] = Counter()
        #: By detector, those that it did not explain.
        self.lacking: dict[str, set[str]] = {}
        #: Why images failed, by their names and detectors.
        self.failed: dict[str, str] = {}
        #: By detector, those that were not reached when the run ended.
        self.unreached: dict[str, list[str]] = {}

    def note(self, asked: Sequence[str], shown: Sequence[str],
             failures: Mapping[str, str], detector: str = '') -> None:
        """Note what became of images; again, when more was done.

        Args:
            asked (Sequence[str]): The names of all images.
            shown (Sequence[str]): The names of those that the page shows.
            failures (Mapping): Why images failed, by their names.
            detector (str): Which detector did it, if there are several.
        """
        by = f' by {detector}' if detector else ''
        why = {printable(name): reason for name, reason in failures.items()}
        names = Counter(map(printable, asked)) or Counter(shown)
        names |= Counter(why.keys())  # also those that failed before
        unreached = names.keys() - why.keys() - set(shown)
        self.asked |= names  # the same images for each detector
        self.lacking[by] = {*why, *unreached}
        self.failed |= {name + by: reason for name, reason in why.items()}
        self.unreached[by] = [name + by for name in names
                              if name in unreached]

    def described(self) -> dict[str, Any] | None:
        """Return it as a page's template takes it: a ``text``, why images
        ``failed``, and the names of those that were ``unreached``; None if
        nothing is missing."""
        unreached = [name for names in self.unreached.values()
                     for name in names]
        reasons = ['the run was interrupted'] if unreached else []
        reasons += [f'{len(self.failed)} failed'] if self.failed else []
        if not reasons:
            return None
        lacking = set().union(*self.lacking.values())
        whole = sum(count for name, count in self.asked.items()
                    if name not in lacking)
        return dict(
            text=f'{whole} of {self.asked.total()} photographs: '
            f'{", ".join(reasons)}.',
            failed=self.failed,
            unreached=unreached)
