# Deletion and Insertion with FCOS on COCO val2017, for
# tools/benchmark_del_ins.py and tools/test.py.
_base_ = './fcos_r50_coco.py'

custom_hooks = []
test_cfg = dict(_delete_=True, type='ExplanationTestLoop')
# Table 1 of the paper, printed beside what is measured
test_evaluator = dict(
    _delete_=True,
    type='ExplanationMetric',
    published={
        'grad-cam':
        dict(
            deletion=dict(target=94.88, others=89.54),
            insertion=dict(target=9.40, others=7.23)),
        'grad-cam-diff':
        dict(
            deletion=dict(target=93.76, others=91.01),
            insertion=dict(target=7.84, others=5.99)),
        'ss-grad-cam':
        dict(
            deletion=dict(target=64.91, others=94.99),
            insertion=dict(target=25.67, others=2.66)),
        'ss-grad-cam-diff':
        dict(
            deletion=dict(target=65.24, others=95.70),
            insertion=dict(target=26.33, others=3.10)),
        'ss-grad-cam++':
        dict(
            deletion=dict(target=60.84, others=96.27),
            insertion=dict(target=26.86, others=2.68)),
        'ss-grad-cam++-diff':
        dict(
            deletion=dict(target=61.40, others=98.44),
            insertion=dict(target=37.16, others=1.94)),
        'odam':
        dict(
            deletion=dict(target=61.27, others=96.12),
            insertion=dict(target=46.06, others=3.14)),
        'odam-diff':
        dict(
            deletion=dict(target=60.74, others=99.01),
            insertion=dict(target=44.25, others=1.58)),
    })
