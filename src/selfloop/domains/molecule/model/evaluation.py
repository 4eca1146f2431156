"""Sizes of held-out evaluations; apart from `loss`, which imports torch, since the cost estimate reads them too."""

TEST_DRAWS = 8  # of time and noise per conformation, in rule evaluate_model
LEARNING_CURVE_DRAWS = 2  # per conformation, at a point of the learning curve
LEARNING_CURVE_ROWS = 64  # conformations at a point of the learning curve, at most
SCORE_LEVELS = 8  # of noise, per conformation that an oracle scores; with noise of both signs
