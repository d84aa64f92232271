"""Words that code and YAML share: options of the group ``protocol``, and the stages of the chain."""

FOR_SWEEPS = ("fair", "full")
"""Options that add jobs to a sweep, so that one job cannot have them; which, says ``sweep/controls.py``."""
CHANCE_AND_NORM = ("random", "l1")
"""The criteria that these options add."""
NEVER_CUT = "dense"
"""The control that is finetuned like the others, and never cut."""
FROM_SCRATCH = ("half", "scratch_e", "scratch_b")
"""The controls whose cut networks begin with initial weights and are trained like the dense one."""
CHAIN = ("train", "prune", "finetune", "eval")
"""The stages that every configuration holds, in their order; others are added where ``stages`` names them."""
UNTAUGHT = "none"
"""The option of the group ``distill`` without a teacher."""
BY_ITSELF = "self"
"""The option of the group ``distill`` in which a network is taught by itself: the control of teachers."""
