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


def layer_cam(g, a):
    return (np.maximum(g, 0) * a).sum(axis=0)


def hires_cam(g, a):
    return (g * a).sum(axis=0)


def xgrad_cam(g, a):
    """Compute ``Σ_k w_k A_k``, in which a dead channel has no weight."""
    joined = np.zeros_like(a[0])
    for gradient, feature in zip(g, a):
        if feature.any():
            share = feature / feature.sum()
            joined += (gradient * share).sum() * feature
    return joined


def projection(values):
    """Project the cells of (C, H, W) on their first principal direction, with
    the sign with which it goes with the channels' sum."""
    rows = values.reshape(len(values), -1).T
    centred = rows - rows.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    projected = centred @ directions[0]
    if projected @ rows.sum(axis=1) < 0:
        projected = -projected
    return projected.reshape(values.shape[1:])


def eigen_grad_cam(g, a):
    return projection(g * a)


FORMULAS = {
    'GradCAM': grad_cam,
    'GradCAMPlusPlus': grad_cam_plus_plus,
    'SSGradCAM': ss_grad_cam,
    'SSGradCAMPlusPlus': ss_grad_cam_plus_plus,
    'LayerCAM': layer_cam,
    'HiResCAM': hires_cam,
    'XGradCAM': xgrad_cam,
    'EigenGradCAM': eigen_grad_cam,
}
