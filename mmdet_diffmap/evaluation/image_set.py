# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The images of a data set, each with its ground truth, as far as they are
still to be measured."""
from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from numbers import Integral
from pathlib import PurePath
from typing import Any

import numpy as np
from mmengine.registry import DATASETS
from torch.utils.data import DataLoader, Dataset, Sampler

from ..apis.image_pipeline import DatasetPipelines
from .ground_truth import GroundTruth

#: Of mmdet's config of a data loader, what holds here too.
LOADER_OPTIONS = ('num_workers', 'persistent_workers', 'pin_memory',
                  'prefetch_factor', 'timeout')


@dataclass(frozen=True)
class TestImage:
    """An image as a worker prepared it.

    Args:
        image_id (Hashable): Its id in the data set.
        data (dict): A batch of it alone.
        instances (Sequence[dict]): What is annotated, as mmdet's data sets
            give it.
        picture (np.ndarray, optional): Its pixels, uint8 BGR, shape (H, W,
            3), if they were asked for.
    """
    image_id: Hashable
    data: dict
    instances: Sequence[dict]
    picture: np.ndarray | None = None

    @property
    def truth(self) -> GroundTruth:
        """The annotated objects."""
        return GroundTruth.of_instances(self.instances)


@dataclass(frozen=True)
class FailedImage:
    """An image that could not be prepared.

    Args:
        image_id (Hashable): Its id in the data set.
        reason (str): What is wrong with it.
    """
    image_id: Hashable
    reason: str


class ImageSet(Dataset):
    """Prepares images, and notes those that cannot be.

    Args:
        dataset (BaseDataset): A data set of mmdet in test mode, with its
            pipeline.
        names (Sequence[str]): Only images with one of these names: the path
            of their files or the end of it, or their ids; ``*`` and ``?``
            stand for any characters. All by default.

    Raises:
        ValueError: If there is no image of one of the names.
    """

    def __init__(self, dataset: Any, names: Sequence[str] = ()) -> None:
        self.dataset = dataset
        self.metainfo = dataset.metainfo
        self.pipelines = DatasetPipelines(dataset)
        #: Whether to give the images' pixels too.
        self.pictures = False
        self.chosen: Sequence[int] = chosen_images(dataset, names) if names \
            else range(len(dataset))

    def __len__(self) -> int:
        return len(self.chosen)

    def image_id(self, index: int) -> int | str:
        """Return the id of an image, as JSON can hold it."""
        index = self.chosen[index]
        return plain_id(self.dataset.get_data_info(index), index)

    def __getitem__(self, index: int) -> TestImage | FailedImage:
        index = self.chosen[index]
        info = self.dataset.get_data_info(index)
        image_id = plain_id(info, index)
        try:
            image = self.pipelines.at(index)(info)
        except Exception as error:  # each transform fails in its own way
            return FailedImage(image_id, f'{type(error).__name__}: {error}')
        return TestImage(image_id, image.batch, info.get('instances', []),
                         image.picture if self.pictures else None)


class RemainingImages(Sampler):
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

    def finished(self) -> int:
        """Return how many of the process's images are done."""
        return sum(self.images.image_id(index) in self.done
                   for index in self.share) if self.done else 0


def chosen_images(dataset: Any, names: Sequence[str]) -> list[int]:
    """Return the numbers of the images that have one of some names; see
    :class:`ImageSet`."""
    waiting = set(names)
    chosen = []
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        path = str(info.get('img_path', ''))
        # the end of a path is as annotations may have it
        own = [*map('/'.join, ends(PurePath(path).parts)), path,
               str(plain_id(info, index))]
        fitting = [name for name in names
                   if any(one == name or fnmatchcase(one, as_pattern(name))
                          for one in own)]
        if fitting:
            chosen.append(index)
            waiting.difference_update(fitting)
    if waiting:
        raise ValueError(
            f'the data set has no image {sorted(waiting)[0]}: give names of '
            'its files, their paths as in the annotations, or ids')
    return chosen


def ends(parts: Sequence[str]) -> list[Sequence[str]]:
    """List the ends of a path, the shortest first.

    >>> ends(['a', 'b', 'c'])
    [['c'], ['b', 'c'], ['a', 'b', 'c']]
    """
    return [parts[-count:] for count in range(1, len(parts) + 1)]


def as_pattern(name: str) -> str:
    """Return a name in which nothing but ``*`` and ``?`` stands for others."""
    return name.replace('[', '[[]')


def plain_id(info: dict, index: int) -> int | str:
    """Return an image's id; its number where the data set gives none.

    >>> plain_id(dict(img_id='a'), 0), plain_id({}, 3)
    ('a', 3)
    """
    image_id = info.get('img_id', index)
    return int(image_id) if isinstance(image_id, Integral) else str(image_id)


def only(items: list[Any]) -> Any:
    """Return the item of a batch of one."""
    (item, ) = items
    return item


def dataset_of(dataloader: DataLoader | dict) -> Any:
    """Return the data set of a data loader or of its config, ready for
    use."""
    if isinstance(dataloader, DataLoader):
        return dataloader.dataset
    dataset = dataloader['dataset']
    if isinstance(dataset, dict):
        dataset = DATASETS.build(dataset)
    if hasattr(dataset, 'full_init'):
        dataset.full_init()
    return dataset


def loader_options(dataloader: DataLoader | dict) -> dict[str, Any]:
    """Return those of ``LOADER_OPTIONS`` that a data loader, or its config,
    has."""
    if isinstance(dataloader, DataLoader):
        return {name: getattr(dataloader, name) for name in LOADER_OPTIONS}
    return {name: dataloader[name] for name in LOADER_OPTIONS
            if name in dataloader}
