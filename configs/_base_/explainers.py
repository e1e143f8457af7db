# The explanation methods of the paper, each plain and as a difference map, by
# the names that tools/explain.py takes. A config that inherits from this file
# can change their options or add its own to `explainers`.
explainers = {
    'grad-cam': dict(type='GradCAM'),
    'grad-cam++': dict(type='GradCAMPlusPlus'),
    'ss-grad-cam': dict(type='SSGradCAM'),
    'ss-grad-cam++': dict(type='SSGradCAMPlusPlus'),
    'd-rise': dict(type='DRISE'),
    'odam': dict(type='ODAM'),
    'grad-cam-diff': dict(type='DifferenceMap', explainer='GradCAM'),
    'grad-cam++-diff': dict(type='DifferenceMap', explainer='GradCAMPlusPlus'),
    'ss-grad-cam-diff': dict(type='DifferenceMap', explainer='SSGradCAM'),
    'ss-grad-cam++-diff': dict(
        type='DifferenceMap', explainer='SSGradCAMPlusPlus'),
    'd-rise-diff': dict(type='DifferenceMap', explainer='DRISE'),
    'odam-diff': dict(type='DifferenceMap', explainer='ODAM'),
}
