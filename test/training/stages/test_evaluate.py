"""The stage: from checkpoints and data to a table and a report, in parts and with mistakes."""

import json

import numpy as np
import pytest

from depth_anything_ros import checkpoints
from training.data import Sample, ShardWriter
from training.data.shards import encode_sample
from training.errors import DataError, MismatchError, RecipeError, TrainingError
from training.evaluation import compare, read_results
from training.files import Folder
from training.initial import initial_network
from training.recipe import read_recipe
from training.stages import evaluate
from training.stages.evaluate import EvaluatedData, EvaluatedModel, Settings

SIZE = (32, 48)


def sample(index):
    rng = np.random.default_rng(index)
    image = rng.integers(0, 256, (*SIZE, 3), np.uint8)
    depth = rng.uniform(1.0, 30.0, SIZE).astype(np.float32)
    depth[:5] = np.inf
    rows, columns = rng.integers(5, 32, 120), rng.integers(0, 48, 120)
    points = np.stack([columns, rows, depth[rows, columns]], axis=1).astype(np.float32)
    return Sample(f's{index}', image, depth=depth, points=points, meta={'stamp_ns': index * 10**8, 'topic': '/camera'})


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """Shards of 12 samples, one of them torn and one without truth; a relative network, another, and a metric one."""
    root = tmp_path_factory.mktemp('evaluate')
    parts = [(item.key, encode_sample(item)) for item in map(sample, range(12))]
    parts[3][1]['jpg'] = parts[3][1]['jpg'][:-60]
    del parts[7][1]['depth.npy']
    ribbon = Sample('ribbon', np.zeros((8, 80, 3), np.uint8), depth=np.ones((8, 80), np.float32))
    parts.append(('ribbon', encode_sample(ribbon)))
    ShardWriter(Folder(root / 'shards')).write('held_out-000000', parts)
    checkpoints.save(initial_network('lite0', 'random', seed=1), root / 'one.safetensors')
    checkpoints.save(initial_network('lite0', 'random', seed=2), root / 'two.safetensors')
    checkpoints.save(initial_network('lite0', 'random', seed=3, max_depth=40.0), root / 'metric.safetensors')
    return root


@pytest.fixture
def settings(place, tmp_path):
    def make(models=('one', 'two'), protocols=('synthetic', 'robot'), **changes):
        return Settings(
            models=[EvaluatedModel(name, str(place / f'{name}.safetensors'), input_size=64) for name in models],
            data=[EvaluatedData(name, str(place / 'shards')) for name in protocols],
            **{'output': str(tmp_path / 'out'), 'pictures': 2, 'workers': 0, 'device': 'cpu', **changes},
        )

    return make


def test_networks_and_data_become_a_table_a_report_and_numbers_by_image(settings, tmp_path):
    manifest = evaluate.run(settings())
    out = tmp_path / 'out'
    found = json.loads((out / 'results.json').read_text())['data']
    assert [*found] == ['synthetic', 'robot']
    one = found['synthetic']['models']['one']
    assert (one['images'], one['skipped']) == (10, {'image of unfit shape': 1, 'no truth': 1, 'unusable sample': 1})
    assert manifest['state'] == 'finished'
    assert manifest['images'] == sum(row['images'] for part in found.values() for row in part['models'].values())
    assert manifest['images_per_second'] > 0
    assert {*manifest['weights']} == {'one', 'two'}

    results = read_results(out)
    rows = results['one', 'synthetic']
    assert [image.key for image in rows.images] == [f's{index}' for index in range(12) if index not in (3, 7)]
    assert rows.mean('abs_rel') == one['means']['abs_rel']
    assert np.mean([image.scores['abs_rel'] for image in rows.images]) == pytest.approx(one['means']['abs_rel'])
    told = found['synthetic']['comparisons']['two']
    assert compare(rows, results['two', 'synthetic'], 'abs_rel').difference == told['difference']

    table = (out / 'table.md').read_text()
    assert f'| one | {one["means"]["abs_rel"]:.4f} |' in table
    assert '## robot' in table
    assert 'two against one' in table
    report = (out / 'report.html').read_text()
    # Of each data set two images, each with its truth and, of both networks, a prediction and its error.
    shown = len(list((out / 'pictures').rglob('*.jpg')))
    assert report.count('src="data:image/jpeg;base64,') == shown
    assert shown in (12, 18, 24)  # picked images that were skipped have none
    assert 'http' not in report


def test_an_interrupted_run_goes_on_with_what_is_missing_and_ends_the_same(settings, tmp_path, monkeypatch):
    few = {'max_images': 6, 'pictures': 0}
    whole = evaluate.run(settings(output=str(tmp_path / 'whole'), **few))
    done, original = [], evaluate.evaluate

    def killed_at_third(estimator, dataset, indices, protocol, names, *more):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(names)
        return original(estimator, dataset, indices, protocol, names, *more)

    monkeypatch.setattr(evaluate, 'evaluate', killed_at_third)
    with pytest.raises(KeyboardInterrupt):
        evaluate.run(settings(**few))
    assert len(done) == 2
    again = []
    monkeypatch.setattr(evaluate, 'evaluate', lambda *args: again.append(args[4]) or original(*args))
    part = evaluate.run(settings(**few))
    assert (done, again) == (
        [('one', 'synthetic'), ('one', 'robot')],
        [('two', 'synthetic'), ('two', 'robot')],
    )
    for data, models in whole['results'].items():
        for model, summary in models.items():
            assert part['results'][data][model]['means'] == summary['means']
    monkeypatch.setattr(evaluate, 'evaluate', None)
    assert evaluate.run(settings(**few))['results'] == part['results']


def test_other_weights_are_another_run(settings, place):
    evaluate.run(settings(['one'], ['robot'], pictures=0))
    changed = settings(['one'], ['robot'], pictures=0)
    changed.models[0].checkpoint = str(place / 'two.safetensors')
    with pytest.raises(MismatchError, match=r'inputs\.model one'):
        evaluate.run(changed)


def test_another_precision_or_backend_is_another_run(settings):
    evaluate.run(settings(['one'], ['robot'], pictures=0))
    for name, value in (('precision', 'int8'), ('backend', 'openvino')):
        with pytest.raises(MismatchError, match=f'{name} was'):
            evaluate.run(settings(['one'], ['robot'], pictures=0, **{name: value}))


def test_another_protocol_is_another_run(settings, tmp_path):
    path = tmp_path / 'mine.yaml'
    text = 'data: {type: shards}\nmax_depth: 80.0\n'
    path.write_text(text)
    evaluate.run(settings(['one'], [str(path)], pictures=0))
    path.write_text(f'{text}paper: {{x: {{abs_rel: 0.1}}}}\n')
    assert evaluate.run(settings(['one'], [str(path)], pictures=0))['state'] == 'finished'
    path.write_text(text.replace('80.0', '40.0'))
    with pytest.raises(MismatchError, match='protocol mine'):
        evaluate.run(settings(['one'], [str(path)], pictures=0))


def test_a_metric_network_is_taken_at_its_word(settings, tmp_path):
    means = evaluate.run(settings(['metric'], ['synthetic-metric']))['results']['synthetic-metric']['metric']['means']
    rows = read_results(tmp_path / 'out')['metric', 'synthetic-metric']
    assert all((image.facts['scale'], image.facts['shift']) == (1.0, 0.0) for image in rows.images)
    assert 0.05 < means['abs_rel'] < 20.0


def test_the_papers_values_stand_beside_ours(settings, place, tmp_path, caplog):
    path = tmp_path / 'mine.yaml'
    path.write_text(
        'data: {type: shards, split: held_out}\nmax_depth: 80.0\nimages: 654\n'
        'paper: {lite: {abs_rel: 0.0321, delta1: 0.987}, another: {abs_rel: 0.5}}\n'
    )
    mine = settings(['one', 'two'], [str(path)], pictures=0)
    mine.models[1].paper = 'lite'
    evaluate.run(mine)
    head, _, one, two = (
        line.split(' | ') for line in (tmp_path / 'out/table.md').read_text().splitlines() if '|' in line
    )
    assert head[1:5] == ['AbsRel ↓', 'paper', 'delta1 ↑', 'paper']
    assert (one[2], two[2], two[4]) == ('–', '0.0321', '0.9870')
    # Of 13 some cannot be scored, and 654 they are not: so the column is not what it seems.
    for name in ('table.md', 'report.html', 'results.json'):
        assert 'images were scored, and the protocol is about 654' in (tmp_path / 'out' / name).read_text()
    # Told before the work and after it.
    said = [record.message for record in caplog.records if 'the protocol is about 654' in record.message]
    assert ['13 images are to be scored' in line for line in said] == [True, False]


def test_an_inverted_network_is_seen_in_the_table(settings, place, tmp_path, constant_networks):
    checkpoints.save(constant_networks('lite0', 0.7), tmp_path / 'flat.safetensors')
    flat = settings(['one'], ['robot'], pictures=0)
    flat.models.append(EvaluatedModel('flat', str(tmp_path / 'flat.safetensors'), input_size=64))
    summary = evaluate.run(flat)['results']['robot']['flat']
    assert summary['constant'] == summary['images']
    assert f'{summary["images"]} constant' in (tmp_path / 'out/table.md').read_text()


def test_a_network_that_gives_nan_stops_the_run_and_keeps_what_was_done(settings, place, tmp_path):
    network = initial_network('lite0', 'random')
    for parameter in network.head.parameters():
        parameter.data.fill_(float('nan'))
    checkpoints.save(network, tmp_path / 'nan.safetensors')
    broken = settings(['one'], ['robot'], pictures=0)
    broken.models.append(EvaluatedModel('broken', str(tmp_path / 'nan.safetensors'), input_size=64))
    with pytest.raises(TrainingError, match='broken on sample s0 of robot'):
        evaluate.run(broken)
    manifest = json.loads((tmp_path / 'out/manifest.json').read_text())
    assert manifest['state'] == 'failed'
    assert [*manifest['results']['robot']] == ['one']


@pytest.mark.parametrize(
    ('change', 'error', 'message'),
    [
        ({'models': []}, RecipeError, 'at least one network'),
        ({'data': []}, RecipeError, 'one data set'),
        ({'models': [EvaluatedModel('a')]}, RecipeError, 'name its checkpoint'),
        ({'models': [EvaluatedModel('a', '/nowhere.safetensors')]}, DataError, 'nowhere'),
        ({'data': [EvaluatedData('middlebury')]}, RecipeError, 'middlebury'),
        ({'data': [EvaluatedData('robot', '/nowhere')]}, DataError, 'nowhere'),
        ({'data': [EvaluatedData('robot')]}, DataError, 'empty'),
    ],
)
def test_what_cannot_be_evaluated_is_told_before_the_work(settings, tmp_path, change, error, message):
    wrong = settings(['one'], ['robot'])
    for name, value in change.items():
        setattr(wrong, name, value)
    with pytest.raises(error, match=message):
        evaluate.run(wrong)
    assert not (tmp_path / 'out').exists()


def test_a_protocol_that_is_not_for_a_network_is_told_before_the_work(settings, tmp_path):
    with pytest.raises(RecipeError, match='one on robot-metric'):
        evaluate.run(settings(['metric', 'one'], ['robot-metric']))
    odd = settings(['one'], ['robot'])
    odd.models[0].input_size = 65
    with pytest.raises(RecipeError, match='multiple of 32'):
        evaluate.run(odd)
    assert not (tmp_path / 'out').exists()


def test_a_recipe_is_a_list_of_networks_and_one_of_data(tmp_path):
    path = tmp_path / 'evaluate.yaml'
    path.write_text(
        'models:\n- {name: teacher, checkpoint: v2-large}\n- {name: mine, checkpoint: /x/model.safetensors}\n'
        'data:\n- {protocol: nyu, path: /data/nyu}\n- {protocol: my/other.yaml, path: /data/other}\n'
    )
    settings = read_recipe(Settings, path, ['max_images=50'])
    assert [model.name for model in settings.models] == ['teacher', 'mine']
    assert [data.name for data in settings.data] == ['nyu', 'other']
    assert settings.max_images == 50
    for wrong in ('max_images=-1', 'precision=int3'):
        with pytest.raises(RecipeError):
            read_recipe(Settings, path, [wrong])
    for text, message in (
        ('models: [{name: a/b, checkpoint: x}]', 'letters'),
        ('models: [{name: a, checkpoint: x}, {name: a, checkpoint: y}]', 'one name'),
    ):
        path.write_text(text)
        with pytest.raises(RecipeError, match=message):
            read_recipe(Settings, path)


def test_a_recipe_says_what_only_its_machine_knows_about_the_data(settings, tmp_path, monkeypatch):
    asked = []

    class StopHere(Exception):
        pass

    def make(spec):
        asked.append(spec)
        raise StopHere

    monkeypatch.setattr(evaluate, 'make_dataset', make)
    mine = settings(['one'], [])
    mine.data = [EvaluatedData('kitti', '/data/kitti', options={'list': '/lists/eigen.txt'})]
    with pytest.raises(StopHere):
        evaluate.run(mine)
    (spec,) = asked
    assert (spec.type, spec.path, spec.options['list']) == ('kitti', '/data/kitti', '/lists/eigen.txt')
    mine.data = [EvaluatedData('nyu', '/data/nyu', options={'splits_file': 'mine.txt'})]
    with pytest.raises(StopHere):
        evaluate.run(mine)
    assert asked[1].options == {'depth': 'rawDepths', 'splits_file': 'mine.txt'}
