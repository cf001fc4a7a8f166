# SPDX-License-Identifier: Apache-2.0
# Training on real data, against other losses: `make recipes`. It takes hours, shows its progress,
# and continues where it stopped. RECIPE_SEEDS: the most seeds of each row; RECIPE_SECONDS: no run
# begins later; RECIPES: which recipes.
RECIPES ?= omniglot fashion bccd ltr
recipes_python := $(BUILD)/recipes-venv

$(recipes_python)/ready: recipes/requirements.txt
	rm -rf $(recipes_python)
	/usr/bin/python3 -m venv --system-site-packages $(recipes_python)
	$(recipes_python)/bin/pip install --quiet --disable-pip-version-check --no-deps -r $<
	touch $@

.PHONY: recipes
recipes:
	deploy/deps.sh build recipes
	$(MAKE) all $(recipes_python)/ready
	RANKD_BUILD=$(abspath $(BUILD)) nice $(recipes_python)/bin/python recipes/run.py $(RECIPES) --report \
	    $(if $(RECIPE_SEEDS),--seeds $(RECIPE_SEEDS)) $(if $(RECIPE_SECONDS),--seconds $(RECIPE_SECONDS))
