"""`mmvit.transformers`: transformers' detectors and segmenters on our backbones (extra `transformers`)."""

from itertools import product

import pytest
import torch
from makers import tiers

from mmvit import CheckpointError, InputError
from mmvit.zoo import create

hf = pytest.importorskip("transformers")

from mmvit.transformers import DETECTORS, SEGMENTERS, detector, segmenter  # noqa: E402

pytestmark = pytest.mark.once

HEADS = [*DETECTORS, *SEGMENTERS]
FAMILIES = ("pvt_tiny", "pvt_v2_b0", "volo_d1", "shunted_tiny", "t2t_vit_7", "van_b0")
WITHOUT_ONNX = ("rt_detr_v2", "d_fine", "deimv2")  # torch has no ONNX form of one of their operators
TIED = ("rt_detr",)  # it chooses queries by scores, of which random weights give equal ones: ONNX Runtime takes others
SIDE = 64
LAYERS = dict(encoder_layers=1, decoder_layers=1)
DETR = dict(**LAYERS, d_model=32, encoder_attention_heads=2, decoder_attention_heads=2, num_queries=10)
WIDTHS = dict(encoder_hidden_dim=32, encoder_ffn_dim=32, decoder_ffn_dim=32, decoder_in_channels=[32, 32, 32])
RT = dict(DETR, **WIDTHS, decoder_layers=2, num_denoising=4)
MASK2 = dict(encoder_layers=1, decoder_layers=2, hidden_dim=32, feature_size=32, mask_feature_size=32, num_attention_heads=2)
SMALL = dict(
    detr=DETR,
    conditional_detr=DETR,
    dab_detr=dict(LAYERS, decoder_layers=2, num_queries=10),
    deformable_detr=dict(DETR, decoder_layers=2, num_feature_levels=3),
    rt_detr=RT,
    rt_detr_v2=RT,
    d_fine=RT,
    deimv2=RT,
    upernet=dict(hidden_size=32, auxiliary_channels=32),
    maskformer=dict(fpn_feature_size=32, mask_feature_size=32),
    mask2former=dict(MASK2, num_queries=10, train_num_points=64),
    dpt=dict(image_size=SIDE, num_hidden_layers=4, backbone_out_indices=[0, 1, 2, 3], fusion_hidden_size=32),
)


def build(head: str, name: str = "van_b0", **options):
    function = detector if head in DETECTORS else segmenter
    return function(head, name, num_classes=3, **{**SMALL[head], **options})


def targets(head: str) -> dict:
    """Labels of two images, as the head takes them."""
    if head in DETECTORS:
        return dict(labels=[dict(class_labels=torch.tensor([1]), boxes=torch.tensor([[0.5, 0.5, 0.4, 0.3]]))] * 2)
    if head in ("maskformer", "mask2former"):
        return dict(mask_labels=[torch.ones(1, SIDE, SIDE)] * 2, class_labels=[torch.tensor([1])] * 2)
    return dict(labels=torch.ones(2, SIDE, SIDE, dtype=torch.long))


def first(output) -> torch.Tensor:
    return output.masks_queries_logits if "masks_queries_logits" in output else output.logits


@pytest.mark.parametrize("pair", tiers(product(HEADS, FAMILIES), lambda pair: pair == ("upernet", "van_b0"), "-".join))
def test_trains_and_comes_back(pair, tmp_path):
    """A step reaches the whole backbone; what `save_pretrained` wrote is bit for bit what `from_pretrained` builds."""
    head, name = pair
    model = build(head, name).train()
    model(torch.rand(2, 3, SIDE, SIDE), **targets(head)).loss.backward()
    lost = [key for key, value in model.named_parameters() if ".stages." in key and value.grad is None]
    assert lost == []
    model.save_pretrained(tmp_path)
    state, again = model.eval().state_dict(), type(model).from_pretrained(tmp_path)
    assert again.state_dict().keys() == state.keys()
    assert [key for key, value in again.state_dict().items() if not torch.equal(value, state[key])] == []
    images = torch.rand(1, 3, SIDE, SIDE)
    with torch.no_grad():
        assert torch.allclose(first(model(images)), first(again.eval()(images)), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
def test_onnx(head, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model, images, file = build(head).eval(), torch.rand(1, 3, SIDE, SIDE), tmp_path / "model.onnx"
    with torch.no_grad():
        wanted = first(model(images))
        if head in WITHOUT_ONNX:
            with pytest.raises(Exception, match="_is_all_true"):
                torch.onnx.export(model, (images,), file, dynamo=True, verbose=False)
            return
        torch.onnx.export(model, (images,), file, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(file)
    found = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    same = [torch.from_numpy(output) for output in found if output.shape == wanted.shape]
    assert same
    assert head in TIED or min((output - wanted).abs().max() for output in same) < 1e-4


@pytest.mark.parametrize("head", ["d_fine", "upernet"])  # with frozen batch norms, and with others
def test_weights_of_the_backbone(head, tmp_path):
    trained = create("van_b0")
    trained(torch.rand(2, 3, SIDE, SIDE))  # in training, which moves the running statistics
    torch.save(trained.state_dict(), tmp_path / "own.pth")
    found = {
        key.partition("_backbone.model.")[2]: value
        for key, value in build(head, checkpoint=tmp_path / "own.pth").state_dict().items()
    }
    lost = [key for key, value in trained.state_dict().items() if key in found and not torch.equal(value, found[key])]
    assert lost == []
    counters = {key for key in trained.state_dict() if key.endswith("num_batches_tracked")}
    assert trained.state_dict().keys() - found.keys() == (counters if head == "d_fine" else set())


def test_a_head_is_taken_over(tmp_path):
    """From another backbone with other classes: all but what depends on them; a head of another width is refused."""
    other = detector("rt_detr", "pvt_v2_b1", num_classes=5, **RT)
    other.save_pretrained(tmp_path)
    state = build("rt_detr", head_checkpoint=tmp_path).state_dict()
    same = [key for key, value in other.state_dict().items() if key in state and torch.equal(value, state[key])]
    assert "model.decoder.layers.0.encoder_attn.sampling_offsets.weight" in same
    assert "model.decoder_input_proj.0.0.weight" in same
    assert not any("class_embed" in key or ".stages." in key for key in same if key.endswith("weight"))
    with pytest.raises(CheckpointError, match=r"is no RTDetrForObjectDetection of this config.*Give the options"):
        build("rt_detr", head_checkpoint=tmp_path, encoder_ffn_dim=48)


def test_channels_and_levels():
    config = build("d_fine", "pvt_v2_b0", in_channels=4).config
    assert (config.encoder_in_channels, config.feat_strides) == ([64, 160, 256], [8, 16, 32])
    assert (config.backbone_config.out_indices, config.backbone_config.num_channels) == ([1, 2, 3], 4)


@pytest.mark.parametrize(
    ("head", "name", "message"),
    [
        ("d_fin", "van_b0", "'d_fin' of transformers: did you mean d_fine"),
        ("rf_detr", "van_b0", "'rf_detr' of transformers: it builds its own windowed ViT"),
        ("d_fine", "van_b9", "no backbone is called 'van_b9'"),
    ],
)
def test_what_cannot_be(head, name, message):
    with pytest.raises(InputError, match=message):
        detector(head, name, num_classes=3)


@pytest.mark.parametrize("head", HEADS)
def test_options_that_transformers_passes_over(head):
    """Its configs keep any. `attn_implementation` is no field of a config, and is taken."""
    for option, hint in (("hiden_size", ""), ("id2lable", "did you mean id2label")):
        with pytest.raises(InputError, match=f"{head} has no option {option}, which transformers would pass over; .*{hint}"):
            build(head, **{option: 1})
    assert build(head, attn_implementation="eager").config.num_labels == 3
