import json

from depth_anything_ros.cli.main import main


def test_bench_prints_a_table_and_writes_json(tmp_path, capsys):
    options = ['--input-size', '64', '--frames', '3', '--size', '64x48', '--backend', 'torch']
    assert main(['bench', *options, '--json', str(tmp_path / 'bench.json')]) == 0
    report = json.loads((tmp_path / 'bench.json').read_text())
    (result,) = report['results']
    assert (report['model'], report['image_size']) == ('tiny', [64, 48])
    assert result['backend'] == 'torch'
    assert result['network_size'] == [96, 64]
    latency = result['latency_ms']
    assert 0 < latency['network']['p50'] <= latency['network']['p95']
    assert latency['total']['p50'] >= latency['network']['p50']
    assert {'cpu', 'cores', 'torch'} <= report['machine'].keys()
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith('|')]
    assert len(table) == 3
    assert len({line.count('|') for line in table}) == 1


def test_bench_refuses_a_model_it_does_not_know(capsys):
    assert main(['bench', '--model', 'v9-huge', '--backend', 'torch']) == 1
    assert 'unknown model' in capsys.readouterr().err
