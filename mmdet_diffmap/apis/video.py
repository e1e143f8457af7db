# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Videos of explanations: one of the objects through all frames, or the best
of each frame at once."""
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

import numpy as np
from mmengine.logging import print_log
from mmengine.structures import InstanceData
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from ..explainers import DifferenceMap, ExplainerLike
from ..explainers.engine import Selection, as_difference
from ..explainers.explainer import method_name
from ..io.progress import progress_bar
from ..io.video_files import opened, writing
from ..visualization.colours import OTHER, TARGET, colour_bar, overlay
from ..visualization.drawing import Outline, font, paint_outline
from ..visualization.figure import (
    HEATMAP,
    POSITIVE,
    SCALES,
    SIGNED,
    label_name,
)
from ..visualization.labels import (
    Side,
    draw_label,
    label_size,
    place_labels,
)
from ..visualization.legend import legend_strip
from .each_image import without_query, writable_folder
from .loading import class_names
from .prompt import Prompt, PromptLike, check_prompt
from .video_objects import objects_of

EXTENSIONS = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg')
#: The maps that a video can show, and their colours.
SHOWN = dict(heatmap=HEATMAP, difference=SIGNED, positive=POSITIVE)
#: Objects that are gone, and whose labels return where they were.
REMEMBERED = 1000
JOINED_ENDS = '0 none or shared', '1 one object only'
#: What the ends of their colours mean: of all objects joined, and of one.
ENDS = {
    (HEATMAP, False): ('0 no influence', '1 strongest'),
    (HEATMAP, True): ('0 no influence', '1 strongest'),
    (SIGNED, False): JOINED_ENDS,
    (SIGNED, True): ('−1 others only', '1 this object only'),
    (POSITIVE, False): JOINED_ENDS,
    (POSITIVE, True): ('0 none or shared', '1 this object only'),
}


def is_video(path: str | os.PathLike) -> bool:
    """Whether a file's ending is that of a video."""
    return Path(without_query(os.fspath(path))).suffix.lower() in EXTENSIONS


def explain_video(model: nn.Module,
                  path: str | os.PathLike,
                  out_path: str | os.PathLike,
                  explainer: ExplainerLike = 'ODAM',
                  score_thr: float = 0.3,
                  max_objects: int | None = None,
                  follow: int | None = None,
                  show: str = 'difference',
                  every: int = 1,
                  patience: int = 10,
                  draw_boxes: bool = True,
                  show_progress: bool = True,
                  prompt: PromptLike = None) -> int:
    """Explain the frames of a video, in a video.

    Each frame shows its maps over the picture, and the boxes with the number
    that an object keeps from frame to frame, its class and its score. A strip
    below says what the colours mean. Memory does not grow with the length.

    Args:
        model (nn.Module): The detector, whose objects are numbered by
            :class:`~mmdet_diffmap.apis.tracking.Tracker`; or a tracker of
            mmdet, whose own numbers are shown, and whose detector is
            explained.
        path (str | PathLike): The video, of any kind that OpenCV reads.
        out_path (str | PathLike): Where to write; it ends in ``.mp4``. The
            file is there whole or not at all, and plays in browsers: it is
            H.264 where OpenCV has an encoder for that, and VP9 otherwise. It
            has the width of the video, its height and that of the strip
            below, both rounded up to even numbers, its frame rate, and no
            sound.
        explainer (Explainer | dict | str): See :func:`explain`; of a
            difference map, its own explainer.
        score_thr, max_objects: See :func:`explain`, for each frame.
        follow (int, optional): Show the maps of one object alone: that with
            this number in the first frame that has objects, where they are
            numbered from 0, the best first; of a tracker, that with this
            number of its own. A frame in which it is not among the explained
            objects has no map, and the strip says so. By default the maps of
            all explained objects are joined by the elementwise maximum.
        show (str): ``heatmap``; ``difference``, the signed difference maps; or
            ``positive``, their positive part, each normalised. Of signed maps
            that are joined, too, nothing negative is left: at each pixel,
            some object's value is largest.
        every (int): N explains every N-th frame and leaves out the others, at
            an N-th of the video's frame rate. A tracker follows objects
            through all frames.
        patience (int): For how many frames in a row an object may not be
            found and keep its number; see
            :class:`~mmdet_diffmap.apis.tracking.Tracker`. A tracker of mmdet
            has its own.
        draw_boxes (bool): Whether to draw boxes and what is written at them.
        show_progress (bool): Whether to show a progress bar.
        prompt (Prompt | str | Sequence[str], optional): What a text-prompted
            detector is to look for.

    Returns:
        int: The number of frames written.

    Raises:
        OSError: If the video cannot be read, or the other not be written.
        ValueError: If an argument makes no sense.

    Example:
        >>> from mmdet_diffmap import explain_video, load_detector
        >>> model = load_detector('mmdet_diffmap::demo/fcos_scenes.py')
        >>> explain_video(model, 'clip.mp4', 'explained.mp4', follow=0)
        3
    """
    if show not in SHOWN:
        raise ValueError(f'show must be {", ".join(SHOWN)}, not {show!r}')
    if every < 1:
        raise ValueError(f'every must be at least 1, not {every}')
    source, out = Path(path), Path(out_path)
    if out.suffix != '.mp4':
        raise ValueError(f'the video\'s name must end in .mp4: {out}')
    if out.exists() and source.exists() and out.samefile(source):
        raise ValueError(f'{out} would replace the video that it explains')
    method = DifferenceMap(
        as_difference(explainer).explainer, positive=show == 'positive')
    selection = Selection(score_thr, max_objects)
    asked = Prompt.of(prompt)
    check_prompt(model, asked)
    objects = objects_of(model, method, selection, follow, patience, asked)
    painter = Painter(class_names(model), SHOWN[show], follow, draw_boxes,
                      method_name(type(method.explainer)))
    writable_folder(out.parent)
    with closing(objects), opened(path) as video, writing(
            out, video.rate / every,
            painter.picture_size(*video.size)) as write, progress_bar(
                'frames',
                ceil(video.count / every)) if show_progress else silent() \
            as done:
        for number, frame in enumerate(
                video.frames(1 if objects.takes_all_frames else every)):
            if objects.takes_all_frames and number % every:
                objects.pass_by(frame)
                continue
            instances = objects.explain(frame)
            painter.class_names = objects.phrases or painter.class_names
            picture = painter.paint(frame[..., ::-1].copy(), instances)
            write(picture[..., ::-1])
            done(1)
        objects.end()
        expected = ceil(video.count / every)
    if painter.count < 0.9 * expected:  # the video says about how many
        print_log(
            f'video {path} breaks off: {painter.count} of about {expected} '
            'frames could be read', 'current', logging.WARNING)
    return painter.count


@contextmanager
def silent() -> Iterator[Callable[[int], None]]:
    """Give a progress bar that nobody sees."""
    yield lambda steps: None


@dataclass
class Painter:
    """Paints the frames of a video, one after the other.

    Args:
        class_names (Sequence[str]): The name of each label.
        shown (str): The column of a figure whose maps and colours are shown.
        follow (int, optional): The object whose maps are shown alone.
        draw_boxes (bool): Whether to draw boxes.
        method (str): The name of the method.
        count (int): The number of frames painted.
        followed (str): The name of the followed object, once it was seen.
        sides (dict): Where the label of each object stood last.
    """
    class_names: Sequence[str]
    shown: str
    follow: int | None
    draw_boxes: bool
    method: str
    count: int = 0
    followed: str = ''
    sides: dict[int, Side] = field(default_factory=dict)

    def paint(self, frame: np.ndarray, instances: InstanceData) -> np.ndarray:
        """Return the next frame with its maps, boxes and legend.

        Args:
            frame (np.ndarray): RGB, uint8 (H, W, 3).
            instances (InstanceData): Its objects with their maps and numbers;
                see :meth:`FrameObjects.explain`.

        Returns:
            np.ndarray: RGB, uint8, higher than the frame by the legend, which
            has the same height in all frames.
        """
        numbers = instances.instances_id.numpy()
        names = [
            f'{number} {label_name(self.class_names, int(label))}'
            for number, label in zip(numbers, instances.labels)
        ]
        chosen = np.arange(len(numbers))
        if self.follow is not None:
            chosen = np.flatnonzero(numbers == self.follow)
            if len(chosen):
                self.followed = self.followed or names[chosen[0]]
        lacks = [instances.lacks[i] for i in chosen]
        with_maps = chosen[[not reason for reason in lacks]]
        self.count += 1
        if len(with_maps):
            frame = self._with_maps(frame, instances, with_maps)
        if self.draw_boxes:
            frame = self._with_labels(
                frame, instances.bboxes.numpy(), numbers,
                [f'{name} {float(score):.2f}'
                 for name, score in zip(names, instances.scores)], chosen)
        legend = self._legend(frame, len(with_maps), lacks, len(numbers))
        return np.concatenate([frame, legend])

    def picture_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height of what is painted of a frame."""
        frame = np.zeros((height, width, 3), np.uint8)
        return width, height + len(self._legend(frame, 0, [], 0))

    def _with_maps(self, frame: np.ndarray, instances: InstanceData,
                   chosen: np.ndarray) -> np.ndarray:
        """Lay the maps of the chosen objects over the frame, joined by their
        maximum."""
        name = 'heatmaps' if self.shown == HEATMAP else 'difference_maps'
        joined = instances[name][chosen.tolist()].float().amax(dim=0)
        return overlay(frame, joined.numpy(), SCALES[self.shown], grey=False)

    def _with_labels(self, frame: np.ndarray, boxes: np.ndarray,
                     numbers: np.ndarray, texts: Sequence[str],
                     chosen: np.ndarray) -> np.ndarray:
        """Draw boxes and a text at each; those of the chosen objects stand
        out."""
        picture = Image.fromarray(frame)
        draw, letters = ImageDraw.Draw(picture), letters_of(frame)
        # what is chosen comes first where there is little room
        order = sorted(range(len(boxes)),
                       key=lambda i: (i not in chosen, numbers[i]))
        places = place_labels(
            boxes, [label_size(text, letters) for text in texts], picture.size,
            order, [self.sides.get(number) for number in numbers])
        for i in reversed(order):  # and lies in front
            target = i in chosen
            paint_outline(picture, Outline(
                tuple(boxes[i].tolist()), TARGET if target else OTHER,
                2 if target else 1, None))
        for i in reversed(order):  # no line crosses a text
            draw_label(draw, places[i][1], texts[i], letters,
                       TARGET if i in chosen else OTHER)
        now = {number: side for number, (side, _) in zip(numbers, places)}
        before = [(number, side) for number, side in self.sides.items()
                  if number not in now]
        self.sides = dict(before[-REMEMBERED:]) | now
        return np.asarray(picture)

    def _legend(self, frame: np.ndarray, with_maps: int,
                lacks: Sequence[str], count: int) -> np.ndarray:
        """Say what the frame shows.

        Args:
            frame (np.ndarray): The frame.
            with_maps (int): How many maps it shows.
            lacks (Sequence[str]): Why others of the chosen objects have none.
            count (int): How many objects it has.
        """
        alone = self.follow is not None
        reasons = Counter(reason for reason in lacks if reason)
        without = ' and '.join(f'{number} ({reason})'
                               for reason, number in reasons.items())
        if alone and reasons:
            whose = f'{self.followed} is {"".join(reasons)} in this frame'
        elif with_maps:
            whose = self.followed if alone else \
                'all objects' + f' but {without}' * bool(without)
        elif without:
            whose = f'no map of {without}'
        elif self.followed:
            whose = f'{self.followed} is not found in this frame'
        elif alone and count:
            whose = f'object {self.follow} is not found in this frame'
        else:
            whose = 'no object in this frame'
        signed = SCALES[self.shown]
        colours = colour_bar((512, 1), signed)[0]
        if signed and not alone:  # joined, nothing negative is left
            colours = colours[256:]
        return legend_strip(
            frame.shape[1], f'{self.method}: {self.shown}, {whose}', colours,
            ENDS[self.shown, alone], letters_of(frame))


def letters_of(frame: np.ndarray) -> ImageFont.FreeTypeFont:
    """Return a font that can be read in a picture (H, W, 3)."""
    return font(max(10, min(frame.shape[:2]) // 30))
