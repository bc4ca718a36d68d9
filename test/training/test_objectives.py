"""Objectives: which losses of which images, with which weights."""

import pytest
import torch
from torch import nn

from training.data.batch import StreamBatch
from training.initial import initial_network
from training.losses import (
    affine_invariant_loss,
    correlation_loss,
    cutmix_loss,
    feature_alignment_loss,
    gradient_matching_loss,
    silog_loss,
)
from training.objectives import (
    MetricObjective,
    Output,
    StudentObjective,
    TeacherObjective,
    Trainee,
    mixed_gradient_matching,
)


class Stub(nn.Module):
    """Puts out the images' red as the map and their colours, pooled, as features; remembers what it saw."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, image):
        self.seen.append(image)
        return Output(image[:, 0] ** 2, nn.functional.avg_pool2d(image, 4))


class FrozenStub(Stub):
    def forward(self, image):
        self.seen.append(image)
        return [None, nn.functional.avg_pool2d(image.flip(1), 4)]


def stream(seed, count=4, mixed=False):
    generator = torch.Generator().manual_seed(seed)

    def rand():
        return torch.rand(count, 16, 20, generator=generator)

    batch = StreamBatch(
        image=torch.randn(count, 3, 16, 20, generator=generator),
        clean=None,
        target=rand(),
        mask=rand() < 0.8,
        keys=[f's{i}' for i in range(count)],
    )
    if mixed:
        batch.box = torch.zeros_like(batch.mask)
        batch.box[0, 2:9, 3:15] = batch.box[2, 5:16, 0:7] = True
        pairs = torch.tensor([1, 0, 3, 2])
        batch.other_target, batch.other_mask = batch.target[pairs], batch.mask[pairs]
    return batch


def test_the_v1_teacher_has_the_affine_invariant_loss_alone():
    batch, model = stream(0), Stub()
    losses = TeacherObjective(gradient_weight=0.0)(model, {'labelled': batch})
    assert [*losses.terms] == ['affine']
    assert losses.total == affine_invariant_loss(batch.image[:, 0] ** 2, batch.target, batch.mask)


def test_the_v2_teacher_adds_twice_the_gradient_matching():
    batch = stream(0)
    prediction = batch.image[:, 0] ** 2
    losses = TeacherObjective(gradient_weight=2.0)(Stub(), {'labelled': batch})
    expected = affine_invariant_loss(prediction, batch.target, batch.mask)
    expected = expected + 2 * gradient_matching_loss(prediction, batch.target, batch.mask)
    assert losses.total.item() == pytest.approx(expected.item())


def test_outlines_count_more_in_labelled_images_alone():
    batch, other = stream(0), stream(1)
    # A ramp with one jump: in noise all pixels are at outlines.
    batch.target = torch.arange(20.0).expand(4, 16, 20) + 10 * (torch.arange(16.0) > 7)[:, None]
    losses = TeacherObjective(gradient_weight=0.0, edge_weight=4.0)(Stub(), {'labelled': batch})
    expected = affine_invariant_loss(batch.image[:, 0] ** 2, batch.target, batch.mask, edge_weight=4.0)
    assert losses.total.item() == pytest.approx(expected.item())
    plain = affine_invariant_loss(batch.image[:, 0] ** 2, batch.target, batch.mask)
    assert losses.total.item() != pytest.approx(plain.item(), rel=1e-3)
    student = StudentObjective(None, labelled_weight=1.0, edge_weight=4.0)
    terms = student(Stub(), {'unlabelled': other, 'labelled': batch}).terms
    assert terms['labelled'].item() == pytest.approx(expected.item())
    plain = affine_invariant_loss(other.image[:, 0] ** 2, other.target, other.mask)
    assert terms['unlabelled'].item() == pytest.approx(plain.item())


def test_a_teacher_may_be_fitted_by_mean_squares():
    batch = stream(0)
    prediction = batch.image[:, 0] ** 2
    losses = TeacherObjective(2.0, edge_weight=4.0, normalisation='mean')(Stub(), {'labelled': batch})
    expected = correlation_loss(prediction, batch.target, batch.mask, 4.0)
    expected = expected + 2 * gradient_matching_loss(prediction, batch.target, batch.mask)
    assert losses.total.item() == pytest.approx(expected.item())


def test_the_v1_student_has_the_mean_of_three_losses_in_one_forward_pass():
    labelled, unlabelled = stream(1, count=2), stream(2, mixed=True)
    model, frozen = Stub(), FrozenStub()
    objective = StudentObjective(frozen, 1 / 3, 1 / 3, alignment_weight=1 / 3, trim=0.1)
    losses = objective(model, {'unlabelled': unlabelled, 'labelled': labelled})
    (seen,) = model.seen
    assert len(seen) == 6
    prediction = unlabelled.image[:, 0] ** 2
    expected = {
        'labelled': affine_invariant_loss(labelled.image[:, 0] ** 2, labelled.target, labelled.mask),
        'unlabelled': cutmix_loss(
            prediction, unlabelled.other_target, unlabelled.target, unlabelled.box, unlabelled.other_mask,
            unlabelled.mask, trim=0.1,
        ),
        'alignment': feature_alignment_loss(
            nn.functional.avg_pool2d(unlabelled.image, 4).flatten(2).mT,
            nn.functional.avg_pool2d(unlabelled.image.flip(1), 4).flatten(2).mT,
        ),
    }  # fmt: skip
    assert {name: value.item() for name, value in losses.terms.items()} == pytest.approx(
        {name: value.item() for name, value in expected.items()}
    )
    assert losses.total.item() == pytest.approx(sum(value.item() for value in expected.values()) / 3)
    assert losses.maps['labelled'].shape == (2, 16, 20)


def test_the_frozen_encoder_sees_the_unlabelled_images_as_the_student_does():
    labelled, unlabelled, frozen = stream(1, count=2), stream(2), FrozenStub()
    streams = {'unlabelled': unlabelled, 'labelled': labelled}
    StudentObjective(frozen, alignment_weight=1.0)(Stub(), streams)
    (seen,) = frozen.seen
    assert torch.equal(seen, unlabelled.image)


def test_the_v2_student_trims_its_pseudo_labels_and_matches_gradients():
    batch = stream(3)
    prediction = batch.image[:, 0] ** 2
    losses = StudentObjective(None, gradient_weight=2.0, trim=0.1)(Stub(), {'unlabelled': batch})
    expected = affine_invariant_loss(prediction, batch.target, batch.mask, trim=0.1)
    expected = expected + 2 * gradient_matching_loss(prediction, batch.target, batch.mask)
    assert losses.total.item() == pytest.approx(expected.item())
    assert affine_invariant_loss(prediction, batch.target, batch.mask) > losses.terms['unlabelled']


def test_a_perfect_mixed_prediction_has_no_gradient_loss_though_it_jumps_at_the_border():
    batch = stream(4, mixed=True)
    batch.target = batch.target + torch.tensor([0.0, 50.0, -3.0, 9.0])[:, None, None]
    batch.other_target = batch.target[[1, 0, 3, 2]] * 7
    perfect = torch.where(batch.box, batch.other_target * 0.3 + 11, batch.target)
    assert mixed_gradient_matching(perfect, batch) < 1e-5
    whole = gradient_matching_loss(perfect, torch.where(batch.box, batch.other_target, batch.target), batch.mask)
    assert whole > 0.05


def test_mixed_gradient_matching_is_weighted_by_area_and_plain_without_boxes():
    batch = stream(5, mixed=True)
    prediction = batch.image[:, 0]
    alone = []
    for one in range(4):
        i, box = slice(one, one + 1), batch.box[one : one + 1]
        inside = gradient_matching_loss(prediction[i], batch.other_target[i], batch.other_mask[i] & box)
        outside = gradient_matching_loss(prediction[i], batch.target[i], batch.mask[i] & ~box)
        alone.append(box.float().mean() * inside + (~box).float().mean() * outside)
    assert mixed_gradient_matching(prediction, batch).item() == pytest.approx((sum(alone) / 4).item())
    batch.box = torch.zeros_like(batch.box)
    plain = gradient_matching_loss(prediction, batch.target, batch.mask)
    assert mixed_gradient_matching(prediction, batch).item() == pytest.approx(plain.item())


def test_the_metric_objective_is_silog():
    batch = stream(6)
    losses = MetricObjective(0.85)(Stub(), {'labelled': batch})
    assert losses.total == silog_loss(batch.image[:, 0] ** 2, batch.target, batch.mask, 0.85)


@pytest.mark.parametrize('architecture', ['lite0', 'v2-small', 'v1-small'])
def test_every_parameter_learns_and_the_output_is_that_of_the_network(architecture):
    """DDP without a search for unused parameters needs it."""
    torch.manual_seed(0)
    model = Trainee(initial_network(architecture, 'random'))
    side = model.network.multiple
    image = torch.randn(1, 3, 2 * side, 3 * side)
    output = model(image)
    assert torch.equal(output.map, model.network(image))
    assert torch.equal(output.features, model.network.encoder(image)[-1])
    output.map.sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_a_sparser_map_is_compared_with_the_pixels_it_shows():
    """Of a map that the head lays out from edge to edge, the targets are those of the pixels nearest to its own."""
    height, width = 16, 20
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
    batch = stream(7, mixed=True)
    batch.target = (100.0 * rows + columns).expand(4, height, width)
    sparse = batch.every(2)
    shown = torch.nn.functional.interpolate(batch.target[:, None], (8, 10), mode='bilinear', align_corners=True)[:, 0]
    assert (sparse.target - shown).abs().max() <= 50.5  # half a pixel down and half a pixel across
    assert {*sparse.target[0, 0].tolist()} >= {0.0, 19.0}
    assert torch.equal(sparse.image, batch.image)
    sizes = {values.shape for values in (sparse.mask, sparse.box, sparse.other_target, sparse.other_mask)}
    assert sizes == {(4, 8, 10)}


@pytest.mark.parametrize(('size', 'cut'), [((36, 32), (48, 43)), ((24, 64), (24, 64)), ((64, 48), (48, 36))])
def test_a_batch_at_another_size_shows_its_middle_in_register(size, cut):
    """Image and target of one picture are of one picture still, and what was unknown is nobody's neighbour's."""
    rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing='ij')
    batch = stream(8, mixed=True)
    picture = (rows + 2 * columns).expand(4, 48, 64)
    batch.target, batch.image = picture, picture[:, None].expand(4, 3, 48, 64).contiguous()
    batch.mask = batch.box = picture > 90
    batch.other_target, batch.other_mask, batch.clean = 1 + picture, ~batch.mask, batch.image + 2
    small = batch.at_size(size)
    assert small.image.shape == small.clean.shape == (4, 3, *size)
    # Of a picture without detail, both are right to half a pixel down and half a pixel across.
    inside = (slice(None), slice(2, -2), slice(2, -2))
    assert (small.target - small.image[:, 0])[inside].abs().max() <= 1.5
    middle = (48 - 1) / 2 + 2 * (64 - 1) / 2
    assert small.image[:, 0].mean() == pytest.approx(middle, abs=1.5)
    spans = [float(edge.max() - edge.min()) for edge in (small.image[0, 0, :, 0], small.image[0, 0, 0])]
    assert spans == pytest.approx([cut[0], 2 * cut[1]], rel=0.12)
    assert torch.equal(small.mask, small.target > 90)
    assert torch.equal(small.box, small.mask)
    assert torch.equal(small.other_target, small.target + 1)
    assert torch.equal(small.other_mask, ~small.mask)
    torch.testing.assert_close(small.clean, small.image + 2)
    assert batch.at_size((48, 64)) is batch


def test_the_map_is_sparser_in_training_alone():
    torch.manual_seed(0)
    model = Trainee(initial_network('lite0', 'random'), stride=2)
    image = torch.randn(1, 3, 64, 96)
    assert model(image).map.shape == (1, 32, 48)
    assert model.eval()(image).map.shape == (1, 64, 96)
