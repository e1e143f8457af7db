"""Scenes in files, as a COCO data set."""
import json

import cv2
import numpy as np
from demo import CONFIG
from pycocotools import mask as coco_mask

from mmdet_diffmap.datasets.scenes import CLASSES, render_scene


def scenes_as_coco(folder):
    """Write four scenes as a COCO data set with a config: the second one is
    cut short, the third has no annotation. Returns the folder, and the second
    one as it should be."""
    images, annotations = [], []
    for i in range(4):
        scene = render_scene(0, i)
        name = f'{i}.jpg'
        cv2.imwrite(str(folder / name), scene.image)
        images.append(dict(id=i + 10, file_name=name, width=192, height=192))
        for box, label, mask in zip(scene.boxes, scene.labels, scene.masks):
            x1, y1, x2, y2 = map(float, box)
            rle = coco_mask.encode(np.asfortranarray(mask))
            rle['counts'] = rle['counts'].decode()
            annotations.append(dict(
                id=len(annotations) + 1, image_id=i + 10, iscrowd=0,
                category_id=int(label) + 1, bbox=[x1, y1, x2 - x1, y2 - y1],
                area=float(mask.sum()), segmentation=rle))
    annotations = [one for one in annotations if one['image_id'] != 12]
    whole = (folder / '1.jpg').read_bytes()
    (folder / '1.jpg').write_bytes(whole[:len(whole) // 2])
    (folder / 'annotations.json').write_text(json.dumps(dict(
        images=images, annotations=annotations,
        categories=[dict(id=i + 1, name=name)
                    for i, name in enumerate(CLASSES)])))
    (folder / 'config.py').write_text(f'''
_base_ = [{str(CONFIG)!r}]
custom_imports = dict(imports=['mmdet_diffmap'])
test_dataloader = dict(dataset=dict(
    _delete_=True, type='CocoDataset', test_mode=True,
    metainfo=dict(classes={CLASSES}), ann_file='annotations.json',
    data_root={str(folder)!r}, data_prefix=dict(img=''),
    pipeline={{{{_base_.test_pipeline}}}}))
''')
    return folder, whole
