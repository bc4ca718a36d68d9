"""depth-anything export."""

import re

import numpy as np
import pytest
import torch

from depth_anything_ros import checkpoints
from depth_anything_ros.cli.files import write_picture
from depth_anything_ros.cli.main import main
from depth_anything_ros.estimation.verification import openvino_run

SMALL = ('--input-size', '64', '--image-size', '48x64')


@pytest.fixture
def onnx():
    pytest.importorskip('onnxscript', reason='needs the extra onnx')
    return pytest.importorskip('onnxruntime', reason='needs the extra onnx')


@pytest.fixture
def openvino():
    return pytest.importorskip('openvino', reason='needs the extra openvino')


def export(*args):
    return main(['export', *map(str, args)])


def test_export_writes_an_onnx_file_and_prints_its_deviation(onnx, tmp_path, capsys):
    out = tmp_path / 'new' / 'tiny.onnx'
    assert export('tiny', out, '--format', 'onnx', *SMALL) == 0
    printed = capsys.readouterr().out
    assert str(out) in printed
    assert 'opset 18, fp32, batch of 1, 64x96' in printed
    assert float(re.search(r'at most ([\d.]+)%', printed)[1]) < 0.1
    session = onnx.InferenceSession(out, providers=['CPUExecutionProvider'])
    (disparity,) = session.run(None, {'image': np.zeros((1, 3, 64, 96), np.float32)})
    assert disparity.shape == (1, 64, 96)
    assert [path.name for path in out.parent.iterdir()] == ['tiny.onnx']


def test_export_writes_openvino_ir_of_a_checkpoint_that_names_itself(openvino, tmp_path, capsys):
    weights, out = tmp_path / 'mine.safetensors', tmp_path / 'mine.xml'
    checkpoints.save(checkpoints.load('tiny'), weights)
    assert export(weights, out, '--format', 'openvino', '--precision', 'fp16', *SMALL) == 0
    printed = capsys.readouterr().out
    assert str(out) in printed
    assert str(out.with_suffix('.bin')) in printed
    assert openvino_run(out)(torch.zeros(1, 3, 64, 96)).shape == (1, 64, 96)
    assert {path.name for path in tmp_path.iterdir()} == {'mine.safetensors', 'mine.xml', 'mine.bin'}


def test_what_int8_spoils_is_not_written(openvino, tmp_path, picture, capsys, spoiled_by_int8):
    pytest.importorskip('nncf', reason='needs the extra int8')
    checkpoints.save(spoiled_by_int8(), tmp_path / 'spoiled.safetensors')
    pictures, out = tmp_path / 'pictures', tmp_path / 'out' / 'tiny.xml'
    for seed in range(4):
        write_picture(pictures / f'{seed}.png', picture(seed))
    options = ['--checkpoint', tmp_path / 'spoiled.safetensors', '--precision', 'int8', '--images', pictures]
    assert export('tiny', out, '--format', 'openvino', *options, *SMALL) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r'tiny in int8 differs from torch fp32 by \d+\.\d+%', error)
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize(
    ('options', 'code', 'text'),
    [
        (['tiny', 'a.xml', '--format', 'onnx'], 2, 'end in .onnx'),
        (['tiny', 'a.xml', '--format', 'openvino', '--precision', 'int8'], 2, '--images'),
        (['tiny', 'a.onnx', '--format', 'onnx', '--input-size', '50'], 2, 'multiple of 32'),
        (['a.safetensors', 'a.onnx', '--format', 'onnx', '--checkpoint', 'b.pth'], 2, 'are two weight files: give one'),
        (['v9-huge', 'a.onnx', '--format', 'onnx'], 1, 'unknown model'),
        (['v2-large', 'a.onnx', '--format', 'onnx'], 1, 'accept_license'),
    ],
)
def test_what_cannot_be_exported_is_refused_with_the_reason(options, code, text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert export(*options) == code
    assert text in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_export_replaces_nothing_unasked(tmp_path, capsys):
    out = tmp_path / 'a.xml'
    out.with_suffix('.bin').write_text('precious')
    assert export('tiny', out, '--format', 'openvino', *SMALL) == 1
    assert '--overwrite' in capsys.readouterr().err
    assert out.with_suffix('.bin').read_text() == 'precious'
