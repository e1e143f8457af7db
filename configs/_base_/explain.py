# Draws explanations while the test loop runs.
custom_imports = dict(imports=['mmdet_diffmap'], allow_failed_imports=False)
custom_hooks = [
    dict(
        type='ExplainHook',
        explainer=dict(type='ODAM'),
        interval=50,
        score_thr=0.4)
]
