"""What a new family adds to this repository besides its file: a row of the tests' data and a row of the recipes.

A plug-in of pytest (`-p seventh`), and a module that a process imports to have the family.
"""

import families
import pooling

from mmvit import backbones
from mmvit.recipes.families import DROP_PATHS, Rates

families.FAMILIES.append(
    families.Family(
        name="PoolFormer",
        tiny=dict(depths=[1, 1, 2, 1], dims=[8, 16, 24, 32]),
        golden=(),
        classifier=lambda model: families.linear(model.out_channels[-1]),
        released=families.released_name,
    )
)
DROP_PATHS["poolformer"] = Rates("the toy's own", {"*": 0.1})
assert backbones.PoolFormer is pooling.PoolFormer
