"""Readers of data sets in their layouts on disk, one module each; a module is imported when its type is asked for."""

from __future__ import annotations

READERS: dict[str, str] = {
    # For training.
    'hypersim': 'training.data.readers.hypersim:Hypersim',
    'vkitti2': 'training.data.readers.vkitti2:VirtualKitti2',
    'tartanair': 'training.data.readers.tartanair:TartanAir',
    'blendedmvs': 'training.data.readers.blendedmvs:BlendedMvs',
    'irs': 'training.data.readers.irs:Irs',
    'diml': 'training.data.readers.diml:Diml',
    'hrwsi': 'training.data.readers.hrwsi:Hrwsi',
    'megadepth': 'training.data.readers.megadepth:MegaDepth',
    # For evaluation.
    'nyu': 'training.data.readers.nyu:Nyu',
    'kitti': 'training.data.readers.kitti:Kitti',
    'sintel': 'training.data.readers.sintel:Sintel',
    'eth3d': 'training.data.readers.eth3d:Eth3d',
    'diode': 'training.data.readers.diode:Diode',
    'ddad': 'training.data.readers.ddad:Ddad',
    'da2k': 'training.data.readers.da2k:Da2k',
    'motorcycle': 'training.data.readers.motorcycle:Motorcycle',
    # Without depth.
    'images': 'training.data.readers.images:Images',
    # For data of one's own.
    'folder': 'training.data.readers.folder:FolderReader',
    'lidar': 'training.data.readers.lidar:LidarImages',
}
"""The reader of each type of data in a recipe, as 'module:class'."""
