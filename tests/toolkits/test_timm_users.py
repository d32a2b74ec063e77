"""What builds its encoders from timm: segmentation_models_pytorch and transformers. mmvit needs neither (extra `toolkits`)."""

import pytest
import torch
from families import idle

import mmvit.timm  # noqa: F401  registers the archs
from mmvit import InputError
from mmvit.zoo import create

pytestmark = pytest.mark.once

DECODERS = ("Unet", "UnetPlusPlus", "FPN", "UPerNet", "Segformer", "PSPNet", "MAnet", "Linknet")


class TestSegmentationModels:
    @pytest.fixture(autouse=True)
    def smp(self):
        self.smp = pytest.importorskip("segmentation_models_pytorch")

    def trains(self, decoder, name, **options):
        model = getattr(self.smp, decoder)(f"tu-mmvit_{name}", encoder_weights=None, in_channels=4, classes=3, **options)
        masks = model(torch.rand(2, 4, 64, 96))
        assert masks.shape == (2, 3, 64, 96)
        masks.square().mean().backward()
        assert idle(model.encoder) == []

    @pytest.mark.parametrize("decoder", DECODERS)
    def test_decoders_train(self, decoder):
        self.trains(decoder, "van_b0")

    @pytest.mark.parametrize("name", ["pvt_tiny", "pvt_v2_b0", "shunted_tiny", "t2t_vit_7", "volo_d1"])
    def test_families(self, name):
        model = self.smp.FPN(f"tu-mmvit_{name}", encoder_weights=None).eval()
        with torch.no_grad():
            assert model(torch.rand(1, 3, 64, 96)).shape == (1, 1, 64, 96)

    def test_pan_at_stride_32(self):
        model = self.smp.PAN("tu-mmvit_van_b0", encoder_weights=None, encoder_output_stride=32).eval()
        with torch.no_grad():
            assert model(torch.rand(1, 3, 256, 256)).shape == (1, 1, 256, 256)

    @pytest.mark.parametrize("name", ["van_b0", "pvt_v2_b0", "volo_d1"])
    def test_dpt_on_a_pyramid(self, name):
        """Its readout calls view() on the maps, which lie channels-last otherwise."""
        self.trains("DPT", name, features_only=True)

    def test_dpt_says_what_it_needs(self):
        with pytest.raises(InputError, match=r"features_only=True as a backbone, which DPT of segmentation_models_pytorch"):
            self.smp.DPT("tu-mmvit_van_b0", encoder_weights=None)

    @pytest.mark.parametrize("decoder", ["DeepLabV3", "DeepLabV3Plus"])
    def test_dilated_decoders_say_why_not(self, decoder):
        with pytest.raises(InputError, match=r"cannot be dilated.*take a decoder for all four levels, such as Unet"):
            getattr(self.smp, decoder)("tu-mmvit_van_b0", encoder_weights=None)

    def test_preprocessing_of_released_weights(self):
        values = self.smp.encoders.get_preprocessing_params("tu-mmvit_van_b0")
        assert list(values["mean"]) == [0.485, 0.456, 0.406]


class TestTransformers:
    @pytest.fixture(autouse=True)
    def transformers(self):
        self.hf = pytest.importorskip("transformers")

    def backbone(self, **options):
        return self.hf.TimmBackbone(self.hf.TimmBackboneConfig(backbone="mmvit_van_b0", **options))

    def test_timm_backbone(self):
        model = self.backbone(out_indices=[1, 2, 3]).eval()
        with torch.no_grad():
            maps = model(torch.rand(1, 3, 64, 96)).feature_maps
        assert [tuple(level.shape) for level in maps] == [(1, 64, 8, 12), (1, 160, 4, 6), (1, 256, 2, 3)]
        assert model.channels == [64, 160, 256]
        assert model.stage_names == ["stages.0", "stages.1", "stages.2", "stages.3"]
        with pytest.raises(InputError, match="give out_indices="):
            model(torch.rand(1, 3, 64, 96), output_hidden_states=True)

    def test_the_last_map_by_default_and_all_hidden_states(self):
        with torch.no_grad():
            (last,) = self.backbone().eval()(torch.rand(1, 3, 64, 64))[0]
            assert last.shape == (1, 256, 2, 2)
            output = self.backbone(out_indices=[0, 1, 2, 3]).eval()(torch.rand(1, 3, 64, 64), output_hidden_states=True)
        assert len(output.hidden_states) == len(output.feature_maps) == 4

    def test_released_weights(self, tmp_path):
        """All of a file's tensors arrive, the running statistics of its batch norms included."""
        trained = create("van_b0")
        trained(torch.rand(2, 3, 64, 64))  # in training, which moves the running statistics
        torch.save(trained.state_dict(), tmp_path / "own.pth")
        own = dict(file=str(tmp_path / "own.pth"))
        config = self.hf.TimmBackboneConfig(backbone="mmvit_van_b0", out_indices=[3])
        models = [
            self.hf.TimmBackbone(config, pretrained=True, pretrained_cfg_overlay=own),
            self.hf.TimmBackbone.from_pretrained("mmvit_van_b0", out_indices=[3], pretrained_cfg_overlay=own),
        ]
        for model in models:
            loaded = model._backbone.model.state_dict()
            assert [name for name, value in trained.state_dict().items() if not torch.equal(value, loaded[name])] == []

    def test_a_saved_model_comes_back(self, tmp_path):
        """With the running statistics of its batch norms, and through AutoBackbone."""
        model = self.backbone(out_indices=[2, 3])
        model(torch.rand(2, 3, 64, 64))  # in training, which moves the running statistics
        model.save_pretrained(tmp_path)
        again = self.hf.TimmBackbone._from_config(self.hf.TimmBackboneConfig.from_pretrained(tmp_path))
        from safetensors.torch import load_file

        again.load_state_dict(load_file(tmp_path / "model.safetensors"))
        images = torch.rand(1, 3, 64, 64)
        with torch.no_grad():
            torch.testing.assert_close(again.eval()(images)[0], model.eval()(images)[0], rtol=0, atol=0)
