# Blood cells as in retinanet_pvt_v2_b0_bccd.py, with VAN b0 instead. docs/results.md has what it reaches.
_base_ = ["retinanet_pvt_v2_b0_bccd.py"]
model = dict(backbone=dict(_delete_=True, type="mmvit.VAN", arch="b0", drop_path_rate=0.1))  # VAN's maps are as wide
