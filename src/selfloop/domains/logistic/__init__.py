"""Logistic regression: the logistic link of linear regression, as Dey and Donoho (2410.22812) study it."""
