# RetinaNet with PVT-Small and FPN.
_base_ = ['mmdet::pvt/retinanet_pvt-s_fpn_1x_coco.py', '../_base_/explain.py']

load_from = (
    'https://download.openmmlab.com/mmdetection/v2.0/pvt/retinanet_pvt-s_fpn_1x_coco/'
    'retinanet_pvt-s_fpn_1x_coco_20210906_142921-b6c94a5b.pth')
