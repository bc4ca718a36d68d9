"""What users may choose from. Standard library only, for those who offer it without importing torch."""

BACKENDS = ('auto', 'torch', 'torch-compile', 'openvino', 'onnxruntime')
PRECISIONS = ('auto', 'fp32', 'bf16', 'fp16', 'int8')
EXPORT_FORMATS = ('onnx', 'openvino')
EXPORT_PRECISIONS = ('fp32', 'fp16', 'int8')
