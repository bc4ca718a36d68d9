"""Backends: which is taken and why, and that none is far from torch."""

import os
import re
import shlex
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from weakref import WeakSet

import numpy as np
import pytest
import torch

from depth_anything_ros.checkpoints import save
from depth_anything_ros.cli.parser import make_parser
from depth_anything_ros.estimation import (
    BackendUnavailableError,
    DepthEstimator,
    DeviceMemoryError,
    DeviceUnavailableError,
    PrecisionUnavailableError,
    artefacts,
    estimator,
    network_size,
    prepare,
)
from depth_anything_ros.estimation.backends import (
    make_backend,
    onnx_compiler,
    openvino_compiler,
    preparation,
    selection,
    torch_backends,
)
from depth_anything_ros.estimation.devices import Target
from depth_anything_ros.estimation.export import pack_openvino, to_openvino
from depth_anything_ros.network import WeightSource

SIZE = 64


def estimate(network, **options):
    return DepthEstimator(network, **{'device': 'cpu', 'precision': 'fp32', 'input_size': SIZE, **options})


def torch_values(network, image):
    return estimate(network, backend='torch')(image).values


@pytest.fixture
def openvino():
    return pytest.importorskip('openvino', reason='needs the extra openvino')


@pytest.fixture
def onnxruntime():
    pytest.importorskip('onnxscript', reason='needs the extra onnx')
    return pytest.importorskip('onnxruntime', reason='needs the extra onnx')


@pytest.fixture(scope='module')
def exported(lite, picture, tmp_path_factory):
    """A cache in which lite() is for pictures of the usual size; for tests of what comes after the export."""
    folder = tmp_path_factory.mktemp('exported')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('DEPTH_ANYTHING_CACHE', str(folder))
        estimate(lite(), backend='openvino')(picture())
    return folder


@pytest.fixture
def without(monkeypatch):
    """Make packages as if they were not installed."""

    def hide(*names):
        for name in names:
            monkeypatch.setitem(sys.modules, name, None)

    return hide


@pytest.mark.parametrize('backend', ['openvino', 'onnxruntime'])
def test_a_compiled_backend_gives_what_torch_gives_in_every_size(backend, request, lite, picture):
    request.getfixturevalue(backend)
    ours = estimate(lite(), backend=backend)
    for size in ((48, 64), (64, 64), (48, 64)):
        image = picture(*size)
        np.testing.assert_allclose(ours(image).values, torch_values(lite(), image), rtol=1e-3, atol=1e-3)
    assert (ours.backend, ours.hardware, ours.precision, ours.backend_reason) == (backend, 'cpu', 'fp32', 'asked for')


@pytest.mark.parametrize(('backend', 'exporter'), [('openvino', 'to_openvino'), ('onnxruntime', 'to_onnx')])
def test_a_second_start_exports_nothing(backend, exporter, request, cache, lite, picture, monkeypatch):
    request.getfixturevalue(backend)
    first = estimate(lite(), backend=backend)(picture()).values
    module = 'openvino_compiler' if backend == 'openvino' else 'onnx_compiler'
    monkeypatch.setattr(
        f'depth_anything_ros.estimation.backends.{module}.{exporter}', lambda *_: pytest.fail('exported again')
    )
    np.testing.assert_array_equal(estimate(lite(), backend=backend)(picture()).values, first)


@pytest.mark.parametrize(('backend', 'exporter'), [('openvino', 'to_openvino'), ('onnxruntime', 'to_onnx')])
def test_a_broken_cache_entry_is_rebuilt(backend, exporter, request, cache, lite, picture, monkeypatch, caplog):
    request.getfixturevalue(backend)
    module = openvino_compiler if backend == 'openvino' else onnx_compiler
    export, made = getattr(module, exporter), []

    def export_once(*args):  # for it takes seconds
        made.append(made[0] if made else export(*args))
        return made[0]

    monkeypatch.setattr(module, exporter, export_once)
    first = estimate(lite(), backend=backend)(picture()).values
    (entry,) = cache.iterdir()
    entry.write_bytes(entry.read_bytes()[:5000])
    np.testing.assert_array_equal(estimate(lite(), backend=backend)(picture()).values, first)
    assert 'damaged' in caplog.text
    assert len(made) == 2
    assert entry.stat().st_size > 5000


def test_threads_that_predict_at_the_same_time_get_what_one_gets(openvino, exported, lite, picture, monkeypatch):
    monkeypatch.setenv('DEPTH_ANYTHING_CACHE', str(exported))
    monkeypatch.setattr(openvino_compiler, 'usable_cores', lambda: 3)
    images = [picture(48, 64, seed=seed) for seed in range(5)]
    ours = estimate(lite(), backend='openvino')
    assert ours.parallel == 4
    expected = [ours(image).values for image in images]
    assert not np.array_equal(expected[0], expected[1])
    together = threading.Barrier(5)  # more than there are requests

    def predict(image):
        together.wait(60.0)
        return [ours(image).values for _ in range(10)]

    with ThreadPoolExecutor(5) as pool:
        for found, one in zip(pool.map(predict, images), expected, strict=True):
            np.testing.assert_array_equal(found, [one] * 10)
    np.testing.assert_array_equal([ours(images[0]).values for _ in range(20)], [expected[0]] * 20)
    assert len(list(exported.glob('*.openvino'))) == 1


def test_threads_that_come_with_a_new_size_compile_it_once(openvino, exported, lite, picture, monkeypatch):
    monkeypatch.setenv('DEPTH_ANYTHING_CACHE', str(exported))
    compiled, together = [], threading.Barrier(3)
    compile_ = openvino_compiler.OpenVinoCompiler.compile
    monkeypatch.setattr(
        openvino_compiler.OpenVinoCompiler, 'compile', lambda *args: compiled.append(args) or compile_(*args)
    )
    ours, image = estimate(lite(), backend='auto'), picture()

    def predict(_):
        together.wait(60.0)
        return ours(image).values

    with ThreadPoolExecutor(3) as pool:
        first, *others = pool.map(predict, range(3))
    for other in others:
        np.testing.assert_array_equal(other, first)
    assert len(compiled) == 1


def test_two_threads_get_more_done_than_one_with_a_small_network_by_openvino_alone(openvino, lite):
    assert estimate(lite(), backend='torch').parallel == 1
    assert estimate('untrained-small', backend='openvino', input_size=42).parallel == 1
    assert estimate(lite(), backend='auto').parallel == openvino_compiler.usable_cores() + 1
    assert not estimate(lite(), backend='openvino').batches


def test_an_unwritable_cache_does_not_stop_a_backend(openvino, cache, lite, picture, caplog):
    cache.write_text('no folder')
    image = picture()
    ours = estimate(lite(), backend='openvino')
    np.testing.assert_allclose(ours(image).values, torch_values(lite(), image), rtol=1e-3, atol=1e-3)
    assert 'nothing can be kept' in caplog.text


def test_an_entry_that_openvino_cannot_read_is_left_to_torch(openvino, exported, cache, lite, picture):
    (entry,) = exported.glob('*.openvino')
    # Its hash is right: of weights that were cut off before they were kept.
    artefacts.write(cache / entry.name, artefacts.read(entry)[:-1000])
    image = picture()
    with pytest.raises(BackendUnavailableError, match='OpenVINO cannot compile'):
        estimate(lite(), backend='openvino')(image)
    ours = estimate(lite())
    np.testing.assert_allclose(ours(image).values, torch_values(lite(), image), rtol=1e-5)
    assert ours.backend == 'torch'
    assert 'OpenVINO cannot compile' in ours.backend_reason


def shifted_by(share):
    """A compiler whose networks are off by a share of their output, each precision by its own."""

    def compile(self, batch, precision):
        run = torch_backends.forward(self._network, self.device, 'fp32')
        return lambda batch: run(batch) * (1.0 + share[precision])

    return compile


def test_a_backend_that_is_off_refuses_and_names_its_deviation(openvino, lite, picture, monkeypatch):
    monkeypatch.setattr(openvino_compiler.OpenVinoCompiler, 'compile', shifted_by({'fp32': 0.02}))
    with pytest.raises(BackendUnavailableError, match=r'differs from torch fp32 by 2\.00%.*more than 0\.1%'):
        estimate(lite(), backend='openvino')(picture())


@pytest.mark.parametrize(('off', 'expected'), [(0.05, 'fp32'), (0.001, 'bf16')])
def test_torch_is_held_against_its_own_fp32(lite, picture, monkeypatch, off, expected):
    monkeypatch.setattr(torch_backends, 'cpu_computes_bf16', lambda: True)
    monkeypatch.setattr(torch_backends, 'forward', off_by({'bf16': off, 'fp32': 0.0}))
    ours = estimate(lite(), backend='torch', precision='auto')
    ours(picture())
    assert ours.precision == expected


def test_torch_refuses_a_named_precision_that_is_off(lite, picture, monkeypatch):
    monkeypatch.setattr(torch_backends, 'forward', off_by({'bf16': 0.05, 'fp32': 0.0}))
    with pytest.raises(BackendUnavailableError, match=r'torch in bf16 differs from torch fp32 by 5\.00%'):
        estimate(lite(), backend='torch', precision='bf16')(picture())


def off_by(share):
    """torch_backends.forward, off by a share of its output, each precision by its own."""
    real = torch_backends.forward

    def forward(network, device, precision):
        run = real(network, device, 'fp32')
        return lambda batch: run(batch) * (1.0 + share[precision])

    return forward


def test_a_precision_that_is_off_gives_way_to_the_next(openvino, lite, picture, monkeypatch, caplog):
    monkeypatch.setattr(openvino_compiler, 'cpu_computes_bf16', lambda: True)
    monkeypatch.setattr(openvino_compiler.OpenVinoCompiler, 'compile', shifted_by({'bf16': 0.05, 'fp32': 0.0}))
    ours = estimate(lite(), backend='openvino', precision='auto')
    ours(picture())
    assert ours.precision == 'fp32'
    assert 'bf16 differs from torch fp32 by 5.00%' in caplog.text


def test_auto_stays_with_torch_where_the_faster_one_is_off(openvino, lite, picture, monkeypatch):
    monkeypatch.setattr(openvino_compiler.OpenVinoCompiler, 'compile', shifted_by({'fp32': 0.02}))
    ours, image = estimate(lite()), picture()
    np.testing.assert_allclose(ours(image).values, torch_values(lite(), image), rtol=1e-5)
    assert ours.backend == 'torch'
    assert 'by 2.00%' in ours.backend_reason


def test_auto_goes_on_with_torch_where_openvino_fails_while_it_runs(openvino, exported, lite, picture, monkeypatch):
    monkeypatch.setenv('DEPTH_ANYTHING_CACHE', str(exported))
    ours, named, image = estimate(lite()), estimate(lite(), backend='openvino'), picture()
    ours(image)
    named(image)
    assert ours.backend == 'openvino'

    def fail(*_, **__):
        raise RuntimeError('Exception from src/inference:\nout of resources')

    monkeypatch.setattr(openvino.InferRequest, 'infer', fail)
    np.testing.assert_allclose(ours(image).values, torch_values(lite(), image), rtol=1e-5)
    assert ours.backend == 'torch'
    assert 'OpenVINO fails to run the network: out of resources' in ours.backend_reason
    with pytest.raises(BackendUnavailableError, match='out of resources'):
        named(image)


def test_threads_that_meet_export_nothing_again(openvino, cache, lite, picture, monkeypatch):
    cache.write_text('no folder, so nothing is kept')
    exports, real = [], openvino_compiler.to_openvino
    monkeypatch.setattr(openvino_compiler, 'to_openvino', lambda *args: exports.append(args) or real(*args))
    ours, image = estimate(lite(), backend='openvino'), picture()
    ours(image)
    assert len(exports) == 1
    with ThreadPoolExecutor(3) as pool:
        for _ in range(5):
            list(pool.map(ours, [image] * 6))
    assert len(exports) == 1


def test_auto_does_without_an_openvino_that_has_no_plugin_for_the_cpu(openvino, lite, picture, monkeypatch):
    class Core:
        available_devices = ()

    monkeypatch.setattr(openvino_compiler, 'openvino_core', Core)
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    ours, image = estimate(lite()), picture()
    np.testing.assert_allclose(ours(image).values, torch_values(lite(), image), rtol=1e-5)
    assert ours.backend == 'torch'
    assert 'no plugin for the CPU' in ours.backend_reason
    with pytest.raises(DeviceUnavailableError, match='no plugin for the CPU'):
        estimate(lite(), backend='openvino')


def test_each_network_and_size_has_a_folder_for_its_tensorrt_engines(onnxruntime, cache, lite, monkeypatch):
    folders = []

    def session(content, options, chosen):
        ((_, options),) = chosen
        folders.append(Path(options['trt_engine_cache_path']))
        raise RuntimeError('no GPU')

    name = 'TensorrtExecutionProvider'
    monkeypatch.setitem(onnx_compiler.PROVIDERS, 'cpu', (name,))
    monkeypatch.setattr(onnxruntime, 'get_available_providers', lambda: [name])
    monkeypatch.setattr(onnxruntime, 'InferenceSession', session)
    monkeypatch.setattr(onnx_compiler, 'to_onnx', lambda *_: b'content')
    other = lite()
    with torch.no_grad():
        next(other.parameters()).add_(1e-3)
    for network, width in ((lite(), 96), (lite(), 128), (other, 96), (lite(), 96)):
        compiler = onnx_compiler.OnnxRuntimeCompiler(network, Target(torch.device('cpu')), 'fp32')
        with pytest.raises(BackendUnavailableError, match='no GPU'):
            compiler.compile(torch.zeros(1, 3, 64, width), 'fp32')
    assert len({*folders}) == 3
    assert folders[0] == folders[3]
    assert all(folder.is_dir() for folder in folders)


def test_auto_takes_openvino_on_a_cpu_and_says_why(openvino, lite, picture, caplog):
    caplog.set_level('INFO', 'depth_anything_ros')
    ours = estimate(lite())
    ours(picture())
    assert ours.backend == 'openvino'
    assert ours.backend_reason == 'auto: OpenVINO is installed, the fastest on a CPU'
    assert f'backend openvino ({ours.backend_reason})' in caplog.text


def test_auto_without_openvino_takes_onnx_runtime_in_fp32_only(onnxruntime, without, lite, picture):
    without('openvino')
    ours = estimate(lite())
    ours(picture())
    assert ours.backend == 'onnxruntime'
    assert estimate(lite(), precision='bf16').backend == 'torch'


def test_auto_with_neither_takes_torch_and_says_what_to_install(without, lite, picture):
    without('openvino', 'onnxruntime')
    ours = estimate(lite())
    ours(picture())
    assert ours.backend == 'torch'
    assert 'pip install openvino' in ours.backend_reason
    assert 'pip install onnx onnxscript onnxruntime' in ours.backend_reason


@pytest.mark.parametrize(
    ('backend', 'packages'), [('openvino', 'openvino'), ('onnxruntime', 'onnx onnxscript onnxruntime')]
)
def test_a_backend_that_is_not_installed_says_what_to_install(without, lite, backend, packages):
    without(backend)
    with pytest.raises(BackendUnavailableError, match=f'pip install {packages}'):
        estimate(lite(), backend=backend)


def wait_for(ours, image, condition, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, ours.backend_reason
        ours(image)
        time.sleep(0.2)


@pytest.fixture
def live(lite):
    """Make live estimators of the small network; at the end their helpers end too."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(estimate(lite(), live=True)))


def test_a_live_estimator_answers_at_once_and_is_faster_later(openvino, cache, live, lite, picture):
    image, expected = picture(), torch_values(lite(), picture())
    ours = live()
    np.testing.assert_allclose(ours(image).values, expected, rtol=1e-5)
    assert ours.backend == 'torch'
    assert ours.backend_reason.startswith('until openvino is ready')
    wait_for(ours, image, lambda: ours.backend == 'openvino')
    np.testing.assert_allclose(ours(image).values, expected, rtol=1e-3, atol=1e-3)
    again = live()  # the cache is warm
    again(image)
    assert again.backend == 'openvino'


def test_a_live_estimator_leaves_a_damaged_entry_to_its_helper(
    openvino, exported, cache, live, lite, picture, monkeypatch
):
    (entry,) = exported.glob('*.openvino')
    cache.mkdir()
    (cache / entry.name).write_bytes(entry.read_bytes()[:-1000])
    monkeypatch.setattr(openvino_compiler, 'to_openvino', lambda *_: pytest.fail('exported while a frame waits'))
    ours, image = live(), picture()
    np.testing.assert_allclose(ours(image).values, torch_values(lite(), image), rtol=1e-5)
    assert ours.backend == 'torch'
    wait_for(ours, image, lambda: ours.backend == 'openvino')


def test_a_live_estimator_stays_with_torch_if_the_preparation_fails(
    openvino, cache, live, picture, monkeypatch, caplog
):
    monkeypatch.setattr(preparation, '_MODULE', 'depth_anything_ros.estimation.nowhere')
    ours, image = live(), picture()
    wait_for(ours, image, lambda: 'cannot be made ready' in ours.backend_reason)
    assert ours.backend == 'torch'
    assert 'nowhere' in ours.backend_reason
    assert caplog.text.count('torch stays') == 1


def test_a_live_estimator_stays_with_torch_if_nothing_can_be_kept(openvino, cache, live, picture, monkeypatch):
    monkeypatch.setattr(preparation, '_MODULE', 'this')  # a helper that succeeds and has left nothing
    ours, image = live(), picture()
    wait_for(ours, image, lambda: 'nothing of it is in the cache' in ours.backend_reason)
    assert ours.backend == 'torch'


@pytest.mark.parametrize(('blocked', 'code'), [(True, 1), (False, 0)])
def test_a_helper_that_cannot_keep_what_it_made_fails_and_says_why(
    openvino, cache, lite, tmp_path, monkeypatch, caplog, blocked, code
):
    if blocked:
        cache.write_text('no folder')
    monkeypatch.setattr(os, 'nice', lambda _: None)
    monkeypatch.setattr(openvino_compiler, 'to_openvino', lambda *_: 'a model')
    monkeypatch.setattr(openvino_compiler, 'pack_openvino', lambda _: b'content')
    weights = tmp_path / 'weights.safetensors'
    save(lite(), weights)
    assert prepare.main([str(weights), 'openvino', 'cpu', 'fp32', '1', '3', '64', '96']) == code
    assert ('nothing can be kept' in caplog.text) == blocked


def test_a_live_estimator_answers_where_the_cache_may_not_be_looked_into(
    openvino, cache, live, lite, picture, monkeypatch
):
    stat = os.stat

    def refuse(path, *args, **options):  # what nobody refuses to root
        if str(path).startswith(str(cache)):
            raise PermissionError(13, 'Permission denied', str(path))
        return stat(path, *args, **options)

    monkeypatch.setattr(preparation, '_MODULE', 'this')
    monkeypatch.setattr(os, 'stat', refuse)
    ours, image = live(), picture()
    np.testing.assert_allclose(ours(image).values, torch_values(lite(), image), rtol=1e-5)
    assert ours.backend == 'torch'


def test_a_live_estimator_that_is_closed_ends_its_helper(openvino, cache, lite, picture, monkeypatch):
    processes = []
    popen = preparation.subprocess.Popen

    def spy(*args, **kwargs):
        processes.append(popen(*args, **kwargs))
        return processes[-1]

    monkeypatch.setattr(preparation.subprocess, 'Popen', spy)
    ours = estimate(lite(), live=True)
    ours(picture())
    ours.close()
    (process,) = processes
    assert process.returncode is not None


def test_torch_compile_gives_what_torch_gives(lite, picture, monkeypatch):
    # Inductor's C++ takes minutes for a network; what leads up to it is the same for the debugging backend.
    compile_ = torch.compile
    monkeypatch.setattr(torch, 'compile', lambda *args, **options: compile_(*args, backend='eager', **options))
    ours, image = estimate(lite(), backend='torch-compile'), picture()
    np.testing.assert_allclose(ours(image).values, torch_values(lite(), image), rtol=1e-3, atol=1e-3)
    assert ours.backend == 'torch-compile'


def test_torch_compile_without_a_compiler_says_what_to_install(lite, monkeypatch):
    monkeypatch.setenv('PATH', '')
    with pytest.raises(BackendUnavailableError, match=r'apt install g\+\+'):
        estimate(lite(), backend='torch-compile')


def test_an_intel_device_that_is_not_there_is_refused_with_those_that_are(openvino, lite):
    with pytest.raises(DeviceUnavailableError, match='OpenVINO has CPU'):
        estimate(lite(), device='openvino:NPU7', precision='auto')


def test_openvinos_own_name_of_the_cpu_runs_there(openvino, lite, picture):
    ours = estimate(lite(), device='openvino:CPU')
    ours(picture())
    assert (ours.backend, ours.hardware, ours.device.type) == ('openvino', 'openvino:CPU', 'cpu')


@pytest.mark.parametrize('backend', ['torch', 'torch-compile', 'onnxruntime'])
def test_devices_of_openvino_are_openvinos_alone(lite, backend):
    with pytest.raises(BackendUnavailableError, match="take backend 'openvino'"):
        estimate(lite(), device='openvino:GPU', backend=backend)


@pytest.mark.parametrize(
    ('backend', 'precision'),
    [('torch', 'int8'), ('torch', 'fp16'), ('onnxruntime', 'bf16'), ('onnxruntime', 'int8'), ('openvino', 'fp16')],
)
def test_a_precision_that_a_backend_has_not_is_refused(request, lite, backend, precision):
    if backend != 'torch':
        request.getfixturevalue(backend)
    with pytest.raises(PrecisionUnavailableError, match=precision):
        estimate(lite(), backend=backend, precision=precision)


@pytest.mark.parametrize(
    ('name', 'checkpoint', 'expected'),
    [('tiny', '/data/tiny.safetensors', 'tiny'), ('lite0', '/data/a b.safetensors', '/data/a b.safetensors')],
)
def test_int8_without_a_calibrated_network_says_how_to_make_one(
    openvino, cache, lite, picture, name, checkpoint, expected
):
    """In the words of a command that exports what the network sees, whatever its input size."""
    network, input_size = lite(), 96
    network.source = WeightSource(name, trained=True, checkpoint=Path(checkpoint))
    ours = estimate(network, precision='int8', input_size=input_size)
    with pytest.raises(BackendUnavailableError, match=r'export .*--precision int8') as error:
        ours(picture(48, 60))
    command = re.search('depth-anything (export .* FOLDER)', str(error.value))[1]
    args = make_parser().parse_args(shlex.split(command))
    assert args.model == expected
    seen = network_size(48, 60, input_size, network.multiple)
    assert network_size(*args.image_size, args.input_size, network.multiple) == seen


@pytest.mark.parametrize(
    ('backend', 'precision'), [('auto', 'int8'), ('torch', 'int8'), ('openvino', 'int8'), ('openvino', 'auto')]
)
def test_what_openvino_alone_has_names_the_devices_for_it_where_there_is_a_gpu(openvino, lite, backend, precision):
    with pytest.raises((BackendUnavailableError, PrecisionUnavailableError), match='device cpu, openvino:GPU or'):
        make_backend(backend, lite(), Target(torch.device('cuda')), precision)


@pytest.mark.parametrize(('device', 'hint'), [('CPU', 'f32'), ('GPU', 'f32'), ('NPU', 'f16')])
def test_int8_asks_a_device_for_a_precision_that_it_takes(openvino, cache, lite, monkeypatch, device, hint):
    asked = []

    def compile_model(model, name, hints):
        asked.append((name, hints['INFERENCE_PRECISION_HINT']))
        raise RuntimeError('seen enough')

    core = SimpleNamespace(available_devices=['CPU', 'GPU', 'NPU'], compile_model=compile_model)
    monkeypatch.setattr(openvino_compiler, 'openvino_core', lambda: core)
    monkeypatch.setattr(openvino_compiler, 'unpack_openvino', lambda content: content)
    batch = torch.zeros(1, 3, 32, 32)
    artefacts.write(openvino_compiler.openvino_artefacts(lite()).path(tuple(batch.shape), 'int8'), b'a model')
    backend = make_backend('openvino', lite(), Target(torch.device('cpu'), device), 'int8')
    with pytest.raises(BackendUnavailableError, match='seen enough'):
        backend(batch)
    assert asked == [(device, hint)]


def test_int8_runs_what_an_export_has_left_in_the_cache(openvino, cache, lite, picture):
    shape = (1, 3, 64, 96)
    entry = openvino_compiler.openvino_artefacts(lite()).path(shape, 'int8')
    artefacts.write(entry, pack_openvino(to_openvino(lite(), shape)))
    ours, image = estimate(lite(), precision='int8'), picture()
    np.testing.assert_allclose(ours(image).values, torch_values(lite(), image), rtol=1e-3, atol=1e-3)
    assert (ours.backend, ours.precision) == ('openvino', 'int8')


def test_int8_that_is_off_is_refused_with_its_deviation(openvino, lite, picture, monkeypatch):
    monkeypatch.setattr(openvino_compiler.OpenVinoCompiler, 'compile', shifted_by({'int8': 0.05}))
    with pytest.raises(BackendUnavailableError, match=r'int8 differs from torch fp32 by 5\.00%.*more than 3\.0%'):
        estimate(lite(), precision='int8')(picture())


@pytest.fixture(autouse=True)
def no_capture_has_failed(monkeypatch):
    """Each test begins as a process does."""
    monkeypatch.setattr(torch_backends, '_capture_failed', threading.Event())


@pytest.fixture
def graphs(monkeypatch):
    """Stand-ins for captured graphs, in order, for what does not need a GPU: each knows its shape and its replays."""
    made = []

    class Graph:
        def __init__(self, run, batch):
            self.run, self.shape, self.replays = run, tuple(batch.shape), 0
            made.append(self)

        def __call__(self, batch):
            assert tuple(batch.shape) == self.shape
            self.replays += 1
            return self.run(batch)

    monkeypatch.setattr(torch_backends, 'CapturedGraph', Graph)
    return made


def graph_backend(network):
    return torch_backends.GraphBackend(network, Target(torch.device('cpu')), 'fp32', 'a test')


def test_only_a_size_that_comes_again_and_again_is_captured(graphs, lite):
    backend = graph_backend(lite())
    small, large = torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 64)
    for batch in (small, large, small, large):
        backend(batch)
    assert graphs == []
    for _ in range(5):
        result = backend(small)
    assert [graph.shape for graph in graphs] == [(1, 3, 32, 32)]
    assert graphs[0].replays > 1
    assert torch.equal(result, torch_backends.forward(lite(), torch.device('cpu'), 'fp32')(small))


@pytest.mark.parametrize(
    ('owner', 'name'),
    [
        (estimator, 'preprocess_pixels'),
        (estimator, '_resized'),
        (torch_backends.GraphBackend, '__call__'),
    ],
    ids=['before the network', 'after it', 'in it'],
)
def test_where_the_memory_is_full_the_graphs_give_back_theirs_and_the_frame_is_answered(
    graphs, lite, picture, monkeypatch, owner, name
):
    monkeypatch.setattr(selection, 'EagerBackend', torch_backends.GraphBackend)
    ours, image = estimate(lite(), backend='torch'), picture()
    predict = lambda: np.asarray(ours.predict([image], keep_on_device=True)[0].values)  # noqa: E731
    expected = [predict() for _ in range(4)][-1]
    alive = WeakSet(graphs)
    graphs.clear()
    assert len(alive) == 1
    work = getattr(owner, name)

    def full(*args):
        if alive:
            raise torch.cuda.OutOfMemoryError('CUDA out of memory')
        return work(*args)

    monkeypatch.setattr(owner, name, full)
    for _ in range(4):
        np.testing.assert_array_equal(predict(), expected)
    assert len(graphs) == 1  # captured again


def test_memory_that_is_still_full_without_graphs_is_an_error(lite, picture, monkeypatch):
    monkeypatch.setattr(selection, 'EagerBackend', torch_backends.GraphBackend)
    ours, calls = estimate(lite(), backend='torch'), []

    def refuse(*args):
        calls.append(args)
        raise torch.cuda.OutOfMemoryError('CUDA out of memory')

    monkeypatch.setattr(torch_backends.GraphBackend, '__call__', refuse)
    with pytest.raises(DeviceMemoryError):
        ours(picture())
    assert len(calls) == 2


def test_a_size_that_was_not_finite_at_first_is_captured_when_it_is(graphs, lite, monkeypatch):
    """In reduced precision, which the first finite result is held against."""
    monkeypatch.setattr(torch_backends, 'forward', off_by({'bf16': 0.0, 'fp32': 0.0}))
    backend = torch_backends.GraphBackend(lite(), Target(torch.device('cpu')), 'bf16', 'a test')
    for value in (*4 * [torch.nan], 0.0):
        backend(torch.full((1, 3, 32, 32), value))
    assert len(graphs) == 1


@pytest.fixture
def gpu(monkeypatch):
    """torch.cuda as far as a capture needs it. current: the stream; capturing: whether; its graphs repeat nothing."""
    state = SimpleNamespace(current='present', capturing=False)

    class Stream:
        def wait_stream(self, _):
            pass

    @contextmanager
    def stream(chosen):
        before, state.current = state.current, chosen
        try:
            yield
        finally:
            state.current = before

    @contextmanager
    def graph(_, *, stream, capture_error_mode):
        before, state.current, state.capturing = state.current, stream, True
        try:
            yield
        finally:
            state.capturing = False
        # As torch's: not after an error.
        state.current = before

    fakes = {'device': lambda _: nullcontext(), 'current_stream': Stream, 'Stream': Stream, 'stream': stream}
    fakes |= {'graph': graph, 'CUDAGraph': lambda: SimpleNamespace(replay=lambda: None)}
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    return state


def test_a_graph_that_cannot_be_captured_is_done_without_and_said_once(gpu, lite, monkeypatch, caplog):
    """Nor is another tried, in this process: a capture that fails leaves torch unable to make one."""
    tried = []

    def make(*_):
        def run(batch):
            if gpu.capturing:
                tried.append(1)
                raise RuntimeError('operation not permitted when stream is capturing')
            return batch[:, 0]

        return run

    monkeypatch.setattr(torch_backends, 'forward', make)
    backend = graph_backend(lite())
    for width in (32, 64):
        for _ in range(8):
            assert torch.isfinite(backend(torch.zeros(1, 3, 32, width))).all()
    assert len(tried) == 1
    assert caplog.text.count('operation not permitted') == 1
    assert caplog.text.count('no CUDA graph') == 1


def test_memory_that_is_short_beside_a_capture_leaves_the_next_one_to_be_tried(gpu, caplog):
    calls = []

    def run(batch):
        calls.append(gpu.capturing)
        if len(calls) == 2:
            raise torch.cuda.OutOfMemoryError('CUDA out of memory')
        return batch + 1

    for _ in range(2):
        assert torch_backends.captured(run, torch.zeros(2), limit=0.01) is run
    assert calls.count(True) == 1
    assert 'CUDA out of memory' in caplog.text
    assert 'nor for anything else' not in caplog.text


@pytest.mark.parametrize(('dtype', 'limit'), [(torch.float32, 0.01), (torch.uint8, 0.0)])
def test_a_graph_that_repeats_nothing_is_found_out(gpu, caplog, dtype, limit):
    run = lambda batch: batch + 1  # noqa: E731
    batch = torch.arange(4, dtype=dtype)
    assert torch_backends.captured(run, batch, limit=limit) is run
    assert 'no CUDA graph' in caplog.text


def test_what_is_to_be_equal_is_compared_as_it_is(graphs, monkeypatch):
    """As floats it would be four times as much."""
    monkeypatch.setattr(torch.Tensor, 'float', lambda _: pytest.fail('copied as floats'))
    batch = torch.arange(4, dtype=torch.uint8)
    assert torch_backends.captured(lambda batch: batch + 1, batch, limit=0.0) is graphs[0]


def test_a_capture_that_fails_leaves_the_stream_as_it_was(gpu, caplog):
    def run(batch):
        if gpu.capturing:
            raise RuntimeError('operation not permitted when stream is capturing')
        return batch

    assert torch_backends.captured(run, torch.zeros(2), limit=0.01) is run
    assert gpu.current == 'present'
    assert 'operation not permitted' in caplog.text


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA GPU')
class TestCuda:
    @pytest.mark.parametrize('backend', ['auto', 'torch', 'torch-compile'])
    @pytest.mark.parametrize('precision', ['fp32', 'bf16', 'fp16'])
    def test_a_captured_graph_gives_what_the_cpu_gives_for_image_after_image(
        self, lite, picture, backend, precision, caplog
    ):
        ours = estimate(lite(), device='cuda', backend=backend, precision=precision)
        tolerance = 1e-3 if precision == 'fp32' else 0.05
        for size in ((48, 64), (64, 64)):
            for seed in range(5):
                image = picture(*size, seed)
                np.testing.assert_allclose(
                    ours(image).values, torch_values(lite(), image), rtol=tolerance, atol=tolerance
                )
        assert 'no CUDA graph' not in caplog.text

    def test_onnx_runtime_gives_what_torch_gives(self, cache, lite, picture):
        onnxruntime = pytest.importorskip('onnxruntime', reason='needs the extra onnx')
        if 'CUDAExecutionProvider' not in onnxruntime.get_available_providers():
            pytest.skip('needs onnxruntime-gpu')
        image = picture()
        ours = estimate(lite(), device='cuda', backend='onnxruntime')
        np.testing.assert_allclose(ours(image).values, torch_values(lite(), image), rtol=1e-3, atol=1e-3)
