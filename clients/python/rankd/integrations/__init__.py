# SPDX-License-Identifier: Apache-2.0
"""rankd inside other libraries, one module for each. `import rankd` imports none of them, and none
of them installs its library.

    rankd.integrations.metric_learning        pytorch-metric-learning
    rankd.integrations.detection              heads of mmdetection and torchvision
    rankd.integrations.sentence_transformers  bi-encoders and cross-encoders
    rankd.integrations.boosting               objectives for LightGBM and XGBoost; needs numpy only
    rankd.integrations.checkpoints            the bank in checkpoints of Lightning and Accelerate

docs/howto/stack.md has an example of each.
"""
