# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The images of a data set, each with its ground truth, as far as they are
still to be measured."""
from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator
from dataclasses import dataclass
from typing import Any

from mmengine.dataset import pseudo_collate
from torch.utils.data import Dataset, Sampler

from ..apis.images import read_image
from .objects import GroundTruth


@dataclass(frozen=True)
class TestImage:
    """An image as a worker prepared it.

    Args:
        image_id (Hashable): Its id in the data set.
        path (str): Its file.
        data (dict, optional): A batch of it alone.
        truth (GroundTruth, optional): Its annotated objects.
        failure (str): Why there are none.
    """
    image_id: Hashable
    path: str
    data: dict | None = None
    truth: GroundTruth | None = None
    failure: str = ''


class ImageSet(Dataset):
    """Prepares images, and notes those that cannot be.

    Args:
        dataset (BaseDataset): A data set of mmdet in test mode, with its
            pipeline.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.metainfo = dataset.metainfo

    def __len__(self) -> int:
        return len(self.dataset)

    def image_id(self, index: int) -> Hashable:
        return self.dataset.get_data_info(index).get('img_id', index)

    def __getitem__(self, index: int) -> TestImage:
        info = self.dataset.get_data_info(index)
        image_id, path = info.get('img_id', index), info.get('img_path', '')
        try:
            if path:
                read_image(path)  # OpenCV fills what is missing with grey
            truth = GroundTruth.of_instances(info.get('instances', []))
            data = self.dataset[index]
        except Exception as error:  # each transform fails in its own way
            return TestImage(image_id, path, failure=str(error))
        return TestImage(image_id, path, pseudo_collate([data]), truth)


class OpenImages(Sampler):
    """The images of one process that are not done: every so many-th of the
    data set.

    Args:
        images (ImageSet): The data set.
        count (int): Only its first images.
        done (Collection): The ids of those that are done.
        rank, world_size (int): Of the process, and of how many.
    """

    def __init__(self, images: ImageSet, count: int,
                 done: Collection[Hashable], rank: int,
                 world_size: int) -> None:
        self.images = images
        self.share = range(rank, count, world_size)
        self.done = done

    def __iter__(self) -> Iterator[int]:
        for index in self.share:
            if not self.done or self.images.image_id(index) not in self.done:
                yield index

    def __len__(self) -> int:
        return len(self.share)


def only(items: list[TestImage]) -> TestImage:
    """The item of a batch of one."""
    (item, ) = items
    return item
