"""Networks as files: what is written gives what torch gives, and what does not is refused."""

import sys

import numpy as np
import pytest
import torch

from depth_anything_ros.estimation import BackendUnavailableError
from depth_anything_ros.estimation import export as export_module
from depth_anything_ros.estimation.backends.interface import deviation
from depth_anything_ros.estimation.export import ExportError, pack_openvino, to_onnx, to_openvino, unpack_openvino
from depth_anything_ros.estimation.quantisation import hold_out, quantise
from depth_anything_ros.estimation.verification import check_export, onnx_run, openvino_run
from depth_anything_ros.network import DepthAnything

SHAPE = (1, 3, 64, 96)


def batch(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def expected(network, images):
    with torch.inference_mode():
        return network(images)


@pytest.fixture
def onnx():
    pytest.importorskip('onnxscript', reason='needs the extra onnx')
    pytest.importorskip('onnxruntime', reason='needs the extra onnx')
    return pytest.importorskip('onnx', reason='needs the extra onnx')


@pytest.fixture
def openvino():
    return pytest.importorskip('openvino', reason='needs the extra openvino')


def test_an_onnx_model_says_what_it_takes_and_gives(onnx, lite):
    model = onnx.load_from_string(to_onnx(lite(), SHAPE))
    onnx.checker.check_model(model)
    assert [item.name for item in model.graph.input] == ['image']
    assert [item.name for item in model.graph.output] == ['disparity']
    assert [item.version for item in model.opset_import if not item.domain] == [18]
    metadata = {item.key: item.value for item in model.metadata_props}
    assert metadata['sides_are_multiples_of'] == '32'
    assert '0.485 0.456 0.406' in metadata['input']


def test_an_onnx_model_in_half_precision_is_half_the_size_and_near_torch(onnx, lite):
    network = lite()
    half, images = to_onnx(network, SHAPE, 'fp16'), batch(*SHAPE)
    assert len(half) < 0.6 * sum(tensor.nbytes for tensor in network.state_dict().values())
    assert deviation(onnx_run(half)(images), expected(network, images)) < 0.01
    assert next(network.parameters()).dtype == torch.float32


@pytest.fixture
def shallow(lite):
    """All that a size goes through, with one block of each stage: a trace for any size takes long."""
    network = lite()
    levels = network.encoder.levels
    levels.blocks = torch.nn.Sequential(*(stage[:1] for stage in levels.blocks))
    return network


def test_a_dynamic_onnx_model_takes_any_size_and_batch(onnx, shallow):
    network = shallow
    run = onnx_run(to_onnx(network, SHAPE, dynamic=True))
    for shape in ((1, 3, 64, 64), (2, 3, 32, 96)):
        assert deviation(run(batch(*shape)), expected(network, batch(*shape))) < 1e-3


def test_an_openvino_model_says_what_it_takes_and_gives(openvino, lite):
    model = to_openvino(lite(), SHAPE)
    assert model.input('image').shape == list(SHAPE)
    assert model.output('disparity').shape == [1, 64, 96]


def test_a_dynamic_openvino_model_takes_any_size_and_batch(openvino, shallow):
    network, model = shallow, to_openvino(shallow, SHAPE, dynamic=True)
    assert model.input('image').partial_shape == openvino.PartialShape([-1, 3, -1, -1])
    run = openvino_run(model)
    for shape in ((1, 3, 64, 64), (2, 3, 32, 96)):
        assert deviation(run(batch(*shape)), expected(network, batch(*shape))) < 1e-3


def test_a_transformer_is_not_dynamic_and_says_why(openvino):
    with torch.device('meta'):  # nothing of it is looked at
        network = DepthAnything.from_name('v2-small')
    with pytest.raises(ExportError, match='position embedding is a constant'):
        to_openvino(network, (1, 3, 14, 28), dynamic=True)


def test_a_network_that_is_too_large_for_an_onnx_file_is_refused(onnx, lite, monkeypatch):
    monkeypatch.setattr('depth_anything_ros.estimation.export._MAX_ONNX_BYTES', 1000)
    with pytest.raises(ExportError, match='2 GB'):
        to_onnx(lite(), SHAPE)


def test_a_packed_openvino_model_is_the_same_afterwards(openvino, lite):
    images, model = batch(*SHAPE), to_openvino(lite(), SHAPE)
    again = openvino_run(unpack_openvino(pack_openvino(model)))
    assert torch.equal(again(images), openvino_run(model)(images))


def test_a_model_that_was_not_written_whole_is_refused(openvino, monkeypatch):
    import openvino.opset8 as ops

    image = ops.parameter([1, 4], np.float32)
    model = openvino.Model([ops.add(image, ops.constant(np.arange(4, dtype=np.float32)[None]))], [image])
    unpack_openvino(pack_openvino(model))
    save = export_module.save_openvino

    def save_on_a_full_disk(model, path):
        save(model, path)
        weights = path.with_suffix('.bin')
        weights.write_bytes(weights.read_bytes()[:-4])

    monkeypatch.setattr(export_module, 'save_openvino', save_on_a_full_disk)
    with pytest.raises(ExportError, match=r'cannot be written .*: make room there.*\$TMPDIR'):
        pack_openvino(model)


def test_an_export_that_is_off_is_refused_with_its_deviation(lite):
    network = lite()
    with pytest.raises(ExportError, match=r'by 4\.00% on one of 2 pictures \(mean 4\.00%\), more than 3\.0%'):
        check_export(
            network, lambda images: 1.04 * expected(network, images), [batch(*SHAPE), batch(*SHAPE, seed=1)], 'int8'
        )


def test_an_export_that_gives_nan_is_refused(lite):
    with pytest.raises(ExportError, match='nan'):
        check_export(lite(), lambda images: torch.full((1, 64, 96), float('nan')), [batch(*SHAPE)], 'fp32')


def test_every_fourth_picture_is_held_out():
    calibration, held_out = hold_out(list(range(9)))
    assert held_out == [3, 7]
    assert calibration == [0, 1, 2, 4, 5, 6, 8]


def test_quantisation_without_nncf_says_what_to_install(lite, monkeypatch):
    monkeypatch.setitem(sys.modules, 'nncf', None)
    with pytest.raises(BackendUnavailableError, match='pip install nncf'):
        quantise(lite(), [batch(*SHAPE)])


def test_a_network_that_int8_spoils_is_refused_with_its_deviation(openvino, spoiled_by_int8):
    pytest.importorskip('nncf', reason='needs the extra int8')
    network = spoiled_by_int8()
    pictures = [batch(*SHAPE, seed=seed) for seed in range(4)]
    model = quantise(network, pictures)
    assert any('FakeQuantize' in item.get_type_name() for item in model.get_ops())
    with pytest.raises(ExportError, match=r'tiny in int8 differs from torch fp32 by \d+\.\d+%.*more than 3\.0%'):
        check_export(network, openvino_run(model), pictures, 'int8')


@pytest.mark.parametrize(('widely', 'most'), [(True, 127), (False, 64)])
def test_weights_leave_room_where_products_of_int8_are_added_in_16_bits(openvino, shallow, monkeypatch, widely, most):
    pytest.importorskip('nncf', reason='needs the extra int8')
    monkeypatch.setattr('depth_anything_ros.estimation.quantisation.cpu_adds_int8_widely', lambda: widely)
    model = quantise(shallow, [batch(*SHAPE)])
    constants = [item for item in model.get_ops() if item.get_type_name() == 'Constant']
    # Of five dimensions are those of depthwise convolutions, which add too few products.
    weights = [
        item.get_data() for item in constants if item.get_element_type() == openvino.Type.i8 and len(item.shape) == 4
    ]
    assert max(np.abs(array.astype(int)).max() for array in weights) == most
