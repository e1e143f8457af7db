# ByteTrack, which follows what the small FCOS of the scenes finds.
_base_ = '../demo/fcos_scenes.py'

detector = _base_.model
detector.pop('data_preprocessor')
del _base_.model

model = dict(
    type='ByteTrack',
    data_preprocessor=dict(
        type='TrackDataPreprocessor',
        mean=[127.5, 127.5, 127.5],
        std=[64.0, 64.0, 64.0],
        bgr_to_rgb=False,
        pad_size_divisor=32),
    detector=detector,
    tracker=dict(
        type='ByteTracker',
        motion=dict(type='KalmanFilter'),
        obj_score_thrs=dict(high=0.4, low=0.1),
        init_track_thr=0.4,
        match_iou_thrs=dict(high=0.1, low=0.5, tentative=0.3),
        num_frames_retain=30))

test_dataloader = dict(
    dataset=dict(pipeline=[
        dict(
            type='TransformBroadcaster',
            transforms=[
                dict(type='LoadImageFromFile'),
                dict(type='Resize', scale=(192, 192), keep_ratio=True),
                dict(type='LoadTrackAnnotations')
            ]),
        dict(type='PackTrackInputs')
    ]))
