"""The sky is found by a model, kept as masks, and then is infinitely far in what is trained with."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import transformers
from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor

from training.cli.main import main
from training.data import Sample, ShardDataset
from training.data.shards import decode_grey
from training.data.sky import with_sky
from training.data.spec import DataSpec, make_dataset
from training.errors import BadSampleError, DataError, MismatchError, RecipeError
from training.files import Folder
from training.segmentation import SkySegmenter
from training.stages import sky

IMAGES, SIZE = 7, (48, 64)


def save_model(folder, names=('wall', 'sky', 'tree'), seed=0):
    config = SegformerConfig(
        num_encoder_blocks=2, depths=[1, 1], sr_ratios=[2, 1], hidden_sizes=[8, 16], patch_sizes=[7, 3],
        strides=[4, 2], num_attention_heads=[1, 2], mlp_ratios=[2, 2], decoder_hidden_size=16,
        id2label=dict(enumerate(names)), label2id={name: number for number, name in enumerate(names)},
    )  # fmt: skip
    torch.manual_seed(seed)
    network = SegformerForSemanticSegmentation(config)
    # A random model with larger weights in its last layer, so that its classes differ from place to place.
    with torch.no_grad():
        network.decode_head.classifier.weight.mul_(50)
    network.save_pretrained(folder)
    SegformerImageProcessor(size={'height': 64, 'width': 64}).save_pretrained(folder)
    return folder


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp('models') / 'tiny')


@pytest.fixture
def data(tmp_path):
    """Depth of 2 m, one image cut off."""
    for kind in ('images', 'depth'):
        (tmp_path / 'data' / kind).mkdir(parents=True)
    for index in range(IMAGES):
        coarse = np.random.default_rng(index).integers(0, 256, (6, 8, 3), np.uint8)
        content = cv2.imencode('.png', cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_CUBIC))[1].tobytes()
        (tmp_path / f'data/images/{index} 50%.png').write_bytes(content[:200] if index == 2 else content)
        np.save(tmp_path / f'data/depth/{index} 50%.npy', np.full(SIZE, 2, np.float32))
    return DataSpec('folder', str(tmp_path / 'data'))


def settings(data, model, output, **changes):
    chosen = {'shard_size': 3, 'max_failed_fraction': 0.2, 'device': 'cpu', **changes}
    return sky.Settings(data=data, model=str(model), output=str(output), **chosen)


def masks_in(folder):
    """By key, from the shards themselves."""
    found, files = {}, Folder(folder)
    for path in sorted(folder.glob('*.index.json')):
        for key, parts in files.read_json(path.name)['samples']:
            assert list(parts) == ['sky.png']
            start, size = parts['sky.png']
            found[key] = decode_grey(key, files.read(path.name.replace('.index.json', '.tar'), start, start + size))
    return found


def test_masks_are_written_and_counted_and_a_bad_image_costs_itself_alone(data, model, tmp_path):
    manifest = sky.run(settings(data, model, tmp_path / 'masks'))
    masks, dataset = masks_in(tmp_path / 'masks'), make_dataset(data)
    assert [*masks] == [dataset.key(index) for index in range(IMAGES) if index != 2]
    assert (manifest['images'], manifest['failed'], manifest['shards']) == (IMAGES - 1, 1, 3)
    assert manifest['failed_by_reason'] == {"'' data is truncated: 200 bytes of PNG without its end mark": 1}
    assert manifest['images_per_second'] > 0
    for mask in masks.values():
        assert mask.shape == SIZE
        assert {*np.unique(mask)} <= {0, 255}
    share = np.mean([mask > 0 for mask in masks.values()])
    assert manifest['share_of_sky'] == pytest.approx(share, abs=1e-3)
    assert manifest['images_with_sky'] == sum(mask.any() for mask in masks.values())
    assert 0.02 < share < 0.98, 'the model of this test must see sky, and something else'


def test_the_mask_is_where_the_library_has_the_class_sky(data, model, tmp_path):
    image = make_dataset(data)[0].image
    mask = SkySegmenter(str(model), 'cpu')([image])[0]
    processor = SegformerImageProcessor.from_pretrained(model)
    network = SegformerForSemanticSegmentation.from_pretrained(model).eval()
    with torch.no_grad():
        outputs = network(**processor(images=image, return_tensors='pt'))
    classes = processor.post_process_semantic_segmentation(outputs, target_sizes=[SIZE])[0].numpy()
    # The library scales each class's scores and compares then; between the two orders are slivers at edges.
    assert (mask == (classes == 1)).mean() > 0.97
    assert (mask == (classes == 2)).mean() < 0.9


def test_batches_of_several_sizes_give_the_masks_of_one_image_each(model):
    segmenter = SkySegmenter(str(model), 'cpu')
    images = [np.random.default_rng(seed).integers(0, 256, (40 + 9 * seed, 70, 3), np.uint8) for seed in range(3)]
    for image, mask in zip(images, segmenter(images), strict=True):
        assert mask.shape == image.shape[:2]
        assert (mask == segmenter([image])[0]).mean() > 0.999


def test_interrupted_it_goes_on_from_the_shards_that_are_done(data, model, tmp_path, monkeypatch):
    sky.run(settings(data, model, tmp_path / 'whole'))
    calls = []
    predict = SkySegmenter.__call__

    def until_the_fifth(self, images):
        calls.append(len(images))
        if len(calls) == 5:
            raise KeyboardInterrupt
        return predict(self, images)

    with monkeypatch.context() as patch:
        patch.setattr(SkySegmenter, '__call__', until_the_fifth)
        with pytest.raises(KeyboardInterrupt):
            sky.run(settings(data, model, tmp_path / 'parts'))
    again = []
    monkeypatch.setattr(SkySegmenter, '__call__', lambda self, images: again.append(1) or predict(self, images))
    manifest = sky.run(settings(data, model, tmp_path / 'parts'))
    assert len(again) == 4  # the second shard, which was not whole, and the third
    assert (manifest['images'], manifest['failed']) == (IMAGES - 1, 1)
    tars = {path.name: path.read_bytes() for path in (tmp_path / 'whole').glob('*.tar')}
    assert tars == {path.name: path.read_bytes() for path in (tmp_path / 'parts').glob('*.tar')}
    sky.run(settings(data, model, tmp_path / 'parts'))
    assert len(again) == 4


def test_the_sky_is_infinitely_far_and_valid_in_the_data_set(data, model, tmp_path):
    sky.run(settings(data, model, tmp_path / 'masks'))
    plain, masks = make_dataset(data), masks_in(tmp_path / 'masks')
    dataset = make_dataset(dataclasses.replace(data, sky=str(tmp_path / 'masks')))
    assert (len(dataset), dataset.name, dataset.shard_sizes) == (IMAGES, plain.name, plain.shard_sizes)
    for index in (0, 1, 3, 4, 5, 6):
        sample = dataset[index]
        there = masks[dataset.key(index)] > 0
        assert np.isposinf(sample.depth[there]).all()
        assert (sample.depth[~there] == 2).all()
        assert np.array_equal(sample.target_disparity(), np.where(there, np.float32(0), np.float32(0.5)))
        assert (plain[index].depth == 2).all()
    with pytest.raises(BadSampleError):
        dataset[2]


def test_the_sky_has_the_least_disparity_also_where_that_has_an_offset():
    there = np.zeros((2, 3), bool)
    there[0] = True
    image = np.zeros((2, 3, 3), np.uint8)
    for values, expected in (([5, 6, np.nan], 0), ([-3, 6, np.nan], -3)):
        sample = Sample('k', image, disparity=np.array([[9, -9, np.nan], values], np.float32))
        changed = with_sky(sample, there)
        assert (changed.disparity[0] == expected).all()
        assert np.array_equal(changed.disparity[1], np.float32(values), equal_nan=True)
        assert changed.disparity.dtype == np.float32
        assert changed.depth is None
    with pytest.raises(BadSampleError, match='neither depth nor disparity'):
        with_sky(Sample('k', image), there)
    with pytest.raises(BadSampleError, match=r'\(3, 2\)'):
        with_sky(sample, there.T)


def test_an_image_without_a_mask_is_a_bad_sample(data, model, tmp_path):
    sky.run(settings(data, model, tmp_path / 'masks'))
    cut = tmp_path / 'data/images/2 50%.png'
    cut.write_bytes((tmp_path / 'data/images/3 50%.png').read_bytes())  # mended after the masks were made
    dataset = make_dataset(dataclasses.replace(data, sky=str(tmp_path / 'masks')))
    with pytest.raises(BadSampleError, match=r'^images/2%2050%25: no mask of its sky'):
        dataset[2]
    assert dataset[3].depth is not None


def test_masks_of_another_data_set_or_unfinished_ones_are_refused(data, model, tmp_path, monkeypatch):
    sky.run(settings(data, model, tmp_path / 'masks'))
    (tmp_path / 'data/images/0 50%.png').unlink()
    with pytest.raises(MismatchError, match='masks are of another data set'):
        make_dataset(dataclasses.replace(data, sky=str(tmp_path / 'masks')))
    with pytest.raises(MismatchError, match=r'inputs\.data was'):
        sky.run(settings(data, model, tmp_path / 'masks'))
    with pytest.raises(DataError, match='none: no masks of the sky of folder here: make them with the stage sky'):
        make_dataset(dataclasses.replace(data, sky=str(tmp_path / 'none')))

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(SkySegmenter, '__call__', stop)
    with pytest.raises(KeyboardInterrupt):
        sky.run(settings(data, model, tmp_path / 'begun'))
    with pytest.raises(MismatchError, match='finish it first'):
        make_dataset(dataclasses.replace(data, sky=str(tmp_path / 'begun')))


def test_the_fingerprint_covers_the_masks(data, model, tmp_path):
    other = save_model(tmp_path / 'other', seed=1)
    prints = [make_dataset(data).fingerprint]
    for name, network in (('a', model), ('b', other), ('c', model)):
        sky.run(settings(data, network, tmp_path / name))
        prints.append(make_dataset(dataclasses.replace(data, sky=str(tmp_path / name))).fingerprint)
    plain, first, second, third = prints
    assert len({plain, first, second}) == 3
    assert third == first
    with pytest.raises(MismatchError, match=r'inputs\.model'):
        sky.run(settings(data, other, tmp_path / 'a'))


def test_too_many_bad_images_end_it_and_keep_what_there_is(data, model, tmp_path):
    with pytest.raises(DataError, match='1 of 7 images cannot be read'):
        sky.run(settings(data, model, tmp_path / 'masks', max_failed_fraction=0.1))
    assert len(masks_in(tmp_path / 'masks')) == 2
    assert sky.run(settings(data, model, tmp_path / 'masks', max_failed_fraction=0.2))['images'] == IMAGES - 1


@pytest.fixture
def hub(model, monkeypatch):
    """Names on the hub that were asked for; each gives the small model."""
    asked = []
    for kind in (transformers.AutoImageProcessor, transformers.AutoModelForSemanticSegmentation):

        def load(name, load=kind.from_pretrained, **options):
            asked.append(name)
            return load(model, **options)

        monkeypatch.setattr(kind, 'from_pretrained', load)
    return asked


@pytest.mark.parametrize('name', [sky.Settings().model, 'NVIDIA/segformer-b0-finetuned-ade-512-512', 'nvidia/mit-b3'])
def test_a_model_for_research_only_is_not_fetched_before_its_licence_is_agreed_to(data, name, hub, tmp_path):
    refused = rf'^{name}: the licence .+ research and evaluation only; set accept_license to true .+ or name another'
    with pytest.raises(DataError, match=refused):
        sky.run(settings(data, name, tmp_path / 'masks'))
    assert not hub
    assert not (tmp_path / 'masks').exists()
    manifest = sky.run(settings(data, name, tmp_path / 'masks', accept_license=True))
    assert {*hub} == {name}
    assert (manifest['model'], manifest['licence']) == (name, 'NVIDIA Source Code License for SegFormer')


@pytest.mark.parametrize('name', ['microsoft/beit-large-finetuned-ade-640-640', 'someone/segformer-b5'])
def test_other_names_need_no_agreement(data, name, hub, tmp_path):
    manifest = sky.run(settings(data, name, tmp_path / 'masks'))
    assert {*hub} == {name}
    assert manifest['licence'] is None


def test_a_folder_needs_no_agreement_whatever_it_is_called(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = save_model(Path('nvidia/segformer-b5-finetuned-ade-640-640'))
    assert sky.run(settings(data, folder, tmp_path / 'masks'))['licence'] is None


def test_wrong_models_and_settings_are_one_clear_line(data, model, tmp_path, capsys):
    no_sky = save_model(tmp_path / 'no-sky', ('wall', 'skyscraper', 'tree'))
    with pytest.raises(DataError, match=r"none of its 3 classes is called 'sky': wall, skyscraper, tree"):
        sky.run(settings(data, no_sky, tmp_path / 'masks'))
    with pytest.raises(DataError, match='no segmentation model can be loaded'):
        sky.run(settings(data, tmp_path / 'data', tmp_path / 'masks'))
    with pytest.raises(RecipeError, match="device 'tpu'"):
        sky.run(settings(data, model, tmp_path / 'masks', device='tpu'))
    with pytest.raises(RecipeError, match=r'data\.type=TYPE'):
        sky.run(settings(DataSpec('folder'), model, tmp_path / 'masks'))
    with pytest.raises(RecipeError, match='neither masks of it nor pseudo-labels'):
        sky.run(settings(dataclasses.replace(data, sky='x'), model, tmp_path / 'masks'))
    with pytest.raises(RecipeError, match='sky is for measured depth'):
        make_dataset(DataSpec('shards', 'x', labels='y', sky='z'))
    assert not (tmp_path / 'masks').exists()
    capsys.readouterr()  # of the library's progress bars
    assert main(['sky', f'data.path={tmp_path / "none"}', 'data.type=folder', f'model={model}']) == 1
    assert capsys.readouterr().err.count('\n') == 1


def test_masks_of_shards(small_shards, model, tmp_path):
    spec = DataSpec('shards', str(small_shards[0]))
    manifest = sky.run(settings(spec, model, tmp_path / 'masks', batch_size=4))
    assert manifest['images'] == len(ShardDataset(small_shards[0])) == 12
    sample = make_dataset(dataclasses.replace(spec, sky=str(tmp_path / 'masks')))[7]
    assert np.isposinf(sample.depth).sum() == (masks_in(tmp_path / 'masks')[sample.key] > 0).sum()
