"""What users may choose from. Standard library only, for those who offer it without importing torch."""

BACKENDS = ('auto', 'torch', 'openvino')
PRECISIONS = ('auto', 'fp32', 'bf16', 'fp16')
