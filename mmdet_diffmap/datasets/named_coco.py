# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Annotations in COCO's format, whose categories are matched by name."""
from collections.abc import Sequence

from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmengine.registry import DATASETS


def plain_class_name(name: str) -> str:
    """Return the name of a class as names are compared.

    >>> plain_class_name('traffic_light') == plain_class_name('Traffic light')
    True
    """
    return name.replace('_', ' ').lower()


class NamedCOCO(COCO):
    """COCO's annotations, which tell the categories of names in the names'
    order."""

    def get_cat_ids(self, cat_names: Sequence[str] = (),
                    sup_names: Sequence[str] = (),
                    cat_ids: Sequence[int] = ()) -> list[int]:
        """Return the id of the category of each name; a negative number, which
        is no id, where there is none."""
        ids = {plain_class_name(category['name']): id
               for id, category in self.cats.items()}
        return [ids.get(plain_class_name(name), -1 - number)
                for number, name in enumerate(cat_names)]


@DATASETS.register_module()
class NamedCocoDataset(CocoDataset):
    """mmdet's COCO data set for any file: a label is the place of a name among
    the classes, in whatever order the file has its categories, and whichever
    of them. Spaces and underscores are the same in names, and so are capital
    letters.

    Args:
        **kwargs: Those of mmdet's ``CocoDataset``.
    """
    COCOAPI = NamedCOCO
