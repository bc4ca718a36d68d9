"""The files that ROS and pip read: they agree with each other and with the code."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = 'depth_anything_ros'
# Import name to rosdep key, where they differ.
ROSDEP_KEYS = {
    'cv2': 'python3-opencv',
    'huggingface_hub': 'python3-huggingface-hub-pip',
    'numpy': 'python3-numpy',
    'rosbags': 'python3-rosbags-pip',
    'safetensors': 'python3-timm-pip',  # has no key; timm brings it
    'tf2_ros': 'tf2_ros_py',  # the package tf2_ros is the C++ library, without Python
    'timm': 'python3-timm-pip',
    'torch': 'python3-pytorch-pip',
    'tqdm': 'python3-tqdm',
    'yaml': 'python3-yaml',
}
# Imported only when asked for, and named in the error otherwise: a plot, a backend, the demo's picture, and what the
# benchmark compares with.
OPTIONAL = {'matplotlib', 'nncf', 'onnx', 'onnxruntime', 'onnxscript', 'openvino', 'skimage', 'transformers'}
# What plugins_description.xml of rviz_default_plugins (and rviz_common) registers, from Humble on.
RVIZ_CLASSES = {
    'rviz_common/Displays',
    'rviz_common/Views',
    'rviz_default_plugins/Grid',
    'rviz_default_plugins/Image',
    'rviz_default_plugins/Interact',
    'rviz_default_plugins/Measure',
    'rviz_default_plugins/MoveCamera',
    'rviz_default_plugins/Orbit',
    'rviz_default_plugins/PointCloud2',
    'rviz_default_plugins/TF',
}


@pytest.fixture(scope='module')
def manifest():
    return ElementTree.parse(ROOT / 'package.xml').getroot()


@pytest.fixture(scope='module')
def setup_py():
    """The constants of setup.py by name, those of the call of setup() included."""
    names = {}

    def value_of(node):
        if isinstance(node, ast.Name):
            return names[node.id]
        if isinstance(node, ast.Dict):
            return {key.value: value_of(value) for key, value in zip(node.keys, node.values, strict=True)}
        return ast.literal_eval(node)

    for node in ast.parse((ROOT / 'setup.py').read_text()).body:
        if isinstance(node, ast.Assign):
            names[node.targets[0].id] = value_of(node.value)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            wanted = ('version', 'install_requires', 'extras_require', 'license', 'description')
            names |= {item.arg: value_of(item.value) for item in node.value.keywords if item.arg in wanted}
    return names


# Who may import whom, besides itself; what only the ends import is not needed where there is no ROS, or no training.
FOUNDATIONS = {'fast_dds', 'files', 'lru', 'choices', 'network', 'geometry', 'messages'}
MIDDLE = {*FOUNDATIONS, 'checkpoints', 'estimation', 'alignment', 'benchmark'}
MAY_IMPORT = {
    'network': set(),
    'messages': set(),
    'files': set(),
    'fast_dds': set(),
    'lru': set(),
    'choices': set(),
    'geometry': {'files', 'lru'},
    'checkpoints': {'network'},
    'estimation': {'choices', 'lru', 'network', 'checkpoints'},
    'alignment': {'geometry', 'messages'},
    'bags': {'geometry', 'messages'},
    'benchmark': {'files'},
    'node': MIDDLE,
    'cli': {*MIDDLE, 'bags'},
    'training': {*MIDDLE, 'bags'},
}


def imports_of(path):
    """What a file imports: modules, and what is taken from them, as dotted names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


def parts_imported(path):
    """The parts of the package, or `training`, that a file imports."""
    for name in imports_of(path):
        top, _, rest = name.partition('.')
        if top in (PACKAGE, 'training'):
            yield rest.partition('.')[0] if top == PACKAGE else top


def classes_in(value):
    """Every Class of an RViz configuration, at any depth."""
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    own = {value['Class']} - {''} if isinstance(value, dict) and 'Class' in value else set()
    return own.union(*map(classes_in, children))


def test_the_manifest_depends_on_everything_that_is_imported(manifest):
    depends = {item.text for item in manifest.findall('exec_depend')}
    files = [*(ROOT / PACKAGE).rglob('*.py'), *(ROOT / 'launch').glob('*.py')]
    imported = {name.partition('.')[0] for path in files for name in imports_of(path)}
    foreign = imported - set(sys.stdlib_module_names) - OPTIONAL - {PACKAGE}
    assert {ROSDEP_KEYS.get(name, name) for name in foreign} - depends == set()


def test_the_manifest_depends_on_what_the_launch_file_starts(manifest):
    depends = {item.text for item in manifest.findall('exec_depend')}
    started = set(re.findall(r"package='(\w+)'", (ROOT / 'launch' / 'depth.launch.py').read_text()))
    assert {PACKAGE} < started <= {PACKAGE, *depends}


@pytest.mark.parametrize('part', MAY_IMPORT)
def test_a_part_imports_only_those_below_it(part):
    place = ROOT / part if part == 'training' else ROOT / PACKAGE / part
    files = [*place.rglob('*.py')] or [place.with_suffix('.py')]
    for path in files:
        assert {*parts_imported(path)} - {part} <= MAY_IMPORT[part], path


def test_every_part_has_its_place_in_the_order():
    found = {
        path.stem for path in (ROOT / PACKAGE).iterdir() if path.suffix == '.py' or (path / '__init__.py').exists()
    }
    assert found - {'__init__'} == {*MAY_IMPORT} - {'training'}


def test_the_manifest_is_one_of_an_ament_python_package(manifest):
    assert manifest.get('format') == '3'
    assert manifest.findtext('name') == PACKAGE
    assert manifest.findtext('export/build_type') == 'ament_python'
    assert (ROOT / 'resource' / PACKAGE).is_file()


def test_version_licence_and_description_are_the_same_everywhere(manifest, setup_py):
    assert manifest.findtext('version') == setup_py['version']
    assert manifest.findtext('license') == setup_py['license']
    assert manifest.findtext('description').strip() == setup_py['description']
    headings = re.findall(r'^(Forthcoming|\d+\.\d+\.\d+)', (ROOT / 'CHANGELOG.rst').read_text(), re.MULTILINE)
    assert headings[0] in ('Forthcoming', setup_py['version'])


def test_what_make_setup_installs_is_pinned_and_allowed(setup_py):
    from packaging.requirements import Requirement

    lines = [line.partition('#')[0].strip() for line in (ROOT / 'constraints.txt').read_text().splitlines()]
    pins = {pin.name: pin.specifier for pin in map(Requirement, filter(None, lines))}
    extras = setup_py['extras_require']
    assert set(extras) == {'ros', 'openvino', 'onnx', 'int8', 'plot', 'train', 'test'}
    made = re.search(r"'\.\[([\w,]+)\]'", (ROOT / 'Makefile').read_text())[1].split(',')
    installed = setup_py['install_requires'] + [item for name in made for item in extras[name]]
    for requirement in map(Requirement, installed):
        if requirement.name == 'pyyaml':  # any version serves
            continue
        assert requirement.name in pins
        version = next(iter(pins[requirement.name])).version
        assert requirement.specifier.contains(version), requirement


def test_everything_that_the_node_needs_at_run_time_is_installed():
    data_files = (ROOT / 'setup.py').read_text()
    for pattern, names in {
        'launch/*.launch.py': ['depth.launch.py'],
        'config/*.*': ['depth.yaml', 'depth.rviz', 'fastdds.xml', 'nav2_costmap.yaml'],
    }.items():
        assert f"glob('{pattern}')" in data_files
        assert {path.name for path in ROOT.glob(pattern)} == set(names)


def test_the_built_in_models_weights_are_installed(tmp_path):
    pytest.importorskip('setuptools', reason='builds as pip and colcon do')
    command = [sys.executable, 'setup.py', '-q', 'build_py', '--build-lib', str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    weights = Path(PACKAGE) / 'checkpoints' / 'weights' / 'tiny.safetensors'
    assert (tmp_path / weights).read_bytes() == (ROOT / weights).read_bytes()


def test_the_launch_file_is_python_that_humble_reads():
    path = ROOT / 'launch' / 'depth.launch.py'
    tree = ast.parse(path.read_text(), feature_version=(3, 10))
    assert 'generate_launch_description' in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_rviz_shows_only_what_its_default_plugins_know():
    config = yaml.safe_load((ROOT / 'config' / 'depth.rviz').read_text())
    assert classes_in(config) - RVIZ_CLASSES == set()
    displays = config['Visualization Manager']['Displays']
    shown = {item['Topic']['Value'] for item in displays if 'Topic' in item}
    assert shown == {'image', 'depth/image_color', 'points'}


def test_the_costmap_is_as_high_as_its_obstacles():
    config = yaml.safe_load((ROOT / 'config' / 'nav2_costmap.yaml').read_text())
    layer = config['local_costmap']['local_costmap']['ros__parameters']['voxel_layer']
    assert layer['z_voxels'] <= 16
    top_m = layer['origin_z'] + layer['z_voxels'] * layer['z_resolution']
    assert top_m >= layer['max_obstacle_height'] >= layer['depth_anything']['max_obstacle_height']


def test_the_fast_dds_profile_holds_the_frame_that_it_is_for():
    space = {'dds': 'http://www.eprosima.com'}
    profile = ElementTree.parse(ROOT / 'config' / 'fastdds.xml').getroot()
    largest = int(profile.findtext('.//dds:maxMessageSize', namespaces=space))
    segment = int(profile.findtext('.//dds:segment_size', namespaces=space))
    assert 1920 * 1080 * 4 < largest < segment
    used = {item.text for item in profile.findall('.//dds:userTransports/dds:transport_id', space)}
    known = {item.text for item in profile.findall('.//dds:transport_descriptor/dds:transport_id', space)}
    assert used == known
