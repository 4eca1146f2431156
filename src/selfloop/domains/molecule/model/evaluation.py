"""How often a model's losses are measured on the real test conformations, each time with another time and noise.

Apart from `loss`, which imports torch: an estimate of a study's cost reads these, too.
"""

TEST_DRAWS = 8  # of each conformation, by rule evaluate_model
LEARNING_CURVE_DRAWS = 2  # of each conformation, at a point of a learning curve
LEARNING_CURVE_ROWS = 64  # conformations that a learning curve is measured on, at most
