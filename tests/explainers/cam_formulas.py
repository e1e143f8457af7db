"""The formulas of the CAM methods to the letter, in numpy."""
import numpy as np


def grad_cam(g, a):
    alpha = g.mean(axis=(1, 2))
    return (alpha[:, None, None] * a).sum(axis=0)


def plus_plus(g, mask, total):
    """Compute ``w_k = Σ_ij a_ij ReLU(g_ij)``, 0 where ``g = 0``."""
    weights = np.zeros(len(g))
    for k, row, column in zip(*np.nonzero(g)):
        value = g[k, row, column]
        share = value**2 / (2 * value**2 * mask[k, row, column] +
                            value**3 * total[k])
        weights[k] += share * max(value, 0)
    return weights[:, None, None]


def grad_cam_plus_plus(g, a):
    weights = plus_plus(g, np.ones_like(g), a.sum(axis=(1, 2)))
    return (weights * a).sum(axis=0)


def sensitivity(g):
    s = np.zeros_like(g)
    for k, magnitude in enumerate(np.abs(g)):
        if magnitude.max() > 0:
            s[k] = magnitude / magnitude.max()
    return s


def ss_grad_cam(g, a):
    alpha = g.mean(axis=(1, 2))[:, None, None]
    return (alpha * sensitivity(g) * a).sum(axis=0)


def ss_grad_cam_plus_plus(g, a):
    s = sensitivity(g)
    weights = plus_plus(g, s, (a * s).sum(axis=(1, 2)))
    return (weights * s * a).sum(axis=0)


FORMULAS = {
    'GradCAM': grad_cam,
    'GradCAMPlusPlus': grad_cam_plus_plus,
    'SSGradCAM': ss_grad_cam,
    'SSGradCAMPlusPlus': ss_grad_cam_plus_plus,
}
