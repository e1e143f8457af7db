# The small Faster R-CNN, trained further to tell two objects from one.
_base_ = './faster-rcnn_scenes.py'

model = dict(
    roi_head=dict(bbox_head=dict(num_classes=4)),
    init_cfg=dict(
        type='Pretrained',
        checkpoint='{{ fileDirname }}/faster-rcnn_scenes.pth'))

pairs = dict(dataset=dict(kind='pairs'))
train_dataloader = pairs
val_dataloader = pairs
test_dataloader = pairs

iterations = 300
train_cfg = dict(max_iters=iterations)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(
        type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        by_epoch=False,
        begin=50,
        end=iterations),
]

load_from = '{{ fileDirname }}/faster-rcnn_pairs.pth'
