"""Writers of the encodings in which data sets come, for fixtures in their real layouts."""

import io
import json

import cv2
import h5py
import numpy as np
import OpenEXR
import pytest


class Layout:
    """A folder to fill."""

    def __init__(self, root):
        self.root = root

    def write(self, name, content):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def image(self, name, size=(24, 32), seed=0):
        image = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
        self.write(name, cv2.imencode(name[name.rindex('.') :].lower(), image[..., ::-1])[1].tobytes())
        return image

    def png(self, name, array):
        self.write(name, cv2.imencode('.png', array)[1].tobytes())

    def npy(self, name, array):
        buffer = io.BytesIO()
        np.save(buffer, array)
        self.write(name, buffer.getvalue())

    def hdf5(self, name, **datasets):
        self.write(name, b'')
        with h5py.File(self.root / name, 'w') as file:
            for key, value in datasets.items():
                file.create_dataset(key, data=value, compression='gzip')

    def exr(self, name, **channels):
        self.write(name, b'')
        header = {'compression': OpenEXR.ZIP_COMPRESSION, 'type': OpenEXR.scanlineimage}
        OpenEXR.File(header, channels).write(str(self.root / name))

    def pfm(self, name, array, order='<'):
        scale = '-1.0' if order == '<' else '1.0'
        header = f'Pf\n{array.shape[1]} {array.shape[0]}\n{scale}\n'.encode()
        self.write(name, header + array[::-1].astype(f'{order}f4').tobytes())

    def raw(self, name, array):
        self.write(name, array.astype('<f4').tobytes())

    def text(self, name, *lines):
        self.write(name, '\n'.join(lines).encode() + b'\n')

    def json(self, name, content):
        self.text(name, json.dumps(content))

    def cut(self, name, share=0.5):
        """Lose the end of a file."""
        content = (self.root / name).read_bytes()
        self.write(name, content[: int(len(content) * share)])


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path)
