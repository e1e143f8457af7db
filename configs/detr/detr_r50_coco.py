# DETR with ResNet-50.
_base_ = ['mmdet::detr/detr_r50_8xb2-150e_coco.py', '../_base_/explain.py']

load_from = (
    'https://download.openmmlab.com/mmdetection/v3.0/detr/detr_r50_8xb2-150e_coco/'
    'detr_r50_8xb2-150e_coco_20221023_153551-436d03e8.pth')
