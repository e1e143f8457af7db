# Deletion and Insertion with Faster R-CNN on COCO val2017, for
# tools/benchmark_del_ins.py and tools/test.py.
_base_ = './faster-rcnn_r50_coco.py'

custom_hooks = []
test_cfg = dict(_delete_=True, type='ExplanationTestLoop')
test_evaluator = dict(_delete_=True, type='ExplanationMetric')
