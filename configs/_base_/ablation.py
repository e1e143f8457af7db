# The decisions about ODAM and difference maps that the paper leaves open, by
# names for tools/benchmark_del_ins.py; docs/benchmark.md has their figures.
explainers = {
    'odam-score': dict(type='ODAM', outputs=('score', )),
    'odam-normalized': dict(type='ODAM', normalize_outputs=True),
    'odam-extents': dict(type='ODAM', extents=True),
    'odam-score-diff': dict(
        type='DifferenceMap',
        explainer=dict(type='ODAM', outputs=('score', ))),
    'odam-normalized-diff': dict(
        type='DifferenceMap',
        explainer=dict(type='ODAM', normalize_outputs=True)),
    'odam-extents-diff': dict(
        type='DifferenceMap', explainer=dict(type='ODAM', extents=True)),
    'odam-positive-diff': dict(
        type='DifferenceMap', explainer='ODAM', positive=True),
}
