"""transformers' classifiers with random weights: the same logits from the same tensors. make test-peers has all three."""

from pathlib import Path

import pytest
import torch
from states import BY_NAME
from test_layouts import PEERS, randomise

from mmvit.zoo import Classifier

pytestmark = pytest.mark.stack

CLASSIFIERS = {  # what transformers calls the authors' tensors beside the backbone
    "transformers PvtV2": {"classifier.": "pvt_v2.encoder.head."},
    "transformers Pvt": {
        "classifier.": "pvt.encoder.head.",
        "pvt.encoder.layer_norm.": "pvt.encoder.norm.",
        "pvt.encoder.patch_embeddings.3.cls_token": "pvt.encoder.cls_token",
    },
    "transformers Van": {"classifier.": "van.encoder.head."},
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_of_transformers(name: str, tmp_path: Path) -> None:
    """The same logits from the same tensors, with PVT's class token in the last stage."""
    what = PEERS[name]
    network = randomise(what.build(BY_NAME[what.family].tiny, num_labels=1000)).double()
    state = network.state_dict()
    for theirs, authors in CLASSIFIERS[name].items():
        state = {key.replace(theirs, authors): value for key, value in state.items()}
    torch.save(state, tmp_path / "file.pth")
    init_cfg = dict(type="Pretrained", checkpoint=str(tmp_path / "file.pth"))
    model = Classifier(BY_NAME[what.family].kind, BY_NAME[what.family].tiny, init_cfg=init_cfg).double().eval()
    model.backbone.init_weights()
    images = torch.randn(2, 3, 224, 224, dtype=torch.float64)
    with torch.no_grad():
        found, expected = model(images), network(images).logits
    assert (found - expected).abs().max() <= 1e-10 * expected.std()
