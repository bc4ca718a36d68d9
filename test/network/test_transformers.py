"""The same network as another's: Hugging Face transformers' DepthAnything, converted from the official code."""

import re

import pytest
import torch

from depth_anything_ros.network import ARCHITECTURES, DepthAnything

transformers = pytest.importorskip('transformers', reason="needs transformers: pip install '.[train]'")

# Our name -> theirs. Their fusion path begins with the coarsest level.
RULES = (
    (r'^encoder\.vit\.(cls_token)', r'backbone.embeddings.\1'),
    (r'^encoder\.vit\.pos_embed', 'backbone.embeddings.position_embeddings'),
    (r'^encoder\.vit\.patch_embed\.proj', 'backbone.embeddings.patch_embeddings.projection'),
    (r'^encoder\.vit\.blocks', 'backbone.encoder.layer'),
    (r'^encoder\.vit\.norm', 'backbone.layernorm'),
    (r'\.ls(\d)\.gamma', r'.layer_scale\1.lambda1'),
    (r'^reassemble\.project\.(\d)', r'neck.reassemble_stage.layers.\1.projection'),
    (r'^reassemble\.resample\.(\d)', r'neck.reassemble_stage.layers.\1.resize'),
    (r'^head\.lateral', 'neck.convs'),
    (r'^head\.fusion\.(\d)', lambda found: f'neck.fusion_stage.layers.{3 - int(found[1])}'),
    (r'\.merge\.conv', '.residual_layer1.convolution'),
    (r'\.refine\.conv', '.residual_layer2.convolution'),
    (r'\.out\.', '.projection.'),
    (r'^head\.smooth', 'head.conv1'),
    (r'^head\.hidden', 'head.conv2'),
    (r'^head\.output', 'head.conv3'),
)
# Of transformers 4 and 5.
ATTENTION = (
    ('attention.attention.query', 'attention.attention.key', 'attention.attention.value', 'attention.output.dense'),
    ('attention.q_proj', 'attention.k_proj', 'attention.v_proj', 'attention.o_proj'),
)


def theirs_with(network, architecture):
    """Their network with the weights of ours."""
    backbone = transformers.Dinov2Config(
        hidden_size=architecture.width,
        num_hidden_layers=architecture.blocks,
        num_attention_heads=architecture.width // 64,
        image_size=518,
        patch_size=14,
        out_indices=[tap + 1 for tap in architecture.taps],
        reshape_hidden_states=False,
        apply_layernorm=True,
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=architecture.width,
        neck_hidden_sizes=list(architecture.channels),
        fusion_hidden_size=architecture.features,
    )
    theirs = transformers.DepthAnythingForDepthEstimation(config).eval()
    expected = theirs.state_dict()
    query, key, value, out = next(names for names in ATTENTION if any(names[0] in name for name in expected))
    weights = {}
    for name, ours in network.state_dict().items():
        renamed = name
        for pattern, replacement in RULES:
            renamed = re.sub(pattern, replacement, renamed)
        if '.attn.qkv.' in name:
            for part, chunk in zip((query, key, value), ours.chunk(3), strict=True):
                weights[renamed.replace('attn.qkv', part)] = chunk
        else:
            weights[renamed.replace('attn.proj', out)] = ours
    # Their mask token belongs to DINOv2's training, and their coarsest level has a unit that merges nothing.
    unused = re.compile(r'mask_token|fusion_stage\.layers\.0\.residual_layer1')
    weights |= {name: value for name, value in expected.items() if unused.search(name)}
    theirs.load_state_dict(weights)
    return theirs


@pytest.mark.parametrize('name', ['v1-small', 'v2-small'])
def test_with_the_same_weights_it_says_the_same(name):
    torch.manual_seed(0)
    network = DepthAnything.from_name(name).eval()
    theirs = theirs_with(network, ARCHITECTURES[name])
    image = torch.randn(1, 3, 518, 518)
    with torch.inference_mode():
        ours, expected = network(image), theirs(pixel_values=image).predicted_depth
    spread = expected.std().item()
    assert spread > 1e-3
    torch.testing.assert_close(ours, expected, rtol=0.0, atol=1e-3 * spread)
