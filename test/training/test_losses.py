"""The losses against plain NumPy in float64, image by image, and the invariants of their definitions."""

import numpy as np
import pytest
import torch

from training.losses import (
    affine_invariant_loss,
    correlation_loss,
    cutmix_loss,
    feature_alignment_loss,
    gradient_matching_loss,
    near_steps,
    normalise,
    silog_loss,
)


def maps(seed, batch=3, height=20, width=27):
    rng = np.random.default_rng(seed)
    prediction, target = rng.gamma(2.0, 3.0, (2, batch, height, width))
    return prediction, target, rng.random((batch, height, width)) < 0.4


def tensors(*arrays):
    return [torch.from_numpy(a) if a.dtype == bool else torch.from_numpy(a).float() for a in arrays]


def outlines(target, mask):
    return near_steps(normalise(target, mask), mask)


def reference_normal(values, mask):
    valid = values[mask]
    centre = np.sort(valid)[(valid.size - 1) // 2]
    return (values - centre) / np.abs(valid - centre).mean()


def reference_affine(prediction, target, mask, trim):
    residual = np.sort(np.abs(reference_normal(prediction, mask) - reference_normal(target, mask))[mask])
    return residual[: residual.size - int(np.floor(trim * residual.size))].mean()


def reference_gradient(prediction, target, mask, scales):
    whole, total = reference_normal(prediction, mask) - reference_normal(target, mask), 0.0
    for scale in range(scales):
        r, m = whole[:: 2**scale, :: 2**scale], mask[:: 2**scale, :: 2**scale]
        pairs = 0.0
        for row, column in np.argwhere(m):
            for other in ((row + 1, column), (row, column + 1)):
                if other[0] < m.shape[0] and other[1] < m.shape[1] and m[other]:
                    pairs += abs(r[other] - r[row, column])
        total += pairs / max(m.sum(), 1)
    return total


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('trim', [0.0, 0.1, 0.35])
def test_affine_invariant_loss_agrees_with_float64(seed, trim):
    arrays = maps(seed)
    expected = np.mean([reference_affine(*image, trim) for image in zip(*arrays, strict=True)])
    assert affine_invariant_loss(*tensors(*arrays), trim).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('seed', range(4))
def test_gradient_matching_agrees_with_float64(seed):
    arrays = maps(seed)
    expected = np.mean([reference_gradient(*image, 4) for image in zip(*arrays, strict=True)])
    assert gradient_matching_loss(*tensors(*arrays)).item() == pytest.approx(expected, rel=1e-5)


def test_silog_agrees_with_float64():
    prediction, target, mask = maps(1)
    images = [np.log(t[m]) - np.log(p[m]) for p, t, m in zip(prediction, target, mask, strict=True)]
    expected = np.mean([np.sqrt((g**2).mean() - 0.5 * g.mean() ** 2) for g in images])
    assert silog_loss(*tensors(prediction, target, mask)).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('seed', range(4))
def test_correlation_loss_agrees_with_the_correlation_in_float64(seed):
    arrays = maps(seed)
    correlations = [np.corrcoef(p[m], t[m])[0, 1] for p, t, m in zip(*arrays, strict=True)]
    assert correlation_loss(*tensors(*arrays)).item() == pytest.approx(np.sqrt(2 - 2 * np.array(correlations)).mean())


def test_of_correlation_loss_the_inverted_map_is_the_worst():
    prediction, target, mask = tensors(*maps(8))
    assert correlation_loss(-target, target, mask).item() == pytest.approx(2)
    assert correlation_loss(target, target, mask) == 0
    assert correlation_loss(target, target, mask) < correlation_loss(prediction, target, mask) < 2


def test_where_it_is_uncertain_correlation_loss_prefers_the_mean_and_affine_invariant_loss_the_median():
    """A fifth of the pixels that look alike are near; the rest of the image is known."""
    target = torch.linspace(0, 4, 100).repeat(10, 1)[None].clone()
    target[0, :5, :50] = torch.tensor([8.0, 0, 0, 0, 0])[:, None]
    mask = torch.ones_like(target, dtype=torch.bool)
    mean, median = target.clone(), target.clone()
    mean[0, :5, :50], median[0, :5, :50] = 8 / 5, 0
    assert correlation_loss(mean, target, mask) < correlation_loss(median, target, mask)
    assert affine_invariant_loss(mean, target, mask) > affine_invariant_loss(median, target, mask)


@pytest.mark.parametrize('loss', [affine_invariant_loss, correlation_loss, gradient_matching_loss])
def test_scale_and_shift_change_nothing(loss):
    prediction, target, mask = tensors(*maps(2))
    assert torch.allclose(loss(7 * prediction + 3, target, mask), loss(prediction, target, mask), rtol=1e-4)
    assert loss(0.2 * target - 5, target, mask) < 1e-5


@pytest.mark.parametrize('loss', [affine_invariant_loss, correlation_loss, gradient_matching_loss, silog_loss])
def test_masked_pixels_have_neither_value_nor_gradient(loss):
    prediction, target, mask = tensors(*maps(3))
    spoilt = torch.where(mask, prediction, torch.nan).requires_grad_()
    value = loss(spoilt, torch.where(mask, target, torch.nan), mask)
    assert torch.equal(value, loss(prediction, target, mask))
    value.backward()
    assert not spoilt.grad[~mask].any()
    assert torch.isfinite(spoilt.grad).all()
    assert spoilt.grad[mask].any()


@pytest.mark.parametrize('loss', [affine_invariant_loss, correlation_loss, gradient_matching_loss, silog_loss])
def test_an_empty_mask_gives_zero_with_a_graph_and_a_batch_is_the_mean_of_its_images(loss):
    prediction, target, mask = tensors(*maps(4))
    mask[1] = False
    prediction.requires_grad_()
    alone = [loss(prediction[i : i + 1], target[i : i + 1], mask[i : i + 1]) for i in range(3)]
    assert alone[1] == 0
    alone[1].backward()
    assert not prediction.grad.any()
    assert torch.allclose(loss(prediction, target, mask), sum(alone) / 3, rtol=1e-5)


@pytest.mark.parametrize('loss', [affine_invariant_loss, correlation_loss, gradient_matching_loss, silog_loss])
def test_a_constant_prediction_is_safe(loss):
    _, target, mask = tensors(*maps(5))
    prediction = torch.full_like(target, 2.0).requires_grad_()
    value = loss(prediction, target, mask)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(prediction.grad).all()


def test_trimming_drops_a_tenth_of_each_image():
    """A tenth of the target is nonsense, and left out."""
    target = torch.arange(1.0, 201.0).reshape(2, 10, 10)
    spoilt = target.clone()
    spoilt[:, 9] += torch.tensor([1e3, 2e3])[:, None]
    mask = torch.ones_like(target, dtype=torch.bool)
    kept = (spoilt.flatten(1) < 1e3).sum(1)
    assert kept.tolist() == [90, 90]
    residuals = [
        reference_affine(p.numpy(), t.numpy(), m.numpy(), 0.1) for p, t, m in zip(target, spoilt, mask, strict=True)
    ]
    assert affine_invariant_loss(target, spoilt, mask, 0.1).item() == pytest.approx(np.mean(residuals), rel=1e-5)
    assert affine_invariant_loss(target, spoilt, mask, 0.1) < 0.9 * affine_invariant_loss(target, spoilt, mask)


def test_outlines_are_where_a_map_jumps_and_not_where_it_slopes():
    slope = torch.linspace(0, 8, 24).expand(1, 20, 24).clone()
    assert not outlines(slope, torch.ones(1, 20, 24, dtype=torch.bool)).any()
    # A box before the slope, of which one column is unknown.
    jump, mask = slope.clone(), torch.ones(1, 20, 24, dtype=torch.bool)
    jump[:, 6:14, 8:16] += 5
    jump[:, :, 0], mask[:, :, 0] = float('nan'), False
    found = outlines(jump, mask)[0]
    assert found[6:14, 6:10].all()
    assert found[4:8, 8:16].all()
    assert not found[:, :5].any()
    assert not found[:3].any()
    assert not found[9:11, 11:13].any()
    assert torch.equal(found, outlines(0.01 * jump - 3, mask)[0])
    assert not outlines(torch.rand(1, 2, 2), mask[:, :2, :2]).any()


@pytest.fixture(name='outlined')
def fixture_outlined():
    """Prediction, target and mask of two slopes behind a box, and where their outlines are."""
    target, mask = torch.linspace(0, 8, 24).expand(2, 20, 24).clone(), torch.ones(2, 20, 24, dtype=torch.bool)
    target[:, 6:14, 8:16] += 5
    mask[1, :, 20:] = False
    outline = outlines(target, mask) & mask
    prediction = torch.from_numpy(np.random.default_rng(0).normal(0, 1, target.shape)).float() + target
    return prediction, target, mask, outline


def test_errors_at_outlines_count_as_much_more_as_they_are_told_to(outlined):
    prediction, target, mask, outline = outlined
    residual = torch.stack([
        torch.from_numpy(np.abs(reference_normal(p, m) - reference_normal(t, m)))
        for p, t, m in zip(prediction.numpy(), target.numpy(), mask.numpy(), strict=True)
    ])  # fmt: skip
    weight = (1 + 3 * outline) * mask
    expected = ((residual * weight).sum((1, 2)) / weight.sum((1, 2))).mean()
    assert affine_invariant_loss(prediction, target, mask, edge_weight=3.0).item() == pytest.approx(
        expected.item(), rel=1e-5
    )
    plain = affine_invariant_loss(prediction, target, mask)
    assert affine_invariant_loss(prediction, target, mask, edge_weight=1e-7).item() == pytest.approx(plain.item())
    # Values under the mask, NaN too, come through neither as value nor as gradient.
    dirty = torch.where(mask, prediction, torch.full_like(prediction, torch.nan)).requires_grad_()
    loss = affine_invariant_loss(dirty, torch.where(mask, target, torch.nan), mask, edge_weight=3.0)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()
    assert torch.isfinite(dirty.grad).all()
    assert (dirty.grad[~mask] == 0).all()


def test_correlation_loss_counts_outlines_likewise(outlined):
    prediction, target, mask, outline = outlined
    images = zip(prediction.numpy(), target.numpy(), mask.numpy(), outline.numpy(), strict=True)
    covariances = [np.cov(p[m], t[m], fweights=1 + 3 * o[m]) for p, t, m, o in images]
    expected = [np.sqrt(2 - 2 * c[0, 1] / np.sqrt(c[0, 0] * c[1, 1])) for c in covariances]
    assert correlation_loss(prediction, target, mask, 3.0).item() == pytest.approx(np.mean(expected), rel=1e-5)


def test_cutmix_is_the_area_weighted_sum_of_two_losses():
    prediction, a, mask_a = tensors(*maps(7))
    _, b, mask_b = tensors(*maps(8))
    box = torch.zeros_like(mask_a)
    box[0, 2:9, 3:20] = box[1, 5:15, 1:6] = True
    images = []
    for i in range(3):
        one = slice(i, i + 1)
        share = box[i].float().mean()
        inside = affine_invariant_loss(prediction[one], a[one], mask_a[one] & box[one], 0.1)
        outside = affine_invariant_loss(prediction[one], b[one], mask_b[one] & ~box[one], 0.1)
        images.append(share * inside + (1 - share) * outside)
    mixed = cutmix_loss(prediction, a, b, box, mask_a, mask_b, trim=0.1)
    assert torch.allclose(mixed, sum(images) / 3, rtol=1e-5)


def test_feature_alignment_lets_patches_above_the_margin_alone():
    torch.manual_seed(0)
    frozen = torch.randn(2, 6, 8)
    student = frozen.clone()
    student[:, :3] = torch.randn(2, 3, 8)
    student.requires_grad_()
    loss = feature_alignment_loss(student, frozen)
    cosine = torch.nn.functional.cosine_similarity(student, frozen, dim=2).detach().double()
    expected = np.mean([(1 - row[row <= 0.85]).mean().item() for row in cosine])
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()
    assert not student.grad[:, 3:].any()
    assert student.grad[:, :3].any()
    assert feature_alignment_loss(frozen * 2, frozen) == 0


def test_autocast_does_not_reach_the_losses():
    prediction, target, mask = tensors(*maps(9))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        value = affine_invariant_loss(prediction.bfloat16(), target, mask)
    assert value.dtype == torch.float32
    assert torch.equal(value, affine_invariant_loss(prediction.bfloat16().float(), target, mask))


def test_arguments_may_be_named_and_are_treated_alike():
    prediction, target, mask = tensors(*maps(9))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        value = affine_invariant_loss(mask=mask, target=target.bfloat16(), prediction=prediction.bfloat16())
    assert torch.equal(value, affine_invariant_loss(prediction.bfloat16().float(), target.bfloat16().float(), mask))


def test_what_does_not_fit_is_refused():
    prediction, target, mask = tensors(*maps(0))
    with pytest.raises(ValueError, match=r'\(B, H, W\)'):
        affine_invariant_loss(prediction[0], target, mask)
    with pytest.raises(ValueError, match='bool'):
        gradient_matching_loss(prediction, target, mask.float())
    with pytest.raises(ValueError, match='trim'):
        affine_invariant_loss(prediction, target, mask, trim=1.0)
    for trim, edge_weight in ((0.0, -1.0), (0.0, float('nan')), (0.1, 1.0)):
        with pytest.raises(ValueError, match='edge_weight'):
            affine_invariant_loss(prediction, target, mask, trim, edge_weight)
    with pytest.raises(ValueError, match='edge_weight'):
        correlation_loss(prediction, target, mask, -1.0)
