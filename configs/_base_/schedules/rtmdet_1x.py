# The 1x schedule for RTMDet, whose levels share their convolutions: mmengine refuses a parameter that it meets twice otherwise.
_base_ = "detection_1x.py"

optim_wrapper = dict(paramwise_cfg=dict(bypass_duplicate=True))
